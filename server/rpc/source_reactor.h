// Carries the messages of a MessageSource to a client, as StreamReactor does those of a task: never blocks, one write
// outstanding, Finish exactly once, also in OnCancel (a write to a vanished client would hold the server's shutdown).
// The source knows the reactor only through a weak_ptr, which OnDone empties before the reactor deletes itself.
//
// Lifetime: deletes itself in OnDone. Thread-safety: thread-safe.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "core/base/mutex.h"
#include "server/jobs/message_source.h"
#include "server/rpc/call.h"

namespace haarflow {

template <class Response, class Source>
class SourceReactor final : public grpc::ServerWriteReactor<Response> {
 public:
  // `source` or the reason to refuse. `start(source)` sets it going, once it may notify.
  template <class Start>
  SourceReactor(RpcCall call, absl::StatusOr<std::shared_ptr<Source>> source, const Start& start)
      : call_(std::move(call)), link_(std::make_shared<Link>()) {
    call_.state().Began();
    absl::Status status = source.status();
    if (status.ok()) {
      source_ = *std::move(source);
      source_->SetNotification([weak = std::weak_ptr<Link>(link_)] { Notified(weak.lock()); });
      status = start(source_);
    }
    MutexLock lock(&link_->mutex);
    link_->reactor = this;
    status.ok() ? Pump() : FinishOnce(status);
  }

  void OnWriteDone(bool ok) override {
    MutexLock lock(&link_->mutex);
    writing_ = false;
    on_wire_.reset();
    ok ? Pump() : FinishOnce(absl::CancelledError("the client is gone"));
  }

  void OnCancel() override {
    MutexLock lock(&link_->mutex);
    FinishOnce(absl::CancelledError("the client cancelled, its deadline passed, or the connection broke"));
  }

  void OnDone() override {
    {
      MutexLock lock(&link_->mutex);
      link_->reactor = nullptr;
    }
    if (source_ != nullptr) source_->Cancel();
    call_.Count();
    RpcState& state = call_.state();
    delete this;
    state.Ended();
  }

 private:
  struct Link {
    Mutex mutex;
    SourceReactor* reactor ABSL_GUARDED_BY(mutex) = nullptr;
  };

  static void Notified(const std::shared_ptr<Link>& link) {
    if (link == nullptr) return;
    MutexLock lock(&link->mutex);
    if (link->reactor != nullptr) link->reactor->Pump();
  }

  // Under the link's lock, like FinishOnce.
  void Pump() {
    if (writing_ || finished_) return;
    absl::Status end;
    switch (source_->Poll(&on_wire_, &end)) {
      case Polled::kMessage:
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

  RpcCall call_;
  const std::shared_ptr<Link> link_;
  std::shared_ptr<Source> source_;
  std::unique_ptr<Response> on_wire_;  // gRPC's until OnWriteDone
  bool writing_ = false;
  bool finished_ = false;
};

}  // namespace haarflow
