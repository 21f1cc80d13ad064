// One publication of a model at a time, on any file system: a file created exclusively (link or O_EXCL, which hold on
// network file systems where flock may not).
//
// The file says who holds it: "pid 12 on node7", and on a
// second line the boot, the process id namespace and the start time of that process. A crash leaves the file behind.
// It is taken over only by a process of the same boot and the same namespace that sees that no such process is left:
// anybody else, on another host say, cannot know, and is refused until a person removes the file.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace haarflow {

class PublishLock {
 public:
  // UNAVAILABLE when somebody holds it, or may: the message names the file, its holder and the remedy.
  static absl::StatusOr<PublishLock> Take(const std::string& path);
  PublishLock(PublishLock&& other) noexcept;
  PublishLock& operator=(PublishLock&&) = delete;
  ~PublishLock();

 private:
  explicit PublishLock(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace haarflow
