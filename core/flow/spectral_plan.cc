#include "core/flow/spectral_plan.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/action/target.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

void AddAction(SpectralFlowPlan* plan) {
  const Lattice& lattice = plan->lattice;
  for (int64_t site = 0; site < lattice.volume(); ++site) {
    for (int mu = 0; mu < lattice.dims(); ++mu) {
      for (int nu = mu + 1; nu < lattice.dims(); ++nu) {
        plan->plaquettes.Add(Rectangle(lattice, site, mu, nu, 1, 1));
        plan->rectangles.Add(Rectangle(lattice, site, mu, nu, 2, 1));
        plan->rectangles.Add(Rectangle(lattice, site, mu, nu, 1, 2));
      }
    }
  }
}

// The active loops' mirror images in their links: downwards instead of upwards. The same width and height.
absl::Status AddMirrorLoops(const Lattice& lattice, const LinkCoupling& coupling, SpectralLayerPlan* layer) {
  std::vector<bool> active(lattice.links(), false);
  for (const int32_t link : layer->active_links) active[link] = true;
  const int mu = static_cast<int>(coupling.mask.direction()), nu = static_cast<int>(coupling.mask.plane());
  const int64_t width = coupling.active_loop != nullptr ? coupling.active_loop->width() : 1;
  const int64_t height = coupling.active_loop != nullptr ? coupling.active_loop->height() : 1;
  for (const int32_t link : layer->active_links) {
    const int64_t site = link - lattice.Link(mu, 0);
    // The rectangle below, from its upper left corner: its top edge forwards, then down, back and up.
    const int64_t corner = lattice.Shift(site, nu, -height);
    const Path up = Rectangle(lattice, corner, mu, nu, width, height);
    Path loop;
    for (int64_t i = 0; i < width; ++i) loop.push_back({up[2 * width + height - 1 - i].link, 1});
    for (int64_t i = 0; i < height; ++i) loop.push_back({up[width + height - 1 - i].link, -1});
    for (int64_t i = 0; i < width; ++i) loop.push_back({up[width - 1 - i].link, -1});
    for (int64_t i = 0; i < height; ++i) loop.push_back({up[2 * (width + height) - 1 - i].link, 1});
    const auto count = std::count_if(loop.begin(), loop.end(), [&](const PathStep& s) { return active[s.link]; });
    if (count != 1 || loop.front().link != link) {
      return absl::InvalidArgumentError(absl::StrCat(
          coupling.name, ": the mirror image of the active loop of link (", mu, ", site ", site, ") contains ", count,
          " active links instead of one; widen the mask's strides or shrink active_loop"));
    }
    layer->mirror_loops.Add(loop);
  }
  return absl::OkStatus();
}

absl::Status AddLatticeLayer(const v1::SpectralCouplingStack& stack, int mask, const std::string& name,
                             SpectralFlowPlan* plan, SpectralLayerPlan* layer) {
  const LinkCoupling coupling = {stack.masks(mask),
                                 stack.has_active_loop() ? &stack.active_loop() : nullptr,
                                 stack.features(),
                                 stack.network(),
                                 plan->colours == 2 ? 1 : 2,
                                 SpectralMapParameterCount(plan->colours, stack.map()),
                                 name};
  ASSIGN_OR_RETURN(static_cast<LinkCouplingPlan&>(*layer), PlanLinkCoupling(plan->lattice, coupling));
  return layer->power == 0 ? absl::OkStatus() : AddMirrorLoops(plan->lattice, coupling, layer);
}

// The matrix is its own loop; its map's parameters are constants: made of a loop of no links.
absl::Status AddSingleLayer(const v1::SpectralCouplingStack& stack, const std::string& name, SpectralFlowPlan* plan,
                            SpectralLayerPlan* layer) {
  layer->active_links = {0};
  layer->active_loops.Add({{0, 1}});
  layer->features.Add({});
  layer->double_network = stack.network().precision() == v1::PRECISION_FLOAT64;
  layer->starts_as_identity = stack.network().initialisation() != v1::INITIALISATION_FAN_IN;
  std::vector<int64_t> sites = {0};
  ASSIGN_OR_RETURN(layer->stages, PlanNetwork(plan->lattice, stack.network(),
                                              SpectralMapParameterCount(plan->colours, stack.map()), name, &sites));
  StagePlan& first = layer->stages[0];
  first.in_channels = first.rows_per_tap = plan->colours == 2 ? 1 : 2;
  first.weight_blocks = first.kernel_taps;
  first.tap_input = {0};
  first.tap_weight = {0};
  first.tap_begin = {0, 1};
  return absl::OkStatus();
}

}  // namespace

int32_t SpectralMapParameterCount(int colours, const v1::SpectralMap& map) {
  const auto s = static_cast<int32_t>(3 * map.bins() + 1);
  return colours == 2 ? s : s + static_cast<int32_t>(map.ratio_nodes() * (3 * map.ratio_bins() + 1));
}

