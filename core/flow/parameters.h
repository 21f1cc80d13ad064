// The weights of a flow as one vector: where each tensor lies.
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
  bool float64 = false;  // precision in which it is stored and served
};

class ParameterLayout {
 public:
  // Appends a tensor.
  void Add(std::string name, std::vector<int64_t> shape, bool float64);
  // weight and bias of each stage, in order.
  void AddStages(const std::vector<StagePlan>& stages, bool float64);
  const std::vector<ParameterBlock>& blocks() const { return blocks_; }
  int64_t size() const { return size_; }

 private:
  std::vector<ParameterBlock> blocks_;
  int64_t size_ = 0;
};

// A U(1) flow's tensors: in layer, stage, (weight, bias) order.
ParameterLayout U1ParameterLayout(const U1FlowPlan& plan);
// A new model: uniform in +-1/sqrt(fan-in), from addressed noise (purpose kInitial); the last convolution of each
// layer zero where the spec's initialisation says so.
std::vector<double> U1InitialValues(const U1FlowPlan& plan, uint64_t seed);
// The same for one coupling layer's network, whose first tensor lies at `offset` of the flow's parameters.
void InitialiseStages(const std::vector<StagePlan>& stages, bool starts_as_identity, uint64_t seed, int64_t offset,
                      std::vector<double>* values);

// Chebyshev polynomials of 2 t - 1 at the times t = i / (2 steps) of Runge-Kutta steps: [2 steps + 1][modes].
std::vector<double> TimeModes(int32_t steps, int32_t modes);

}  // namespace haarflow
