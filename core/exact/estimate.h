// Means with honest errors: Gamma method for chains, jackknife for weighted samples and for log Z.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/exact/jackknife.h"
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

// A function of several means, and its derivatives by them.
struct FunctionOfMeans {
  std::function<double(absl::Span<const double> means)> value;
  std::function<std::vector<double>(absl::Span<const double> means)> gradient;
};
// The same for a derived quantity f(<A>, <B>, ...) (section 2 of that paper): the chain of its linear approximation
// around the means is analysed. The mean is f of the means, tau_int that of f. INVALID_ARGUMENT also for chains of
// different length, and where the gradient is not finite.
absl::StatusOr<ChainEstimate> GammaMethodOfFunction(absl::Span<const std::vector<double>> chains,
                                                    const FunctionOfMeans& function, double s = 1.5);

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

// The same for a function of several such means.
absl::StatusOr<WeightedEstimate> WeightedFunction(absl::Span<const std::vector<double>> columns,
                                                  absl::Span<const double> log_weight,
                                                  const std::function<double(absl::Span<const double>)>& function,
                                                  int bins = 128);

// log Z = log mean w from a stream of log-weights: constant memory, jackknife over kBins interleaved bins.
class PartitionEstimator {
 public:
  static constexpr int kBins = 128;
  PartitionEstimator();
  // `odd`: see WeightStatistics::Add.
  void Add(double log_weight, double odd = 0);
  const WeightStatistics& weights() const { return all_; }
  double LogZ() const { return LogZJackknife().corrected; }   // bias-corrected
  double LogZError() const { return LogZJackknife().error; }  // +inf with fewer than 2 * kBins samples
  // Leading bias of log mean w before that correction: -(1/ESS - 1) / 2n, by the delta method E[log x] = log E[x] -
  // Var[x] / 2 E[x]^2. Always negative: log mean w falls short of log Z.
  double LogZBias() const;
  double MeanLogWeight() const { return all_.MeanLogWeight(); }
  double MeanLogWeightError() const;
  // Of weights().Ess(), jackknife; +inf with fewer than 2 * kBins samples.
  double EssError() const;

 private:
  Jackknife LogZJackknife() const;

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
