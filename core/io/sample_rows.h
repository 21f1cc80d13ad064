// What a Sample stream means: messages checked one after the other and turned into rows, one per configuration.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "haarflow/v1/sampler.pb.h"

namespace haarflow {

// One configuration and what belongs to it. The spans are valid during the visit only.
struct SampleRow {
  uint64_t index = 0;         // of the proposal
  uint64_t multiplicity = 1;  // chain steps (METROPOLIS); 1 for REWEIGHTED
  double log_weight = 0;
  double log_q = 0;
  double action = 0;
  absl::Span<const double> observables;  // in the header's order
  absl::Span<const char> field;  // configuration_bytes of header.shape; empty when fields are omitted or not kept
};
using RowVisitor = std::function<absl::Status(const SampleRow&)>;
// Hands out the rows of a run from the first to the last, as often as it is called.
using RowSource = std::function<absl::Status(const RowVisitor&)>;
using MessageVisitor = std::function<absl::Status(const v1::SampleResponse&)>;

// Checks a stream (or the parts of a resumed one, joined: header, chunks, header, chunks, ..., summary) and hands out
// its rows.
//
// Everything is checked: CRC-32C of payloads, column lengths, offsets and totals, that indices ascend, that later parts
// continue the same chain. DATA_LOSS names the first contradiction; after one the assembler is not to be used. A later
// header drops a configuration that the cut left unfinished: its bytes come again. One thread at a time.
class SampleAssembler {
 public:
  // Without `keep_fields`, payloads are checked but not kept: rows come with empty fields, and memory stays small.
  // `foreign`: fields of somebody else, too, whose header names no model (IsForeign).
  explicit SampleAssembler(bool keep_fields, bool foreign = false) : keep_fields_(keep_fields), foreign_(foreign) {}

  absl::Status Add(const v1::SampleResponse& message, const RowVisitor& visit = nullptr);

  bool has_header() const { return has_header_; }
  // The first header.
  const v1::SampleHeader& header() const { return header_; }
  // Of all parts; more than one joined by "; ".
  const std::string& numerics_class() const { return numerics_class_; }
  // METROPOLIS: the sum of multiplicities. REWEIGHTED: proposals looked at, those without a valid weight included (they
  // have no row).
  uint64_t steps() const { return steps_; }
  // Rows after joining neighbours of one index (a state that a cut split appears in both parts).
  uint64_t configurations() const { return configurations_; }
  // True between the first and the last chunk of a configuration that is larger than a chunk.
  bool configuration_open() const { return open_bytes_ > 0; }
  // The latest; empty when none came yet.
  const std::string& resume_token() const { return resume_token_; }
  const v1::ChainStatistics& statistics() const { return statistics_; }
  // A summary with `complete` was the last message.
  bool complete() const { return complete_; }

 private:
  absl::Status AddHeader(const v1::SampleHeader& header);
  absl::Status AddChunk(const v1::SampleChunk& chunk, const RowVisitor& visit);
  absl::Status CheckColumns(const v1::SampleChunk& chunk) const;
  absl::Status CheckPayload(const v1::SampleChunk& chunk) const;
  absl::Status AddSummary(const v1::SampleSummary& summary);
  absl::Status Visit(const v1::SampleChunk& chunk, int i, absl::Span<const char> field, const RowVisitor& visit);

  const bool keep_fields_;
  const bool foreign_;
  bool has_header_ = false;
  bool summary_seen_ = false;  // nothing but a header may follow
  bool complete_ = false;
  v1::SampleHeader header_;
  std::string numerics_class_;
  uint64_t steps_ = 0;
  uint64_t configurations_ = 0;
  bool has_proposals_before_ = false;
  uint64_t proposals_before_ = 0;  // REWEIGHTED: looked at before the first header
  bool has_last_index_ = false;
  uint64_t last_index_ = 0;
  bool part_begins_ = false;  // the next row is the first of its part
  uint64_t open_bytes_ = 0;   // bytes of the unfinished configuration seen so far
  uint64_t open_index_ = 0;
  std::string open_field_;
  std::string resume_token_;
  v1::ChainStatistics statistics_;
  std::vector<double> values_;
};

// Rows gathered for writing. Neighbours of one index are joined: multiplicities add up, the field is kept once.
class RowBlock {
 public:
  RowBlock(size_t observables, size_t configuration_bytes);
  void Add(const SampleRow& row);
  size_t size() const { return index.size(); }
  void DropFirst(size_t rows);

  std::vector<uint64_t> index;
  std::vector<uint64_t> multiplicity;
  std::vector<double> log_weight;
  std::vector<double> log_q;
  std::vector<double> action;
  std::vector<std::vector<double>> observables;  // one column each
  std::vector<char> fields;

 private:
  size_t configuration_bytes_;
};

// Numbers of a field as the header's precision has them, little-endian, and back.
std::string FieldBytes(const double* numbers, int64_t count, const v1::SampleHeader& header);
void ReadNumbers(absl::Span<const char> field, const v1::SampleHeader& header, double* numbers);

// Bytes of one number of a field.
size_t ScalarBytes(const v1::SampleHeader& header);
// Fields that no model of ours drew, read from a file of somebody else: no digests, no seed; the target says group and
// lattice but no coupling; log_weight, log_q and action of their rows are NaN.
bool IsForeign(const v1::SampleHeader& header);
// FLOAT64 when unspecified, METROPOLIS when unspecified.
bool IsMetropolis(const v1::SampleHeader& header);

}  // namespace haarflow
