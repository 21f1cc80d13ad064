#include "core/train/trainable_flow.h"

#include <algorithm>
#include <utility>

#include "core/base/status.h"

namespace haarflow {
namespace {

// The parameters that `weights` hold for a layout: every tensor must be there with its shape.
absl::StatusOr<std::vector<double>> TakeWeights(const ParameterLayout& layout, const TensorMap& weights) {
  std::vector<double> parameters(layout.size());
  for (const ParameterBlock& block : layout.blocks()) {
    const auto it = weights.find(block.name);
    if (it == weights.end() || it->second.shape != block.shape) {
      return absl::InvalidArgumentError(absl::StrCat("training.start_from: tensor '", block.name,
                                                     "' is missing or has another shape; the layers must be the same"));
    }
    ASSIGN_OR_RETURN(const std::vector<double> values, it->second.ToDoubles());
    std::copy(values.begin(), values.end(), parameters.begin() + block.offset);
  }
  return parameters;
}

class U1Trainable final : public TrainableFlow {
 public:
  explicit U1Trainable(U1FlowPlan plan) : plan_(std::move(plan)), layout_(U1ParameterLayout(plan_)) {}
  const ParameterLayout& layout() const override { return layout_; }
  std::vector<double> InitialValues(uint64_t seed) const override { return U1InitialValues(plan_, seed); }
  absl::StatusOr<std::vector<double>> StartFrom(const StartingPoint& start) const override {
    return TakeWeights(layout_, start.weights);
  }
  absl::StatusOr<std::unique_ptr<SharedGradient>> MakeGradient(int threads) const override {
    return MakeU1Gradient(plan_, threads);
  }

 private:
  const U1FlowPlan plan_;
  const ParameterLayout layout_;
};

class ScalarTrainable final : public TrainableFlow {
 public:
  explicit ScalarTrainable(ScalarFlowPlan plan) : plan_(std::move(plan)) {}
  const ParameterLayout& layout() const override { return plan_.layout; }
  std::vector<double> InitialValues(uint64_t seed) const override { return plan_.InitialValues(seed); }
  absl::StatusOr<std::vector<double>> StartFrom(const StartingPoint& start) const override {
    if (!start.spec.target().has_phi4()) {
      return absl::InvalidArgumentError("training.start_from: that model is not of a scalar field");
    }
    ASSIGN_OR_RETURN(const ScalarFlowPlan from, PlanScalarFlow(start.spec));
    ASSIGN_OR_RETURN(const std::vector<double> parameters, TakeWeights(from.layout, start.weights));
    return TransferScalarParameters(from, parameters, plan_);
  }
  std::vector<double> ParameterScales() const override { return plan_.ParameterScales(); }
  absl::StatusOr<std::unique_ptr<SharedGradient>> MakeGradient(int threads) const override {
    return MakeScalarGradient(plan_, threads);
  }
  bool is_integrated() const override { return plan_.has_continuous_layer(); }

 private:
  const ScalarFlowPlan plan_;
};

class SpectralTrainable final : public TrainableFlow {
 public:
  explicit SpectralTrainable(SpectralFlowPlan plan) : plan_(std::move(plan)) {}
  const ParameterLayout& layout() const override { return plan_.layout; }
  std::vector<double> InitialValues(uint64_t seed) const override { return plan_.InitialValues(seed); }
  absl::StatusOr<std::vector<double>> StartFrom(const StartingPoint& start) const override {
    return TakeWeights(plan_.layout, start.weights);
  }
  absl::StatusOr<std::unique_ptr<SharedGradient>> MakeGradient(int threads) const override {
    return MakeSpectralGradient(plan_, threads);
  }

