#include "core/flow/parameters.h"

#include <cmath>

#include "core/base/noise.h"

namespace haarflow {

void ParameterLayout::Add(std::string name, std::vector<int64_t> shape, bool float64) {
  ParameterBlock block{std::move(name), std::move(shape), size_, 1, float64};
  for (int64_t extent : block.shape) block.size *= extent;
  size_ += block.size;
  blocks_.push_back(std::move(block));
}

void ParameterLayout::AddStages(const std::vector<StagePlan>& stages, bool float64) {
  for (const StagePlan& stage : stages) {
    Add(stage.name + ".weight", {stage.kernel_taps, stage.in_channels, stage.out_channels}, float64);
    Add(stage.name + ".bias", {stage.out_channels}, float64);
  }
}

ParameterLayout U1ParameterLayout(const U1FlowPlan& plan) {
  ParameterLayout layout;
  for (const U1LayerPlan& layer : plan.layers) layout.AddStages(layer.stages, layer.double_network);
  return layout;
}

void InitialiseStages(const std::vector<StagePlan>& stages, bool starts_as_identity, uint64_t seed, int64_t offset,
                      std::vector<double>* values) {
  for (size_t s = 0; s < stages.size(); ++s) {
    const StagePlan& stage = stages[s];
    const int64_t size = (int64_t{stage.kernel_taps} * stage.in_channels + 1) * stage.out_channels;
    if (s + 1 < stages.size() || !starts_as_identity) {
      const double bound = 1 / std::sqrt(static_cast<double>(stage.kernel_taps) * stage.in_channels);
      for (int64_t i = offset; i < offset + size; ++i) {
        (*values)[i] = bound * (2 * UniformNoise(seed, NoisePurpose::kInitial, 0, static_cast<uint32_t>(i)) - 1);
      }
    }
    offset += size;
  }
}

std::vector<double> U1InitialValues(const U1FlowPlan& plan, uint64_t seed) {
  const ParameterLayout layout = U1ParameterLayout(plan);
  std::vector<double> values(layout.size(), 0.0);
  size_t block = 0;
  for (const U1LayerPlan& layer : plan.layers) {
    InitialiseStages(layer.stages, layer.starts_as_identity, seed, layout.blocks()[block].offset, &values);
    block += 2 * layer.stages.size();
  }
  return values;
}

std::vector<double> TimeModes(int32_t steps, int32_t modes) {
  std::vector<double> table;
  for (int32_t i = 0; i <= 2 * steps; ++i) {
    const double x = static_cast<double>(i) / steps - 1;  // 2 t - 1
    double before = 1, now = x;
    for (int32_t n = 0; n < modes; ++n) {
      table.push_back(before);
      const double next = 2 * x * now - before;
      before = now;
      now = next;
    }
  }
  return table;
}

}  // namespace haarflow
