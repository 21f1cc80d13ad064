#include "core/flow/parameters.h"

#include <cmath>

#include "core/base/noise.h"

namespace haarflow {

ParameterLayout::ParameterLayout(const U1FlowPlan& plan) {
  const auto add = [this](ParameterBlock block) {
    block.offset = size_;
    block.size = 1;
    for (int64_t extent : block.shape) block.size *= extent;
    size_ += block.size;
    blocks_.push_back(std::move(block));
  };
  for (int32_t l = 0; l < static_cast<int32_t>(plan.layers.size()); ++l) {
    const U1LayerPlan& layer = plan.layers[l];
    for (int32_t s = 0; s < static_cast<int32_t>(layer.stages.size()); ++s) {
      const StagePlan& stage = layer.stages[s];
      add({stage.name + ".weight",
           {stage.kernel_taps, stage.in_channels, stage.out_channels},
           0,
           0,
           l,
           s,
           false,
           layer.double_network});
      add({stage.name + ".bias", {stage.out_channels}, 0, 0, l, s, true, layer.double_network});
    }
  }
}

std::vector<double> ParameterLayout::InitialValues(const U1FlowPlan& plan, uint64_t seed) const {
  std::vector<double> values(size_, 0.0);
  for (const ParameterBlock& block : blocks_) {
    const auto& stages = plan.layers[block.layer].stages;
    const bool last = block.stage + 1 == static_cast<int32_t>(stages.size());
    if (last && plan.layers[block.layer].starts_as_identity) continue;
    const StagePlan& stage = stages[block.stage];
    const double bound = 1 / std::sqrt(static_cast<double>(stage.kernel_taps) * stage.in_channels);
    for (int64_t i = block.offset; i < block.offset + block.size; ++i) {
      values[i] = bound * (2 * UniformNoise(seed, NoisePurpose::kInitial, 0, static_cast<uint32_t>(i)) - 1);
    }
  }
  return values;
}

}  // namespace haarflow
