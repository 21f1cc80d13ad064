#include "core/io/sample_rows.h"

#include <algorithm>
#include <cstring>

#include "core/action/target.h"
#include "core/base/digest.h"
#include "core/base/noise.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

constexpr uint64_t kMaxConfigurationBytes = uint64_t{1} << 34;
constexpr uint32_t kLastConvention = 3;

absl::Status Corrupt(const std::string& what) { return absl::DataLossError(absl::StrCat("sample stream: ", what)); }
absl::Status Corrupted(const absl::Status& status) {
  return status.ok() ? status : Corrupt(std::string(status.message()));
}

// Fields follow: their shape is that of the target's.
absl::Status CheckShape(const v1::SampleHeader& header) {
  RETURN_IF_ERROR(Corrupted(ValidateTarget(header.target())));
  if (header.convention() != FieldConvention(header.target())) {
    return Corrupt(absl::StrCat("field convention ", header.convention(), " is not that of the target"));
  }
  const std::vector<int64_t> shape = FieldShape(header.target());
  if (!std::equal(shape.begin(), shape.end(), header.shape().begin(), header.shape().end())) {
    return Corrupt("shape is not that of the target's fields");
  }
  const uint64_t bytes = ScalarBytes(header) * static_cast<uint64_t>(FieldSize(header.target()));
  if (bytes > kMaxConfigurationBytes) return Corrupt("a configuration would have more than 16 GiB");
  if (bytes != header.configuration_bytes()) {
    return Corrupt(absl::StrCat("configuration_bytes is ", header.configuration_bytes(), ", its shape needs ", bytes));
  }
  return absl::OkStatus();
}

absl::Status CheckHeader(const v1::SampleHeader& header, bool foreign) {
  if (header.convention() < 1 || header.convention() > kLastConvention) {
    return absl::FailedPreconditionError(absl::StrCat("the stream uses field convention ", header.convention(),
                                                      "; this program knows 1 to ", kLastConvention, ": update it"));
  }
  if (foreign && IsForeign(header)) return CheckShape(header);
  if (header.model_digest().size() != Digest::kBytes) return Corrupt("model_digest is not 32 bytes");
  if (header.target_digest().size() != Digest::kBytes) return Corrupt("target_digest is not 32 bytes");
  if (header.mode() != v1::SAMPLE_MODE_METROPOLIS && header.mode() != v1::SAMPLE_MODE_REWEIGHTED) {
    return Corrupt(absl::StrCat("unknown mode ", static_cast<int>(header.mode())));
  }
  return header.configuration_bytes() == 0 ? absl::OkStatus() : CheckShape(header);
}

// What must not change from one part of a chain to the next.
absl::Status CheckContinues(const v1::SampleHeader& first, const v1::SampleHeader& next) {
  const auto changed = [](const char* what) {
    return Corrupt(absl::StrCat("the resumed part has another ", what, " than the first: it is not the same chain"));
  };
  if (next.model_digest() != first.model_digest()) return changed("model digest");
  if (next.target_digest() != first.target_digest()) return changed("target");
  if (next.seed() != first.seed()) return changed("seed");
  if (next.mode() != first.mode()) return changed("mode");
  if (next.configuration_bytes() != first.configuration_bytes() || next.precision() != first.precision()) {
    return changed("precision");
  }
  if (!std::equal(next.observables().begin(), next.observables().end(), first.observables().begin(),
                  first.observables().end())) {
    return changed("list of observables");
  }
  return absl::OkStatus();
}

}  // namespace

size_t ScalarBytes(const v1::SampleHeader& header) { return header.precision() == v1::FIELD_PRECISION_FLOAT32 ? 4 : 8; }
std::string FieldBytes(const double* numbers, int64_t count, const v1::SampleHeader& header) {
  std::string bytes(static_cast<size_t>(count) * ScalarBytes(header), '\0');
  if (ScalarBytes(header) == 8) {
    std::memcpy(bytes.data(), numbers, bytes.size());
  } else {
    const std::vector<float> rounded(numbers, numbers + count);
    std::memcpy(bytes.data(), rounded.data(), bytes.size());
  }
  return bytes;
}

void ReadNumbers(absl::Span<const char> field, const v1::SampleHeader& header, double* numbers) {
  if (ScalarBytes(header) == 8) {
    std::memcpy(numbers, field.data(), field.size());
    return;
  }
  std::vector<float> rounded(field.size() / sizeof(float));
  std::memcpy(rounded.data(), field.data(), field.size());
  std::copy(rounded.begin(), rounded.end(), numbers);
}

