#include "core/exact/metropolis.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/base/digest.h"
#include "core/base/noise.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

constexpr char kTokenMagic[] = "HFT1";
constexpr size_t kMagicBytes = 4;
constexpr size_t kChecksumBytes = 16;
constexpr size_t kMaxTokenBytes = 64 * 1024;

absl::Status Contradiction(const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("resume token: ", what));
}

// Proposals with a finite log-weight; the caller has checked that the counts allow it.
uint64_t FiniteWeights(const v1::ChainToken& token) {
  return token.proposals() - token.zero_weights() - token.invalid_weights();
}

absl::Status CheckCounts(const v1::ChainToken& token) {
  if (token.next_index() > kMaxSampleIndex + 1) return Contradiction("next_index is beyond 2^56");
  if (token.proposals() > token.next_index()) return Contradiction("more proposals than indices below next_index");
  if (token.zero_weights() > token.proposals() || token.invalid_weights() > token.proposals() - token.zero_weights()) {
    return Contradiction("more zero and invalid weights than proposals");
  }
  if (token.accepted() > FiniteWeights(token)) return Contradiction("more accepted proposals than finite weights");
  if (token.steps() > token.proposals() || token.open_multiplicity() > token.proposals() - token.steps()) {
    return Contradiction("more steps than proposals");
  }
  if (token.longest_rejection_run() < token.rejection_run() ||
      token.longest_rejection_run() > token.proposals() - token.accepted()) {
    return Contradiction("rejection runs do not fit the number of proposals");
  }
  if (token.burn_in_left() > 0 && (token.steps() > 0 || token.open_multiplicity() > 0)) {
    return Contradiction("steps were counted before the end of burn-in");
  }
  return absl::OkStatus();
}

absl::Status CheckNoOpenState(const v1::ChainToken& token) {
  if (FiniteWeights(token) > 0) return Contradiction("finite weights, but no open state");
  if (token.open_index() != 0 || token.open_log_weight() != 0 || token.open_multiplicity() != 0 || token.steps() != 0 ||
      token.rejection_run() != 0) {
    return Contradiction("numbers of an open state, but none is open");
  }
  return absl::OkStatus();
}

absl::Status CheckOpenState(const v1::ChainToken& token) {
  if (token.accepted() == 0) return Contradiction("an open state, but nothing was accepted");
  if (token.open_index() >= token.next_index()) return Contradiction("open_index is not below next_index");
  if (token.open_index() < token.next_index() - token.proposals()) {
    return Contradiction("open_index is below the chain's first index");
  }
  if (!std::isfinite(token.open_log_weight())) return Contradiction("open_log_weight is not finite");
  if (token.open_log_weight() > token.max_log_weight()) return Contradiction("open_log_weight exceeds max_log_weight");
  if (token.rejection_run() != token.next_index() - 1 - token.open_index()) {
    return Contradiction("rejection_run does not fit open_index and next_index");
  }
  if (token.open_multiplicity() > token.next_index() - token.open_index()) {
    return Contradiction("open_multiplicity exceeds the proposals since open_index");
  }
  return absl::OkStatus();
}

// The sums obey max <= log sum w <= max + log n, and the same for squares, up to rounding.
absl::Status CheckWeightSums(const v1::ChainToken& token) {
  const uint64_t finite = FiniteWeights(token);
  // Roundings of a mean of signs stay far below this.
  if (!(std::abs(token.odd_mean()) <= 1 + 1e-6)) return Contradiction("odd_mean is not in [-1, 1]");
  const double max = token.max_log_weight();
  if (finite == 0) {
    constexpr double kNone = -std::numeric_limits<double>::infinity();
    const bool empty = token.log_sum_weights() == kNone && token.log_sum_squared_weights() == kNone && max == kNone &&
                       token.sum_log_weights() == 0;
    return empty ? absl::OkStatus() : Contradiction("sums of weights, but no finite weight");
  }
  const double log_n = std::log(static_cast<double>(finite));
  const double slack = 1e-6 * (1 + std::abs(max));
  const auto fits = [&](double log_sum, double power) {
    return std::isfinite(log_sum) && log_sum >= power * max - slack && log_sum <= power * max + log_n + slack;
  };
  if (!std::isfinite(max) || !fits(token.log_sum_weights(), 1) || !fits(token.log_sum_squared_weights(), 2) ||
      !std::isfinite(token.sum_log_weights()) ||
      token.sum_log_weights() > static_cast<double>(finite) * max + slack * static_cast<double>(finite)) {
    return Contradiction("sums of weights do not fit the largest weight");
  }
  return absl::OkStatus();
}

absl::Status CheckToken(const v1::ChainToken& token) {
  if (token.mode() != v1::SAMPLE_MODE_METROPOLIS) return Contradiction("mode is not METROPOLIS");
  RETURN_IF_ERROR(CheckCounts(token));
  RETURN_IF_ERROR(token.has_open_state() ? CheckOpenState(token) : CheckNoOpenState(token));
  return CheckWeightSums(token);
}

std::string Checksum(const std::string& payload) { return Sha256Of(payload).Bytes().substr(0, kChecksumBytes); }

}  // namespace

MetropolisChain::MetropolisChain(uint64_t seed, uint64_t first_index, uint64_t burn_in)
    : seed_(seed), next_index_(first_index), burn_in_left_(burn_in) {}

