// Actions of U(1) link fields that are sums over plaquettes, S = sum_P s(theta_P) - theta_imaginary Q:
//
//   Wilson    s(x) = -beta cos x
//   Villain   exp(-s(x)) = sum_n exp(-(beta/2) (x - 2 pi n)^2): the heat kernel, up to its constant
//   Manton    s(x) = (beta/2) x^2, x in [-pi, pi)
//
// Q = (1/2pi) sum_P theta_P, theta_P in [-pi, pi): the geometric charge, an integer; two dimensions. Its term makes the
// density of one plaquette exp(-s(x) + theta_imaginary x / 2 pi): not even, and not continuous at pi.
// Fields are angles [mu, ..., y, x], float64.
#pragma once

#include <cmath>
#include <cstdint>
#include <numbers>

#include "core/lattice/lattice.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

struct U1Plaquette {
  enum class Form { kWilson, kVillain, kManton };
  Form form = Form::kWilson;
  double beta = 0;
  double theta_imaginary = 0;

  // Wilson's action without a theta term: what kernels evaluate.
  bool IsPlain() const { return form == Form::kWilson && theta_imaginary == 0; }
  // s at any real angle.
  double Action(double angle) const;
  // ds / dbeta at any real angle.
  double BetaDerivative(double angle) const;
  // log of the weight of one plaquette, -s(x) + theta_imaginary x / 2 pi, on [-pi, pi], and its analytic continuation
  // beyond: smooth, not periodic.
  double LogWeight(double x) const;
  // How sharp the weight is: s is not far from (sharpness / 2) x^2 near 0.
  double sharpness() const { return beta < 0 ? -beta : beta; }
};

// Requires a valid target with U(1) links.
U1Plaquette U1PlaquetteOf(const v1::Target& target);

// The representative of an angle in [-pi, pi).
inline double U1PrincipalAngle(double angle) {
  constexpr double kPi = std::numbers::pi;
  const double x = angle - 2 * kPi * std::nearbyint(angle * (0.5 / kPi));
  return x >= kPi ? x - 2 * kPi : x < -kPi ? x + 2 * kPi : x;
}

// sum cos(angles[i]).
double U1SumOfCosines(const double* angles, int64_t n);

// Over all plaquettes (x, mu < nu).
struct U1PlaquetteSums {
  double cosines = 0;  // sum cos theta_P
  double action = 0;   // sum s(theta_P)
  double energy = 0;   // sum ds(theta_P)/dbeta
  int64_t charge = 0;  // Q; two dimensions alone, else 0
};
// Of one configuration; links in [-pi, pi). With `charge_alone` the other sums, which cost a cosine a plaquette, are 0.
// `angles`: room for one number a site.
U1PlaquetteSums U1PlaquetteSumsOf(const Lattice& lattice, const U1Plaquette& plaquette, const double* links,
                                  bool charge_alone, double* angles);

// S of one configuration. The theta term requires two dimensions.
double U1ActionOf(const Lattice& lattice, const U1Plaquette& plaquette, const double* links);

}  // namespace haarflow
