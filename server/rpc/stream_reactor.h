// Carries the messages of a StreamTask to a client. The model manager knows the reactor only through its link, too,
// while the request waits for a version that is not in memory.
//
// Lifetime and thread-safety: PullReactor's.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "core/base/failpoint.h"
#include "server/registry/model_manager.h"
#include "server/rpc/pull_reactor.h"
#include "server/sampling/retry.h"
#include "server/sampling/scheduler.h"

namespace haarflow {

template <class Response>
class StreamReactor final : public PullReactor<Response, StreamTask<Response>> {
 public:
  using Task = absl::StatusOr<std::shared_ptr<StreamTask<Response>>>;
  // The task of the request, or the reason to refuse. Called once more when a version had to be loaded first.
  using Make = std::function<Task()>;

  // `manager` loads what a request needs and is not in memory; null: such a request is refused.
  StreamReactor(RpcCall call, Make make, Scheduler* scheduler, ModelManager* manager)
      : Base(std::move(call)), scheduler_(scheduler) {
    {
      MutexLock lock(&this->link_->mutex);
      this->link_->reactor = this;
    }
    Task task = make();
    const auto needed = LoadNeeded(task.status());
    if (needed.has_value() && manager != nullptr) {
      const LogScope scope(this->call_.log_fields());
      manager->Load(*needed, [weak = std::weak_ptr<Link>(this->link_), make = std::move(make)](
                                 const absl::Status& status) { Loaded(weak.lock(), status, make); });
      return;
    }
    MutexLock lock(&this->link_->mutex);
    Begin(std::move(task));
  }

 private:
  using Base = PullReactor<Response, StreamTask<Response>>;
  using Link = typename Base::Link;

  static void Loaded(const std::shared_ptr<Link>& link, const absl::Status& status, const Make& make) {
    if (link == nullptr) return;  // the client did not wait
    Task task = status.ok() ? make() : Task(status);
    MutexLock lock(&link->mutex);
    if (link->reactor != nullptr) static_cast<StreamReactor*>(link->reactor)->Begin(std::move(task));
  }

  // Under the link's lock.
  void Begin(Task task) {
    if (this->finished()) return;  // cancelled while its model was loaded
    absl::Status status = task.status();
    if (LoadNeeded(status).has_value()) status = absl::UnavailableError(status.message());
    if (absl::IsResourceExhausted(status) && !RetryDelay(status).has_value()) {
      status = WithRetryInfo(status, kRetryDelay);
    }
    if (status.ok()) {
      this->SetSource(*task);
      status = scheduler_->Submit(*std::move(task));
    }
    if (status.ok()) Failpoint("stream admitted");
    status.ok() ? this->Pump() : this->FinishOnce(status);
  }

  void Sent() override {
    if (first_configuration_) Failpoint("chunk sent");
  }
  void Ended() override { Failpoint("stream ended"); }
  void Account(const Response& message) override {
    Metrics& metrics = this->call_.state().metrics();
    metrics.OnStreamBytes(message.ByteSizeLong());
    if (!first_configuration_ && HasConfiguration(message)) {
      first_configuration_ = true;
      metrics.OnFirstConfiguration(this->call_.seconds());
    }
  }
  static bool HasConfiguration(const v1::SampleResponse& message) { return message.has_chunk(); }
  template <class Other>
  static bool HasConfiguration(const Other&) {
    return false;
  }

  static constexpr std::chrono::milliseconds kRetryDelay{1000};

  Scheduler* const scheduler_;
  bool first_configuration_ = false;
};

}  // namespace haarflow
