// A file that appears whole or not at all: written under a temporary name, then fsync, rename, fsync of the directory.
#pragma once

#include <cstdio>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace haarflow {

// The name to write under; the file is removed on destruction unless it was published. What a killed writer of the same
// path left behind is removed first.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& path);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const std::string& name() const { return name_; }
  // Makes what was written (and closed) the file `path`, replacing what had that name.
  absl::Status Publish();

 private:
  std::string path_;
  std::string name_;
  bool published_ = false;
};

// A buffered stream whose errors come back as Status.
class OutputStream {
 public:
  static absl::StatusOr<OutputStream> Open(const std::string& path);
  OutputStream(OutputStream&& other) noexcept;
  ~OutputStream();
  OutputStream& operator=(OutputStream&&) = delete;

  absl::Status Write(const void* data, size_t size);
  absl::Status Close();

 private:
  OutputStream(std::string path, std::FILE* file) : path_(std::move(path)), file_(file) {}
  std::string path_;
  std::FILE* file_;
};

// RESOURCE_EXHAUSTED with the numbers when the file system of `path` has no room for `files` files of `bytes` each.
// (HDF5 cannot be trusted to survive a full disk, so it is asked for beforehand.)
absl::Status CheckSpace(const std::string& path, uint64_t bytes, uint64_t files = 1);

}  // namespace haarflow
