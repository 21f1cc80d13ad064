// Files that arrive in chunks: bounded before anything is stored, checked chunk by chunk, whole or refused.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "haarflow/v1/worker.pb.h"

namespace haarflow {

constexpr uint64_t kMaxUploadChunk = 512 << 10;

// Bytes that all uploads under way may hold together.
class UploadBudget {
 public:
  explicit UploadBudget(uint64_t bytes) : left_(static_cast<int64_t>(bytes)) {}
  bool Take(uint64_t bytes);
  void Give(uint64_t bytes) { left_ += static_cast<int64_t>(bytes); }

 private:
  std::atomic<int64_t> left_;
};

struct UploadFile {
  std::string name;
  uint64_t max_bytes = 0;
};

// Takes the chunks of `files`, in this order, each file once. Memory is that of what has arrived, not of what was
// announced. Thread-safety: none.
class UploadAssembler {
 public:
  UploadAssembler(std::vector<UploadFile> files, UploadBudget* budget);
  ~UploadAssembler();
  UploadAssembler(const UploadAssembler&) = delete;
  UploadAssembler& operator=(const UploadAssembler&) = delete;

  // INVALID_ARGUMENT: another file than expected, a gap, a repetition, a length that differs from the announced one or
  // is above the bound. DATA_LOSS: the checksum is wrong. RESOURCE_EXHAUSTED: the budget is used up by other uploads.
  absl::Status Add(const v1::FileChunk& chunk);
  // The files' bytes in the given order. INVALID_ARGUMENT when something is missing.
  absl::StatusOr<std::vector<std::string>> Finish();

 private:
  const std::vector<UploadFile> expected_;
  UploadBudget* const budget_;
  std::vector<std::string> bytes_;
  uint64_t total_ = 0;  // of the file that arrives
  bool open_ = false;   // a file has begun and is not complete
  uint64_t taken_ = 0;  // of the budget
};

}  // namespace haarflow
