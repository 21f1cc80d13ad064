// What the weights of a set of proposals say: effective sample size, reliability, partition function.
#pragma once

#include <cstdint>
#include <limits>

#include "haarflow/v1/model.pb.h"

namespace haarflow {

// Running sums over log-weights, in float64 by log-sum-exp. log w = -inf is a legitimate zero weight; NaN and +inf are
// invalid: they are counted and never enter a sum.
class WeightStatistics {
 public:
  // The sums themselves, as they are stored in resume tokens.
  struct Sums {
    uint64_t finite = 0;
    uint64_t zero_weights = 0;
    uint64_t invalid_weights = 0;
    double log_sum = -std::numeric_limits<double>::infinity();          // log sum w
    double log_sum_squared = -std::numeric_limits<double>::infinity();  // log sum w^2
    double max = -std::numeric_limits<double>::infinity();              // largest log w
    double sum_log = 0;                                                 // sum of finite log w
    double sum_squared_log = 0;                                         // sum of their squares (0 after a resume)
    double odd_mean = 0;                                                // sum w s / sum w
  };

  WeightStatistics() = default;
  explicit WeightStatistics(const Sums& sums) : sums_(sums) {}

  // `odd` is the sign, -1 or 1, of an observable whose sign averages to exactly 0 in the target by a symmetry; 0 for
  // none. A flow that misses a mode cannot see it in its weights; here it shows.
  void Add(double log_weight, double odd = 0);

  const Sums& sums() const { return sums_; }
  // Proposals with a valid weight, zero weights included.
  uint64_t samples() const { return sums_.finite + sums_.zero_weights; }
  // (sum w)^2 / (n sum w^2), in [0, 1]; 0 without samples.
  double Ess() const;
  double MaxWeightShare() const;
  // log mean w, and its delta-method error sqrt((1/ESS - 1) / n); -inf and +inf without samples.
  double LogZ() const;
  double LogZError() const;
  // E_q[log w] over finite weights, a lower bound of log Z; -inf if there are zero weights.
  double MeanLogWeight() const;

  // samples, ess, max_weight_share, zero_weights, invalid_weights, and the `reliable` rule: ESS x n >= 1000, no weight
  // above 1 % of the sum, none invalid, the mean of `odd` within 6 sigma of 0; the reason names the first condition
  // that fails with its numbers.
  v1::EnsembleQuality Quality() const;

 private:
  Sums sums_;
};

// log(exp(a) + exp(b)), exact for infinities.
double LogAddExp(double a, double b);

}  // namespace haarflow
