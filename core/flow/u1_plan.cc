#include "core/flow/u1_plan.h"

#include <algorithm>

#include "core/action/target.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

// A kind of loop that feeds a network: its rectangle relative to the site it belongs to.
struct FeatureKind {
  int mu, nu;
  int64_t width, height;
  int64_t along, across;  // displacement of the corner in mu and nu
  int windings;           // how often the loop runs through its rectangle
};

std::vector<FeatureKind> FeatureKinds(const LinkCoupling& coupling, int dims) {
  const v1::LinkMask& mask = coupling.mask;
  std::vector<FeatureKind> kinds;
  for (const v1::LoopShape& shape : coupling.features) {
    const int windings = std::max(1, static_cast<int>(shape.windings()));
    if (shape.aligned()) {
      kinds.push_back({static_cast<int>(mask.direction()), static_cast<int>(mask.plane()), shape.width(),
                       shape.height(), shape.offset_along(), shape.offset_across(), windings});
      continue;
    }
    for (int mu = 0; mu < dims; ++mu) {
      for (int nu = mu + 1; nu < dims; ++nu) {
        kinds.push_back({mu, nu, shape.width(), shape.height(), 0, 0, windings});
        if (shape.width() != shape.height()) kinds.push_back({mu, nu, shape.height(), shape.width(), 0, 0, windings});
      }
    }
  }
  return kinds;
}

bool OnSublattice(const Lattice& lattice, int64_t site, const v1::Sublattice& sublattice) {
  for (int axis = 0; axis < lattice.dims(); ++axis) {
    if (lattice.Coordinate(site, axis) % sublattice.stride(axis) != sublattice.offset(axis)) return false;
  }
  return true;
}

std::vector<int64_t> ActiveSites(const Lattice& lattice, const v1::LinkMask& mask) {
  std::vector<int64_t> sites;
  for (int64_t site = 0; site < lattice.volume(); ++site) {
    const bool active = std::any_of(mask.sublattices().begin(), mask.sublattices().end(),
                                    [&](const v1::Sublattice& s) { return OnSublattice(lattice, site, s); });
    if (active) sites.push_back(site);
  }
  return sites;
}

int32_t ActivationCode(v1::Activation activation) {
  switch (activation) {
    case v1::ACTIVATION_SILU:
      return HF_ACTIVATION_SILU;
    case v1::ACTIVATION_LEAKY_RELU:
      return HF_ACTIVATION_LEAKY_RELU;
    case v1::ACTIVATION_TANH:
      return HF_ACTIVATION_TANH;
    default:
      return HF_ACTIVATION_NONE;
  }
}

// The sites that a convolution's kernel reads around `sites`, in order, and its taps there.
std::vector<int64_t> AddSiteTaps(const Lattice& lattice, const std::vector<std::vector<int64_t>>& taps,
                                 const std::vector<int64_t>& sites, StagePlan* stage) {
  std::vector<int64_t> inputs;
  std::vector<int32_t> slot(lattice.volume(), -1);
  for (int64_t site : sites) {
    for (const auto& tap : taps) slot[Displace(lattice, site, tap)] = 0;
  }
  for (int64_t site = 0; site < lattice.volume(); ++site) {
    if (slot[site] < 0) continue;
    slot[site] = static_cast<int32_t>(inputs.size());
    inputs.push_back(site);
  }
  for (int64_t site : sites) {
    for (size_t t = 0; t < taps.size(); ++t) {
      stage->tap_input.push_back(slot[Displace(lattice, site, taps[t])]);
      stage->tap_weight.push_back(static_cast<int32_t>(t));
    }
    stage->tap_begin.push_back(static_cast<int32_t>(stage->tap_input.size()));
  }
  return inputs;
}

// Builds one layer; keeps what its parts share.
class LayerPlanner {
 public:
  LayerPlanner(const Lattice& lattice, const LinkCoupling& coupling)
      : lattice_(lattice), coupling_(coupling), mask_(coupling.mask), is_active_(lattice.links(), false) {}

