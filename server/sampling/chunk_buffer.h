// Configurations that wait to be sent: columns and little-endian payload, cut into chunks.
//
// Small configurations collect in one segment, which leaves as one chunk. A configuration larger than a chunk is a
// segment of its own and leaves in parts. Each segment remembers the scan after its last configuration: its resume
// token.
//
// Thread-safety: none; its owner locks. Ownership: owns its bytes.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "absl/types/span.h"
#include "haarflow/v1/sampler.pb.h"
#include "server/sampling/scan.h"

namespace haarflow {

// How one configuration is written.
struct RowFormat {
  int64_t field_size = 0;  // numbers of one configuration
  v1::FieldPrecision precision = v1::FIELD_PRECISION_FLOAT64;
  bool omit_fields = false;
  int observables = 0;

  int64_t field_bytes() const {
    return omit_fields ? 0 : field_size * (precision == v1::FIELD_PRECISION_FLOAT32 ? 4 : 8);
  }
  // Columns included: index and multiplicity (varints, at most 10 bytes), log w, log q, S, observables.
  int64_t row_bytes() const { return field_bytes() + 2 * 10 + 3 * 8 + observables * 8; }
};

struct Row {
  uint64_t index = 0;
  uint64_t multiplicity = 0;  // 0: none (REWEIGHTED)
  double log_weight = 0;
  double log_q = 0;
  double action = 0;
  const double* field = nullptr;
  absl::Span<const double> observables;
};

class ChunkBuffer {
 public:
  ChunkBuffer(const RowFormat& format, int64_t max_chunk_bytes);

  // Rows that may wait: one chunk's worth; of configurations larger than a chunk as many as one batch may close, within
  // 16 MiB.
  int64_t capacity_rows() const { return capacity_rows_; }
  int64_t rows() const { return rows_; }
  int64_t room() const { return capacity_rows_ - rows_; }
  bool empty() const { return segments_.empty(); }

  // Appends a configuration, after which the scan is `after` (set once for several rows with SetAfter, or at each).
  void Append(const Row& row);
  // The scan after the last row appended.
  void SetAfter(const Scan& after);
  // Takes over everything that `other` (of the same format) holds.
  void Absorb(ChunkBuffer* other);

  // Moves the next chunk into `chunk` (without token and statistics). Returns the scan of the segment if the chunk
  // completes it, else null; valid until the next call. Must not be empty.
  const Scan* Take(v1::SampleChunk* chunk);
  void Clear();

 private:
  struct Segment {
    v1::SampleChunk chunk;
    std::optional<Scan> after;
    int64_t rows = 0;
    int64_t sent_bytes = 0;
  };
  bool split() const { return format_.row_bytes() > max_chunk_bytes_; }

  RowFormat format_;
  int64_t max_chunk_bytes_;
  int64_t capacity_rows_;
  int64_t rows_ = 0;
  std::deque<Segment> segments_;
  std::optional<Scan> taken_;
};

}  // namespace haarflow