bool IsForeign(const v1::SampleHeader& header) {
  return header.model_digest().empty() && header.target_digest().empty();
}
bool IsMetropolis(const v1::SampleHeader& header) { return header.mode() != v1::SAMPLE_MODE_REWEIGHTED; }

absl::Status SampleAssembler::Add(const v1::SampleResponse& message, const RowVisitor& visit) {
  if (message.part_case() == v1::SampleResponse::kHeader) return AddHeader(message.header());
  if (!has_header_) return Corrupt("does not begin with a header");
  if (summary_seen_) return Corrupt("goes on after its summary");
  switch (message.part_case()) {
    case v1::SampleResponse::kChunk:
      return AddChunk(message.chunk(), visit);
    case v1::SampleResponse::kSummary:
      return AddSummary(message.summary());
    default:
      return Corrupt("holds a message of an unknown kind");
  }
}

absl::Status SampleAssembler::AddHeader(const v1::SampleHeader& header) {
  RETURN_IF_ERROR(CheckHeader(header, foreign_));
  if (!has_header_) {
    header_ = header;
    numerics_class_ = header.numerics_class();
    has_header_ = true;
  } else {
    RETURN_IF_ERROR(CheckContinues(header_, header));
    if (numerics_class_.find(header.numerics_class()) == std::string::npos) {
      numerics_class_ += "; " + header.numerics_class();
    }
  }
  open_bytes_ = 0;
  open_field_.clear();
  part_begins_ = true;
  summary_seen_ = false;
  complete_ = false;
  return absl::OkStatus();
}

absl::Status SampleAssembler::CheckColumns(const v1::SampleChunk& chunk) const {
  const int n = chunk.index_size();
  if (chunk.log_weight_size() != n || chunk.log_q_size() != n || chunk.action_size() != n ||
      chunk.multiplicity_size() != (IsMetropolis(header_) ? n : 0)) {
    return Corrupt("columns of a chunk differ in length");
  }
  if (chunk.observables_size() != header_.observables_size()) {
    return Corrupt(absl::StrCat("a chunk has ", chunk.observables_size(), " observables, the header names ",
                                header_.observables_size()));
  }
  for (const v1::ObservableColumn& column : chunk.observables()) {
    if (column.value_size() != n) return Corrupt("columns of a chunk differ in length");
  }
  return absl::OkStatus();
}

absl::Status SampleAssembler::CheckPayload(const v1::SampleChunk& chunk) const {
  const std::string& payload = chunk.payload();
  if (Crc32c(payload.data(), payload.size()) != chunk.crc32c()) {
    return Corrupt("CRC-32C of a chunk's payload does not match: bytes were altered on the way");
  }
  const uint64_t n = chunk.index_size();
  const uint64_t each = header_.configuration_bytes();
  const bool whole = payload.size() == chunk.payload_total();
  if (chunk.payload_total() / std::max<uint64_t>(each, 1) != n || chunk.payload_total() != n * each) {
    return Corrupt(absl::StrCat("a chunk of ", n, " configurations claims ", chunk.payload_total(), " bytes"));
  }
  if (!whole && n != 1) return Corrupt("a split payload belongs to more than one configuration");
  if (chunk.payload_offset() != open_bytes_) {
    return Corrupt(absl::StrCat("a chunk begins at byte ", chunk.payload_offset(), ", expected ", open_bytes_));
  }
  if (payload.size() > chunk.payload_total() - chunk.payload_offset() || (!whole && payload.empty())) {
    return Corrupt("a chunk's payload does not fit its total");
  }
  if (open_bytes_ > 0 && chunk.index(0) != open_index_) {
    return Corrupt("the parts of a configuration disagree about what it is");
  }
  return absl::OkStatus();
}

