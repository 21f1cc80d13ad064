// What the training loop knows of a flow: its parameters, where they start, where their gradients come from.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "core/flow/loop_plan.h"
#include "core/flow/parameters.h"
#include "core/model/safetensors.h"
#include "core/train/gradient.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

// A model that training starts from.
struct StartingPoint {
  v1::ModelSpec spec;
  TensorMap weights;
};

class TrainableFlow {
 public:
  virtual ~TrainableFlow() = default;
  virtual const ParameterLayout& layout() const = 0;
  virtual std::vector<double> InitialValues(uint64_t seed) const = 0;
  // INVALID_ARGUMENT, naming the difference, when the start's layers are other ones.
  virtual absl::StatusOr<std::vector<double>> StartFrom(const StartingPoint& start) const = 0;
  // The optimiser works on parameter / scale; empty: all 1.
  virtual std::vector<double> ParameterScales() const { return {}; }
  virtual absl::StatusOr<std::unique_ptr<SharedGradient>> MakeGradient(int threads) const = 0;
  // Whether log q comes from integration, with a number of steps that is served (tensor "steps").
  virtual bool is_integrated() const { return false; }
  // Not null: trained by Gauss-Newton steps on the variance of log w, or by regression.
  virtual const LoopFlowPlan* loop_plan() const { return nullptr; }
  // The weights as they are stored and served; `steps`: of integrated flows.
  TensorMap Weights(absl::Span<const double> parameters, int32_t steps) const;
};

// For a spec that ValidateSpec accepts.
absl::StatusOr<std::unique_ptr<TrainableFlow>> MakeTrainableFlow(const v1::ModelSpec& spec);

}  // namespace haarflow
