#include "server/jobs/upload.h"

#include <chrono>

#include "absl/strings/escaping.h"
#include "core/base/digest.h"
#include "core/base/status.h"
#include "server/sampling/retry.h"

namespace haarflow {
namespace {
std::string Named(const std::string& file) { return absl::CHexEscape(file.substr(0, 64)); }
}  // namespace

bool UploadBudget::Take(uint64_t bytes) {
  const auto wanted = static_cast<int64_t>(bytes);
  if (left_.fetch_sub(wanted) >= wanted) return true;
  left_ += wanted;
  return false;
}

UploadAssembler::UploadAssembler(std::vector<UploadFile> files, UploadBudget* budget)
    : expected_(std::move(files)), budget_(budget) {}
UploadAssembler::~UploadAssembler() { budget_->Give(taken_); }

absl::Status UploadAssembler::Add(const v1::FileChunk& chunk) {
  const size_t number = open_ ? bytes_.size() - 1 : bytes_.size();
  if (number >= expected_.size()) {
    return absl::InvalidArgumentError(absl::StrCat("file ", Named(chunk.file()), " comes after the last one expected"));
  }
  const UploadFile& file = expected_[number];
  const std::string what = absl::StrCat("file ", file.name);
  if (chunk.file() != file.name) {
    return absl::InvalidArgumentError(
        absl::StrCat("a chunk of ", Named(chunk.file()), " came where ", what, " was due"));
  }
  if (chunk.total() > file.max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " has ", chunk.total(), " bytes, more than the limit of ", file.max_bytes));
  }
  const uint64_t have = open_ ? bytes_.back().size() : 0;
  const uint64_t total = open_ ? total_ : chunk.total();
  const uint64_t size = chunk.payload().size();
  if (chunk.offset() != have || chunk.total() != total || size > kMaxUploadChunk || size > total - have ||
      (size == 0 && total != 0)) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": a chunk of ", size, " bytes at ", chunk.offset(), " of ",
                                                   chunk.total(), " does not follow ", have, " of ", total));
  }
  if (Crc32c(chunk.payload().data(), size) != chunk.crc32c()) {
    return absl::DataLossError(
        absl::StrCat(what, ": the chunk at ", chunk.offset(), " has another checksum than it says"));
  }
  if (!budget_->Take(size)) {
    return WithRetryInfo(
        absl::ResourceExhaustedError(absl::StrCat(what, ": other uploads use all memory for uploads; try again")),
        std::chrono::seconds(5));
  }
  taken_ += size;
  if (!open_) bytes_.emplace_back();
  bytes_.back() += chunk.payload();
  total_ = total;
  open_ = bytes_.back().size() < total;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> UploadAssembler::Finish() {
  if (!open_ && bytes_.size() == expected_.size()) return std::move(bytes_);
  const UploadFile& file = expected_[open_ ? bytes_.size() - 1 : bytes_.size()];
  return absl::InvalidArgumentError(
      absl::StrCat("the upload ends in the middle: file ", file.name, open_ ? " is not complete" : " is missing"));
}

}  // namespace haarflow