absl::Status SampleAssembler::AddChunk(const v1::SampleChunk& chunk, const RowVisitor& visit) {
  RETURN_IF_ERROR(CheckColumns(chunk));
  if (header_.configuration_bytes() > 0) {
    RETURN_IF_ERROR(CheckPayload(chunk));
  } else if (!chunk.payload().empty() || chunk.payload_total() != 0) {
    return Corrupt("a payload although fields were omitted");
  }
  const std::string& payload = chunk.payload();
  const size_t each = header_.configuration_bytes();
  const bool split = payload.size() != chunk.payload_total();
  if (split) {
    open_index_ = chunk.index(0);
    open_bytes_ += payload.size();
    if (keep_fields_) open_field_ += payload;
    if (open_bytes_ == chunk.payload_total()) {
      open_bytes_ = 0;
      RETURN_IF_ERROR(Visit(chunk, 0, open_field_, visit));
      open_field_.clear();
    }
  } else {
    for (int i = 0; i < chunk.index_size(); ++i) {
      const auto field = keep_fields_ ? absl::MakeConstSpan(payload.data() + i * each, each) : absl::Span<const char>();
      RETURN_IF_ERROR(Visit(chunk, i, field, visit));
    }
  }
  if (!chunk.resume_token().empty()) resume_token_ = chunk.resume_token();
  if (chunk.has_statistics()) {
    statistics_ = chunk.statistics();
    if (!IsMetropolis(header_) && !has_proposals_before_ && open_bytes_ == 0 && statistics_.proposals() >= steps_) {
      proposals_before_ = statistics_.proposals() - steps_;
      has_proposals_before_ = true;
    }
  }
  return absl::OkStatus();
}

absl::Status SampleAssembler::Visit(const v1::SampleChunk& chunk, int i, absl::Span<const char> field,
                                    const RowVisitor& visit) {
  SampleRow row;
  row.index = chunk.index(i);
  row.multiplicity = IsMetropolis(header_) ? chunk.multiplicity(i) : 1;
  row.log_weight = chunk.log_weight(i);
  row.log_q = chunk.log_q(i);
  row.action = chunk.action(i);
  if (row.index > kMaxSampleIndex) return Corrupt(absl::StrCat("index ", row.index, " is out of range"));
  if (row.multiplicity == 0) return Corrupt(absl::StrCat("configuration ", row.index, " has multiplicity 0"));
  const bool same = has_last_index_ && row.index == last_index_;
  // A chain that was cut delivers its open state in both parts.
  const bool may_repeat = part_begins_ && IsMetropolis(header_);
  if (has_last_index_ && (row.index < last_index_ || (same && !may_repeat))) {
    return Corrupt(absl::StrCat("index ", row.index, " after ", last_index_));
  }
  if (IsMetropolis(header_)) {
    steps_ += row.multiplicity;
  } else {
    if (row.index < header_.next_index()) return Corrupt(absl::StrCat("index ", row.index, " before the first"));
    steps_ = row.index - header_.next_index() + 1;
  }
  if (!same) ++configurations_;
  has_last_index_ = true;
  last_index_ = row.index;
  part_begins_ = false;
  if (!visit) return absl::OkStatus();
  values_.clear();
  for (const v1::ObservableColumn& column : chunk.observables()) values_.push_back(column.value(i));
  row.observables = values_;
  row.field = field;
  return visit(row);
}

absl::Status SampleAssembler::AddSummary(const v1::SampleSummary& summary) {
  if (open_bytes_ > 0) return Corrupt("ends inside a configuration");
  summary_seen_ = true;
  complete_ = summary.complete();
  statistics_ = summary.statistics();
  // REWEIGHTED: the last proposals may have no valid weight, hence no row.
  if (!IsMetropolis(header_) && has_proposals_before_ && statistics_.proposals() >= proposals_before_ + steps_) {
    steps_ = statistics_.proposals() - proposals_before_;
  }
  if (!summary.resume_token().empty()) resume_token_ = summary.resume_token();
  return absl::OkStatus();
}

RowBlock::RowBlock(size_t observable_count, size_t configuration_bytes)
    : observables(observable_count), configuration_bytes_(configuration_bytes) {}

void RowBlock::Add(const SampleRow& row) {
  if (!index.empty() && index.back() == row.index) {
    multiplicity.back() += row.multiplicity;
    return;
  }
  index.push_back(row.index);
  multiplicity.push_back(row.multiplicity);
  log_weight.push_back(row.log_weight);
  log_q.push_back(row.log_q);
  action.push_back(row.action);
  for (size_t k = 0; k < observables.size(); ++k) observables[k].push_back(row.observables[k]);
  fields.insert(fields.end(), row.field.begin(), row.field.end());
}

void RowBlock::DropFirst(size_t rows) {
  const auto drop = [rows](auto& column) { column.erase(column.begin(), column.begin() + rows); };
  drop(index);
  drop(multiplicity);
  drop(log_weight);
  drop(log_q);
  drop(action);
  for (auto& column : observables) drop(column);
  fields.erase(fields.begin(), fields.begin() + rows * configuration_bytes_);
}

}  // namespace haarflow
