#include "core/action/u1_torus.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numbers>
#include <vector>

#include "core/action/bessel.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

using std::numbers::pi;

double At(const std::vector<double>& ratio, int64_t n) {
  const size_t k = static_cast<size_t>(std::llabs(n));
  return k < ratio.size() ? ratio[k] : 0.0;
}

// x^n, with 0^0 = 1.
double Power(double x, int64_t n) { return std::pow(x, static_cast<double>(n)); }

// sum_n r_n^V over all integers n: Z / I_0^V.
double ReducedZ(const std::vector<double>& ratio, int64_t volume) {
  double sum = 1;
  for (size_t n = 1; n < ratio.size(); ++n) sum += 2 * Power(ratio[n], volume);
  return sum;
}

int Sign(int64_t n) { return n % 2 == 0 ? 1 : -1; }

// e^{beta cos p} = sum_m I_m e^{imp}, hence c(nu) = sum_m I_m sinc(nu - m) with sinc(x) = sin(pi x) / (pi x): as many
// terms as the Bessel functions have, exact for every real nu. All three divided by I_0, at an integer nu = n:
struct CharacterJet {
  double value;
  double first;
  double second;
};
CharacterJet JetAt(const std::vector<double>& ratio, int64_t n) {
  const int64_t terms = static_cast<int64_t>(ratio.size());
  CharacterJet jet{At(ratio, n), 0, -pi * pi / 3 * At(ratio, n)};
  for (int64_t m = -terms + 1; m < terms; ++m) {
    if (m == n) continue;
    const double distance = static_cast<double>(n - m);
    const double term = Sign(n - m) * At(ratio, m) / distance;
    jet.first += term;
    jet.second -= 2 * term / distance;
  }
  return jet;
}

// c(nu) / I_0 for nu > 0 at k / points. The sine is taken of the distance to the nearest integer, which is exact.
double CharacterAt(const std::vector<double>& ratio, int64_t k, int64_t points) {
  const int64_t nearest = (k + points / 2) / points;
  const int64_t offset = k - nearest * points;
  if (offset == 0) return At(ratio, nearest);
  const double nu = static_cast<double>(k) / static_cast<double>(points);
  double sum = 1 / nu;
  for (size_t m = 1; m < ratio.size(); ++m) {
    const int64_t n = static_cast<int64_t>(m);
    const double below = static_cast<double>(k - n * points) / static_cast<double>(points);
    sum += Sign(n) * ratio[m] * (1 / below + 1 / (nu + static_cast<double>(n)));
  }
  const double sine = Sign(nearest) * std::sin(pi * static_cast<double>(offset) / static_cast<double>(points));
  return sine / pi * sum;
}

}  // namespace

absl::StatusOr<U1Torus> U1Torus::Create(int64_t volume, double beta) {
  if (volume < 1 || volume > int64_t{1} << 26) {
    return absl::InvalidArgumentError(absl::StrCat("U(1) torus: volume is ", volume, "; 1..2^26 are supported"));
  }
  if (!(beta >= 0 && beta <= 1000)) {
    return absl::InvalidArgumentError(absl::StrCat("U(1) torus: beta is ", beta, "; 0..1000 are supported"));
  }
  return U1Torus(volume, beta);
}

double U1Torus::LogZ() const {
  const std::vector<double> ratio = BesselRatios(beta_);
  const double log_i0 = LogBesselI0(beta_, ratio);
  return static_cast<double>(volume_) * log_i0 + std::log(ReducedZ(ratio, volume_));
}

double U1Torus::Plaquette() const {
  const std::vector<double> ratio = BesselRatios(beta_);
  // sum_n I_n' I_n^{V-1} / Z with I_n' = (I_{n-1} + I_{n+1}) / 2.
  double sum = At(ratio, 1);
  for (int64_t n = 1; n < static_cast<int64_t>(ratio.size()); ++n) {
    sum += Power(At(ratio, n), volume_ - 1) * (At(ratio, n - 1) + At(ratio, n + 1));
  }
  return sum / ReducedZ(ratio, volume_);
}

double U1Torus::WilsonLoop(int64_t area) const {
  const std::vector<double> ratio = BesselRatios(beta_);
  const int64_t terms = static_cast<int64_t>(ratio.size());
  double sum = 0;
  for (int64_t n = -terms; n <= terms; ++n) sum += Power(At(ratio, n + 1), area) * Power(At(ratio, n), volume_ - area);
  return sum / ReducedZ(ratio, volume_);
}

double U1Torus::ChargeSquared() const {
  // One or two plaquettes: the angles cancel pairwise, Q = 0.
  if (volume_ <= 2) return 0;
  const std::vector<double> ratio = BesselRatios(beta_);
  const double v = static_cast<double>(volume_);
  // -(V / 4 pi^2) sum_n [c'' c^{V-1} + (V - 1) c'^2 c^{V-2}] / sum_n c^V; the terms of n and -n are equal.
  double sum = 0;
  for (int64_t n = 0; n < static_cast<int64_t>(ratio.size()); ++n) {
    const double rest = Power(ratio[n], volume_ - 2);
    if (rest == 0) break;
    const CharacterJet c = JetAt(ratio, n);
    sum += (n == 0 ? 1 : 2) * rest * (c.second * c.value + (v - 1) * c.first * c.first);
  }
  return std::max(-v / (4 * pi * pi) * sum / ReducedZ(ratio, volume_), 0.0);
}

double U1Torus::ChargeProbability(int64_t q) const {
  if (volume_ <= 2) return q == 0 ? 1 : 0;
  // Each of the V angles is within pi of 0, so |Q| < V/2. Hence Z(theta) is a trigonometric polynomial and the
  // trapezoidal rule with steps of 1/points in nu is exact up to aliases P(Q + k points): beyond V points there are
  // none, beyond 16 standard deviations none that matters.
  if (std::llabs(q) > volume_ / 2) return 0;
  const int64_t reach = std::llabs(q) + 24 + static_cast<int64_t>(16 * std::sqrt(ChargeSquared()));
  const int64_t points = std::min(2 * reach, volume_ + 1);
  const std::vector<double> ratio = BesselRatios(beta_);
  const double step_phase = 2 * pi * static_cast<double>(q % points) / static_cast<double>(points);

  constexpr int64_t kMaxBlocks = 200000;  // reached only by V = 3 at beta near 0, which leaves 1e-12
  constexpr double kNegligible = 1e-15;
  double sum = 1;
  for (int64_t block = 0; block < kMaxBlocks; ++block) {
    double size = 0;  // of all terms with block < nu <= block + 1
    for (int64_t k = block * points + 1; k <= (block + 1) * points; ++k) {
      const double term = 2 * Power(CharacterAt(ratio, k, points), volume_);
      sum += term * std::cos(step_phase * static_cast<double>(k % points));
      size += std::abs(term);
    }
    // c(nu)^V falls at least like nu^-V: the rest is less than this block times nu / (V - 1).
    if (size * static_cast<double>(block + 1) <
        kNegligible * static_cast<double>(points) * static_cast<double>(volume_ - 1)) {
      break;
    }
  }
  const double probability = sum / (static_cast<double>(points) * ReducedZ(ratio, volume_));
  return std::clamp(probability, 0.0, 1.0);
}

}  // namespace haarflow
