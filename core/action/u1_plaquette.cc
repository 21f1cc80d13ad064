#include "core/action/u1_plaquette.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "core/action/u1_wilson.h"

namespace haarflow {
namespace {

using std::numbers::pi;

// exp(-45) is nothing beside 1.
constexpr double kNegligible = 45;
// Here Villain's sum and its Poisson dual fall equally fast.
constexpr double kDualBeta = 1 / (2 * pi);

// Villain's weight as exp(-base) x sum, and d sum / d beta: for every x in [-pi, pi).
struct VillainSum {
  double base, base_derivative;  // and d base / d beta
  double sum, derivative;
};
VillainSum VillainSumAt(double beta, double x) {
  if (beta < kDualBeta) {
    // (1 + 2 sum_n exp(-n^2 / (2 beta)) cos(n x)) / sqrt(2 pi beta).
    VillainSum v{0.5 * std::log(2 * pi * beta), 0.5 / beta, 1, 0};
    for (int n = 1; n * n < 2 * kNegligible * beta; ++n) {
      const double term = 2 * std::exp(-0.5 * n * n / beta) * std::cos(n * x);
      v.sum += term;
      v.derivative += 0.5 * n * n / (beta * beta) * term;
    }
    return v;
  }
  VillainSum v{0.5 * beta * x * x, 0.5 * x * x, 1, 0};
  for (int n = 1;; ++n) {
    // (x -+ 2 pi n)^2 - x^2.
    const double right = 4 * pi * n * (pi * n - x), left = 4 * pi * n * (pi * n + x);
    const double a = std::exp(-0.5 * beta * right), b = std::exp(-0.5 * beta * left);
    v.sum += a + b;
    v.derivative -= 0.5 * (right * a + left * b);
    if (0.5 * beta * std::min(right, left) > kNegligible) return v;
  }
}

}  // namespace

double U1Plaquette::Action(double angle) const {
  if (form == Form::kWilson) return -beta * std::cos(angle);
  const double x = U1PrincipalAngle(angle);
  if (form == Form::kManton) return 0.5 * beta * x * x;
  const VillainSum v = VillainSumAt(beta, x);
  return v.base - std::log(v.sum);
}

double U1Plaquette::BetaDerivative(double angle) const {
  if (form == Form::kWilson) return -std::cos(angle);
  const double x = U1PrincipalAngle(angle);
  if (form == Form::kManton) return 0.5 * x * x;
  const VillainSum v = VillainSumAt(beta, x);
  return v.base_derivative - v.derivative / v.sum;
}

double U1Plaquette::LogWeight(double x) const {
  const double s = form == Form::kManton ? 0.5 * beta * x * x : Action(x);
  return theta_imaginary * x / (2 * pi) - s;
}

U1Plaquette U1PlaquetteOf(const v1::Target& target) {
  const v1::U1WilsonAction& action = target.u1_wilson();
  U1Plaquette plaquette{.beta = action.beta(), .theta_imaginary = action.theta_imaginary()};
  if (action.form() == v1::U1_ACTION_FORM_VILLAIN) plaquette.form = U1Plaquette::Form::kVillain;
  if (action.form() == v1::U1_ACTION_FORM_MANTON) plaquette.form = U1Plaquette::Form::kManton;
  return plaquette;
}

namespace {

// Q = (1/2pi) sum_P arg(e^{i theta_P}). With arg = theta_P - 2 pi floor(theta_P / 2 pi + 1/2), which is in [-pi, pi),
// and sum_P theta_P = 0 because every link enters twice with opposite signs: Q = -sum_P floor(theta_P / 2 pi + 1/2), an
// integer.
int64_t Charge(const double* angles, int64_t n) {
  int64_t windings = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double turns = angles[i] * (0.5 / pi) + 0.5;
    const int32_t truncated = static_cast<int32_t>(turns);  // toward 0; links are in [-pi, pi): |turns| < 3
    windings += truncated - (turns < truncated ? 1 : 0);
  }
  return -windings;
}

}  // namespace

// In four partial sums: independent of how the compiler vectorises, and shorter chains of additions.
double U1SumOfCosines(const double* angles, int64_t n) {
  double partial[4] = {};
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (int lane = 0; lane < 4; ++lane) partial[lane] += std::cos(angles[i + lane]);
  }
  for (; i < n; ++i) partial[0] += std::cos(angles[i]);
  return (partial[0] + partial[1]) + (partial[2] + partial[3]);
}

U1PlaquetteSums U1PlaquetteSumsOf(const Lattice& lattice, const U1Plaquette& plaquette, const double* links,
                                  bool charge_alone, double* angles) {
  U1PlaquetteSums sums;
  for (int mu = 0; mu < lattice.dims(); ++mu) {
    for (int nu = mu + 1; nu < lattice.dims(); ++nu) {
      U1LoopAngles(lattice, links, mu, nu, 1, 1, angles);
      if (lattice.dims() == 2) sums.charge = Charge(angles, lattice.volume());
      if (charge_alone) continue;
      sums.cosines += U1SumOfCosines(angles, lattice.volume());
      if (plaquette.form == U1Plaquette::Form::kWilson) continue;
      for (int64_t i = 0; i < lattice.volume(); ++i) {
        sums.action += plaquette.Action(angles[i]);
        sums.energy += plaquette.BetaDerivative(angles[i]);
      }
    }
  }
  if (plaquette.form == U1Plaquette::Form::kWilson) {
    sums.action = -plaquette.beta * sums.cosines;
    sums.energy = -sums.cosines;
  }
  return sums;
}

double U1ActionOf(const Lattice& lattice, const U1Plaquette& plaquette, const double* links) {
  if (plaquette.IsPlain()) return U1WilsonActionOf(lattice, plaquette.beta, links);
  std::vector<double> angles(lattice.volume());
  const U1PlaquetteSums sums = U1PlaquetteSumsOf(lattice, plaquette, links, false, angles.data());
  if (plaquette.theta_imaginary == 0) return sums.action;
  return sums.action - plaquette.theta_imaginary * static_cast<double>(sums.charge);
}

}  // namespace haarflow
