// Carries the messages of a StreamTask to a client. Never blocks, never computes.
//
// One write is outstanding at most. Finish is called exactly once: at the end of the task, after a failed write, or in
// OnCancel (without that, a write to a vanished client would hold the server's shutdown). OnCancel, OnWriteDone and the
// task's notification race: all go through the link's lock. The task knows the reactor only through a weak_ptr to the
// link, which OnDone empties before the reactor deletes itself. So does the model manager, while the request waits for
// a version that is not in memory.
//
// Lifetime: deletes itself in OnDone. Thread-safety: thread-safe.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "core/base/failpoint.h"
#include "core/base/mutex.h"
#include "server/registry/model_manager.h"
#include "server/rpc/call.h"
#include "server/sampling/retry.h"
#include "server/sampling/scheduler.h"
#include "server/sampling/stream_task.h"

namespace haarflow {

template <class Response>
class StreamReactor final : public grpc::ServerWriteReactor<Response> {
 public:
  // The task of the request, or the reason to refuse. Called once more when a version had to be loaded first.
  using Make = std::function<absl::StatusOr<std::shared_ptr<StreamTask<Response>>>()>;

  // `manager` loads what a request needs and is not in memory; null: such a request is refused.
  StreamReactor(RpcCall call, Make make, Scheduler* scheduler, ModelManager* manager)
      : call_(std::move(call)), scheduler_(scheduler), link_(std::make_shared<Link>()) {
    call_.state().Began();
    {
      MutexLock lock(&link_->mutex);
      link_->reactor = this;
    }
    auto task = make();
    const auto needed = LoadNeeded(task.status());
    if (needed.has_value() && manager != nullptr) {
      manager->Load(*needed, [weak = std::weak_ptr<Link>(link_), make = std::move(make)](const absl::Status& status) {
        Loaded(weak.lock(), status, make);
      });
      return;
    }
    MutexLock lock(&link_->mutex);
    Begin(std::move(task));
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(&link_->mutex);
    writing_ = false;
    on_wire_.reset();
    if (!ok) {
      FinishOnce(absl::CancelledError("the client is gone"));
      return;
    }
    if (first_configuration_) Failpoint("chunk sent");
    Pump();
  }

  void OnCancel() override {
    MutexLock lock(&link_->mutex);
    if (task_ != nullptr) task_->Cancel();
    FinishOnce(absl::CancelledError("the client cancelled, its deadline passed, or the connection broke"));
  }

  void OnDone() override {
    {
      MutexLock lock(&link_->mutex);
      if (task_ != nullptr) task_->Cancel();
      link_->reactor = nullptr;
      call_.Count();
    }
    RpcState& state = call_.state();
    delete this;
    state.Ended();
  }

 private:
  struct Link {
    Mutex mutex;
    StreamReactor* reactor ABSL_GUARDED_BY(mutex) = nullptr;
  };

  static void Notified(const std::shared_ptr<Link>& link) {
    if (link == nullptr) return;
    MutexLock lock(&link->mutex);
    if (link->reactor != nullptr) link->reactor->Pump();
  }

  static void Loaded(const std::shared_ptr<Link>& link, const absl::Status& status, const Make& make) {
    if (link == nullptr) return;  // the client did not wait
    using Task = absl::StatusOr<std::shared_ptr<StreamTask<Response>>>;
    Task task = status.ok() ? make() : Task(status);
    MutexLock lock(&link->mutex);
    if (link->reactor != nullptr) link->reactor->Begin(std::move(task));
  }

  // Under the link's lock, like everything below.
  void Begin(absl::StatusOr<std::shared_ptr<StreamTask<Response>>> task) {
    if (finished_) return;  // cancelled while its model was loaded
    absl::Status status = task.status();
    if (LoadNeeded(status).has_value()) status = absl::UnavailableError(status.message());
    if (absl::IsResourceExhausted(status) && !RetryDelay(status).has_value()) {
      status = WithRetryInfo(status, kRetryDelay);
    }
    if (status.ok()) {
      task_ = *std::move(task);
      task_->SetNotification([weak = std::weak_ptr<Link>(link_)] { Notified(weak.lock()); });
      status = scheduler_->Submit(task_);
    }
    if (status.ok()) {
      Failpoint("stream admitted");
      Pump();
    } else {
      FinishOnce(status);
    }
  }

  void Pump() {
    if (writing_ || finished_) return;
    absl::Status end;
    switch (task_->Poll(&on_wire_, &end)) {
      case Polled::kMessage:
        Account(*on_wire_);
        writing_ = true;
        this->StartWrite(on_wire_.get());
        return;
      case Polled::kPending:
        return;
      case Polled::kEnd:
        FinishOnce(end);
        return;
    }
  }

  void FinishOnce(const absl::Status& status) {
    if (std::exchange(finished_, true)) return;
    if (status.ok()) Failpoint("stream ended");
    this->Finish(call_.End(status));
  }

  void Account(const Response& message) {
    Metrics& metrics = call_.state().metrics();
    metrics.OnStreamBytes(message.ByteSizeLong());
    if (!first_configuration_ && HasConfiguration(message)) {
      first_configuration_ = true;
      metrics.OnFirstConfiguration(call_.seconds());
    }
  }
  static bool HasConfiguration(const v1::SampleResponse& message) { return message.has_chunk(); }
  template <class Other>
  static bool HasConfiguration(const Other&) {
    return false;
  }

  static constexpr std::chrono::milliseconds kRetryDelay{1000};

  RpcCall call_;
  Scheduler* const scheduler_;
  const std::shared_ptr<Link> link_;
  std::shared_ptr<StreamTask<Response>> task_;
  std::unique_ptr<Response> on_wire_;  // gRPC's until OnWriteDone
  bool writing_ = false;
  bool finished_ = false;
  bool first_configuration_ = false;
};

}  // namespace haarflow
