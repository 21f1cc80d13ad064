// Fields of a target from Markov chains, scalars and SU(N) links: what forward KL trains on, and what a flow is judged
// by from the other side.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/train/crew.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

struct TargetSamples {
  int64_t n = 0;
  std::vector<double> field;  // [n][field], nearly independent: many chains, some updates between fields of one
};

// kCluster: the best there is. Scalars: cluster updates; SU(N) links: heat bath and over-relaxation, HMC with
// rectangles.
enum class TargetSampler { kCluster, kHmc };

// About `n` fields (a multiple of 16), the same for the same seed whoever computes them. INVALID_ARGUMENT for theories
// without such a sampler.
absl::StatusOr<TargetSamples> DrawTargetSamples(const v1::Target& target, int64_t n, uint64_t seed, const Team& team,
                                                TargetSampler sampler = TargetSampler::kCluster);

// How such fields come about: tiles of 16 chains, from each chain one field a round.
struct TargetSchedule {
  TargetSchedule(const v1::Target& target, int64_t n);
  int64_t tiles, rounds;
  int64_t n() const { return rounds * tiles * 16; }
  // Where a field stands among all.
  int64_t At(int64_t round, int64_t tile, int64_t chain) const { return (round * tiles + tile) * 16 + chain; }
};
// Those of some tiles, by threads of this process: each field is written to `place` of it.
absl::Status DrawTargetTiles(const v1::Target& target, const TargetSchedule& schedule, Share tiles, uint64_t seed,
                             int threads, TargetSampler sampler,
                             const std::function<double*(int64_t round, int64_t tile, int64_t chain)>& place);

}  // namespace haarflow
