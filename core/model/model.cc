#include "core/model/model.h"

#include <algorithm>
#include <cmath>
#include <thread>
#include <utility>

#include "absl/strings/str_join.h"
#include "core/action/u1_plaquette.h"
#include "core/base/status.h"
#include "core/flow/loop_plan.h"
#include "core/flow/spectral_plan.h"
#include "core/flow/u1_plan.h"
#include "core/kernel/kernels.h"
#include "core/model/spec.h"

namespace haarflow {
namespace {

// Proposals that are worth a thread of their own.
constexpr int64_t kLeastShare = 16;

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

// Every tensor of `layout`, as one vector. `used`: how many were looked up.
absl::StatusOr<std::vector<double>> TakeParameters(const ParameterLayout& layout, const TensorMap& weights) {
  std::vector<double> values(layout.size());
  for (const ParameterBlock& block : layout.blocks()) {
    const auto type = block.float64 ? Tensor::Type::kFloat64 : Tensor::Type::kFloat32;
    RETURN_IF_ERROR(Find(weights, block.name, type, block.shape).status());
    ASSIGN_OR_RETURN(const std::vector<double> tensor, weights.at(block.name).ToDoubles());
    for (double value : tensor) {
      if (!std::isfinite(value)) {
        return absl::InvalidArgumentError(absl::StrCat("tensor '", block.name, "' holds a number that is not finite"));
      }
    }
    std::copy(tensor.begin(), tensor.end(), values.begin() + block.offset);
  }
  return values;
}

constexpr size_t kMaxCachedFlows = 16;
constexpr double kMaxSteps = 4096;

// The Runge-Kutta steps that are served.
absl::StatusOr<int32_t> TakeSteps(const TensorMap& weights) {
  RETURN_IF_ERROR(Find(weights, "steps", Tensor::Type::kFloat64, {1}).status());
  ASSIGN_OR_RETURN(const std::vector<double> stored, weights.at("steps").ToDoubles());
  if (!(stored[0] >= 1 && stored[0] <= kMaxSteps) || stored[0] != std::floor(stored[0])) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor 'steps' is ", stored[0], "; it must be an integer in 1..", kMaxSteps));
  }
  return static_cast<int32_t>(stored[0]);
}

// The steps of a flow, `asked` or those in the weights, 0 where none are integrated; after counting the tensors.
absl::StatusOr<int32_t> StepsOf(const ParameterLayout& layout, bool continuous, const TensorMap& weights,
                                int32_t asked) {
  int32_t steps = 0;
  if (continuous) {
    ASSIGN_OR_RETURN(const int32_t stored, TakeSteps(weights));
    steps = asked == 0 ? stored : asked;
  }
  const size_t used = layout.blocks().size() + (continuous ? 1 : 0);
  if (used == weights.size()) return steps;
  return absl::InvalidArgumentError(absl::StrCat("there are ", weights.size(), " tensors, the spec uses ", used));
}

}  // namespace

Model::Model(v1::ModelSpec spec, Lattice lattice, const hf_kernels& kernels, int device)
    : spec_(std::move(spec)), lattice_(std::move(lattice)), kernels_(kernels), device_(device) {}

absl::StatusOr<std::shared_ptr<const Model>> Model::Create(const v1::ModelSpec& spec, const TensorMap& weights,
                                                           const hf_kernels& kernels, int device, int32_t steps) {
  RETURN_IF_ERROR(ValidateSpec(spec));
  ASSIGN_OR_RETURN(Lattice lattice, LatticeOf(spec.target()));
  // Loop flows and spectral flows run on the CPU where the module has no kernels for them.
  const bool spectral = IsSpectral(spec);
  const bool elsewhere = (spectral && kernels.spectral_flow_create == nullptr) ||
                         (spec.target().has_sun_wilson() && !spectral && kernels.loop_flow_create == nullptr);
  std::shared_ptr<Model> model(
      new Model(spec, std::move(lattice), elsewhere ? CpuKernels() : kernels, elsewhere ? 0 : device));
  RETURN_IF_ERROR(model->is_perfect()              ? model->LoadPerfect(weights)
                  : spec.target().has_phi4()       ? model->LoadScalar(weights, steps)
                  : spectral                       ? model->LoadSpectral(weights)
                  : spec.target().has_sun_wilson() ? model->LoadLoops(weights, steps)
                                                   : model->LoadU1(weights));
  return std::shared_ptr<const Model>(std::move(model));
}

