// Splits of block fluxes whose plaquettes have a weight that is not smooth at pi: a theta term, Manton's action.
#pragma once

#include <cstdint>
#include <vector>

#include "core/action/conditional_quantile.h"
#include "core/action/u1_plaquette.h"

namespace haarflow {

// The flux of a block of A plaquettes is t - A pi mod 2 pi, t in [0, 2 pi) the sum mod 2 pi of the angles p + pi in [0,
// 2 pi). Its density is exp(theta_I t / 2 pi) G_A(t); G_A is smooth, even analytic, on [0, 2 pi], and it or a
// derivative jumps from one end to the other. G_1 = exp(-s), and for two blocks together
//
//   G_{A+B}(t) = e^{-theta_I / 2} int_0^t G_A(s) G_B(t - s) ds + e^{theta_I / 2} int_t^{2 pi} G_A(s) G_B(t + 2 pi - s)
//   ds,
//
// up to a factor: the theta term counts windings. A Chebyshev series of the analytic continuation to somewhat beyond
// both ends; the largest value within is 1.
class U1BlockWeight {
 public:
  // How far beyond 0 and 2 pi.
  static constexpr double kBeyond = 2;

  static U1BlockWeight Single(const U1Plaquette& plaquette);
  static U1BlockWeight Join(const U1BlockWeight& a, const U1BlockWeight& b, double theta_imaginary);

  void Evaluate(int64_t n, const double* t, double* values) const;

 private:
  template <typename F>
  static U1BlockWeight Fit(const F& f);
  std::vector<double> series_;
};

// The map u -> x of a split into parts of areas A and B, as ConditionalQuantile, for a block of flux phi: x has the
// density f_A(x) f_B(phi - x) / f_{A+B}(phi). On the cut circles of U1BlockWeight, psi = t_A + t_B or t_A + t_B - 2 pi:
// two arcs, t_A < psi and t_A > psi, on each of which everything is smooth in psi and the arc's fraction.
class U1BrokenSplit {
 public:
  U1BrokenSplit(const U1BlockWeight& a, int64_t area_a, const U1BlockWeight& b, int64_t area_b, double theta_imaginary);

  // x not reduced to [-pi, pi).
  double Quantile(double phi, double u) const;
  double Distribution(double phi, double x) const;
  int64_t size() const { return lower_.size() + upper_.size(); }

 private:
  // Of both arcs, weighted.
  struct Arcs {
    double psi, lower, upper;
  };
  Arcs ArcsAt(double phi) const;

  double shift_a_, shift_;  // of a part's and of the whole's flux to the cut circle: 0 or pi
  double lower_factor_, upper_factor_;
  ConditionalQuantile lower_, upper_;
};

}  // namespace haarflow
