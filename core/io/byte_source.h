// Bytes to read at any place: of a file, or in memory (tests, fuzz targets).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace haarflow {

// Whoever reads bounds a length by size() before allocating for it. One thread at a time.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual uint64_t size() const = 0;
  // DATA_LOSS for bytes beyond the end.
  virtual absl::Status Read(uint64_t offset, uint64_t bytes, char* out) const = 0;

  // The same as a string; DATA_LOSS for more than `max_bytes`.
  absl::StatusOr<std::string> Text(uint64_t offset, uint64_t bytes, uint64_t max_bytes) const;
};

class FileSource final : public ByteSource {
 public:
  // NOT_FOUND; INVALID_ARGUMENT for what is no regular file.
  static absl::StatusOr<std::unique_ptr<FileSource>> Open(const std::string& path);
  ~FileSource() override;
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  uint64_t size() const override { return size_; }
  absl::Status Read(uint64_t offset, uint64_t bytes, char* out) const override;

 private:
  FileSource(int fd, uint64_t size) : fd_(fd), size_(size) {}
  const int fd_;
  const uint64_t size_;
};

class MemorySource final : public ByteSource {
 public:
  explicit MemorySource(std::string bytes) : bytes_(std::move(bytes)) {}
  uint64_t size() const override { return bytes_.size(); }
  absl::Status Read(uint64_t offset, uint64_t bytes, char* out) const override;

 private:
  const std::string bytes_;
};

}  // namespace haarflow