  absl::StatusOr<LinkCouplingPlan> Plan() {
    sites_ = ActiveSites(lattice_, mask_);
    for (int64_t site : sites_) {
      const int64_t link = lattice_.Link(mask_.direction(), site);
      is_active_[link] = true;
      plan_.active_links.push_back(static_cast<int32_t>(link));
    }
    RETURN_IF_ERROR(AddActiveLoops());
    plan_.double_network = coupling_.network.precision() == v1::PRECISION_FLOAT64;
    plan_.starts_as_identity = coupling_.network.initialisation() != v1::INITIALISATION_FAN_IN;
    RETURN_IF_ERROR(AddStages());
    return std::move(plan_);
  }

 private:
  absl::Status AddActiveLoops() {
    const int64_t width = coupling_.active_loop != nullptr ? coupling_.active_loop->width() : 1;
    const int64_t height = coupling_.active_loop != nullptr ? coupling_.active_loop->height() : 1;
    for (int64_t site : sites_) {
      const Path loop = Rectangle(lattice_, site, mask_.direction(), mask_.plane(), width, height);
      const auto active =
          std::count_if(loop.begin(), loop.end(), [&](const PathStep& s) { return is_active_[s.link]; });
      if (active != 1) {
        return absl::InvalidArgumentError(absl::StrCat(
            coupling_.name, ": the active loop of link (", mask_.direction(), ", site ", site, ") contains ", active,
            " active links instead of one; widen the mask's strides or shrink active_loop"));
      }
      plan_.active_loops.Add(loop);
    }
    return absl::OkStatus();
  }

  absl::Status AddStages() {
    std::vector<int64_t> sites = sites_;
    ASSIGN_OR_RETURN(plan_.stages,
                     PlanNetwork(lattice_, coupling_.network, coupling_.parameters, coupling_.name, &sites));
    if (!coupling_.features.empty()) return AddLoopTaps(sites);
    StagePlan& stage = plan_.stages[0];
    stage.in_channels = stage.rows_per_tap = coupling_.rows_per_loop;
    stage.weight_blocks = stage.kernel_taps;
    plan_.features.Add({});
    for (size_t i = 0; i < sites.size(); ++i) {
      stage.tap_input.push_back(0);
      stage.tap_weight.push_back(0);
      stage.tap_begin.push_back(static_cast<int32_t>(stage.tap_input.size()));
    }
    return absl::OkStatus();
  }

  absl::Status AddLoopTaps(const std::vector<int64_t>& sites) {
    const auto kinds = FeatureKinds(coupling_, lattice_.dims());
    const auto taps = KernelTaps(lattice_.dims(), coupling_.network.kernel(0));
    StagePlan& stage = plan_.stages[0];
    stage.in_channels = coupling_.rows_per_loop * static_cast<int32_t>(kinds.size());
    stage.rows_per_tap = coupling_.rows_per_loop;
    stage.weight_blocks = stage.kernel_taps * static_cast<int32_t>(kinds.size());
    int64_t path_links = 0;
    for (const FeatureKind& kind : kinds) path_links += 2 * (kind.width + kind.height) * kind.windings;
    const int64_t loops = std::min<int64_t>(lattice_.volume(), static_cast<int64_t>(sites.size() * taps.size()));
    const int64_t entries = static_cast<int64_t>(sites.size() * taps.size() * kinds.size()) + loops * path_links;
    if (entries > kMaxTableEntries) return TablesTooLarge(coupling_.name);
    constexpr int32_t kUnknown = -2, kActive = -1;
    std::vector<int32_t> slot(lattice_.volume() * kinds.size(), kUnknown);
    for (int64_t site : sites) {
      for (size_t t = 0; t < taps.size(); ++t) {
        const int64_t at = Displace(lattice_, site, taps[t]);
        for (size_t k = 0; k < kinds.size(); ++k) {
          int32_t& loop = slot[at * kinds.size() + k];
          if (loop == kUnknown) loop = AddFeature(at, kinds[k]) ? plan_.features.size() - 1 : kActive;
          if (loop == kActive) continue;
          stage.tap_input.push_back(loop);
          stage.tap_weight.push_back(static_cast<int32_t>(t * kinds.size() + k));
        }
      }
      stage.tap_begin.push_back(static_cast<int32_t>(stage.tap_input.size()));
    }
    return absl::OkStatus();
  }

