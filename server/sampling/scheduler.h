// Admission, the devices' workers, and the thread that estimates errors.
//
// Submit either admits a task against bounds (admission.h) or refuses it at once: RESOURCE_EXHAUSTED with RetryInfo
// when the server is full, UNAVAILABLE when it drains or its device failed. What a task reserved is given back when the
// last holder lets go of it.
//
// Lifetime: threads are joined in the destructor; tasks that are still there fail with UNAVAILABLE. Tasks may outlive
// the scheduler. Thread-safety: thread-safe. Ownership: shares the tasks with their readers.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/mutex.h"
#include "server/sampling/admission.h"
#include "server/sampling/device_worker.h"
#include "server/sampling/dispatcher.h"
#include "server/sampling/task.h"

namespace haarflow {

class Scheduler {
 public:
  struct Options {
    std::string device_name = "cpu:1";  // of all of them, for messages
    int devices = 1;                    // with a worker thread each
    int threads = 1;                    // of each device
    BatchSizer::Options batch;
    int64_t max_batch_bytes = int64_t{64} << 20;
    std::chrono::nanoseconds linger{0};  // Dispatcher::Options
    AdmissionLimits limits{.all = {.streams = 256, .samples = 0, .bytes = int64_t{1} << 30}, .principal = {}};
    // What RetryInfo tells a refused client, give or take a half: so that those who were refused together do not come
    // back together.
    std::chrono::milliseconds retry_delay{1000};
    SamplingObserver* observer = nullptr;  // must outlive the scheduler and its tasks
    std::function<void(const absl::Status&)> on_device_failure;
  };
  explicit Scheduler(Options options);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  absl::Status Submit(std::shared_ptr<Task> task);
  // Refuses new tasks and ends the running ones at their next configuration boundary.
  void Drain();
  // Ends the running tasks of one version of a model, at their next configuration boundary.
  void DrainModel(const Digest& digest) { dispatcher_->DrainModel(digest); }

  int64_t active_streams() const { return held().streams; }
  int64_t reserved_bytes() const { return held().bytes; }
  // By all streams together.
  Usage held() const;
  const AdmissionLimits& limits() const { return options_.limits; }
  bool draining() const { return draining_; }

  struct ActiveStream {
    uint64_t id = 0;
    std::string method;
    std::string model;
    uint64_t version = 0;
    Flow flow;
    uint64_t proposals = 0;  // drawn for it so far
    std::chrono::steady_clock::time_point since;
  };
  // The oldest first, at most `most`.
  std::vector<ActiveStream> Streams(size_t most) const;
  // Since the start, for streams that are gone too.
  uint64_t proposals_drawn() const;

 private:
  // Shared with the tasks' release callbacks, which may come after the scheduler.
  struct Held {
    ActiveStream stream;
    Usage usage;
    std::shared_ptr<std::atomic<uint64_t>> drawn;
  };
  struct Budget {
    Mutex mutex;
    Usage all ABSL_GUARDED_BY(mutex);
    std::map<std::string, Usage> principals ABSL_GUARDED_BY(mutex);
    std::map<uint64_t, Held> streams ABSL_GUARDED_BY(mutex);
    uint64_t next_id ABSL_GUARDED_BY(mutex) = 1;
    uint64_t drawn_before ABSL_GUARDED_BY(mutex) = 0;  // for streams that are gone
  };
  // The stream's id.
  absl::StatusOr<uint64_t> Reserve(const Task& task);
  static void Release(Budget* budget, uint64_t id);
  void RunEpilogue(std::shared_ptr<Task> task);
  void EstimateLoop();
  void OnDeviceFailure(const absl::Status& status);
  std::chrono::milliseconds NextRetryDelay();

  const Options options_;
  const std::shared_ptr<Budget> budget_ = std::make_shared<Budget>();
  std::atomic<bool> draining_{false};
  std::atomic<bool> device_failed_{false};
  std::atomic<uint64_t> refusals_{0};

  Mutex mutex_;
  CondVar changed_;
  std::deque<std::shared_ptr<Task>> epilogues_ ABSL_GUARDED_BY(mutex_);  // bounded by max_streams
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread estimate_thread_;
  std::unique_ptr<Dispatcher> dispatcher_;
  std::vector<std::unique_ptr<DeviceWorker>> workers_;
};

}  // namespace haarflow
