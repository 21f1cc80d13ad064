#include "core/model/model.h"

#include <utility>

#include "absl/strings/str_join.h"
#include "core/base/status.h"
#include "core/flow/u1_plan.h"
#include "core/model/spec.h"

namespace haarflow {
namespace {

// The bytes of a tensor of exactly this type and shape.
absl::StatusOr<const void*> Find(const TensorMap& weights, const std::string& name, Tensor::Type type,
                                 const std::vector<int64_t>& shape) {
  const auto it = weights.find(name);
  if (it == weights.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the weights lack tensor '", name, "'; they belong to another spec"));
  }
  if (it->second.type != type) {
    return absl::InvalidArgumentError(absl::StrCat("tensor '", name, "' is not ",
                                                   type == Tensor::Type::kFloat64 ? "F64" : "F32",
                                                   " as the spec's precision says"));
  }
  if (it->second.shape != shape) {
    return absl::InvalidArgumentError(absl::StrCat("tensor '", name, "' has shape [",
                                                   absl::StrJoin(it->second.shape, ", "), "], the spec asks for [",
                                                   absl::StrJoin(shape, ", "), "]"));
  }
  return it->second.bytes.data();
}

// C views of a plan and its weights, alive as long as both.
class FlowView {
 public:
  static absl::StatusOr<FlowView> Create(const U1FlowPlan& plan, const TensorMap& weights) {
    FlowView view;
    size_t used = 0;
    for (const U1LayerPlan& layer : plan.layers) {
      const Tensor::Type type = layer.double_network ? Tensor::Type::kFloat64 : Tensor::Type::kFloat32;
      std::vector<hf_stage>& stages = view.stages_.emplace_back();
      for (const StagePlan& s : layer.stages) {
        ASSIGN_OR_RETURN(const void* weight,
                         Find(weights, s.name + ".weight", type, {s.kernel_taps, s.in_channels, s.out_channels}));
        ASSIGN_OR_RETURN(const void* bias, Find(weights, s.name + ".bias", type, {s.out_channels}));
        stages.push_back({s.sites, s.out_channels, s.rows_per_tap, s.weight_blocks, s.tap_begin.data(),
                          s.tap_input.data(), s.tap_weight.data(), weight, bias, s.activation});
        view.parameters_ += (int64_t{s.kernel_taps} * s.in_channels + 1) * s.out_channels;
        used += 2;
      }
    }
    if (used != weights.size()) {
      return absl::InvalidArgumentError(absl::StrCat("there are ", weights.size(), " tensors, the spec uses ", used));
    }
    for (size_t i = 0; i < plan.layers.size(); ++i) {
      const U1LayerPlan& layer = plan.layers[i];
      view.layers_.push_back({static_cast<int32_t>(layer.active_links.size()), layer.active_links.data(),
                              layer.active_loops.View(), layer.features.View(),
                              static_cast<int32_t>(view.stages_[i].size()), view.stages_[i].data(), layer.map,
                              layer.pieces, layer.double_network ? 1 : 0});
    }
    view.links_ = plan.lattice.links();
    view.plaquettes_ = plan.plaquettes.View();
    return view;
  }

  hf_u1_flow flow() const {
    return {static_cast<int32_t>(links_), static_cast<int32_t>(layers_.size()), layers_.data(), plaquettes_};
  }
  int64_t parameters() const { return parameters_; }

 private:
  std::vector<std::vector<hf_stage>> stages_;
  std::vector<hf_u1_coupling> layers_;
  hf_loops plaquettes_{};
  int64_t links_ = 0;
  int64_t parameters_ = 0;
};

}  // namespace

Model::Model(v1::ModelSpec spec, Lattice lattice, const hf_kernels& kernels)
    : spec_(std::move(spec)), lattice_(std::move(lattice)), kernels_(kernels) {}

Model::~Model() {
  if (flow_ != nullptr) kernels_.flow_destroy(flow_);
}

absl::StatusOr<std::shared_ptr<const Model>> Model::Create(const v1::ModelSpec& spec, const TensorMap& weights,
                                                           const hf_kernels& kernels, int device) {
  RETURN_IF_ERROR(ValidateSpec(spec));
  ASSIGN_OR_RETURN(const U1FlowPlan plan, PlanU1Flow(spec));
  ASSIGN_OR_RETURN(const FlowView view, FlowView::Create(plan, weights));
  std::shared_ptr<Model> model(new Model(spec, plan.lattice, kernels));
  model->parameters_ = view.parameters();
  const hf_u1_flow flow = view.flow();
  RETURN_IF_ERROR(model->KernelError(kernels.flow_create(&flow, device, &model->flow_), "loading the flow"));
  return std::shared_ptr<const Model>(std::move(model));
}

std::string Model::numerics_class() const { return kernels_.numerics; }

absl::Status Model::KernelError(int32_t code, const std::string& what) const {
  if (code == HF_OK) return absl::OkStatus();
  const std::string message =
      absl::StrCat("model ", spec_.name(), ", ", what, " on ", kernels_.numerics, ": ", kernels_.last_error());
  switch (code) {
    case HF_INVALID:
      return absl::InvalidArgumentError(message);
    case HF_NO_MEMORY:
      return absl::ResourceExhaustedError(message);
    default:
      return absl::UnavailableError(message);
  }
}

namespace {

absl::Status CheckSameFields(const v1::Target& target, const Lattice& lattice, const std::string& model) {
  ASSIGN_OR_RETURN(const Lattice asked, LatticeOf(target));
  if (target.has_u1_wilson() && asked == lattice) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("target ", DescribeTarget(target), " has other fields than model ",
                                                 model, " (U(1) links on ", lattice.ToString(), ")"));
}

}  // namespace

absl::Status Model::Draw(const v1::Target& target, absl::Span<const uint64_t> seed, absl::Span<const uint64_t> index,
                         Proposals* out) const {
  RETURN_IF_ERROR(CheckSameFields(target, lattice_, spec_.name()));
  if (seed.size() != index.size()) {
    return absl::InvalidArgumentError(absl::StrCat(seed.size(), " seeds for ", index.size(), " indices"));
  }
  out->Resize(static_cast<int64_t>(index.size()), lattice_.links());
  return KernelError(kernels_.flow_draw(flow_, out->n, seed.data(), index.data(), target.u1_wilson().beta(),
                                        out->field.data(), out->log_q.data(), out->action.data(), nullptr),
                     "drawing");
}

absl::Status Model::Density(const v1::Target& target, Proposals* out) const {
  RETURN_IF_ERROR(CheckSameFields(target, lattice_, spec_.name()));
  return KernelError(kernels_.flow_density(flow_, out->n, out->field.data(), target.u1_wilson().beta(),
                                           out->log_q.data(), out->action.data(), nullptr),
                     "inverting");
}

}  // namespace haarflow
