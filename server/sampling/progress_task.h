// A stream of progress messages and one result: header first, then at most one progress message waiting (the newest
// replaces an unread one: a slow reader sees fewer, and never holds the computation), then the result.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "server/sampling/stream_task.h"

namespace haarflow {

template <class Response>
class ProgressTask : public StreamTask<Response> {
 public:
  ProgressTask(ResolvedModel resolved, std::unique_ptr<Response> header)
      : StreamTask<Response>(std::move(resolved)), header_(std::move(header)) {}

  bool finished() const override { return this->cancelled() || done_; }
  void Fail(const absl::Status& status) override { Finish(nullptr, status); }

  Polled Poll(std::unique_ptr<Response>* message, absl::Status* end) override {
    if (this->cancelled()) {
      *end = absl::CancelledError("the stream was cancelled");
      return Polled::kEnd;
    }
    MutexLock lock(&this->mutex_);
    for (std::unique_ptr<Response>* slot : {&header_, &progress_, &result_}) {
      if (*slot == nullptr) continue;
      *message = std::move(*slot);
      return Polled::kMessage;
    }
    if (end_.has_value()) {
      *end = *end_;
      return Polled::kEnd;
    }
    this->ReaderWaits();
    return Polled::kPending;
  }

 protected:
  void Progress(std::unique_ptr<Response> message) {
    {
      MutexLock lock(&this->mutex_);
      progress_ = std::move(message);
    }
    this->WakeReader();
  }
  // Ends the stream: with a result, or with an error. The first call counts.
  void Finish(std::unique_ptr<Response> result, const absl::Status& status) {
    done_ = true;
    {
      MutexLock lock(&this->mutex_);
      if (end_.has_value()) return;
      progress_.reset();
      result_ = std::move(result);
      end_ = status;
    }
    this->WakeReader();
  }
  // No more proposals are wanted (an epilogue may follow). Worker's thread.
  void StopDrawing() { done_ = true; }

 private:
  bool done_ = false;  // the worker's, then the epilogue's
  std::unique_ptr<Response> header_ ABSL_GUARDED_BY(StreamTask<Response>::mutex_);
  std::unique_ptr<Response> progress_ ABSL_GUARDED_BY(StreamTask<Response>::mutex_);
  std::unique_ptr<Response> result_ ABSL_GUARDED_BY(StreamTask<Response>::mutex_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(StreamTask<Response>::mutex_);
};

}  // namespace haarflow