  // False, and nothing added, if the loop runs through an active link.
  bool AddFeature(int64_t site, const FeatureKind& kind) {
    const int64_t corner = lattice_.Shift(lattice_.Shift(site, kind.mu, kind.along), kind.nu, kind.across);
    const Path loop = Rectangle(lattice_, corner, kind.mu, kind.nu, kind.width, kind.height);
    if (std::any_of(loop.begin(), loop.end(), [&](const PathStep& s) { return is_active_[s.link]; })) return false;
    Path wound;
    for (int i = 0; i < kind.windings; ++i) wound.insert(wound.end(), loop.begin(), loop.end());
    plan_.features.Add(wound);
    return true;
  }

  const Lattice& lattice_;
  const LinkCoupling& coupling_;
  const v1::LinkMask& mask_;
  std::vector<bool> is_active_;
  std::vector<int64_t> sites_;
  LinkCouplingPlan plan_;
};

void SetMap(const v1::CircleMap& map, U1LayerPlan* plan) {
  if (map.has_spline()) {
    plan->map = map.spline().sharp() ? HF_MAP_SHARP_SPLINE : HF_MAP_SPLINE;
    plan->pieces = static_cast<int32_t>(map.spline().bins());
  } else if (map.has_moebius()) {
    plan->map = HF_MAP_MOEBIUS;
    plan->pieces = static_cast<int32_t>(map.moebius().components());
  } else {
    plan->map = HF_MAP_NON_COMPACT;
    plan->pieces = static_cast<int32_t>(map.non_compact_projection().components());
  }
}

}  // namespace

absl::StatusOr<LinkCouplingPlan> PlanLinkCoupling(const Lattice& lattice, const LinkCoupling& coupling) {
  return LayerPlanner(lattice, coupling).Plan();
}

absl::Status TablesTooLarge(const std::string& layer) {
  return absl::InvalidArgumentError(
      absl::StrCat(layer, ": its tables exceed 2^28 entries; use smaller kernels or a smaller lattice"));
}

std::vector<std::vector<int64_t>> KernelTaps(int dims, int64_t k) {
  std::vector<std::vector<int64_t>> taps = {{}};
  for (int axis = 0; axis < dims; ++axis) {
    std::vector<std::vector<int64_t>> longer;
    for (const auto& tap : taps) {
      for (int64_t d = -(k / 2); d <= k / 2; ++d) {
        longer.push_back(tap);
        longer.back().push_back(d);
      }
    }
    taps = std::move(longer);
  }
  return taps;
}

int64_t Displace(const Lattice& lattice, int64_t site, const std::vector<int64_t>& tap) {
  for (int axis = 0; axis < lattice.dims(); ++axis) site = lattice.Shift(site, lattice.dims() - 1 - axis, tap[axis]);
  return site;
}

absl::StatusOr<std::vector<StagePlan>> PlanNetwork(const Lattice& lattice, const v1::Network& network,
                                                   int32_t parameters, const std::string& name,
                                                   std::vector<int64_t>* sites) {
  const int last = network.hidden_size();
  std::vector<StagePlan> stages(last + 1);
  for (int s = last; s >= 0; --s) {
    StagePlan& stage = stages[s];
    stage.sites = static_cast<int32_t>(sites->size());
    stage.out_channels = s == last ? parameters : static_cast<int32_t>(network.hidden(s));
    stage.activation = s == last ? HF_ACTIVATION_NONE : ActivationCode(network.activation());
    stage.kernel_taps = 1;
    for (int axis = 0; axis < lattice.dims(); ++axis) stage.kernel_taps *= static_cast<int32_t>(network.kernel(s));
    stage.name = absl::StrCat(name, ".conv", s);
    if (s == 0) break;
    stage.in_channels = static_cast<int32_t>(network.hidden(s - 1));
    stage.rows_per_tap = stage.in_channels;
    stage.weight_blocks = stage.kernel_taps;
    if (int64_t{stage.sites} * stage.kernel_taps > kMaxTableEntries) return TablesTooLarge(name);
    *sites = AddSiteTaps(lattice, KernelTaps(lattice.dims(), network.kernel(s)), *sites, &stage);
  }
  return stages;
}

