// The perfect sampler of two-dimensional SU(2) and SU(3) gauge theory on a torus.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "core/action/conditional_quantile.h"
#include "core/action/perfect.h"
#include "core/lattice/lattice.h"

namespace haarflow {

// S = -(beta/N) sum_P Re Tr P. In a tree gauge the links are the plaquettes, in some order P_1 ... P_V, and the
// holonomies A, B along x and y, with P_1 ... P_V = A B A^+ B^+; but for this one condition all are independent, the
// plaquettes of density w(P) = exp((beta/N) Re Tr P) / c_0, the holonomies Haar distributed. Conditions are met by
// rejection, with the density of the product of n plaquettes (character expansion, core/action/sun_torus.h)
//
//   f_n(W) = sum_R d_R r_R^n chi_R(W),  r_R = c_R / c_0,  f_n(W) <= f_n(1):
//
// holonomies are accepted with f_V(W) / f_V(1), W their commutator. Of m plaquettes whose product must be W the first
// n = ceil(m/2) are drawn freely and accepted with f_{m-n}(W') / f_{m-n}(1), W' what the others must have; and so on
// with these, until one is left: W' itself. f_n is 1 but for small n, and the mean number of attempts at a step is
// f_{m-n}(1) / z, z = sum_R r_R^V. Single plaquettes come from the inverse distribution function of their eigenvalues.
class SunPerfectSampler final : public PerfectSampler {
 public:
  // INVALID_ARGUMENT unless the lattice has two dimensions and CheckPerfectSampler's limits are kept: SU(2) |beta| <=
  // 1000, negative ones on an even number of sites alone; SU(3) 0 <= beta <= 24 (the last step takes exp(beta) / c_0
  // attempts: 118 at beta = 6, 30,000 at 24).
  static absl::StatusOr<std::unique_ptr<const SunPerfectSampler>> Create(const Lattice& lattice, int colours,
                                                                         double beta);

  static constexpr double kMaxBetaSu3 = 24;

  double log_z() const override { return log_z_; }
  void Draw(uint64_t seed, uint64_t index, double* links, std::vector<double>* work) const override;

  // What a configuration took, for tests.
  struct Effort {
    int64_t holonomies = 0;         // pairs drawn
    std::vector<int64_t> attempts;  // of each halving
  };
  Effort DrawCounting(uint64_t seed, uint64_t index, double* links, std::vector<double>* work) const;
  // The means of these numbers.
  double MeanHolonomies() const;
  double MeanAttempts(int64_t rest) const;  // `rest` plaquettes being left

 private:
  struct Term {
    int p, q;
    double weight;  // d_R r_R^n, twice for a pair of conjugate representations
  };
  struct ClassFunction {
    int64_t n = 0;
    std::vector<Term> terms;  // but for the trivial representation
    double at_one = 1;
    int shells = 0;  // p + q below this
  };
  SunPerfectSampler(const Lattice& lattice, int colours, double beta);
  void MakeTables();
  absl::Status MakeClassFunctions();
  const ClassFunction& Function(int64_t n) const;
  // f_n(W) / f_n(1).
  double Ratio(const ClassFunction& f, double trace_re, double trace_im) const;
  template <int N>
  void DrawOf(uint64_t seed, uint64_t index, double* links, std::vector<double>* work, Effort* effort) const;
  template <int N>
  class Draft;

  int64_t nx_;
  int64_t ny_;
  int colours_;
  double beta_;  // not negative
  bool negative_;
  double log_z_ = 0;
  std::vector<ClassFunction> functions_;  // for V, and for what is left at every halving
  // Eigenvalues of a plaquette: the angle of SU(2), or the first of SU(3); the second given the first.
  std::unique_ptr<const ConditionalQuantile> first_angle_;
  std::unique_ptr<const ConditionalQuantile> second_angle_;
  double reduced_z_ = 1;  // sum_R r_R^V
};

}  // namespace haarflow