absl::StatusOr<MetropolisChain> MetropolisChain::FromToken(const v1::ChainToken& token) {
  RETURN_IF_ERROR(CheckToken(token));
  MetropolisChain chain(token.seed(), token.next_index(), token.burn_in_left());
  chain.has_open_ = token.has_open_state();
  chain.open_index_ = token.open_index();
  chain.open_log_weight_ = token.open_log_weight();
  chain.open_multiplicity_ = token.open_multiplicity();
  chain.delivered_ = token.steps();
  chain.proposals_ = token.proposals();
  chain.accepted_ = token.accepted();
  chain.rejection_run_ = token.rejection_run();
  chain.longest_rejection_run_ = token.longest_rejection_run();
  chain.weights_ = WeightStatistics(WeightSumsOf(token));
  return chain;
}

void MetropolisChain::Save(v1::ChainToken* token) const {
  token->set_seed(seed_);
  token->set_next_index(next_index_);
  token->set_has_open_state(has_open_);
  token->set_open_index(open_index_);
  token->set_open_log_weight(open_log_weight_);
  token->set_open_multiplicity(open_multiplicity_);
  token->set_steps(delivered_);
  token->set_burn_in_left(burn_in_left_);
  token->set_proposals(proposals_);
  token->set_accepted(accepted_);
  token->set_rejection_run(rejection_run_);
  token->set_longest_rejection_run(longest_rejection_run_);
  SaveWeightSums(weights_.sums(), token);
}

MetropolisChain::Event MetropolisChain::Look(double log_weight, double odd) {
  Event event;
  if (exhausted()) return event;
  const uint64_t index = next_index_++;
  ++proposals_;
  weights_.Add(log_weight, odd);

  if (std::isfinite(log_weight)) {
    // 1 - u is in (0, 1]: its logarithm is finite, and a ratio of 1 is always accepted.
    const double log_u = std::log1p(-UniformNoise(seed_, NoisePurpose::kAccept, index, 0));
    event.accepted = !has_open_ || log_u <= log_weight - open_log_weight_;
  }
  if (event.accepted) {
    event.closed = Flush();
    has_open_ = true;
    open_index_ = index;
    open_log_weight_ = log_weight;
    ++accepted_;
    rejection_run_ = 0;
  } else if (has_open_) {
    longest_rejection_run_ = std::max(longest_rejection_run_, ++rejection_run_);
  }
  if (has_open_) CountStep();
  return event;
}

void MetropolisChain::CountStep() {
  if (burn_in_left_ > 0) {
    --burn_in_left_;
  } else {
    ++open_multiplicity_;
  }
}

std::optional<MetropolisChain::Closed> MetropolisChain::Flush() {
  if (open_multiplicity_ == 0) return std::nullopt;
  const Closed closed{open_index_, open_multiplicity_, open_log_weight_};
  delivered_ += open_multiplicity_;
  open_multiplicity_ = 0;
  return closed;
}

bool MetropolisChain::exhausted() const { return next_index_ > kMaxSampleIndex; }

v1::ChainStatistics MetropolisChain::Statistics() const {
  v1::ChainStatistics statistics;
  statistics.set_steps(delivered_);
  statistics.set_proposals(proposals_);
  statistics.set_accepted(accepted_);
  v1::EnsembleQuality* quality = statistics.mutable_quality();
  *quality = weights_.Quality();
  quality->set_acceptance(proposals_ == 0 ? 0 : static_cast<double>(accepted_) / static_cast<double>(proposals_));
  quality->set_longest_rejection_run(longest_rejection_run_);
  statistics.set_log_z(weights_.LogZ());
  statistics.set_log_z_error(weights_.LogZError());
  return statistics;
}

WeightStatistics::Sums WeightSumsOf(const v1::ChainToken& token) {
  return {.finite = FiniteWeights(token),
          .zero_weights = token.zero_weights(),
          .invalid_weights = token.invalid_weights(),
          .log_sum = token.log_sum_weights(),
          .log_sum_squared = token.log_sum_squared_weights(),
          .max = token.max_log_weight(),
          .sum_log = token.sum_log_weights(),
          .odd_mean = token.odd_mean()};
}

void SaveWeightSums(const WeightStatistics::Sums& sums, v1::ChainToken* token) {
  token->set_zero_weights(sums.zero_weights);
  token->set_invalid_weights(sums.invalid_weights);
  token->set_log_sum_weights(sums.log_sum);
  token->set_log_sum_squared_weights(sums.log_sum_squared);
  token->set_max_log_weight(sums.max);
  token->set_sum_log_weights(sums.sum_log);
  token->set_odd_mean(sums.odd_mean);
}

std::string SerializeToken(const v1::ChainToken& token) {
  const std::string payload = token.SerializeAsString();
  return absl::StrCat(kTokenMagic, Checksum(payload), payload);
}

absl::StatusOr<v1::ChainToken> ParseToken(const std::string& bytes) {
  if (bytes.size() > kMaxTokenBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("resume token has ", bytes.size(), " bytes; tokens have at most ", kMaxTokenBytes));
  }
  if (bytes.compare(0, kMagicBytes, kTokenMagic) != 0) {
    return absl::InvalidArgumentError("resume token does not begin with HFT1: these bytes are no token of this server");
  }
  if (bytes.size() < kMagicBytes + kChecksumBytes) return absl::DataLossError("resume token is cut short");
  const std::string payload = bytes.substr(kMagicBytes + kChecksumBytes);
  if (bytes.compare(kMagicBytes, kChecksumBytes, Checksum(payload)) != 0) {
    return absl::DataLossError("resume token does not match its checksum: it was altered or cut");
  }
  v1::ChainToken token;
  if (!token.ParseFromString(payload)) return absl::DataLossError("resume token does not parse");
  return token;
}

}  // namespace haarflow
