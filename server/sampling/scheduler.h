// Admission, the device's worker, and the thread that estimates errors.
//
// Submit either admits a task against bounds (streams, bytes) or refuses it at once: RESOURCE_EXHAUSTED with RetryInfo
// when the server is full, UNAVAILABLE when it drains or its device failed. What a task reserved is given back when the
// last holder lets go of it.
//
// Lifetime: threads are joined in the destructor; tasks that are still there fail with UNAVAILABLE. Tasks may outlive
// the scheduler. Thread-safety: thread-safe. Ownership: shares the tasks with their readers.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "core/base/mutex.h"
#include "server/sampling/device_worker.h"
#include "server/sampling/task.h"

namespace haarflow {

class Scheduler {
 public:
  struct Options {
    std::string device_name = "cpu:1";
    int threads = 1;
    BatchSizer::Options batch;
    int64_t max_batch_bytes = int64_t{64} << 20;
    int64_t max_streams = 256;
    // For all streams together: chunks waiting and on the wire, open configurations, kept measurements.
    int64_t byte_budget = int64_t{1} << 30;
    // What RetryInfo tells a refused client.
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

  int64_t active_streams() const;
  int64_t reserved_bytes() const;
  const std::string& device_name() const { return options_.device_name; }

 private:
  // Shared with the tasks' release callbacks, which may come after the scheduler.
  struct Budget {
    Mutex mutex;
    int64_t streams ABSL_GUARDED_BY(mutex) = 0;
    int64_t bytes ABSL_GUARDED_BY(mutex) = 0;
  };
  absl::Status Reserve(int64_t bytes);
  absl::Status Refuse(const char* reason, const std::string& message) const;
  void RunEpilogue(std::shared_ptr<Task> task);
  void EstimateLoop();
  void OnDeviceFailure(const absl::Status& status);

  const Options options_;
  const std::shared_ptr<Budget> budget_ = std::make_shared<Budget>();
  std::atomic<bool> draining_{false};
  std::atomic<bool> device_failed_{false};

  Mutex mutex_;
  CondVar changed_;
  std::deque<std::shared_ptr<Task>> epilogues_ ABSL_GUARDED_BY(mutex_);  // bounded by max_streams
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread estimate_thread_;
  std::unique_ptr<DeviceWorker> worker_;
};

}  // namespace haarflow
