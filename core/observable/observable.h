// Observables by name. V is the volume, d the number of dimensions.
//
// U(1) link fields:
//   plaquette              (1/N_P) sum_P cos theta_P, 1 on the cold field
//   wilson_loop_RxT        mean of cos over all R x T rectangles: R links along mu, T along nu, every pair mu != nu,
//                          every site (1 <= R, T, and both below the smallest extent)
//   charge                 Q = (1/2pi) sum_P arg(e^{i theta_P}), arg in [-pi, pi): an integer; two dimensions only
//   charge_squared         Q^2
//   charge_probability_q   1 where Q = q, else 0 (q may be negative)
//   charge_cos_x           cos(x Q), 0 <= x <= 1000 in its shortest decimal form ("charge_cos_0.5"). Its mean is
//   Z(theta
//                          = x) / Z(0) where the target has no theta term
//   energy                 (1/N_P) sum_P ds(theta_P)/dbeta: -cos theta_P of Wilson's action, theta_P^2 / 2 of Manton's
//                          (core/action/u1_plaquette.h)
//   action                 S with the target's parameters
//
// SU(N) link fields:
//   plaquette              (1/N_P) sum_P Re Tr P / N, 1 on the cold field
//   rectangle              the same of all 1x2 and 2x1 rectangles: mu < nu, every site; on an extent of 2 they wind
//   wilson_loop_RxT        mean of Re Tr / N over all R x T rectangles, as of U(1)
//   polyakov_real          Re l, l = (1/V_s) sum of Tr L / N over the V_s points of space, L the product of the links
//                          of the last direction (time, the first axis) through a point
//   polyakov_imag          Im l
//   polyakov_abs           |l|
//   polyakov_correlator_R  (1/(V_s (d - 1))) sum over points x and directions mu of space of
//                          Re [Tr L(x) Tr L(x + R mu)^*] / N^2; 0 <= R <= half the smallest extent of space
//   charge                 Q = 1/(32 pi^2) sum_x eps_{mu nu rho sigma} Tr F_{mu nu} F_{rho sigma} of the clover field
//                          strength (core/action/sun_wilson.h), not rounded, not smoothed: on rough fields far from an
//                          integer; four dimensions only
//   charge_squared         Q^2
//   action                 S with the target's couplings
//
// A single SU(N) matrix:
//   trace_n                Re Tr U^n / N, n = 1, 2, 3
//   action                 S with the target's couplings
//
// Scalar fields, phi^2 = phi . phi the sum over components, M = (1/V) sum_x phi_x:
//   phi_squared            (1/V) sum_x phi_x^2
//   phi_fourth             (1/V) sum_x (phi_x^2)^2
//   neighbour_sum          (1/V) sum_x sum_mu phi_x . phi_{x+mu}
//   energy                 -(1/(d V)) sum_x sum_mu phi_x . phi_{x+mu}: per link, as the Ising model's
//   action                 S with the target's couplings
//   magnetisation          M; one component only
//   magnetisation_abs      |M|
//   magnetisation_squared  M . M
//   magnetisation_fourth   (M . M)^2
//   susceptibility         V M . M, whose mean is sum_x <phi_0 . phi_x>: nothing is subtracted, <M> = 0
//   structure_factor_min   (1/V) |sum_x phi_x e^{2 pi i x_mu / L_mu}|^2 at the smallest momentum: the mean over the
//                          directions mu of the largest extent
//   two_point_T            (1/V) sum_t s(t) . s(t + T), s(t) the sum of phi over slice t of the last direction (the
//   first
//                          axis), 0 <= T <= L_t / 2. Its mean is sum_x <phi_{0,0} . phi_{x,T}>: zero momentum within
//                          slices. Summed over all L_t values of T, G(L_t - T) = G(T), it is the susceptibility.
// Functions of their means (Binder cumulant, correlation length): core/observable/derived.h.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

class TheoryObservables;

class ObservableSet {
 public:
  // INVALID_ARGUMENT for a target that is not valid; for a name that is unknown, malformed, duplicated, or not defined
  // on this lattice; for more than 64 names.
  static absl::StatusOr<ObservableSet> Create(const v1::Target& target, const std::vector<std::string>& names);

  const std::vector<std::string>& names() const { return names_; }
  size_t size() const { return names_.size(); }
  // Of one configuration of the shape of FieldShape (core/action/target.h): values[size()]. Thread-safe.
  void Evaluate(const double* field, double* values) const;

 private:
  friend std::optional<double> ExactExpectation(const v1::Target& target, const std::string& observable);
  ObservableSet() = default;
  std::vector<std::string> names_;
  std::shared_ptr<const TheoryObservables> theory_;  // immutable, hence shared by copies
};

// The exact expectation value where it is known in closed form, else nothing: the two-dimensional torus of U(1) (every
// form, theta term), SU(2) and SU(3) (Wilson actions), a single matrix; of SU(N) elsewhere polyakov_real, polyakov_imag
// and charge, which are 0; free scalars (lambda 0); of interacting ones the mean of M, which is 0, and in one dimension
// everything of one component but magnetisation_abs and magnetisation_fourth.
std::optional<double> ExactExpectation(const v1::Target& target, const std::string& observable);
// The exact log Z where it is known: the two-dimensional torus, a single matrix, free scalars, scalars in one
// dimension.
std::optional<double> ExactLogZ(const v1::Target& target);

}  // namespace haarflow
