#include "server/sampling/scheduler.h"

#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/sampling/retry.h"

namespace haarflow {

Scheduler::Scheduler(Options options) : options_(std::move(options)) {
  DeviceWorker::Options worker;
  worker.threads = options_.threads;
  worker.batch = options_.batch;
  worker.max_batch_bytes = options_.max_batch_bytes;
  worker.observer = options_.observer;
  worker.on_device_failure = [this](const absl::Status& status) { OnDeviceFailure(status); };
  worker.run_epilogue = [this](std::shared_ptr<Task> task) { RunEpilogue(std::move(task)); };
  estimate_thread_ = std::thread([this] {
    NameThisThread("hf-estimate");
    EstimateLoop();
  });
  worker_ = std::make_unique<DeviceWorker>(std::move(worker));
}

Scheduler::~Scheduler() {
  worker_.reset();
  {
    MutexLock lock(&mutex_);
    stop_ = true;
    changed_.NotifyAll();
  }
  estimate_thread_.join();
}

absl::Status Scheduler::Refuse(const char* reason, const std::string& message) const {
  if (options_.observer != nullptr) options_.observer->OnRejected(reason);
  return WithRetryInfo(absl::ResourceExhaustedError(message), options_.retry_delay);
}

absl::Status Scheduler::Reserve(int64_t bytes) {
  if (bytes > options_.byte_budget) {
    if (options_.observer != nullptr) options_.observer->OnRejected("too_large");
    return absl::InvalidArgumentError(absl::StrCat("the request needs ", bytes, " bytes of buffers, this server has ",
                                                   options_.byte_budget,
                                                   " for all streams; ask for less, or raise --byte-budget"));
  }
  bool full = false;
  bool reserved = false;
  {
    MutexLock lock(&budget_->mutex);
    full = budget_->streams >= options_.max_streams;
    if (!full && budget_->bytes + bytes <= options_.byte_budget) {
      budget_->bytes += bytes;
      ++budget_->streams;
      reserved = true;
    }
  }
  if (reserved) {
    if (options_.observer != nullptr) options_.observer->OnStreams(+1);
    return absl::OkStatus();
  }
  if (full) {
    return Refuse("streams",
                  absl::StrCat("the server already has its ", options_.max_streams, " streams; come back later"));
  }
  return Refuse("bytes", absl::StrCat("the server's byte budget is used up (", bytes, " more do not fit into ",
                                      options_.byte_budget, "); come back later"));
}

absl::Status Scheduler::Submit(std::shared_ptr<Task> task) {
  if (device_failed_) {
    return absl::UnavailableError(absl::StrCat("device ", options_.device_name, " has failed; try another server"));
  }
  if (draining_) return absl::UnavailableError("the server is draining; try another one");
  const int64_t bytes = task->reservation_bytes();
  if (absl::Status status = Reserve(bytes); !status.ok()) return status;
  task->Attach(worker_->signal(), options_.observer, [budget = budget_, bytes, observer = options_.observer] {
    {
      MutexLock lock(&budget->mutex);
      budget->bytes -= bytes;
      --budget->streams;
    }
    if (observer != nullptr) observer->OnStreams(-1);
  });
  worker_->Add(std::move(task));
  return absl::OkStatus();
}

void Scheduler::Drain() {
  draining_ = true;
  worker_->DrainAll();
}

int64_t Scheduler::active_streams() const {
  MutexLock lock(&budget_->mutex);
  return budget_->streams;
}

int64_t Scheduler::reserved_bytes() const {
  MutexLock lock(&budget_->mutex);
  return budget_->bytes;
}

void Scheduler::OnDeviceFailure(const absl::Status& status) {
  // A device fault is sticky: latch it, once.
  if (device_failed_.exchange(true)) return;
  if (options_.on_device_failure) options_.on_device_failure(status);
}

void Scheduler::RunEpilogue(std::shared_ptr<Task> task) {
  MutexLock lock(&mutex_);
  epilogues_.push_back(std::move(task));
  changed_.NotifyAll();
}

void Scheduler::EstimateLoop() {
  while (true) {
    std::shared_ptr<Task> task;
    {
      MutexLock lock(&mutex_);
      while (epilogues_.empty() && !stop_) changed_.WaitFor(&mutex_, std::chrono::seconds(1));
      if (epilogues_.empty()) return;
      task = std::move(epilogues_.front());
      epilogues_.pop_front();
    }
    try {
      task->Epilogue();
    } catch (const std::exception& e) {
      task->Fail(absl::InternalError(absl::StrCat("estimating errors failed: ", e.what())));
    }
  }
}

}  // namespace haarflow
