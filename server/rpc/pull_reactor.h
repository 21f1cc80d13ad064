// Carries the messages of a source to a client: a task that draws (stream_reactor.h), or what jobs have to say
// (source_reactor.h). Never blocks, never computes.
//
// One write is outstanding at most. Finish is called exactly once: at the end of the source, after a failed write, or
// in OnCancel (without that, a write to a vanished client would hold the server's shutdown). OnCancel, OnWriteDone and
// the source's notification race: all go through the link's lock. The source knows the reactor only through a weak_ptr
// to the link, which OnDone empties before the reactor deletes itself.
//
// Source: Poll(message, end), SetNotification(notify), Cancel(), as StreamTask's. Cancel may notify, so it is called
// without the lock.
//
// Lifetime: deletes itself in OnDone. Thread-safety: thread-safe.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "core/base/mutex.h"
#include "server/rpc/call.h"
#include "server/sampling/stream_task.h"

namespace haarflow {

template <class Response, class Source>
class PullReactor : public grpc::ServerWriteReactor<Response> {
 public:
  void OnWriteDone(bool ok) final {
    MutexLock lock(&link_->mutex);
    writing_ = false;
    on_wire_.reset();
    if (!ok) {
      FinishOnce(absl::CancelledError("the client is gone"));
      return;
    }
    Sent();
    Pump();
  }

  void OnCancel() final {
    std::shared_ptr<Source> source;
    {
      MutexLock lock(&link_->mutex);
      source = source_;
      FinishOnce(absl::CancelledError("the client cancelled, its deadline passed, or the connection broke"));
    }
    if (source != nullptr) source->Cancel();  // the reactor may be gone
  }

  void OnDone() final {
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

 protected:
  struct Link {
    Mutex mutex;
    PullReactor* reactor ABSL_GUARDED_BY(mutex) = nullptr;  // null until it is attached, and once it is done
  };

  explicit PullReactor(RpcCall call) : call_(std::move(call)), link_(std::make_shared<Link>()) {
    call_.state().Began();
  }

  // Before the source may notify.
  void SetSource(std::shared_ptr<Source> source) {
    source_ = std::move(source);
    source_->SetNotification([weak = std::weak_ptr<Link>(link_)] {
      const std::shared_ptr<Link> link = weak.lock();
      if (link == nullptr) return;
      MutexLock lock(&link->mutex);
      if (link->reactor != nullptr) link->reactor->Pump();
    });
  }
  // A message that is about to be written.
  virtual void Account(const Response& /*message*/) {}
  // The message was written; the source's end was reached without an error.
  virtual void Sent() {}
  virtual void Ended() {}

  // Under the link's lock, like everything below.
  void Pump() {
    if (writing_ || finished_) return;
    absl::Status end;
    switch (source_->Poll(&on_wire_, &end)) {
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
    if (status.ok()) Ended();
    this->Finish(call_.End(status));
  }
  bool finished() const { return finished_; }

  RpcCall call_;
  const std::shared_ptr<Link> link_;

 private:
  std::shared_ptr<Source> source_;
  std::unique_ptr<Response> on_wire_;  // gRPC's until OnWriteDone
  bool writing_ = false;
  bool finished_ = false;
};

}  // namespace haarflow
