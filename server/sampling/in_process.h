// Reads a StreamTask within the process, blocking: for tests and benchmarks.
//
// Example: BlockingReader<v1::SampleResponse> reader(task); scheduler.Submit(task); while (auto m = reader.Read()) ...;
// Lifetime: make it before the task is submitted. Thread-safety: one thread.
#pragma once

#include <chrono>
#include <memory>
#include <utility>

#include "server/sampling/stream_task.h"

namespace haarflow {

template <class Response>
class BlockingReader {
 public:
  explicit BlockingReader(std::shared_ptr<StreamTask<Response>> task)
      : task_(std::move(task)), signal_(std::make_shared<WakeSignal>()) {
    task_->SetNotification([signal = signal_] { signal->Notify(); });
  }
  ~BlockingReader() { task_->Cancel(); }
  BlockingReader(const BlockingReader&) = delete;
  BlockingReader& operator=(const BlockingReader&) = delete;

  // The next message, or null at the end (status() says how it ended) and when `timeout` has passed
  // (DEADLINE_EXCEEDED).
  std::unique_ptr<Response> Read(std::chrono::milliseconds timeout = std::chrono::minutes(5)) {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (true) {
      const uint64_t seen = signal_->count();
      std::unique_ptr<Response> message;
      switch (task_->Poll(&message, &status_)) {
        case Polled::kMessage:
          return message;
        case Polled::kEnd:
          return nullptr;
        case Polled::kPending:
          break;
      }
      const auto now = std::chrono::steady_clock::now();
      if (now >= deadline) {
        status_ = absl::DeadlineExceededError("no message in time");
        return nullptr;
      }
      signal_->WaitWhile(seen, deadline - now);
    }
  }
  const absl::Status& status() const { return status_; }

 private:
  std::shared_ptr<StreamTask<Response>> task_;
  std::shared_ptr<WakeSignal> signal_;
  absl::Status status_;
};

}  // namespace haarflow
