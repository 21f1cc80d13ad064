#include "core/action/phi4.h"

#include <cmath>
#include <numbers>

#include "core/base/status.h"

namespace haarflow {

Phi4Couplings Phi4CouplingsOf(const v1::Phi4Action& action, int dims) {
  Phi4Couplings c;
  c.components = action.components() == 2 ? 2 : 1;
  if (action.has_hopping()) {
    c.hop = 2 * action.hopping().kappa();
    c.quadratic = 1 - 2 * action.hopping().lambda();
    c.quartic = action.hopping().lambda();
  } else {
    const double normalisation = action.mass().normalisation() == 0 ? 1 : action.mass().normalisation();
    c.hop = 2 * normalisation;
    c.quadratic = normalisation * (2 * dims + action.mass().m2());
    c.quartic = action.mass().lambda();
  }
  return c;
}

absl::Status CheckPhi4Couplings(const std::string& who, int dims, const Phi4Couplings& c) {
  constexpr double kDeepestWell = 1e9;  // S is a sum of such numbers in double precision
  if (c.components != 1 && c.components != 2) {
    return absl::InvalidArgumentError(absl::StrCat(who, ": components is ", c.components, "; 1 and 2 are supported"));
  }
  if (!std::isfinite(c.hop) || !std::isfinite(c.quadratic) || !std::isfinite(c.quartic)) {
    return absl::InvalidArgumentError(absl::StrCat(who, ": couplings must be finite; hop is ", c.hop, ", quadratic ",
                                                   c.quadratic, ", quartic ", c.quartic));
  }
  // S >= sum_x (quadratic - dims |hop|) phi^2 + quartic phi^4.
  const double lowest = c.quadratic - dims * std::abs(c.hop);
  if (c.quartic < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(who, ": lambda is ", c.quartic, "; the action is not bounded from below, use lambda >= 0"));
  }
  if (c.quartic == 0 && lowest <= 0) {
    return absl::InvalidArgumentError(absl::StrCat(who,
                                                   ": with lambda 0 the action is not bounded from below; use a "
                                                   "positive m2 (2 d |kappa| < 1), or a positive lambda"));
  }
  if (lowest < 0 && !(0.5 * lowest * (0.5 * lowest) <= kDeepestWell * c.quartic)) {
    return absl::InvalidArgumentError(absl::StrCat(who, ": lambda is ", c.quartic,
                                                   ", too small for this mass: S of a site goes below -", kDeepestWell,
                                                   "; use a larger lambda"));
  }
  return absl::OkStatus();
}

namespace {

// sum_x phi_x phi_{x+mu} over one component, mu the direction of `axis`: rows of `stride` sites, `extent` of them
// around.
double NeighbourProducts(int64_t volume, int64_t extent, int64_t stride, const double* phi) {
  double sum = 0;
  for (int64_t block = 0; block < volume; block += extent * stride) {
    const double* first = phi + block;
    const double* last = first + (extent - 1) * stride;
    for (int64_t i = 0; i < (extent - 1) * stride; ++i) sum += first[i] * first[i + stride];
    for (int64_t i = 0; i < stride; ++i) sum += last[i] * first[i];
  }
  return sum;
}

}  // namespace

Phi4Sums Phi4SumsOf(const Lattice& lattice, int components, const double* field) {
  const int64_t volume = lattice.volume();
  Phi4Sums sums;
  for (int64_t x = 0; x < volume; ++x) {
    double square = 0;
    for (int c = 0; c < components; ++c) square += field[c * volume + x] * field[c * volume + x];
    sums.squares += square;
    sums.quartics += square * square;
  }
  for (int c = 0; c < components; ++c) {
    int64_t stride = volume;
    for (const int64_t extent : lattice.shape()) {
      stride /= extent;
      sums.neighbours += NeighbourProducts(volume, extent, stride, field + c * volume);
    }
  }
  return sums;
}

double Phi4ActionOf(const Lattice& lattice, const Phi4Couplings& c, const double* field) {
  const Phi4Sums sums = Phi4SumsOf(lattice, c.components, field);
  return -c.hop * sums.neighbours + c.quadratic * sums.squares + c.quartic * sums.quartics;
}

void Phi4Gradient(const Lattice& lattice, const Phi4Couplings& c, const double* field, double* gradient) {
  const int64_t volume = lattice.volume();
  for (int64_t x = 0; x < volume; ++x) {
    double square = 0;
    for (int a = 0; a < c.components; ++a) square += field[a * volume + x] * field[a * volume + x];
    for (int a = 0; a < c.components; ++a) {
      const double* phi = field + a * volume;
      double around = 0;
      for (int mu = 0; mu < lattice.dims(); ++mu) {
        around += phi[lattice.Shift(x, mu, 1)] + phi[lattice.Shift(x, mu, -1)];
      }
      gradient[a * volume + x] = -c.hop * around + 2 * (c.quadratic + 2 * c.quartic * square) * phi[x];
    }
  }
}

std::vector<double> Phi4Spectrum(const Lattice& lattice, const Phi4Couplings& c) {
  std::vector<double> spectrum(lattice.volume(), c.quadratic);
  for (int64_t k = 0; k < lattice.volume(); ++k) {
    for (int axis = 0; axis < lattice.dims(); ++axis) {
      const double angle = 2 * std::numbers::pi * static_cast<double>(lattice.Coordinate(k, axis)) /
                           static_cast<double>(lattice.shape()[axis]);
      spectrum[k] -= c.hop * std::cos(angle);
    }
  }
  return spectrum;
}

std::optional<double> FreeScalarLogZ(const Lattice& lattice, const Phi4Couplings& c) {
  if (c.quartic != 0) return std::nullopt;
  double sum = 0;
  for (double l : Phi4Spectrum(lattice, c)) {
    if (l <= 0) return std::nullopt;
    sum += std::log(std::numbers::pi / l);
  }
  return 0.5 * c.components * sum;
}

}  // namespace haarflow
