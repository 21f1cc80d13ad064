// The LIME container: records of a 144-byte header, a payload, and zeros up to a multiple of 8 bytes.
//
//   0    magic 0x456789AB     4    version 1      6  0x80 message begin, 0x40 message end     7  0
//   8    payload length u64   16   type, ASCII, NUL padded                                   all big-endian
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/io/byte_source.h"

namespace haarflow {

constexpr uint64_t kLimeHeaderBytes = 144;
constexpr size_t kMaxLimeRecords = 4096;

struct LimeRecord {
  std::string type;
  uint64_t offset = 0;  // of the payload
  uint64_t bytes = 0;
};

// True where `source` begins with the magic number.
bool IsLime(const ByteSource& source);

// All records, their payloads within the file. Writers disagree about message flags and reserved bits, and some leave
// out the padding after the last record: none of that matters here. DATA_LOSS for anything else, naming the byte; for
// more than kMaxLimeRecords.
absl::StatusOr<std::vector<LimeRecord>> ReadLimeRecords(const ByteSource& source);

std::string LimeHeader(const std::string& type, uint64_t bytes, bool begins_message, bool ends_message);
// The zeros after a payload.
std::string LimePadding(uint64_t bytes);

}  // namespace haarflow
