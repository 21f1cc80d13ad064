#include "server/sampling/task.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace haarflow {
namespace {
SamplingObserver& Silent() {
  static SamplingObserver observer;
  return observer;
}
}  // namespace

void WakeSignal::Notify() {
  MutexLock lock(&mutex_);
  ++count_;
  changed_.NotifyAll();
}

uint64_t WakeSignal::count() {
  MutexLock lock(&mutex_);
  return count_;
}

void WakeSignal::WaitWhile(uint64_t seen, std::chrono::nanoseconds timeout) {
  MutexLock lock(&mutex_);
  if (count_ == seen) changed_.WaitFor(&mutex_, timeout);
}

Task::Task(ResolvedModel resolved) : resolved_(std::move(resolved)), odd_(resolved_.target), observer_(&Silent()) {}

Task::~Task() {
  if (release_) release_();
}

void Task::AddReservations(v1::EnsembleQuality* quality) const {
  const std::string& reason = model().manifest.card.unreliable_reason();
  if (reason.empty()) return;
  const std::string also = quality->reliable() ? "" : absl::StrCat("; ", quality->unreliable_reason());
  quality->set_unreliable_reason(absl::StrCat("model ", model().name(), ": ", reason, also));
  quality->set_reliable(false);
}

void Task::Attach(std::shared_ptr<WakeSignal> worker, SamplingObserver* observer, std::function<void()> release) {
  worker_ = std::move(worker);
  if (observer != nullptr) observer_ = observer;
  release_ = std::move(release);
  admitted_ = std::chrono::steady_clock::now();
}

void Task::Cancel() {
  cancelled_.store(true, std::memory_order_release);
  WakeWorker();
}

void Task::Drain(DrainReason reason) {
  DrainReason none = DrainReason::kNone;
  drain_reason_.compare_exchange_strong(none, reason, std::memory_order_acq_rel);
  WakeWorker();
}

std::string Task::WhyDraining() const {
  if (drain_reason_.load(std::memory_order_acquire) == DrainReason::kLease) {
    return absl::StrCat("version ", model().manifest.version, " of model ", model().name(),
                        " was replaced and its lease has ended");
  }
  return "the server is draining";
}

void Task::WakeWorker() {
  if (worker_ != nullptr) worker_->Notify();
}

}  // namespace haarflow