absl::Status Model::LoadU1(const TensorMap& weights) {
  ASSIGN_OR_RETURN(const U1FlowPlan plan, PlanU1Flow(spec_));
  ASSIGN_OR_RETURN(const FlowView view, FlowView::Create(plan, weights));
  parameters_ = view.parameters();
  const hf_u1_flow flow = view.flow();
  void* handle = nullptr;
  RETURN_IF_ERROR(KernelError(kernels_.flow_create(&flow, device_, &handle), "loading the flow"));
  flow_ = FlowHandle(handle, kernels_.flow_destroy);
  return absl::OkStatus();
}

absl::Status Model::LoadLoops(const TensorMap& weights, int32_t steps) {
  ASSIGN_OR_RETURN(const LoopFlowPlan plan, PlanLoopFlow(spec_, spec_.target()));
  ASSIGN_OR_RETURN(values_, TakeParameters(plan.layout, weights));
  ASSIGN_OR_RETURN(steps_, StepsOf(plan.layout, plan.is_continuous(), weights, steps));
  parameters_ = plan.layout.size();
  LoopFlowTables tables(plan, steps_);
  tables.Set(values_);
  void* handle = nullptr;
  RETURN_IF_ERROR(KernelError(kernels_.loop_flow_create(&tables.view(), device_, &handle), "loading the flow"));
  flow_ = FlowHandle(handle, kernels_.flow_destroy);
  return absl::OkStatus();
}

absl::Status Model::LoadSpectral(const TensorMap& weights) {
  ASSIGN_OR_RETURN(const SpectralFlowPlan plan, PlanSpectralFlow(spec_));
  ASSIGN_OR_RETURN(values_, TakeParameters(plan.layout, weights));
  RETURN_IF_ERROR(StepsOf(plan.layout, /*continuous=*/false, weights, 0).status());
  parameters_ = plan.layout.size();
  SpectralFlowTables tables(plan);
  tables.Set(values_);
  void* handle = nullptr;
  RETURN_IF_ERROR(KernelError(kernels_.spectral_flow_create(&tables.view(), device_, &handle), "loading the flow"));
  flow_ = FlowHandle(handle, kernels_.flow_destroy);
  return absl::OkStatus();
}

absl::Status Model::LoadScalar(const TensorMap& weights, int32_t steps) {
  ASSIGN_OR_RETURN(ScalarFlowPlan plan, PlanScalarFlow(spec_));
  ASSIGN_OR_RETURN(values_, TakeParameters(plan.layout, weights));
  ASSIGN_OR_RETURN(steps_, StepsOf(plan.layout, plan.has_continuous_layer(), weights, steps));
  parameters_ = plan.layout.size();
  scalar_plan_ = std::make_unique<const ScalarFlowPlan>(std::move(plan));
  ASSIGN_OR_RETURN(flow_, MakeScalarFlow(spec_.target()));
  return absl::OkStatus();
}

absl::StatusOr<FlowHandle> Model::MakeScalarFlow(const v1::Target& target) const {
  ScalarFlowTables tables(*scalar_plan_, steps_);
  tables.Set(values_, scalar_plan_->ConditioningModes(target), ActionNumbers(target).data());
  void* handle = nullptr;
  RETURN_IF_ERROR(KernelError(kernels_.scalar_flow_create(&tables.view(), device_, &handle), "loading the flow"));
  return FlowHandle(handle, kernels_.flow_destroy);
}

absl::Status Model::LoadPerfect(const TensorMap& weights) {
  if (!weights.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("there are ", weights.size(), " tensors, a perfect model has none"));
  }
  ASSIGN_OR_RETURN(flow_, MakePerfectFlow(spec_.target()));
  return absl::OkStatus();
}

absl::StatusOr<FlowHandle> Model::MakePerfectFlow(const v1::Target& target) const {
  ASSIGN_OR_RETURN(auto sampler, MakePerfectSampler(target));
  return FlowHandle(std::move(sampler));
}

std::string Model::numerics_class() const {
  // Of the machine: its instruction set decides how the mathematics library rounds.
  return is_perfect() ? absl::StrCat("perfect-r1-", CpuKernels().numerics) : kernels_.numerics;
}

bool Model::Serves(const v1::Target& target) const { return ServesTarget(spec_, target); }

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

