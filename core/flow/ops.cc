#include "core/flow/ops.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <numbers>

#include "core/kernel/kernels.h"

namespace haarflow {
namespace {

at::Tensor Indices(const std::vector<int32_t>& values) {
  return at::tensor(at::ArrayRef<int32_t>(values.data(), values.size()), at::kInt).to(at::kLong);
}

// [n, parameters, B] -> [parameters, n * B], and back.
at::Tensor ParameterRows(const at::Tensor& p) { return p.transpose(0, 1).contiguous().view({p.size(1), -1}); }
at::Tensor FromParameterRows(const at::Tensor& rows, const at::Tensor& like) {
  return rows.view({like.size(1), like.size(0), like.size(2)}).transpose(0, 1);
}

void Check(int32_t code) { TORCH_CHECK(code == HF_OK, "circle map: ", CpuKernels().last_error()); }

// Gradients with respect to x and the parameter rows of the forward map at x.
std::pair<at::Tensor, at::Tensor> Backward(int64_t map, int64_t pieces, const at::Tensor& x, const at::Tensor& rows,
                                           const at::Tensor& grad_y, const at::Tensor& grad_l) {
  at::Tensor grad_x = at::empty_like(x), grad_rows = at::empty_like(rows);
  const at::Tensor gy = grad_y.contiguous(), gl = grad_l.contiguous();
  Check(CpuKernels().circle_map_backward(
      static_cast<int32_t>(map), static_cast<int32_t>(pieces), x.numel(), x.data_ptr<double>(), rows.data_ptr<double>(),
      gy.data_ptr<double>(), gl.data_ptr<double>(), grad_x.data_ptr<double>(), grad_rows.data_ptr<double>(), nullptr));
  return {grad_x, grad_rows};
}

at::Tensor Defined(const at::Tensor& grad, const at::Tensor& like) {
  return grad.defined() ? grad : at::zeros_like(like);
}

class ForwardFunction : public torch::autograd::Function<ForwardFunction> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const at::Tensor& angle,
                                                const at::Tensor& parameters, int64_t map, int64_t pieces) {
    const at::Tensor x = angle.contiguous(), rows = ParameterRows(parameters);
    at::Tensor y = at::empty_like(x), l = at::empty_like(x);
    Check(CpuKernels().circle_map_forward(static_cast<int32_t>(map), static_cast<int32_t>(pieces), x.numel(),
                                          x.data_ptr<double>(), rows.data_ptr<double>(), y.data_ptr<double>(),
                                          l.data_ptr<double>(), nullptr));
    context->save_for_backward({x, rows, parameters});
    context->saved_data["map"] = map;
    context->saved_data["pieces"] = pieces;
    return {y, l};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    const auto saved = context->get_saved_variables();
    const auto [grad_x, grad_rows] =
        Backward(context->saved_data["map"].toInt(), context->saved_data["pieces"].toInt(), saved[0], saved[1],
                 Defined(grads[0], saved[0]), Defined(grads[1], saved[0]));
    return {grad_x, FromParameterRows(grad_rows, saved[2]), at::Tensor(), at::Tensor()};
  }
};

