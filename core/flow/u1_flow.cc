#include "core/flow/u1_flow.h"

#include <ATen/ATen.h>

namespace haarflow {

TorchU1Flow::TorchU1Flow(const U1FlowPlan& plan) : layout_(U1ParameterLayout(plan)), plaquettes_(plan.plaquettes) {
  size_t first_weight = 0;
  for (const U1LayerPlan& l : plan.layers) {
    std::vector<SparseConvolution> network;
    for (const StagePlan& stage : l.stages) network.emplace_back(stage);
    const at::Tensor active =
        at::tensor(at::ArrayRef<int32_t>(l.active_links.data(), l.active_links.size()), at::kInt).to(at::kLong);
    layers_.push_back({active, LoopSum(l.active_loops), LoopSum(l.features), std::move(network), l.map, l.pieces,
                       l.double_network, first_weight});
    first_weight += 2 * l.stages.size();
  }
}

void TorchU1Flow::SetWeights(absl::Span<const double> parameters) {
  weights_.clear();
  for (const ParameterBlock& block : layout_.blocks()) {
    const at::Tensor values =
        at::tensor(at::ArrayRef<double>(parameters.data() + block.offset, block.size), at::kDouble);
    weights_.push_back(values.view(block.shape).to(block.float64 ? at::kDouble : at::kFloat));
  }
}

std::pair<at::Tensor, at::Tensor> TorchU1Flow::Couple(int layer, const at::Tensor& links, bool inverse) const {
  const Layer& l = layers_[layer];
  const at::Tensor phase = l.features(links);
  at::Tensor rows = at::stack({at::cos(phase), at::sin(phase)}, 1).reshape({-1, links.size(1)});
  rows = rows.to(l.double_network ? at::kDouble : at::kFloat);
  for (size_t s = 0; s < l.network.size(); ++s) {
    rows = l.network[s](rows, weights_[l.first_weight + 2 * s], weights_[l.first_weight + 2 * s + 1]);
  }
  const at::Tensor parameters = rows.to(at::kDouble).view({l.active_links.size(0), -1, links.size(1)});
  const at::Tensor angle = WrapAngles(l.active_loops(links));
  const auto [mapped, log_derivative] =
      inverse ? CircleMapInverse(l.map, l.pieces, angle, parameters) : CircleMap(l.map, l.pieces, angle, parameters);
  return {WrapAngles(links.index_add(0, l.active_links, mapped - angle)), log_derivative.sum(0)};
}

std::pair<at::Tensor, at::Tensor> TorchU1Flow::Forward(const at::Tensor& links) const {
  at::Tensor x = links, log_det = at::zeros({links.size(1)}, links.options());
  for (int i = 0; i < layers(); ++i) {
    const auto [y, l] = Couple(i, x, false);
    x = y;
    log_det = log_det + l;
  }
  return {x, log_det};
}

std::pair<at::Tensor, at::Tensor> TorchU1Flow::Inverse(const at::Tensor& links) const {
  at::Tensor x = links, log_det = at::zeros({links.size(1)}, links.options());
  for (int i = layers() - 1; i >= 0; --i) {
    const auto [y, l] = Couple(i, x, true);
    x = y;
    log_det = log_det + l;
  }
  return {x, log_det};
}

at::Tensor TorchU1Flow::Action(double beta, const at::Tensor& links) const {
  return at::cos(plaquettes_(links)).sum(0) * -beta;
}

}  // namespace haarflow