absl::StatusOr<FlowHandle> Model::FlowFor(const v1::Target& target) const {
  RETURN_IF_ERROR(ValidateTarget(target));
  if (!SameFields(target, spec_.target())) {
    return absl::InvalidArgumentError(absl::StrCat("target ", DescribeTarget(target), " has other fields than model ",
                                                   spec_.name(), " (", DescribeTarget(spec_.target()), ")"));
  }
  if ((spec_.conditioning_size() == 0 && !is_perfect()) || !Serves(target)) return flow_;
  const std::string name = CanonicalTarget(target);
  if (is_perfect() && name == CanonicalTarget(spec_.target())) return flow_;
  {
    MutexLock lock(&mutex_);
    for (auto it = cache_.begin(); it != cache_.end(); ++it) {
      if (it->first != name) continue;
      cache_.splice(cache_.begin(), cache_, it);
      return it->second;
    }
  }
  ASSIGN_OR_RETURN(FlowHandle flow, is_perfect() ? MakePerfectFlow(target) : MakeScalarFlow(target));
  MutexLock lock(&mutex_);
  cache_.emplace_front(name, flow);
  if (cache_.size() > kMaxCachedFlows) cache_.pop_back();
  return flow;
}

absl::Status Model::Draw(const v1::Target& target, absl::Span<const uint64_t> seed, absl::Span<const uint64_t> index,
                         Proposals* out) const {
  ASSIGN_OR_RETURN(const FlowHandle flow, FlowFor(target));
  if (seed.size() != index.size()) {
    return absl::InvalidArgumentError(absl::StrCat(seed.size(), " seeds for ", index.size(), " indices"));
  }
  out->Resize(static_cast<int64_t>(index.size()), field_size());
  if (is_perfect()) return DrawPerfect(*static_cast<const PerfectSampler*>(flow.get()), target, seed, index, out);
  RETURN_IF_ERROR(
      KernelError(kernels_.flow_draw(flow.get(), out->n, seed.data(), index.data(), ActionNumbers(target).data(),
                                     out->field.data(), out->log_q.data(), out->action.data(), nullptr),
                  "drawing"));
  CompleteAction(target, out);
  return absl::OkStatus();
}

absl::Status Model::Density(const v1::Target& target, Proposals* out) const {
  ASSIGN_OR_RETURN(const FlowHandle flow, FlowFor(target));
  if (is_perfect()) {
    WeighPerfect(*static_cast<const PerfectSampler*>(flow.get()), target, 0, out->n, out);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(KernelError(kernels_.flow_density(flow.get(), out->n, out->field.data(), ActionNumbers(target).data(),
                                                    out->log_q.data(), out->action.data(), nullptr),
                              "inverting"));
  CompleteAction(target, out);
  return absl::OkStatus();
}

void Model::CompleteAction(const v1::Target& target, Proposals* out) const {
  if (!target.has_u1_wilson() || U1PlaquetteOf(target).IsPlain()) return;
  for (int64_t i = 0; i < out->n; ++i) out->action[i] = GaugeActionOf(target, lattice_, out->Field(i));
}

void Model::WeighPerfect(const PerfectSampler& sampler, const v1::Target& target, int64_t first, int64_t n,
                         Proposals* out) const {
  const bool served = Serves(target);
  for (int64_t i = first; i < first + n; ++i) {
    out->action[i] = GaugeActionOf(target, lattice_, out->Field(i));
    const double own = served ? out->action[i] : GaugeActionOf(spec_.target(), lattice_, out->Field(i));
    out->log_q[i] = -own - sampler.log_z();
  }
}

absl::Status Model::DrawPerfect(const PerfectSampler& sampler, const v1::Target& target,
                                absl::Span<const uint64_t> seed, absl::Span<const uint64_t> index,
                                Proposals* out) const {
  const auto piece = [&](int64_t first, int64_t n) {
    std::vector<double> work;
    for (int64_t i = first; i < first + n; ++i) {
      sampler.Draw(seed[i], index[i], out->field.data() + i * out->field_size, &work);
    }
    WeighPerfect(sampler, target, first, n, out);
  };
  // Who draws on the CPU brings threads; who asks a device for a whole batch does not.
  const bool on_cpu = kernels_.flow_draw == CpuKernels().flow_draw;
  const int64_t most = on_cpu ? 1 : std::max<int64_t>(1, std::thread::hardware_concurrency());
  const int64_t share = std::max<int64_t>(kLeastShare, (out->n + most - 1) / most);
  std::vector<std::thread> threads;
  for (int64_t first = share; first < out->n; first += share) {
    threads.emplace_back(piece, first, std::min(share, out->n - first));
  }
  piece(0, std::min(share, out->n));
  for (std::thread& thread : threads) thread.join();
  return absl::OkStatus();
}

}  // namespace haarflow
