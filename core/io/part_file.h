// FILE.part: what has been received of a run, as it came. Append-only; survives a kill at any byte.
//
//   "HFPART1\n"                                  8 bytes
//   record*: length  u32 little-endian           of the message, at most 64 MiB
//            crc32c  u32 little-endian           of the length's 4 bytes and the message
//            message                             a serialised v1::SampleResponse
//
// The messages are those of one chain: header, chunks, and again header, chunks for every resumption, and the summary.
// The first record that is cut or does not match its CRC ends the journal: what follows it is ignored, and overwritten
// by a resumption.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/io/sample_rows.h"
#include "haarflow/v1/sampler.pb.h"

namespace haarflow {

constexpr uint64_t kMaxPartRecordBytes = 64 << 20;

// What a journal holds.
struct PartContents {
  bool has_header = false;
  v1::SampleHeader header;  // the first
  std::string numerics_class;
  uint64_t steps = 0;           // complete ones
  uint64_t configurations = 0;  // neighbours of one index joined
  v1::ChainStatistics statistics;
  std::string resume_token;  // continues after `steps`; empty: begin again
  bool complete = false;     // the last record is a summary that says so
  uint64_t valid_bytes = 0;  // up to the end of the last good record
  bool torn = false;         // bytes after that were ignored
};

// What an assembler has seen; of a journal, without valid_bytes and torn.
PartContents ContentsOf(const SampleAssembler& assembler);

// Reads a journal to its end, every row to `visit` (with its field). NOT_FOUND; DATA_LOSS for what is no journal, or
// one whose intact records contradict each other; what `visit` returns.
absl::StatusOr<PartContents> ReadPart(const std::string& path, const RowVisitor& visit = nullptr);

// Appends to a journal. One process at a time (flock; FAILED_PRECONDITION otherwise), one thread at a time.
class PartWriter {
 public:
  // A new journal; ALREADY_EXISTS unless `overwrite`.
  static absl::StatusOr<std::unique_ptr<PartWriter>> Create(const std::string& path, bool overwrite);
  // Continues a journal: a torn tail is cut off. `run` says what it holds.
  static absl::StatusOr<std::unique_ptr<PartWriter>> Resume(const std::string& path, PartContents* run);
  ~PartWriter();
  PartWriter(const PartWriter&) = delete;
  PartWriter& operator=(const PartWriter&) = delete;

  // RESOURCE_EXHAUSTED on a full disk, with the path; then nothing of the message stays and the journal is as good as
  // before.
  absl::Status Append(const v1::SampleResponse& message);
  // fsync.
  absl::Status Sync();
  const std::string& path() const { return path_; }

 private:
  PartWriter(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  static absl::StatusOr<std::unique_ptr<PartWriter>> Open(const std::string& path, int flags);
  absl::Status WriteAll(const std::string& bytes);

  std::string path_;
  int fd_;
  uint64_t size_ = 0;  // of the good part
  std::string buffer_;
};

}  // namespace haarflow
