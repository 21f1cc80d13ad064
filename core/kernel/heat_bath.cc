#include "core/kernel/heat_bath.h"

#include <algorithm>
#include <cmath>

namespace haarflow::kernel {
namespace {

struct Moments {
  double log_z, mean, variance;
};

// The exponent's largest maximum for b >= 0, at x >= 0, by bisection of its derivative.
double Mode(double quadratic, double quartic, double b) {
  const auto slope = [&](double x) { return b - 2 * quadratic * x - 4 * quartic * x * x * x; };
  double low = quadratic < 0 ? std::sqrt(-quadratic / (2 * quartic)) : 0, high = low + 1;
  while (slope(high) > 0) high *= 2;
  for (int i = 0; i < 80; ++i) {
    const double middle = 0.5 * (low + high);
    (slope(middle) > 0 ? low : high) = middle;
  }
  return low;
}

// By the trapezoidal rule, whose error falls faster than any power of the spacing; b >= 0.
Moments Integrate(double quadratic, double quartic, double b) {
  const auto exponent = [&](double x) { return (b - (quadratic + quartic * x * x) * x) * x; };
  const double mode = Mode(quadratic, quartic, b), top = exponent(mode);
  double range = mode + 1;
  while (top - exponent(range) < 50) range *= 1.25;  // exponent(-range) is smaller still
  const double curvature = 2 * quadratic + 12 * quartic * mode * mode;
  const double wanted = curvature > 0 ? 8 * range * std::sqrt(curvature) : 0;
  const int half = static_cast<int>(std::clamp(wanted, 300.0, 1e6));
  double sum = 0, first = 0, second = 0;
  for (int i = -half; i <= half; ++i) {
    const double x = range * i / half, weight = std::exp(exponent(x) - top);
    sum += weight;
    first += weight * (x - mode);
    second += weight * (x - mode) * (x - mode);
  }
  const double shift = first / sum;
  return {top + std::log(sum * range / half), mode + shift, second / sum - shift * shift};
}

// c = the mean of x^2 under the proposal with that c: the best acceptance.
double Centre(double quadratic, double quartic, double b) {
  if (quartic == 0) return 0;
  const auto excess = [&](double c) {
    const double a = quadratic + 2 * quartic * c;
    return 1 / (2 * a) + b * b / (4 * a * a) - c;
  };
  double low = std::max(0.0, -quadratic / (2 * quartic)), high = low + 1;
  while (excess(high) > 0) high *= 2;
  for (int i = 0; i < 100; ++i) {
    const double middle = 0.5 * (low + high);
    (excess(middle) > 0 ? low : high) = middle;
  }
  return high;
}

void Beyond(const HeatBathTable& table, double b, double* log_z, double* mean, double* centre) {
  if (!std::isfinite(b)) {
    *log_z = *mean = *centre = std::nan("");
    return;
  }
  const Moments m = Integrate(table.quadratic, table.quartic, b);
  *log_z = m.log_z;
  *mean = m.mean;
  *centre = Centre(table.quadratic, table.quartic, b);
}

constexpr int32_t kPoints = 1024;
// Nodes per standard deviation of b x: quintic interpolation of log z is then right to about 1e-12.
constexpr double kSpacing = 0.05;

}  // namespace

HeatBathStore::HeatBathStore(double hop, double quadratic, double quartic) {
  const double spacing = kSpacing / std::sqrt(Integrate(quadratic, quartic, 0).variance);
  for (int32_t i = 0; i < kPoints; ++i) {
    const Moments m = Integrate(quadratic, quartic, i * spacing);
    log_z_.insert(log_z_.end(), {m.log_z, m.mean, m.variance});
    centre_.push_back(Centre(quadratic, quartic, i * spacing));
  }
  table_ = {quadratic, quartic, hop, spacing, kPoints, log_z_.data(), centre_.data(), Beyond};
}

}  // namespace haarflow::kernel
