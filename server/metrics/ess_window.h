// The effective sample size of the latest weights of a model, as ESS / n in [0, 1].
//
// A window of numbers, not of time: an estimate from few weights is no estimate, and a model that nobody asks keeps its
// last one. Two halves of kHalf weights; when the second is full the first is dropped, so that the ratio is always of
// the last 4,096 to 8,192 weights once so many were drawn. Weights of different targets have different normalisations:
// each target has a window of its own, at most kTargets (the latest), and the ratio is their mean, weighted by n.
//
// Thread-safety: none.
#pragma once

#include <cstdint>
#include <list>
#include <optional>

#include "absl/types/span.h"
#include "core/base/digest.h"
#include "core/exact/weights.h"

namespace haarflow {

class EssWindow {
 public:
  static constexpr uint64_t kHalf = 4096;
  static constexpr uint64_t kMinimum = 256;  // below it nothing is said
  static constexpr size_t kTargets = 8;

  // log w of proposals for one target. NaN and +inf count as samples of weight 0: what is wrong lowers the ratio.
  void Add(const Digest& target, absl::Span<const double> log_weights);
  std::optional<double> Ratio() const;
  // Behind the ratio.
  uint64_t samples() const;

 private:
  struct Half {
    WeightStatistics weights;
    uint64_t samples = 0;
  };
  struct Window {
    Digest target;
    Half before;
    Half now;
    uint64_t samples() const { return before.samples + now.samples; }
    double Ratio() const;
  };
  std::list<Window> windows_;  // the latest first
};

}  // namespace haarflow