 private:
  const SpectralFlowPlan plan_;
};

class LoopTrainable final : public TrainableFlow {
 public:
  LoopTrainable(v1::ModelSpec spec, LoopFlowPlan plan) : spec_(std::move(spec)), plan_(std::move(plan)) {}
  const ParameterLayout& layout() const override { return plan_.layout; }
  std::vector<double> InitialValues(uint64_t /*seed*/) const override {
    return plan_.InitialValues(spec_.target().sun_wilson().beta());
  }
  // From fewer sweeps, or as many; numbers move with beta.
  absl::StatusOr<std::vector<double>> StartFrom(const StartingPoint& start) const override {
    if (!start.spec.target().has_sun_wilson() || start.spec.layers_size() != 1 || spec_.layers_size() != 1) {
      return absl::InvalidArgumentError("training.start_from: that model is no loop flow");
    }
    const v1::Layer &from = start.spec.layers(0), &to = spec_.layers(0);
    const auto text = [](v1::Layer layer) {
      if (layer.has_loop_flow()) layer.mutable_loop_flow()->clear_sweeps();
      return layer.SerializeAsString();
    };
    if (start.spec.target().sun_wilson().colours() != spec_.target().sun_wilson().colours() || text(from) != text(to)) {
      return absl::InvalidArgumentError(
          "training.start_from: that model has other colours, classes, masks or time_modes");
    }
    if (to.has_loop_flow() && to.loop_flow().sweeps() % from.loop_flow().sweeps() != 0) {
      return absl::InvalidArgumentError(absl::StrCat("training.start_from: that model has ", from.loop_flow().sweeps(),
                                                     " sweeps, which do not divide ", to.loop_flow().sweeps()));
    }
    ASSIGN_OR_RETURN(const LoopFlowPlan plan, PlanLoopFlow(start.spec, start.spec.target()));
    ASSIGN_OR_RETURN(std::vector<double> numbers, TakeWeights(plan.layout, start.weights));
    const double beta = start.spec.target().sun_wilson().beta();
    for (double& number : numbers) number *= beta == 0 ? 1 : spec_.target().sun_wilson().beta() / beta;
    std::vector<double> parameters(plan_.layout.size(), 0.0);
    plan_.AddToSweeps(numbers, plan.sweeps, &parameters);
    return parameters;
  }
  absl::StatusOr<std::unique_ptr<SharedGradient>> MakeGradient(int /*threads*/) const override { return nullptr; }
  const LoopFlowPlan* loop_plan() const override { return &plan_; }
  bool is_integrated() const override { return plan_.is_continuous(); }

 private:
  const v1::ModelSpec spec_;
  const LoopFlowPlan plan_;
};

}  // namespace

TensorMap TrainableFlow::Weights(absl::Span<const double> parameters, int32_t steps) const {
  TensorMap tensors;
  for (const ParameterBlock& block : layout().blocks()) {
    const auto values = parameters.subspan(block.offset, block.size);
    tensors[block.name] = Tensor::FromDoubles(block.float64 ? Tensor::Type::kFloat64 : Tensor::Type::kFloat32,
                                              block.shape, std::vector<double>(values.begin(), values.end()));
  }
  if (is_integrated()) {
    tensors["steps"] = Tensor::FromDoubles(Tensor::Type::kFloat64, {1}, {static_cast<double>(steps)});
  }
  return tensors;
}

absl::StatusOr<std::unique_ptr<TrainableFlow>> MakeTrainableFlow(const v1::ModelSpec& spec) {
  if (spec.target().has_phi4()) {
    ASSIGN_OR_RETURN(ScalarFlowPlan plan, PlanScalarFlow(spec));
    return std::make_unique<ScalarTrainable>(std::move(plan));
  }
  if (IsSpectral(spec)) {
    ASSIGN_OR_RETURN(SpectralFlowPlan plan, PlanSpectralFlow(spec));
    return std::make_unique<SpectralTrainable>(std::move(plan));
  }
  if (spec.target().has_sun_wilson()) {
    ASSIGN_OR_RETURN(LoopFlowPlan plan, PlanLoopFlow(spec, spec.target()));
    return std::make_unique<LoopTrainable>(spec, std::move(plan));
  }
  ASSIGN_OR_RETURN(U1FlowPlan plan, PlanU1Flow(spec));
  return std::make_unique<U1Trainable>(std::move(plan));
}

}  // namespace haarflow