void LoopTable::Add(const Path& path) {
  for (const PathStep& step : path) links.push_back(static_cast<int32_t>(2 * step.link + (step.sign < 0 ? 1 : 0)));
  begin.push_back(static_cast<int32_t>(links.size()));
}

int32_t CircleMapParameterCount(int32_t map, int32_t pieces) {
  if (map == HF_MAP_SPLINE || map == HF_MAP_SHARP_SPLINE) return 3 * pieces + 1;
  return map == HF_MAP_MOEBIUS ? 2 * pieces + 1 : pieces + 1;
}

int64_t U1FlowPlan::multiply_adds() const {
  int64_t sum = 0;
  for (const U1LayerPlan& layer : layers) {
    for (const StagePlan& stage : layer.stages) {
      sum += static_cast<int64_t>(stage.tap_input.size()) * stage.rows_per_tap * stage.out_channels;
    }
  }
  return sum;
}

int64_t U1FlowPlan::table_entries() const {
  size_t sum = plaquettes.links.size();
  for (const U1LayerPlan& layer : layers) {
    sum += layer.active_links.size() + layer.active_loops.links.size() + layer.features.links.size();
    for (const StagePlan& stage : layer.stages) sum += 2 * stage.tap_input.size();
  }
  return static_cast<int64_t>(sum);
}

absl::StatusOr<U1FlowPlan> PlanU1Flow(const v1::ModelSpec& spec) {
  if (!spec.target().has_u1_wilson()) {
    return absl::UnimplementedError(absl::StrCat("model ", spec.name(), " is of ", DescribeTarget(spec.target()),
                                                 ", not of U(1) links: this build cannot draw from its layers"));
  }
  const auto& shape = spec.target().lattice().shape();
  ASSIGN_OR_RETURN(Lattice lattice, Lattice::Create({shape.begin(), shape.end()}));
  if (4 * lattice.plaquettes() > kMaxTableEntries) {
    return absl::InvalidArgumentError(
        absl::StrCat("target.lattice ", lattice.ToString(), ": its plaquettes exceed 2^28 table entries"));
  }
  U1FlowPlan plan{std::move(lattice), {}, {}};
  for (int64_t site = 0; site < plan.lattice.volume(); ++site) {
    for (int mu = 0; mu < plan.lattice.dims(); ++mu) {
      for (int nu = mu + 1; nu < plan.lattice.dims(); ++nu) {
        plan.plaquettes.Add(Rectangle(plan.lattice, site, mu, nu, 1, 1));
      }
    }
  }
  for (int l = 0; l < spec.layers_size(); ++l) {
    const v1::U1CouplingStack& stack = spec.layers(l).u1_coupling_stack();
    for (uint32_t i = 0; i < stack.layers(); ++i) {
      U1LayerPlan& layer = plan.layers.emplace_back();
      SetMap(stack.map(), &layer);
      const LinkCoupling coupling = {stack.masks(static_cast<int>(i % stack.masks_size())),
                                     stack.has_active_loop() ? &stack.active_loop() : nullptr,
                                     stack.features(),
                                     stack.network(),
                                     2,
                                     CircleMapParameterCount(layer.map, layer.pieces),
                                     absl::StrCat("layers.", l, ".", i)};
      ASSIGN_OR_RETURN(static_cast<LinkCouplingPlan&>(layer), PlanLinkCoupling(plan.lattice, coupling));
      if (plan.table_entries() > kMaxTableEntries) {
        return absl::InvalidArgumentError(
            absl::StrCat("layers[0..", l, "]: the model's tables exceed 2^28 entries after ", plan.layers.size(),
                         " coupling layers; use fewer layers, smaller kernels or a smaller lattice"));
      }
    }
  }
  return plan;
}

}  // namespace haarflow
