#include "core/io/lime.h"

#include <array>

#include "core/base/status.h"

namespace haarflow {
namespace {

constexpr uint32_t kMagic = 0x456789AB;
constexpr size_t kTypeOffset = 16;
constexpr size_t kMaxTypeBytes = 127;

uint64_t GetBig(const char* bytes, int size) {
  uint64_t value = 0;
  for (int i = 0; i < size; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

void PutBig(uint64_t value, int size, char* out) {
  for (int i = 0; i < size; ++i) out[i] = static_cast<char>(value >> (8 * (size - 1 - i)));
}

uint64_t PaddingBytes(uint64_t bytes) { return (8 - bytes % 8) % 8; }

}  // namespace

bool IsLime(const ByteSource& source) {
  std::array<char, 4> magic{};
  return source.size() >= kLimeHeaderBytes && source.Read(0, magic.size(), magic.data()).ok() &&
         GetBig(magic.data(), 4) == kMagic;
}

absl::StatusOr<std::vector<LimeRecord>> ReadLimeRecords(const ByteSource& source) {
  std::vector<LimeRecord> records;
  uint64_t at = 0;
  while (at < source.size()) {
    const auto bad = [&](const std::string& what) {
      return absl::DataLossError(absl::StrCat("LIME record ", records.size(), " at byte ", at, " ", what));
    };
    if (records.size() == kMaxLimeRecords) return bad("is one too many");
    if (source.size() - at < kLimeHeaderBytes) return bad("is cut");
    std::array<char, kLimeHeaderBytes> header;
    RETURN_IF_ERROR(source.Read(at, header.size(), header.data()));
    if (GetBig(header.data(), 4) != kMagic) return bad("does not begin with 456789ab");
    if (const uint64_t version = GetBig(header.data() + 4, 2); version != 1) {
      return bad(absl::StrCat("has version ", version, ", not 1"));
    }
    LimeRecord record;
    record.bytes = GetBig(header.data() + 8, 8);
    record.offset = at + kLimeHeaderBytes;
    const std::string type(header.data() + kTypeOffset, header.size() - kTypeOffset);
    record.type = type.substr(0, type.find('\0'));
    if (record.bytes > source.size() - record.offset) {
      return bad(
          absl::StrCat("(", record.type.substr(0, 40), ") claims ", record.bytes, " bytes, more than there are"));
    }
    const uint64_t end = record.offset + record.bytes;
    at = source.size() - end < PaddingBytes(record.bytes) ? source.size() : end + PaddingBytes(record.bytes);
    records.push_back(std::move(record));
  }
  return records;
}

std::string LimeHeader(const std::string& type, uint64_t bytes, bool begins_message, bool ends_message) {
  std::string header(kLimeHeaderBytes, '\0');
  PutBig(kMagic, 4, header.data());
  PutBig(1, 2, header.data() + 4);
  header[6] = static_cast<char>((begins_message ? 0x80 : 0) | (ends_message ? 0x40 : 0));
  PutBig(bytes, 8, header.data() + 8);
  header.replace(kTypeOffset, std::min(type.size(), kMaxTypeBytes), type, 0, kMaxTypeBytes);
  return header;
}

std::string LimePadding(uint64_t bytes) { return std::string(PaddingBytes(bytes), '\0'); }

}  // namespace haarflow
