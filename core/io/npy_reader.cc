// Reading npy files of ours back.
#include <algorithm>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "core/base/digest.h"
#include "core/base/file.h"
#include "core/base/status.h"
#include "core/io/attribute_json.h"
#include "core/io/npy_file.h"

namespace haarflow {
namespace {

constexpr uint64_t kMaxNpyHeader = 1 << 16;
constexpr uint64_t kChunkBytes = 1 << 20;

std::string WithoutBlanks(std::string text) {
  std::erase_if(text, [](char c) { return c == ' ' || c == '\n' || c == '\t'; });
  return text;
}

// What one npy file says: its rows, and where they begin.
struct Array {
  uint64_t rows = 0;
  uint64_t offset = 0;
};

// The header of an array of `descr` whose rows have `row_shape` and `row_bytes`, as numpy writes it; the rows lie
// within the file.
absl::StatusOr<Array> ReadHeader(const ByteSource& source, const std::string& descr,
                                 const std::vector<uint64_t>& row_shape, uint64_t row_bytes) {
  ASSIGN_OR_RETURN(const std::string start, source.Text(0, 12, 12));
  if (start.compare(0, 6, "\x93NUMPY") != 0) return absl::DataLossError("is no npy file");
  const auto byte = [&](int i) { return uint64_t{static_cast<unsigned char>(start[i])}; };
  if (byte(6) < 1 || byte(6) > 3) return absl::DataLossError(absl::StrCat("has npy version ", byte(6)));
  const bool short_length = byte(6) == 1;
  const uint64_t length = byte(8) | byte(9) << 8 | (short_length ? 0 : byte(10) << 16 | byte(11) << 24);
  Array array;
  array.offset = (short_length ? 10 : 12) + length;
  ASSIGN_OR_RETURN(const std::string text, source.Text(array.offset - length, length, kMaxNpyHeader));
  const std::string head = absl::StrCat("{'descr':", WithoutBlanks(descr), ",'fortran_order':False,'shape':(");
  const std::string found = WithoutBlanks(text);
  if (found.compare(0, head.size(), head) != 0) {
    return absl::DataLossError(absl::StrCat("is not an array of the type ", descr, " in C order"));
  }
  const size_t close = found.find(')', head.size());
  const std::vector<std::string> extents =
      absl::StrSplit(found.substr(head.size(), close - head.size()), ',', absl::SkipEmpty());
  bool same =
      close != std::string::npos && extents.size() == row_shape.size() + 1 && absl::SimpleAtoi(extents[0], &array.rows);
  for (size_t i = 0; same && i < row_shape.size(); ++i) same = extents[i + 1] == absl::StrCat(row_shape[i]);
  if (!same) return absl::DataLossError("does not have the shape of the fields");
  if (array.rows > (source.size() - array.offset) / row_bytes) {
    return absl::DataLossError(absl::StrCat("claims ", array.rows, " rows, more than it has bytes for"));
  }
  return array;
}

// Chunks made of rows of both files.
class Replay {
 public:
  Replay(const v1::SampleHeader& header, const ByteSource& fields, const ByteSource& table)
      : header_(header), fields_(fields), table_(table) {
    for (const std::string& name : header.observables()) columns_ += name != "action" ? 1 : 0;
  }
  absl::Status Open() {
    const std::vector<uint64_t> shape = FileShape(header_);
    ASSIGN_OR_RETURN(field_array_, ReadHeader(fields_, NpyFieldDescr(header_), shape, header_.configuration_bytes()));
    ASSIGN_OR_RETURN(table_array_, ReadHeader(table_, NpyTableDescr(header_), {}, 8 * columns_));
    if (field_array_.rows == table_array_.rows) return absl::OkStatus();
    return absl::DataLossError(
        absl::StrCat("has ", field_array_.rows, " fields, its table ", table_array_.rows, " records"));
  }
  uint64_t rows() const { return field_array_.rows; }

