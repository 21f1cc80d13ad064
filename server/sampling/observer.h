// What the engine tells whoever counts: the seam between sampling and metrics.
//
// Lifetime: must outlive every scheduler and task that was given it. Thread-safety: called from several threads;
// implementations must be thread-safe and must not block.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "core/base/digest.h"
#include "server/registry/served_model.h"

namespace haarflow {

class SamplingObserver {
 public:
  virtual ~SamplingObserver() = default;
  // One batch was drawn and handed to its tasks.
  virtual void OnBatch(const ServedModel& /*model*/, int64_t /*proposals*/, double /*seconds*/) {}
  // log w of a batch's proposals, drawn for a target that the model was made for.
  virtual void OnLogWeights(const ServedModel& /*model*/, const Digest& /*target*/,
                            absl::Span<const double> /*log_weights*/) {}
  // Since a task's last report. Chains look at `chain_proposals` of `proposals` and accept some; weighted streams and
  // estimates look at the others.
  struct Counts {
    uint64_t proposals = 0;
    uint64_t chain_proposals = 0;
    uint64_t accepted = 0;
    uint64_t configurations = 0;
  };
  virtual void OnProgress(const ServedModel& /*model*/, const Counts& /*counts*/) {}
  // The first batch with proposals for a task begins, so long after it was admitted.
  virtual void OnQueueWait(double /*seconds*/) {}
  // Proposals that all tasks together could be given now.
  virtual void OnQueueDepth(int64_t /*proposals*/) {}
  // A task had its ready chunk waiting for its client for so long.
  virtual void OnStall(double /*seconds*/) {}
  // +1: a stream was admitted; -1: it is gone.
  virtual void OnStreams(int /*change*/) {}
  virtual void OnRejected(const char* /*reason*/) {}
};

}  // namespace haarflow
