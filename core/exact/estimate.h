// Means with honest errors: Gamma method for chains, jackknife for weighted samples and for log Z.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/exact/weights.h"

namespace haarflow {

struct ChainEstimate {
  double mean = 0;
  double error = 0;
  double tau_int = 0.5;  // 0.5 for independent samples
  double tau_int_error = 0;
  int64_t window = 0;
};

// The Gamma method (Wolff, hep-lat/0306017) for a single chain of a primary observable, automatic window with parameter
// S (sections 3.1 and 3.3), bias-corrected. A constant chain has error 0 and tau_int 0.5. INVALID_ARGUMENT with fewer
// than 8 values or with one that is not finite.
absl::StatusOr<ChainEstimate> GammaMethod(absl::Span<const double> chain, double s = 1.5);

// The chain written out: value i repeated multiplicity[i] times.
std::vector<double> ExpandChain(absl::Span<const double> value, absl::Span<const uint64_t> multiplicity);

struct WeightedEstimate {
  double mean = 0;
  double error = 0;
};
// sum w O / sum w with w = exp(log_weight), jackknife error over `bins` bins of equal size (the mean is the plain
// ratio; samples are independent, so bins are interleaved). log w = -inf is weight 0; others must be finite. The error
// is +inf when one bin holds all of the weight. INVALID_ARGUMENT for other weights, values that are not finite, n < 2,
// or no weight at all.
absl::StatusOr<WeightedEstimate> WeightedMean(absl::Span<const double> value, absl::Span<const double> log_weight,
                                              int bins = 128);

// log Z = log mean w from a stream of log-weights: constant memory, jackknife over kBins interleaved bins.
class PartitionEstimator {
 public:
  static constexpr int kBins = 128;
  PartitionEstimator();
  void Add(double log_weight);
  const WeightStatistics& weights() const { return all_; }
  double LogZ() const;       // jackknife bias-corrected
  double LogZError() const;  // +inf with fewer than 2 * kBins samples
  double MeanLogWeight() const { return all_.MeanLogWeight(); }
  double MeanLogWeightError() const;

 private:
  std::vector<double> LeaveOutLogZ() const;

  WeightStatistics all_;
  std::vector<WeightStatistics> bin_;
  uint64_t next_bin_ = 0;
};

// Decides when an estimate with a requested error may stop: only at n = minimum, 2 x minimum, 4 x minimum, ... and at
// `maximum`. (Looking at every n and stopping at the first lucky one biases the error low.)
class DoublingStop {
 public:
  DoublingStop(uint64_t minimum, uint64_t maximum, double requested_error);
  // The next n at which to look at the error (or end).
  uint64_t next_look() const { return next_look_; }
  // At n == next_look(): true to stop. Advances next_look() otherwise.
  bool ShouldStop(uint64_t n, double error);

 private:
  uint64_t next_look_;
  uint64_t maximum_;
  double requested_error_;
};

}  // namespace haarflow