bool IsSpectral(const v1::ModelSpec& spec) {
  return spec.target().has_sun_matrix() || (spec.layers_size() > 0 && spec.layers(0).has_spectral_coupling_stack());
}

int64_t SpectralFlowPlan::table_entries() const {
  size_t sum = plaquettes.links.size() + rectangles.links.size();
  for (const SpectralLayerPlan& layer : layers) {
    sum += layer.active_links.size() + layer.active_loops.links.size() + layer.mirror_loops.links.size() +
           layer.features.links.size();
    for (const StagePlan& stage : layer.stages) sum += 2 * stage.tap_input.size();
  }
  return static_cast<int64_t>(sum);
}

int64_t SpectralFlowPlan::updates() const {
  int64_t sum = 0;
  for (const SpectralLayerPlan& layer : layers) sum += static_cast<int64_t>(layer.active_links.size());
  return sum;
}

std::vector<double> SpectralFlowPlan::InitialValues(uint64_t seed) const {
  std::vector<double> values(layout.size(), 0.0);
  size_t block = 0;
  for (const SpectralLayerPlan& layer : layers) {
    InitialiseStages(layer.stages, layer.starts_as_identity, seed, layout.blocks()[block].offset, &values);
    block += 2 * layer.stages.size();
  }
  return values;
}

absl::StatusOr<SpectralFlowPlan> PlanSpectralFlow(const v1::ModelSpec& spec) {
  const v1::Target& target = spec.target();
  ASSIGN_OR_RETURN(Lattice lattice, LatticeOf(target));
  const bool single = target.has_sun_matrix();
  SpectralFlowPlan plan{std::move(lattice)};
  plan.single = single;
  plan.colours = static_cast<int>(single ? target.sun_matrix().colours() : target.sun_wilson().colours());
  if (!single) {
    if (16 * plan.lattice.plaquettes() > kMaxTableEntries) {
      return absl::InvalidArgumentError(
          absl::StrCat("target.lattice ", plan.lattice.ToString(), ": its loops exceed 2^28 table entries"));
    }
    AddAction(&plan);
  }
  for (int l = 0; l < spec.layers_size(); ++l) {
    const v1::SpectralCouplingStack& stack = spec.layers(l).spectral_coupling_stack();
    for (uint32_t i = 0; i < stack.layers(); ++i) {
      const std::string name = absl::StrCat("layers.", l, ".", i);
      SpectralLayerPlan& layer = plan.layers.emplace_back();
      layer.power = stack.towards_mirror();
      layer.bins = static_cast<int32_t>(stack.map().bins());
      layer.ratio_bins = static_cast<int32_t>(stack.map().ratio_bins());
      layer.ratio_nodes = static_cast<int32_t>(stack.map().ratio_nodes());
      RETURN_IF_ERROR(single ? AddSingleLayer(stack, name, &plan, &layer)
                             : AddLatticeLayer(stack, static_cast<int>(i % stack.masks_size()), name, &plan, &layer));
      if (plan.table_entries() > kMaxTableEntries) return TablesTooLarge(absl::StrCat("layers[0..", l, "]"));
      plan.layout.AddStages(layer.stages, layer.double_network);
    }
  }
  return plan;
}

SpectralFlowTables::SpectralFlowTables(const SpectralFlowPlan& plan)
    : plan_(plan), doubles_(plan.layout.size()), floats_(plan.layout.size()) {
  size_t block = 0;
  const auto weights = [&](bool float64) -> const void* {
    const int64_t offset = plan.layout.blocks()[block++].offset;
    return float64 ? static_cast<const void*>(doubles_.data() + offset) : floats_.data() + offset;
  };
  stages_.reserve(plan.layers.size());
  for (const SpectralLayerPlan& layer : plan.layers) {
    std::vector<hf_stage>& stages = stages_.emplace_back();
    for (const StagePlan& s : layer.stages) {
      const void* const weight = weights(layer.double_network);
      const void* const bias = weights(layer.double_network);
      stages.push_back({s.sites, s.out_channels, s.rows_per_tap, s.weight_blocks, s.tap_begin.data(),
                        s.tap_input.data(), s.tap_weight.data(), weight, bias, s.activation});
    }
    layers_.push_back({static_cast<int32_t>(layer.active_links.size()), layer.active_links.data(),
                       layer.active_loops.View(), layer.mirror_loops.View(), layer.power, layer.features.View(),
                       static_cast<int32_t>(stages.size()), stages.data(), layer.bins, layer.ratio_bins,
                       layer.ratio_nodes, layer.double_network ? 1 : 0});
  }
  flow_ = {plan.colours,
           static_cast<int32_t>(plan.links()),
           static_cast<int32_t>(layers_.size()),
           layers_.data(),
           plan.plaquettes.View(),
           plan.rectangles.View(),
           plan.single ? 1 : 0};
}

void SpectralFlowTables::Set(absl::Span<const double> parameters) {
  std::copy(parameters.begin(), parameters.end(), doubles_.begin());
  std::transform(parameters.begin(), parameters.end(), floats_.begin(), [](double x) { return static_cast<float>(x); });
}

}  // namespace haarflow
