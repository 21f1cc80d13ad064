// Fields of a target from Markov chains, scalars and SU(N) links: what forward KL trains on, and what a flow is judged
// by from the other side.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

struct TargetSamples {
  int64_t n = 0;
  std::vector<double> field;  // [n][field], nearly independent: many chains, some updates between fields of one
};

// kCluster: the best there is. Scalars: cluster updates; SU(N) links: heat bath and over-relaxation, HMC with
// rectangles.
enum class TargetSampler { kCluster, kHmc };

// About `n` fields (a multiple of 16), the same for the same seed whatever the number of threads. INVALID_ARGUMENT for
// theories without such a sampler.
absl::StatusOr<TargetSamples> DrawTargetSamples(const v1::Target& target, int64_t n, uint64_t seed, int threads,
                                                TargetSampler sampler = TargetSampler::kCluster);

}  // namespace haarflow
