#include "core/train/torch_gradient.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <numbers>

#include "core/base/noise.h"
#include "core/base/status.h"
#include "core/flow/u1_flow.h"

namespace haarflow {
namespace {

std::vector<double> ToVector(const at::Tensor& t) {
  const at::Tensor c = t.detach().to(at::kDouble).contiguous();
  return {c.data_ptr<double>(), c.data_ptr<double>() + c.numel()};
}

class TorchGradient final : public GradientSource {
 public:
  explicit TorchGradient(const U1FlowPlan& plan)
      : links_(plan.lattice.links()), layout_(U1ParameterLayout(plan)), flow_(plan) {}

  absl::Status Evaluate(absl::Span<const double> parameters, const TrainingBatch& batch, std::vector<double>* gradient,
                        BatchResult* result) override {
    try {
      flow_.SetWeights(parameters);
      const at::Tensor prior = Prior(batch);
      std::vector<at::Tensor> grads;
      if (batch.path_gradient) {
        grads = PathGradient(batch, prior, result);
      } else {
        for (at::Tensor& w : flow_.weights()) w.set_requires_grad(true);
        const auto [x, log_det] = flow_.Forward(prior);
        const at::Tensor action = flow_.Action(batch.action[0], x);
        *result = {ToVector(-log_det), ToVector(action)};
        grads = torch::autograd::grad({(action - log_det).mean()}, flow_.weights());
      }
      gradient->clear();
      for (const at::Tensor& g : grads) {
        const auto values = ToVector(g);
        gradient->insert(gradient->end(), values.begin(), values.end());
      }
      return absl::OkStatus();
    } catch (const std::exception& e) {
      return absl::InternalError(absl::StrCat("LibTorch: ", e.what()));
    }
  }

 private:
  at::Tensor Prior(const TrainingBatch& batch) const {
    at::Tensor prior = at::empty({links_, batch.n}, at::kDouble);
    double* p = prior.data_ptr<double>();
    for (int64_t link = 0; link < links_; ++link) {
      for (int64_t i = 0; i < batch.n; ++i) {
        p[link * batch.n + i] =
            (UniformNoise(batch.seed, NoisePurpose::kTraining, batch.first_index + static_cast<uint64_t>(i),
                          static_cast<uint32_t>(link)) -
             0.5) *
            2 * std::numbers::pi;
      }
    }
    return prior;
  }

  std::vector<at::Tensor> PathGradient(const TrainingBatch& batch, const at::Tensor& prior, BatchResult* result) {
    at::Tensor x = flow_.Forward(prior).first.detach().set_requires_grad(true);
    const at::Tensor log_q = flow_.Inverse(x).second;
    const at::Tensor action = flow_.Action(batch.action[0], x);
    *result = {ToVector(log_q), ToVector(action)};
    const at::Tensor cotangent = torch::autograd::grad({(log_q + action).mean()}, {x})[0];
    for (at::Tensor& w : flow_.weights()) w.set_requires_grad(true);
    return torch::autograd::grad({flow_.Forward(prior).first}, flow_.weights(), {cotangent});
  }

  const int64_t links_;
  const ParameterLayout layout_;
  TorchU1Flow flow_;
};

}  // namespace

std::unique_ptr<GradientSource> MakeTorchGradient(const U1FlowPlan& plan) {
  return std::make_unique<TorchGradient>(plan);
}

}  // namespace haarflow
