// Carries the messages of a StreamTask to a client. Never blocks, never computes.
//
// One write is outstanding at most. Finish is called exactly once: at the end of the task, after a failed write, or in
// OnCancel (without that, a write to a vanished client would hold the server's shutdown). OnCancel, OnWriteDone and the
// task's notification race: all go through the link's lock. The task knows the reactor only through a weak_ptr to the
// link, which OnDone empties before the reactor deletes itself.
//
// Lifetime: deletes itself in OnDone. Thread-safety: thread-safe.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "core/base/mutex.h"
#include "server/rpc/call.h"
#include "server/sampling/scheduler.h"
#include "server/sampling/stream_task.h"

namespace haarflow {

template <class Response>
class StreamReactor final : public grpc::ServerWriteReactor<Response> {
 public:
  // `task` or the reason to refuse.
  StreamReactor(RpcCall call, absl::StatusOr<std::shared_ptr<StreamTask<Response>>> task, Scheduler* scheduler)
      : call_(std::move(call)), link_(std::make_shared<Link>()) {
    call_.state().Began();
    absl::Status status = task.status();
    if (status.ok()) {
      task_ = *std::move(task);
      task_->SetNotification([weak = std::weak_ptr<Link>(link_)] { Notified(weak.lock()); });
      status = scheduler->Submit(task_);
    }
    MutexLock lock(&link_->mutex);
    link_->reactor = this;
    if (status.ok()) {
      Pump();
    } else {
      FinishOnce(status);
    }
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(&link_->mutex);
    writing_ = false;
    on_wire_.reset();
    if (!ok) {
      FinishOnce(absl::CancelledError("the client is gone"));
      return;
    }
    Pump();
  }

  void OnCancel() override {
    if (task_ != nullptr) task_->Cancel();
    MutexLock lock(&link_->mutex);
    FinishOnce(absl::CancelledError("the client cancelled, its deadline passed, or the connection broke"));
  }

  void OnDone() override {
    if (task_ != nullptr) task_->Cancel();
    {
      MutexLock lock(&link_->mutex);
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

  // Under the link's lock, like everything below.
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

  RpcCall call_;
  const std::shared_ptr<Link> link_;
  std::shared_ptr<StreamTask<Response>> task_;
  std::unique_ptr<Response> on_wire_;  // gRPC's until OnWriteDone
  bool writing_ = false;
  bool finished_ = false;
  bool first_configuration_ = false;
};

}  // namespace haarflow