  absl::StatusOr<v1::SampleResponse> Rows(uint64_t first, uint64_t rows) {
    v1::SampleResponse message;
    v1::SampleChunk* chunk = message.mutable_chunk();
    const uint64_t record = 8 * columns_;
    ASSIGN_OR_RETURN(const std::string records,
                     table_.Text(table_array_.offset + first * record, rows * record, table_.size()));
    for (int i = 0; i < header_.observables_size(); ++i) chunk->add_observables();
    for (uint64_t i = 0; i < rows; ++i) AddRecord(records.data() + i * record, chunk);
    const uint64_t each = header_.configuration_bytes();
    ASSIGN_OR_RETURN(*chunk->mutable_payload(),
                     fields_.Text(field_array_.offset + first * each, rows * each, fields_.size()));
    sha_.Update(chunk->payload());
    chunk->set_payload_total(chunk->payload().size());
    chunk->set_crc32c(Crc32c(chunk->payload().data(), chunk->payload().size()));
    return message;
  }
  std::string Sha256Hex() { return sha_.Finish().Hex(); }

 private:
  void AddRecord(const char* record, v1::SampleChunk* chunk) const {
    size_t at = 0;
    const auto next = [&](auto value) {
      std::memcpy(&value, record + 8 * at++, sizeof value);
      return value;
    };
    chunk->add_index(next(uint64_t{}));
    const uint64_t multiplicity = next(uint64_t{});
    if (IsMetropolis(header_)) chunk->add_multiplicity(multiplicity);
    chunk->add_log_weight(next(double{}));
    chunk->add_log_q(next(double{}));
    chunk->add_action(next(double{}));
    for (int k = 0; k < header_.observables_size(); ++k) {
      const bool is_action = header_.observables(k) == "action";
      chunk->mutable_observables(k)->add_value(is_action ? *chunk->action().rbegin() : next(double{}));
    }
  }

  const v1::SampleHeader& header_;
  const ByteSource& fields_;
  const ByteSource& table_;
  uint64_t columns_ = 5;
  Array field_array_;
  Array table_array_;
  Sha256 sha_;
};

}  // namespace

absl::Status ReadNpyBytes(const std::string& json, const ByteSource& fields, const ByteSource& table,
                          const MessageVisitor& visit) {
  ASSIGN_OR_RETURN(const Json object, ParseJsonObject(json));
  ASSIGN_OR_RETURN(const StoredRun run, StoredRunOf(object));
  v1::SampleResponse header;
  *header.mutable_header() = run.header;
  SampleAssembler check(/*keep_fields=*/false, /*foreign=*/true);  // before any size in the header is believed
  RETURN_IF_ERROR(check.Add(header));
  if (run.header.configuration_bytes() == 0) return absl::DataLossError("says that it has no fields");
  Replay replay(run.header, fields, table);
  RETURN_IF_ERROR(replay.Open());
  RETURN_IF_ERROR(visit(header));
  const uint64_t per_chunk = std::clamp<uint64_t>(kChunkBytes / run.header.configuration_bytes(), 1, 1024);
  for (uint64_t first = 0; first < replay.rows(); first += per_chunk) {
    ASSIGN_OR_RETURN(const v1::SampleResponse message, replay.Rows(first, std::min(per_chunk, replay.rows() - first)));
    RETURN_IF_ERROR(visit(message));
  }
  if (replay.Sha256Hex() != run.sha256) {
    return absl::DataLossError("the fields do not have the SHA-256 that the attributes say: they were altered");
  }
  v1::SampleResponse summary;
  *summary.mutable_summary()->mutable_statistics() = run.statistics;
  summary.mutable_summary()->set_resume_token(run.resume_token);
  return visit(summary);
}

absl::Status ReadNpy(const std::string& path, const MessageVisitor& visit) {
  const std::vector<std::string> names = NpyFilesOf(path);
  ASSIGN_OR_RETURN(const auto fields, FileSource::Open(names[0]));
  ASSIGN_OR_RETURN(const auto table, FileSource::Open(names[1]));
  ASSIGN_OR_RETURN(const std::string json, ReadFile(names[2], kMaxJsonBytes));
  return Annotate(ReadNpyBytes(json, *fields, *table, visit), path);
}

}  // namespace haarflow
