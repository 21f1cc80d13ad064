// The state of a stream over named proposals: a Metropolis chain, or independent proposals with weights. A copy is a
// snapshot, and a snapshot is what a resume token holds.
#pragma once

#include <cstdint>
#include <variant>

#include "absl/status/statusor.h"
#include "core/exact/metropolis.h"
#include "core/exact/weights.h"

namespace haarflow {

// Proposals first_index, first_index + 1, ... of one seed, each a configuration with its weight. NaN and +inf are
// counted, not delivered.
class ReweightedScan {
 public:
  ReweightedScan(uint64_t seed, uint64_t first_index) : seed_(seed), next_index_(first_index) {}
  // INVALID_ARGUMENT when the token's numbers contradict each other.
  static absl::StatusOr<ReweightedScan> FromToken(const v1::ChainToken& token);
  void Save(v1::ChainToken* token) const;

  // Looks at proposal next_index(): true when it is a configuration. `odd`: see WeightStatistics::Add.
  bool Look(double log_weight, double odd = 0);

  uint64_t seed() const { return seed_; }
  uint64_t next_index() const { return next_index_; }
  uint64_t proposals() const { return proposals_; }
  const WeightStatistics& weights() const { return weights_; }
  v1::ChainStatistics Statistics() const;

 private:
  uint64_t seed_;
  uint64_t next_index_;
  uint64_t proposals_ = 0;
  WeightStatistics weights_;
};

using Scan = std::variant<MetropolisChain, ReweightedScan>;

inline uint64_t NextIndex(const Scan& scan) {
  return std::visit([](const auto& s) { return s.next_index(); }, scan);
}
inline uint64_t Seed(const Scan& scan) {
  return std::visit([](const auto& s) { return s.seed(); }, scan);
}
inline v1::ChainStatistics Statistics(const Scan& scan) {
  return std::visit([](const auto& s) { return s.Statistics(); }, scan);
}
inline v1::SampleMode ModeOf(const Scan& scan) {
  return std::holds_alternative<MetropolisChain>(scan) ? v1::SAMPLE_MODE_METROPOLIS : v1::SAMPLE_MODE_REWEIGHTED;
}

}  // namespace haarflow
