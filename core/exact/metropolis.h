// Independence Metropolis as a scan over named proposals, with a state that fits in a token.
//
// The chain looks at proposals first_index, first_index + 1, ... of one seed. Proposal i replaces the open state s when
// log u_i <= log w_i - log w_s, u_i in (0, 1] from Noise{seed, kAccept, i, 0}. The first proposal with a finite log w
// opens the chain; proposals before it make no step. NaN and +inf weights are never accepted. A configuration closes
// when the next is accepted; it is then delivered once, with its multiplicity.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "core/exact/weights.h"
#include "haarflow/v1/sampler.pb.h"
#include "haarflow/v1/token.pb.h"

namespace haarflow {

class MetropolisChain {
 public:
  // A delivered configuration: the proposal's name and how many steps the chain stayed there.
  struct Closed {
    uint64_t index;
    uint64_t multiplicity;
    double log_weight;
  };
  struct Event {
    bool accepted = false;         // the proposal just looked at is the new open state
    std::optional<Closed> closed;  // what that closed (never with multiplicity 0)
  };

  MetropolisChain(uint64_t seed, uint64_t first_index, uint64_t burn_in);
  // Continues the chain of a token (which must be METROPOLIS). INVALID_ARGUMENT when its numbers contradict each other.
  static absl::StatusOr<MetropolisChain> FromToken(const v1::ChainToken& token);
  // Writes everything of the chain's state into `token` (not digests, target, mode, model).
  void Save(v1::ChainToken* token) const;

  // Looks at proposal next_index(), whose log-weight is given. Does nothing once exhausted(). `odd` enters the
  // statistics alone: see WeightStatistics::Add.
  Event Look(double log_weight, double odd = 0);
  // Delivers the open state with the steps not yet delivered, as at the end of a stream; nothing if there are none. The
  // state stays open: it continues, and its later steps are delivered in a later part.
  std::optional<Closed> Flush();

  uint64_t seed() const { return seed_; }
  uint64_t next_index() const { return next_index_; }
  bool has_open_state() const { return has_open_; }
  uint64_t open_index() const { return open_index_; }
  double open_log_weight() const { return open_log_weight_; }
  uint64_t open_multiplicity() const { return open_multiplicity_; }
  uint64_t delivered_steps() const { return delivered_; }
  // Delivered steps plus those of the open state: what a `count` is compared with.
  uint64_t steps() const { return delivered_ + open_multiplicity_; }
  uint64_t burn_in_left() const { return burn_in_left_; }
  // The last of the 2^56 proposals of this seed has been looked at: the chain cannot go on.
  bool exhausted() const;
  const WeightStatistics& weights() const { return weights_; }
  // Acceptance (accepted / proposals), rejection runs, ESS and so on of everything looked at.
  v1::ChainStatistics Statistics() const;

 private:
  void CountStep();

  uint64_t seed_;
  uint64_t next_index_;
  uint64_t burn_in_left_;
  bool has_open_ = false;
  uint64_t open_index_ = 0;
  double open_log_weight_ = 0;
  uint64_t open_multiplicity_ = 0;
  uint64_t delivered_ = 0;
  uint64_t proposals_ = 0;
  uint64_t accepted_ = 0;
  uint64_t rejection_run_ = 0;
  uint64_t longest_rejection_run_ = 0;
  WeightStatistics weights_;
};

// A token's sums of weights, and back. `proposals` must be set; the caller has checked that the counts fit together.
WeightStatistics::Sums WeightSumsOf(const v1::ChainToken& token);
void SaveWeightSums(const WeightStatistics::Sums& sums, v1::ChainToken* token);

// Resume tokens on the wire (proto/haarflow/v1/token.proto). Parse: INVALID_ARGUMENT when it is no token at all,
// DATA_LOSS when it was altered or cut. At most 64 KiB.
std::string SerializeToken(const v1::ChainToken& token);
absl::StatusOr<v1::ChainToken> ParseToken(const std::string& bytes);

}  // namespace haarflow
