// What a device worker runs: something that wants proposals of one seed, in order, for one target.
//
// Call sequence: Attach once; then, on the worker's thread alone, any number of
//   Demand() -> {seed, first_index, n}     n = 0: it waits for its client, or is finished
//   Consume(proposals, offset, m)          m <= n of them, the first ones; possibly in several pieces, in order
// until finished(). Fail may take the place of Consume; the task is finished then. If needs_epilogue() is true when it
// has finished, Epilogue() is called once, on the scheduler's estimate thread.
//
// Thread-safety: Cancel and Drain may be called from any thread; everything else as said above. Ownership: shared by
// the worker and the stream's reader; what was reserved for it in the byte budget is given back when the last of them
// lets go.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "core/base/mutex.h"
#include "core/model/sampler.h"
#include "server/registry/registry.h"
#include "server/sampling/fair_turns.h"
#include "server/sampling/observer.h"
#include "server/sampling/odd_observable.h"

namespace haarflow {

// Wakes a worker: a counter, so that a call between the worker's look and its wait is not lost.
class WakeSignal {
 public:
  void Notify();
  uint64_t count();
  // Returns when the counter differs from `seen`, or after `timeout`.
  void WaitWhile(uint64_t seen, std::chrono::nanoseconds timeout);

 private:
  Mutex mutex_;
  CondVar changed_;
  uint64_t count_ ABSL_GUARDED_BY(mutex_) = 0;
};

class Task {
 public:
  struct Want {
    uint64_t seed = 0;
    uint64_t first_index = 0;
    int64_t n = 0;
  };

  explicit Task(ResolvedModel resolved);
  virtual ~Task();
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  const ServedModel& model() const { return *resolved_.model; }
  const v1::Target& target() const { return resolved_.target; }
  const Digest& target_digest() const { return resolved_.target_digest; }

  virtual Want Demand() = 0;
  virtual void Consume(const Proposals& proposals, int64_t offset, int64_t n) = 0;
  virtual void Fail(const absl::Status& status) = 0;
  virtual bool finished() const = 0;
  virtual bool needs_epilogue() const { return false; }
  virtual void Epilogue() {}
  // Upper bound of the memory that it will hold, transport included.
  virtual int64_t reservation_bytes() const = 0;
  // Steps or proposals asked for.
  virtual int64_t sample_count() const = 0;

  // Who wants it and how urgently, and by which method: before it is submitted.
  void SetOrigin(Flow flow, std::string method) {
    flow_ = std::move(flow);
    method_ = std::move(method);
  }
  const Flow& flow() const { return flow_; }
  const std::string& method() const { return method_; }
  // Proposals drawn for it so far; outlives the task.
  const std::shared_ptr<std::atomic<uint64_t>>& drawn() const { return drawn_; }

  // Stops at the next batch boundary; what waits for the client is dropped.
  void Cancel();
  // Ends at the next configuration boundary; what waits for the client is still delivered. The first reason counts.
  enum class DrainReason { kNone, kShutdown, kLease };
  void Drain(DrainReason reason);
  bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }
  bool draining() const { return drain_reason_.load(std::memory_order_acquire) != DrainReason::kNone; }

  // By the scheduler, before any other thread knows the task. `release` is called by the destructor.
  void Attach(std::shared_ptr<WakeSignal> worker, SamplingObserver* observer, std::function<void()> release);
  // When it was attached.
  std::chrono::steady_clock::time_point admitted() const { return admitted_; }

 protected:
  std::string WhyDraining() const;
  // Tells the worker that Demand() may have changed.
  void WakeWorker();
  SamplingObserver& observer() { return *observer_; }
  // Of a proposal, for the statistics of its weights.
  double OddSign(const double* field) const { return odd_.Sign(field); }
  // What the model's card says against it makes every answer unreliable.
  void AddReservations(v1::EnsembleQuality* quality) const;

 private:
  const ResolvedModel resolved_;
  const OddObservable odd_;
  Flow flow_;
  std::string method_;
  const std::shared_ptr<std::atomic<uint64_t>> drawn_ = std::make_shared<std::atomic<uint64_t>>(0);
  std::shared_ptr<WakeSignal> worker_;
  SamplingObserver* observer_ = nullptr;
  std::function<void()> release_;
  std::chrono::steady_clock::time_point admitted_;
  std::atomic<bool> cancelled_{false};
  std::atomic<DrainReason> drain_reason_{DrainReason::kNone};
};

}  // namespace haarflow
