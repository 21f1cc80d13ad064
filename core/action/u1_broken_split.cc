#include "core/action/u1_broken_split.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/action/gauss_legendre.h"

namespace haarflow {
namespace {

using std::numbers::pi;

constexpr int kFirstDegree = 64, kMaxDegree = 1024;
// Of series and of tables, of the largest value: of a block whose flux is a hundred times less likely than the
// likeliest, 1e-12 of the whole.
constexpr double kSeriesTolerance = 1e-15;
constexpr double kTolerance = 1e-14;
// So few that what lies outside of the axes, 8 cells of a fraction and 5 of psi, stays within kBeyond.
constexpr int64_t kLeastCells = 48, kMaxCells = 1024;

// To [0, 2 pi).
double OnCircle(double t) {
  t -= 2 * pi * std::floor(t * (0.5 / pi));
  return t >= 2 * pi ? 0 : t;
}

ConditionalQuantile Tabulate(const ConditionalQuantile::Density& density, double scale) {
  int64_t in_x = kLeastCells, in_psi = kLeastCells;
  for (;;) {
    ConditionalQuantile table({0.5, in_x}, {pi, in_psi}, density);
    const auto error = table.LargestErrors();
    // Errors of a table that is much too coarse say little: never more than twice as fine at once, and at least a
    // tenth.
    const auto finer = [&](int64_t cells, double e) {
      const double ratio = std::pow(e / (kTolerance * scale), 1.0 / ConditionalQuantile::kPoints);
      if (ratio <= 1) return cells;
      return std::min(static_cast<int64_t>(std::clamp(1.02 * ratio, 1.1, 2.0) * static_cast<double>(cells)), kMaxCells);
    };
    const int64_t next_x = finer(in_x, error.x), next_psi = finer(in_psi, error.phi);
    if (next_x == in_x && next_psi == in_psi) return table;
    in_x = next_x;
    in_psi = next_psi;
  }
}

// Of an arc at (fraction - 1/2, psi - pi): the product of the densities of both parts.
ConditionalQuantile::Density ArcDensity(const U1BlockWeight& a, const U1BlockWeight& b, bool upper) {
  return [&a, &b, upper](double phi, int64_t n, const double* x, double* values) {
    const double psi = phi + pi, length = upper ? 2 * pi - psi : psi;
    std::vector<double> first(n), second(n), other(n);
    for (int64_t i = 0; i < n; ++i) {
      const double part = length * (x[i] + 0.5);
      first[i] = upper ? psi + part : part;
      second[i] = upper ? 2 * pi - part : psi - part;
    }
    a.Evaluate(n, first.data(), values);
    b.Evaluate(n, second.data(), other.data());
    for (int64_t i = 0; i < n; ++i) values[i] *= other[i];
  };
}

// The weights of the arcs, whose windings differ by one.
double Factor(double theta_imaginary, bool upper) { return std::exp((upper ? 0.5 : -0.5) * theta_imaginary); }

// G_{A+B} at t.
double Joined(const U1BlockWeight& a, const U1BlockWeight& b, double theta_imaginary, const GaussLegendre& rule,
              double t) {
  const auto n = static_cast<int64_t>(rule.node.size());
  std::vector<double> x(n), values(n);
  for (int64_t i = 0; i < n; ++i) x[i] = rule.node[i] - 0.5;
  double whole = 0;
  for (bool upper : {false, true}) {
    ArcDensity(a, b, upper)(t - pi, n, x.data(), values.data());
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += rule.weight[i] * values[i];
    whole += Factor(theta_imaginary, upper) * (upper ? 2 * pi - t : t) * sum;
  }
  return whole;
}

// What the errors of an arc's table are measured by: integrals over the fraction of an arc, which is at most 2 pi long.
double TableScale(const U1BlockWeight& a, const U1BlockWeight& b, double theta_imaginary, bool upper) {
  const GaussLegendre rule(200);
  double largest = 0;
  for (int k = 0; k <= 256; ++k) largest = std::max(largest, Joined(a, b, theta_imaginary, rule, 2 * pi * k / 256));
  return largest / (2 * pi * Factor(theta_imaginary, upper));
}

}  // namespace

template <typename F>
U1BlockWeight U1BlockWeight::Fit(const F& f) {
  U1BlockWeight block;
  for (int degree = kFirstDegree;; degree *= 2) {
    std::vector<double> t(degree), values(degree);
    for (int i = 0; i < degree; ++i) t[i] = pi + (pi + kBeyond) * std::cos(pi * (i + 0.5) / degree);
    f(degree, t.data(), values.data());
    block.series_.assign(degree, 0.0);
    for (int k = 0; k < degree; ++k) {
      for (int i = 0; i < degree; ++i) {
        block.series_[k] += 2.0 / degree * values[i] * std::cos(pi * k * (i + 0.5) / degree);
      }
    }
    block.series_[0] *= 0.5;
    // Rounding is that of the largest value anywhere; the scale is that of the circle.
    double largest = 0, anywhere = 0;
    for (int i = 0; i < degree; ++i) {
      anywhere = std::max(anywhere, std::abs(values[i]));
      if (t[i] >= 0 && t[i] <= 2 * pi) largest = std::max(largest, values[i]);
    }
    for (double& c : block.series_) c /= largest;
    const double negligible = kSeriesTolerance * anywhere / largest;
    const double end = std::max(std::abs(block.series_[degree - 1]), std::abs(block.series_[degree - 2]));
    if (end > negligible && degree < kMaxDegree) continue;
    while (block.series_.size() > 2 && std::abs(block.series_.back()) < negligible / 4) block.series_.pop_back();
    break;
  }
  return block;
}

U1BlockWeight U1BlockWeight::Single(const U1Plaquette& plaquette) {
  U1Plaquette even = plaquette;
  even.theta_imaginary = 0;
  const double peak = even.LogWeight(0);
  return Fit([&](int64_t n, const double* t, double* values) {
    for (int64_t i = 0; i < n; ++i) values[i] = std::exp(even.LogWeight(t[i] - pi) - peak);
  });
}

U1BlockWeight U1BlockWeight::Join(const U1BlockWeight& a, const U1BlockWeight& b, double theta_imaginary) {
  const GaussLegendre rule(32 + static_cast<int>(a.series_.size() + b.series_.size()) / 2);
  return Fit([&](int64_t n, const double* t, double* values) {
    for (int64_t i = 0; i < n; ++i) values[i] = Joined(a, b, theta_imaginary, rule, t[i]);
  });
}

// Clenshaw's recurrence, eight points at once in registers.
void U1BlockWeight::Evaluate(int64_t n, const double* t, double* values) const {
  constexpr int kLanes = 8;
  for (int64_t first = 0; first < n; first += kLanes) {
    const auto lanes = static_cast<int>(std::min<int64_t>(kLanes, n - first));
    double twice[kLanes] = {}, sum[kLanes] = {}, before[kLanes] = {};
    for (int i = 0; i < lanes; ++i) twice[i] = 2 * (t[first + i] - pi) / (pi + kBeyond);
    for (size_t k = series_.size() - 1; k > 0; --k) {
      const double c = series_[k];
      for (int i = 0; i < kLanes; ++i) {
        const double next = c + twice[i] * sum[i] - before[i];
        before[i] = sum[i];
        sum[i] = next;
      }
    }
    for (int i = 0; i < lanes; ++i) values[first + i] = series_[0] + 0.5 * twice[i] * sum[i] - before[i];
  }
}

U1BrokenSplit::U1BrokenSplit(const U1BlockWeight& a, int64_t area_a, const U1BlockWeight& b, int64_t area_b,
                             double theta_imaginary)
    : shift_a_(area_a % 2 == 0 ? 0 : pi),
      shift_((area_a + area_b) % 2 == 0 ? 0 : pi),
      lower_factor_(Factor(theta_imaginary, false)),
      upper_factor_(Factor(theta_imaginary, true)),
      lower_(Tabulate(ArcDensity(a, b, false), TableScale(a, b, theta_imaginary, false))),
      upper_(Tabulate(ArcDensity(a, b, true), TableScale(a, b, theta_imaginary, true))) {}

U1BrokenSplit::Arcs U1BrokenSplit::ArcsAt(double phi) const {
  const double psi = OnCircle(phi + shift_);
  return {psi, lower_factor_ * psi * lower_.Total(psi - pi), upper_factor_ * (2 * pi - psi) * upper_.Total(psi - pi)};
}

double U1BrokenSplit::Quantile(double phi, double u) const {
  const auto [psi, lower, upper] = ArcsAt(phi);
  const double wanted = u * (lower + upper);
  if (wanted < lower) return psi * (lower_.Quantile(psi - pi, wanted / lower) + 0.5) - shift_a_;
  const double part = std::min((wanted - lower) / upper, 1.0);
  return psi + (2 * pi - psi) * (upper_.Quantile(psi - pi, part) + 0.5) - shift_a_;
}

double U1BrokenSplit::Distribution(double phi, double x) const {
  const auto [psi, lower, upper] = ArcsAt(phi);
  const double t = OnCircle(x + shift_a_);
  if (t < psi) return lower * lower_.Distribution(psi - pi, t / psi - 0.5) / (lower + upper);
  const double part = upper_.Distribution(psi - pi, (t - psi) / (2 * pi - psi) - 0.5);
  return (lower + upper * part) / (lower + upper);
}

}  // namespace haarflow