// With x = g^{-1}(y, p) and l' = -l(x, p), l = log g': the cotangent of x is h = grad_x - grad_l' dl/dx; then dy = h /
// g' and dp = -(h / g') dg/dp - grad_l' dl/dp.
class InverseFunction : public torch::autograd::Function<InverseFunction> {
 public:
  static torch::autograd::variable_list forward(torch::autograd::AutogradContext* context, const at::Tensor& angle,
                                                const at::Tensor& parameters, int64_t map, int64_t pieces) {
    const at::Tensor y = angle.contiguous(), rows = ParameterRows(parameters);
    at::Tensor x = at::empty_like(y), l = at::empty_like(y);
    Check(CpuKernels().circle_map_inverse(static_cast<int32_t>(map), static_cast<int32_t>(pieces), y.numel(),
                                          y.data_ptr<double>(), rows.data_ptr<double>(), x.data_ptr<double>(),
                                          l.data_ptr<double>(), nullptr));
    context->save_for_backward({x, l, rows, parameters});
    context->saved_data["map"] = map;
    context->saved_data["pieces"] = pieces;
    return {x, l};
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const int64_t map = context->saved_data["map"].toInt(), pieces = context->saved_data["pieces"].toInt();
    const at::Tensor grad_x = Defined(grads[0], x), grad_l = Defined(grads[1], x);
    const at::Tensor dl_dx = Backward(map, pieces, x, saved[2], at::zeros_like(x), at::ones_like(x)).first;
    const at::Tensor grad_y = (grad_x - grad_l * dl_dx) * saved[1].exp();
    const at::Tensor grad_rows = Backward(map, pieces, x, saved[2], -grad_y, -grad_l).second;
    return {grad_y, FromParameterRows(grad_rows, saved[3]), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

LoopSum::LoopSum(const LoopTable& loops) : loops_(loops.size()) {
  std::vector<int32_t> link, loop;
  std::vector<double> sign;
  for (int32_t i = 0; i < loops.size(); ++i) {
    for (int32_t k = loops.begin[i]; k < loops.begin[i + 1]; ++k) {
      link.push_back(loops.links[k] >> 1);
      loop.push_back(i);
      sign.push_back((loops.links[k] & 1) != 0 ? -1 : 1);
    }
  }
  link_ = Indices(link);
  loop_ = Indices(loop);
  sign_ = at::tensor(at::ArrayRef<double>(sign.data(), sign.size()), at::kDouble).unsqueeze(1);
}

at::Tensor LoopSum::operator()(const at::Tensor& links) const {
  return at::zeros({loops_, links.size(1)}, links.options()).index_add(0, loop_, links.index_select(0, link_) * sign_);
}

SparseConvolution::SparseConvolution(const StagePlan& stage)
    : sites_(stage.sites),
      rows_per_tap_(stage.rows_per_tap),
      weight_blocks_(stage.weight_blocks),
      out_channels_(stage.out_channels),
      activation_(stage.activation),
      input_(Indices(stage.tap_input)),
      weight_(Indices(stage.tap_weight)) {
  std::vector<int32_t> site;
  for (int32_t s = 0; s < stage.sites; ++s) site.insert(site.end(), stage.tap_begin[s + 1] - stage.tap_begin[s], s);
  site_ = Indices(site);
}

at::Tensor SparseConvolution::operator()(const at::Tensor& rows, const at::Tensor& weight,
                                         const at::Tensor& bias) const {
  const int64_t batch = rows.size(1);
  const at::Tensor in = rows.view({-1, rows_per_tap_, batch}).index_select(0, input_);
  const at::Tensor w = weight.view({weight_blocks_, rows_per_tap_, out_channels_}).index_select(0, weight_);
  const at::Tensor sum =
      at::zeros({sites_, out_channels_, batch}, rows.options()).index_add(0, site_, at::bmm(w.transpose(1, 2), in));
  const at::Tensor z = (sum + bias.view({1, out_channels_, 1})).view({sites_ * out_channels_, batch});
  switch (activation_) {
    case HF_ACTIVATION_SILU:
      return at::silu(z);
    case HF_ACTIVATION_LEAKY_RELU:
      return at::leaky_relu(z, 0.01);
    case HF_ACTIVATION_TANH:
      return at::tanh(z);
    default:
      return z;
  }
}

std::pair<at::Tensor, at::Tensor> CircleMap(int32_t map, int32_t pieces, const at::Tensor& angle,
                                            const at::Tensor& parameters) {
  const auto out = ForwardFunction::apply(angle, parameters, static_cast<int64_t>(map), static_cast<int64_t>(pieces));
  return {out[0], out[1]};
}

std::pair<at::Tensor, at::Tensor> CircleMapInverse(int32_t map, int32_t pieces, const at::Tensor& angle,
                                                   const at::Tensor& parameters) {
  const auto out = InverseFunction::apply(angle, parameters, static_cast<int64_t>(map), static_cast<int64_t>(pieces));
  return {out[0], out[1]};
}

at::Tensor WrapAngles(const at::Tensor& angle) {
  constexpr double kPi = std::numbers::pi;
  at::Tensor turns;
  {
    at::NoGradGuard no_grad;
    turns = at::round(angle / (2 * kPi));
    const at::Tensor r = angle - 2 * kPi * turns;
    turns = turns + at::ge(r, kPi).to(angle.dtype()) - at::lt(r, -kPi).to(angle.dtype());
  }
  return angle - 2 * kPi * turns;
}

}  // namespace haarflow
