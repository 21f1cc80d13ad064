// Streams of messages that are made elsewhere and pulled by a gRPC reactor (server/rpc/source_reactor.h): the present
// state of a job, and the chunks of files.
//
// Thread-safety: thread-safe; Poll from one thread at a time. The notification is called with no lock held.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "core/base/mutex.h"
#include "haarflow/v1/tuning.pb.h"
#include "haarflow/v1/worker.pb.h"
#include "server/sampling/stream_task.h"

namespace haarflow {

template <class Response>
class MessageSource {
 public:
  virtual ~MessageSource() = default;
  // As StreamTask's.
  Polled Poll(std::unique_ptr<Response>* message, absl::Status* end) {
    MutexLock lock(&mutex_);
    if (Next(message)) return Polled::kMessage;
    waits_ = !end_.has_value();
    if (waits_) return Polled::kPending;
    *end = *end_;
    return Polled::kEnd;
  }
  void SetNotification(std::function<void()> notify) { notify_ = std::move(notify); }
  // The reader is gone.
  void Cancel() { End(absl::CancelledError("the reader is gone")); }
  // No more messages after those that are there. The first word counts.
  void End(const absl::Status& status) {
    Update([&] {
      if (!end_.has_value()) end_ = status;
    });
  }

 protected:
  virtual bool Next(std::unique_ptr<Response>* message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) = 0;
  template <class F>
  void Update(const F& change) {
    bool waits = false;
    {
      MutexLock lock(&mutex_);
      change();
      std::swap(waits, waits_);
    }
    if (waits && notify_) notify_();
  }
  Mutex mutex_;

 private:
  std::function<void()> notify_;
  bool waits_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
};

// A job as it was at one moment. Of two snapshots of a job the one with the larger order is the newer.
struct JobSnapshot {
  v1::Job job;
  uint64_t order = 0;
};

// The latest state of a job: a reader that is slower than the changes misses those between, and never sees an older
// state after a newer one, whatever the order in which the threads that took the snapshots get here.
class JobWatch final : public MessageSource<v1::Job> {
 public:
  void Push(const JobSnapshot& snapshot);

 private:
  bool Next(std::unique_ptr<v1::Job>* message) override;
  std::optional<v1::Job> latest_ ABSL_GUARDED_BY(mutex_);
  uint64_t order_ ABSL_GUARDED_BY(mutex_) = 0;  // of the newest snapshot so far
};

struct NamedFile {
  std::string name;
  std::string bytes;
};

// Files in chunks, one after the other.
class FileSource final : public MessageSource<v1::FileChunk> {
 public:
  void SetFiles(std::vector<NamedFile> files);

 private:
  bool Next(std::unique_ptr<v1::FileChunk>* message) override;
  std::vector<NamedFile> files_ ABSL_GUARDED_BY(mutex_);
  size_t file_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t offset_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace haarflow
