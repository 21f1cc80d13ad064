// A run compared with the same run drawn again, row by row.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/regenerate.h"
#include "core/exact/metropolis.h"
#include "core/io/part_file.h"

namespace haarflow {

// Rows of a file are added in order; each is compared with the proposal of its name. Within one numerics class all bits
// must agree, else numbers to 1e-9. A METROPOLIS run that is whole is scanned again from its first proposal, so that
// multiplicities and the chain's statistics are compared too; of a REWEIGHTED one no row may be missing. What differs
// first is DATA_LOSS, with its place and both values.
class Verification {
 public:
  // `run` describes the file; `rows`: how many it has. `source` must outlive this.
  Verification(const PartContents& run, ProposalSource* source);

  absl::Status Add(const SampleRow& row);
  // After the last row.
  absl::Status Finish();

  uint64_t proposals() const { return proposals_; }
  // The file holds a whole run.
  bool whole() const { return whole_; }
  bool bit_for_bit() const { return same_class_; }
  // Fields of the file are without third rows of their own.
  bool rebuilt_rows() const { return rebuilt_rows_; }
  // Of numbers that were compared to a tolerance.
  double largest_difference() const { return largest_difference_; }

 private:
  struct Held {
    uint64_t index = 0;
    uint64_t multiplicity = 0;
    double log_weight = 0;
    double log_q = 0;
    double action = 0;
    std::vector<double> observables;
    std::string field;
  };
  absl::Status DrawHeld();
  absl::Status Look(const SampleRow& proposal);
  absl::Status Step(uint64_t index, double log_weight);
  absl::Status Close(const MetropolisChain::Closed& closed);
  absl::Status Compare(const Held& row, const SampleRow& proposal);
  absl::Status CompareNumber(const Held& row, const std::string& name, double in_file, double again);
  absl::Status CompareFields(const Held& row, const SampleRow& proposal);
  bool FieldIsRebuilt(const Held& row, const SampleRow& proposal) const;
  absl::Status CompareStatistics();
  bool scans() const { return whole_ && IsMetropolis(run_.header); }

  const PartContents run_;
  ProposalSource* const source_;
  const bool whole_;
  bool same_class_ = true;
  bool rebuilt_rows_ = false;
  double largest_difference_ = 0;
  uint64_t proposals_ = 0;
  uint64_t next_ = 0;      // proposal, of a whole run
  std::deque<Held> held_;  // rows whose proposals are still to be drawn
  uint64_t held_bytes_ = 0;
  MetropolisChain chain_;
  std::deque<std::pair<uint64_t, uint64_t>> open_;  // index and multiplicity of rows that the scan has not closed
};

}  // namespace haarflow
