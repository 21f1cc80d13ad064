// The weights of a flow as one vector: where each tensor lies, how a new model starts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/flow/u1_plan.h"

namespace haarflow {

struct ParameterBlock {
  std::string name;            // "layers.0.3.conv1.weight"
  std::vector<int64_t> shape;  // [taps, in, out] or [out]
  int64_t offset = 0;
  int64_t size = 0;
  int32_t layer = 0;
  int32_t stage = 0;
  bool is_bias = false;
  bool double_network = false;
};

class ParameterLayout {
 public:
  explicit ParameterLayout(const U1FlowPlan& plan);
  // In layer, stage, (weight, bias) order.
  const std::vector<ParameterBlock>& blocks() const { return blocks_; }
  int64_t size() const { return size_; }

  // A new model: uniform in +-1/sqrt(fan-in), from addressed noise (purpose kInitial); the last convolution of each
  // layer zero where the spec's initialisation says so.
  std::vector<double> InitialValues(const U1FlowPlan& plan, uint64_t seed) const;

 private:
  std::vector<ParameterBlock> blocks_;
  int64_t size_ = 0;
};

}  // namespace haarflow
