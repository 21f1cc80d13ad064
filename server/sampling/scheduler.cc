#include "server/sampling/scheduler.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/guarded.h"
#include "core/base/status.h"
#include "server/sampling/retry.h"

namespace haarflow {

Scheduler::Scheduler(Options options) : options_(std::move(options)) {
  Dispatcher::Options dispatch;
  dispatch.devices = options_.devices;
  dispatch.threads = options_.threads;
  dispatch.batch = options_.batch;
  dispatch.max_batch_bytes = options_.max_batch_bytes;
  dispatch.linger = options_.linger;
  dispatch.observer = options_.observer;
  dispatch.run_epilogue = [this](std::shared_ptr<Task> task) { RunEpilogue(std::move(task)); };
  dispatcher_ = std::make_unique<Dispatcher>(std::move(dispatch));
  estimate_thread_ = std::thread([this] {
    NameThisThread("hf-estimate");
    EstimateLoop();
  });
  for (int device = 0; device < options_.devices; ++device) {
    DeviceWorker::Options worker;
    if (options_.devices > 1) absl::StrAppend(&worker.name, device);
    worker.index = static_cast<size_t>(device);
    worker.threads = options_.threads;
    worker.on_device_failure = [this](const absl::Status& status) { OnDeviceFailure(status); };
    workers_.push_back(std::make_unique<DeviceWorker>(std::move(worker), dispatcher_.get()));
  }
}

Scheduler::~Scheduler() {
  dispatcher_->Stop();
  workers_.clear();
  dispatcher_->FailAll();
  {
    MutexLock lock(&mutex_);
    stop_ = true;
    changed_.NotifyAll();
  }
  estimate_thread_.join();
}

std::chrono::milliseconds Scheduler::NextRetryDelay() {
  constexpr double kGoldenRatio = 0.6180339887498949;  // multiples of it fill an interval evenly
  double whole = 0;
  const double part = std::modf(0.5 + kGoldenRatio * static_cast<double>(refusals_++), &whole);
  return std::chrono::duration_cast<std::chrono::milliseconds>(options_.retry_delay * (0.5 + part));
}

absl::StatusOr<uint64_t> Scheduler::Reserve(const Task& task) {
  const Usage request{.streams = 1, .samples = task.sample_count(), .bytes = task.reservation_bytes()};
  AdmissionDecision decision;
  {
    MutexLock lock(&budget_->mutex);
    const auto known = budget_->principals.find(task.flow().principal);
    const Usage held = known == budget_->principals.end() ? Usage() : known->second;
    decision = Admit(options_.limits, budget_->all, held, request);
    if (decision.kind == AdmissionDecision::kAdmit) {
      for (Usage* usage : {&budget_->all, &budget_->principals[task.flow().principal]}) {
        usage->streams += request.streams;
        usage->samples += request.samples;
        usage->bytes += request.bytes;
      }
      const uint64_t id = budget_->next_id++;
      budget_->streams[id] = {{.id = id,
                               .method = task.method(),
                               .model = task.model().name(),
                               .version = task.model().manifest.version,
                               .flow = task.flow(),
                               .since = std::chrono::steady_clock::now()},
                              request,
                              task.drawn()};
      return id;
    }
  }
  if (options_.observer != nullptr) options_.observer->OnRejected(decision.reason);
  if (decision.kind == AdmissionDecision::kTooLarge) return absl::InvalidArgumentError(decision.message);
  return WithRetryInfo(absl::ResourceExhaustedError(decision.message), NextRetryDelay());
}

void Scheduler::Release(Budget* budget, uint64_t id) {
  MutexLock lock(&budget->mutex);
  const auto it = budget->streams.find(id);
  const Held& held = it->second;
  const auto principal = budget->principals.find(held.stream.flow.principal);
  for (Usage* usage : {&budget->all, &principal->second}) {
    usage->streams -= held.usage.streams;
    usage->samples -= held.usage.samples;
    usage->bytes -= held.usage.bytes;
  }
  if (principal->second.streams == 0) budget->principals.erase(principal);
  budget->drawn_before += held.drawn->load(std::memory_order_relaxed);
  budget->streams.erase(it);
}

absl::Status Scheduler::Submit(std::shared_ptr<Task> task) {
  if (device_failed_) {
    return absl::UnavailableError(absl::StrCat("device ", options_.device_name, " has failed; try another server"));
  }
  if (draining_) return absl::UnavailableError("the server is draining; try another one");
  ASSIGN_OR_RETURN(const uint64_t id, Reserve(*task));
  if (options_.observer != nullptr) options_.observer->OnStreams(+1);
  task->Attach(dispatcher_->signal(), options_.observer, [budget = budget_, id, observer = options_.observer] {
    Release(budget.get(), id);
    if (observer != nullptr) observer->OnStreams(-1);
  });
  dispatcher_->Add(std::move(task));
  return absl::OkStatus();
}

void Scheduler::Drain() {
  draining_ = true;
  dispatcher_->DrainAll();
}

Usage Scheduler::held() const {
  MutexLock lock(&budget_->mutex);
  return budget_->all;
}

std::vector<Scheduler::ActiveStream> Scheduler::Streams(size_t most) const {
  std::vector<ActiveStream> streams;
  MutexLock lock(&budget_->mutex);
  for (const auto& [id, held] : budget_->streams) {
    if (streams.size() == most) break;
    streams.push_back(held.stream);
    streams.back().proposals = held.drawn->load(std::memory_order_relaxed);
  }
  return streams;
}

uint64_t Scheduler::proposals_drawn() const {
  MutexLock lock(&budget_->mutex);
  uint64_t drawn = budget_->drawn_before;
  for (const auto& [id, held] : budget_->streams) drawn += held.drawn->load(std::memory_order_relaxed);
  return drawn;
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
    const absl::Status status = Guarded("estimating errors", [&task] {
      task->Epilogue();
      return absl::OkStatus();
    });
    if (!status.ok()) task->Fail(status);
  }
}

}  // namespace haarflow
