// A U(1) coupling flow as differentiable LibTorch operations: both directions, any network precision, gradients with
// respect to fields and weights. The reference for the fused kernels, and where new layers are tried first.
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "core/flow/ops.h"
#include "core/flow/parameters.h"
#include "core/flow/u1_plan.h"

namespace haarflow {

class TorchU1Flow {
 public:
  explicit TorchU1Flow(const U1FlowPlan& plan);

  // One tensor per ParameterLayout block, in the precision of its network. Set requires_grad on them to train.
  std::vector<at::Tensor>& weights() { return weights_; }
  void SetWeights(absl::Span<const double> parameters);

  int layers() const { return static_cast<int>(layers_.size()); }
  // Links [links, B] float64 angles -> mapped links, and log|det| [B] of that direction.
  std::pair<at::Tensor, at::Tensor> Forward(const at::Tensor& links) const;
  std::pair<at::Tensor, at::Tensor> Inverse(const at::Tensor& links) const;
  std::pair<at::Tensor, at::Tensor> LayerForward(int layer, const at::Tensor& links) const {
    return Couple(layer, links, false);
  }
  std::pair<at::Tensor, at::Tensor> LayerInverse(int layer, const at::Tensor& links) const {
    return Couple(layer, links, true);
  }

  // S = -beta sum cos(theta_P), [B].
  at::Tensor Action(double beta, const at::Tensor& links) const;

 private:
  struct Layer {
    at::Tensor active_links;
    LoopSum active_loops, features;
    std::vector<SparseConvolution> network;
    int32_t map, pieces;
    bool double_network;
    size_t first_weight;
  };
  std::pair<at::Tensor, at::Tensor> Couple(int layer, const at::Tensor& links, bool inverse) const;

  ParameterLayout layout_;
  std::vector<Layer> layers_;
  std::vector<at::Tensor> weights_;
  LoopSum plaquettes_;
};

}  // namespace haarflow
