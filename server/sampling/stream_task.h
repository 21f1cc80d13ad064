// A task whose answers are a stream of messages, pulled by one reader.
//
// The reader (a gRPC reactor, or BlockingReader in a process) calls Poll until it says kPending or kEnd; after kPending
// it is told once, through the notification, when there is something again. A message that Poll gave is "on the wire"
// until the next Poll: the task prepares at most one more meanwhile. Hence a slow reader slows its own task and no
// other.
//
// Thread-safety: Poll from one thread at a time. The notification is called from any thread, with no lock of the task
// held; it may call Poll.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "server/sampling/task.h"

namespace haarflow {

enum class Polled { kMessage, kPending, kEnd };

template <class Response>
class StreamTask : public Task {
 public:
  using Task::Task;
  // kMessage: *message is the next one. kEnd: *end says how the stream ended, and stays so.
  virtual Polled Poll(std::unique_ptr<Response>* message, absl::Status* end) = 0;
  // Before the task is submitted.
  void SetNotification(std::function<void()> notify) { notify_ = std::move(notify); }

 protected:
  // Poll is about to say kPending.
  void ReaderWaits() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { reader_waits_ = true; }
  // Something is there: tells a waiting reader, once. Without the lock.
  void WakeReader() {
    bool waits = false;
    {
      MutexLock lock(&mutex_);
      std::swap(waits, reader_waits_);
    }
    if (waits && notify_) notify_();
  }

  Mutex mutex_;

 private:
  std::function<void()> notify_;
  bool reader_waits_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace haarflow
