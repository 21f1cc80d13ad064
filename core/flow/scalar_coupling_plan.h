// Checkerboard coupling layers of scalars as tables: active sites, what feeds the network, the network's stages.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/flow/u1_plan.h"
#include "core/lattice/lattice.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

struct ScalarCouplingPlan {
  std::vector<int32_t> active_sites;
  std::vector<int32_t> feature_begin = {0};  // sums of the field over feature_sites, one row each
  std::vector<int32_t> feature_sites;
  std::vector<StagePlan> stages;
  int32_t map = HF_LINE_AFFINE;
  int32_t pieces = 0;
  double range = 0;
  bool odd = false;
  bool double_network = false;
  bool starts_as_identity = true;
};

// The layers of one stack; `name` begins the names of their tensors ("layers.0" -> "layers.0.3.conv1.weight").
// INVALID_ARGUMENT where the tables would exceed 2^28 entries.
absl::StatusOr<std::vector<ScalarCouplingPlan>> PlanScalarCouplings(const Lattice& lattice,
                                                                    const v1::ScalarCouplingStack& stack,
                                                                    const std::string& name);

// Number of unconstrained parameters of a line map.
int32_t LineMapParameterCount(int32_t map, int32_t pieces);

}  // namespace haarflow
