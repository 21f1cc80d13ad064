#include "server/sampling/scan.h"

#include <cmath>

#include "core/base/noise.h"
#include "core/base/status.h"

namespace haarflow {

absl::StatusOr<ReweightedScan> ReweightedScan::FromToken(const v1::ChainToken& token) {
  if (token.mode() != v1::SAMPLE_MODE_REWEIGHTED) {
    return absl::InvalidArgumentError("resume token: not one of a REWEIGHTED stream");
  }
  // Sums first, with care for overflow: the counts come from outside.
  if (token.next_index() > kMaxSampleIndex + 1 || token.proposals() > token.next_index() ||
      token.zero_weights() > token.proposals() || token.invalid_weights() > token.proposals() - token.zero_weights()) {
    return absl::InvalidArgumentError("resume token: its counts contradict each other");
  }
  if (std::isnan(token.log_sum_weights()) || std::isnan(token.log_sum_squared_weights()) ||
      std::isnan(token.max_log_weight()) || std::isnan(token.sum_log_weights())) {
    return absl::InvalidArgumentError("resume token: its sums of weights are not numbers");
  }
  ReweightedScan scan(token.seed(), token.next_index());
  scan.proposals_ = token.proposals();
  scan.weights_ = WeightStatistics(WeightSumsOf(token));
  return scan;
}

void ReweightedScan::Save(v1::ChainToken* token) const {
  token->set_seed(seed_);
  token->set_next_index(next_index_);
  token->set_proposals(proposals_);
  token->set_steps(weights_.samples());
  SaveWeightSums(weights_.sums(), token);
}

bool ReweightedScan::Look(double log_weight, double odd) {
  const uint64_t before = weights_.samples();
  weights_.Add(log_weight, odd);
  ++proposals_;
  ++next_index_;
  return weights_.samples() > before;
}

v1::ChainStatistics ReweightedScan::Statistics() const {
  v1::ChainStatistics statistics;
  statistics.set_steps(weights_.samples());
  statistics.set_proposals(proposals_);
  *statistics.mutable_quality() = weights_.Quality();
  statistics.set_log_z(weights_.LogZ());
  statistics.set_log_z_error(weights_.LogZError());
  return statistics;
}

}  // namespace haarflow
