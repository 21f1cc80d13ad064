// What the engine tells whoever counts: the seam between sampling and metrics.
//
// Lifetime: must outlive every scheduler and task that was given it. Thread-safety: called from several threads;
// implementations must be thread-safe and must not block.
#pragma once

#include <cstdint>

#include "server/registry/served_model.h"

namespace haarflow {

class SamplingObserver {
 public:
  virtual ~SamplingObserver() = default;
  // One batch was drawn and handed to its tasks.
  virtual void OnBatch(const ServedModel& /*model*/, int64_t /*proposals*/, double /*seconds*/) {}
  // Counts since the task's last report.
  virtual void OnProgress(const ServedModel& /*model*/, uint64_t /*proposals*/, uint64_t /*accepted*/,
                          uint64_t /*configurations*/) {}
  // Proposals that all tasks together could be given now.
  virtual void OnQueueDepth(int64_t /*proposals*/) {}
  // A stream waited so long from its admission to the first batch that it had a part in.
  virtual void OnQueueWait(double /*seconds*/) {}
  // A task had its ready chunk waiting for its client for so long.
  virtual void OnStall(double /*seconds*/) {}
  // +1: a stream was admitted; -1: it is gone.
  virtual void OnStreams(int /*change*/) {}
  virtual void OnRejected(const char* /*reason*/) {}
};

}  // namespace haarflow
