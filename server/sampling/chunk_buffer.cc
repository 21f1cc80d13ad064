#include "server/sampling/chunk_buffer.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "core/base/digest.h"
#include "server/sampling/batching.h"

namespace haarflow {
namespace {

static_assert(std::endian::native == std::endian::little, "payloads are little-endian");

constexpr int64_t kMaxWaitingSplitBytes = int64_t{16} << 20;

int64_t CapacityRows(const RowFormat& format, int64_t max_chunk_bytes) {
  const int64_t row = format.row_bytes();
  if (row <= max_chunk_bytes) return max_chunk_bytes / row;
  return std::clamp<int64_t>(kMaxWaitingSplitBytes / row, 1, kTile);
}

void AppendField(const double* field, const RowFormat& format, std::string* payload) {
  const size_t begin = payload->size();
  const size_t bytes = static_cast<size_t>(format.field_bytes());
  if (format.precision != v1::FIELD_PRECISION_FLOAT32) {
    payload->append(reinterpret_cast<const char*>(field), bytes);
    return;
  }
  payload->resize(begin + bytes);
  char* out = payload->data() + begin;
  for (int64_t i = 0; i < format.field_size; ++i, out += sizeof(float)) {
    const float rounded = static_cast<float>(field[i]);
    std::memcpy(out, &rounded, sizeof(float));
  }
}

}  // namespace

ChunkBuffer::ChunkBuffer(const RowFormat& format, int64_t max_chunk_bytes)
    : format_(format), max_chunk_bytes_(max_chunk_bytes), capacity_rows_(CapacityRows(format, max_chunk_bytes)) {}

void ChunkBuffer::Append(const Row& row) {
  if (segments_.empty() || split()) segments_.emplace_back();
  Segment& segment = segments_.back();
  v1::SampleChunk& chunk = segment.chunk;
  chunk.add_index(row.index);
  if (row.multiplicity > 0) chunk.add_multiplicity(row.multiplicity);
  chunk.add_log_weight(row.log_weight);
  chunk.add_log_q(row.log_q);
  chunk.add_action(row.action);
  for (size_t k = 0; k < row.observables.size(); ++k) {
    if (chunk.observables_size() <= static_cast<int>(k)) chunk.add_observables();
    chunk.mutable_observables(static_cast<int>(k))->add_value(row.observables[k]);
  }
  if (!format_.omit_fields) AppendField(row.field, format_, chunk.mutable_payload());
  ++segment.rows;
  ++rows_;
}

void ChunkBuffer::SetAfter(const Scan& after) {
  if (!segments_.empty()) segments_.back().after = after;
}

void ChunkBuffer::Absorb(ChunkBuffer* other) {
  if (segments_.empty() || split()) {
    for (Segment& segment : other->segments_) segments_.push_back(std::move(segment));
  } else if (!other->segments_.empty()) {
    Segment& from = other->segments_.front();
    Segment& to = segments_.back();
    to.chunk.mutable_payload()->append(from.chunk.payload());
    from.chunk.clear_payload();
    for (int k = 0; k < from.chunk.observables_size(); ++k) {
      to.chunk.mutable_observables(k)->MergeFrom(from.chunk.observables(k));
    }
    from.chunk.clear_observables();
    to.chunk.MergeFrom(from.chunk);
    to.after = std::move(from.after);
    to.rows += from.rows;
  }
  rows_ += other->rows_;
  other->Clear();
}

const Scan* ChunkBuffer::Take(v1::SampleChunk* chunk) {
  Segment& segment = segments_.front();
  const int64_t total = static_cast<int64_t>(segment.chunk.payload().size());
  const bool last = total - segment.sent_bytes <= max_chunk_bytes_;
  if (segment.sent_bytes == 0 && last) {
    *chunk = std::move(segment.chunk);
  } else {
    std::string payload = std::move(*segment.chunk.mutable_payload());
    const int64_t part = std::min(total - segment.sent_bytes, max_chunk_bytes_);
    segment.chunk.clear_payload();
    *chunk = segment.chunk;  // the columns, in every part
    chunk->set_payload(payload.data() + segment.sent_bytes, static_cast<size_t>(part));
    chunk->set_payload_offset(static_cast<uint64_t>(segment.sent_bytes));
    segment.sent_bytes += part;
    segment.chunk.set_payload(std::move(payload));
  }
  chunk->set_payload_total(static_cast<uint64_t>(total));
  chunk->set_crc32c(Crc32c(chunk->payload().data(), chunk->payload().size()));
  if (!last) return nullptr;
  rows_ -= segment.rows;
  taken_ = std::move(segment.after);
  segments_.pop_front();
  return &*taken_;
}

void ChunkBuffer::Clear() {
  segments_.clear();
  rows_ = 0;
}

}  // namespace haarflow
