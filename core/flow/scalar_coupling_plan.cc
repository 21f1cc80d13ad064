#include "core/flow/scalar_coupling_plan.h"

#include <utility>

#include "core/base/status.h"

namespace haarflow {
namespace {

bool IsOdd(const Lattice& lattice, int64_t site) {
  int64_t sum = 0;
  for (int axis = 0; axis < lattice.dims(); ++axis) sum += lattice.Coordinate(site, axis);
  return sum % 2 != 0;
}

// Displacements of the nearest orbits that lead from one colour of the checkerboard to the other.
absl::StatusOr<std::vector<std::vector<std::vector<int64_t>>>> Shells(const Lattice& lattice, uint32_t count,
                                                                      const std::string& name) {
  const Orbits orbits = SymmetryOrbits(lattice);
  std::vector<std::vector<std::vector<int64_t>>> shells;
  std::vector<int32_t> shell_of(orbits.count(), -1);
  for (int32_t orbit = 0; orbit < orbits.count() && shells.size() < count; ++orbit) {
    if (!IsOdd(lattice, orbits.representative[orbit])) continue;
    shell_of[orbit] = static_cast<int32_t>(shells.size());
    shells.emplace_back();
  }
  if (shells.size() < count) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": shells is ", count, "; the lattice ", lattice.ToString(),
                                                   " has ", shells.size(),
                                                   " orbits of displacements with odd coordinate sum"));
  }
  for (int64_t site = 0; site < lattice.volume(); ++site) {
    const int32_t shell = shell_of[orbits.of_site[site]];
    if (shell >= 0) shells[shell].push_back(Displacement(lattice, site));
  }
  return shells;
}

// Builds one layer; keeps what its parts share.
class CouplingPlanner {
 public:
  CouplingPlanner(const Lattice& lattice, const v1::ScalarCouplingStack& stack, bool odd_sites, std::string name)
      : lattice_(lattice), stack_(stack), odd_sites_(odd_sites), name_(std::move(name)) {}

  absl::StatusOr<ScalarCouplingPlan> Plan() {
    SetMap();
    std::vector<int64_t> sites;
    for (int64_t site = 0; site < lattice_.volume(); ++site) {
      if (!IsActive(site)) continue;
      sites.push_back(site);
      plan_.active_sites.push_back(static_cast<int32_t>(site));
    }
    const int32_t parameters = LineMapParameterCount(plan_.map, plan_.pieces);
    ASSIGN_OR_RETURN(plan_.stages, PlanNetwork(lattice_, stack_.network(), parameters, name_, &sites));
    RETURN_IF_ERROR(stack_.shells() == 0 ? AddFrozenSites(sites) : AddShells());
    return std::move(plan_);
  }

 private:
  bool IsActive(int64_t site) const { return IsOdd(lattice_, site) == odd_sites_; }

  void SetMap() {
    const v1::LineMap& map = stack_.map();
    if (map.has_spline()) {
      plan_.map = HF_LINE_SPLINE;
      plan_.pieces = static_cast<int32_t>(map.spline().bins());
      plan_.range = map.spline().range();
    } else {
      plan_.map = map.affine().tanh() ? HF_LINE_AFFINE_TANH : HF_LINE_AFFINE;
    }
    plan_.odd = stack_.odd();
    plan_.double_network = stack_.network().precision() == v1::PRECISION_FLOAT64;
    plan_.starts_as_identity = stack_.network().initialisation() != v1::INITIALISATION_FAN_IN;
  }

  void AddFeature(const std::vector<int64_t>& sites) {
    plan_.feature_sites.insert(plan_.feature_sites.end(), sites.begin(), sites.end());
    plan_.feature_begin.push_back(static_cast<int32_t>(plan_.feature_sites.size()));
  }

  // One feature row for each frozen site that the first convolution, needed at `sites`, reads.
  absl::Status AddFrozenSites(const std::vector<int64_t>& sites) {
    StagePlan& stage = plan_.stages[0];
    stage.in_channels = stage.rows_per_tap = 1;
    stage.weight_blocks = stage.kernel_taps;
    if (int64_t{stage.sites} * stage.kernel_taps > kMaxTableEntries) return TablesTooLarge(name_);
    const auto taps = KernelTaps(lattice_.dims(), stack_.network().kernel(0));
    constexpr int32_t kUnused = -1;
    std::vector<int32_t> row(lattice_.volume(), kUnused);
    for (int64_t site : sites) {
      for (const auto& tap : taps) row[Displace(lattice_, site, tap)] = 0;
    }
    for (int64_t site = 0; site < lattice_.volume(); ++site) {
      if (row[site] == kUnused || IsActive(site)) continue;
      row[site] = static_cast<int32_t>(plan_.feature_sites.size());
      AddFeature({site});
    }
    for (int64_t site : sites) {
      for (size_t t = 0; t < taps.size(); ++t) {
        const int64_t at = Displace(lattice_, site, taps[t]);
        if (IsActive(at)) continue;
        stage.tap_input.push_back(row[at]);
        stage.tap_weight.push_back(static_cast<int32_t>(t));
      }
      stage.tap_begin.push_back(static_cast<int32_t>(stage.tap_input.size()));
    }
    return absl::OkStatus();
  }

  // Feature rows [active site][shell]; the first convolution has one tap, all rows of its site.
  absl::Status AddShells() {
    ASSIGN_OR_RETURN(const auto shells, Shells(lattice_, stack_.shells(), name_));
    StagePlan& stage = plan_.stages[0];
    stage.in_channels = stage.rows_per_tap = static_cast<int32_t>(shells.size());
    stage.weight_blocks = 1;
    int64_t neighbours = 0;
    for (const auto& shell : shells) neighbours += static_cast<int64_t>(shell.size());
    if (neighbours * stage.sites > kMaxTableEntries) return TablesTooLarge(name_);
    for (int32_t i = 0; i < stage.sites; ++i) {
      for (const auto& shell : shells) {
        std::vector<int64_t> sites;
        for (const auto& d : shell) sites.push_back(Displace(lattice_, plan_.active_sites[i], d));
        AddFeature(sites);
      }
      stage.tap_input.push_back(i);
      stage.tap_weight.push_back(0);
      stage.tap_begin.push_back(i + 1);
    }
    return absl::OkStatus();
  }

  const Lattice& lattice_;
  const v1::ScalarCouplingStack& stack_;
  const bool odd_sites_;
  const std::string name_;
  ScalarCouplingPlan plan_;
};

int64_t TableEntries(const ScalarCouplingPlan& plan) {
  size_t sum = plan.active_sites.size() + plan.feature_begin.size() + plan.feature_sites.size();
  for (const StagePlan& stage : plan.stages) sum += stage.tap_begin.size() + 2 * stage.tap_input.size();
  return static_cast<int64_t>(sum);
}

}  // namespace

int32_t LineMapParameterCount(int32_t map, int32_t pieces) { return map == HF_LINE_SPLINE ? 3 * pieces + 1 : 2; }

absl::StatusOr<std::vector<ScalarCouplingPlan>> PlanScalarCouplings(const Lattice& lattice,
                                                                    const v1::ScalarCouplingStack& stack,
                                                                    const std::string& name) {
  std::vector<ScalarCouplingPlan> layers;
  int64_t entries = 0;
  for (uint32_t i = 0; i < stack.layers(); ++i) {
    const std::string layer = absl::StrCat(name, ".", i);
    if (i < 2) {
      ASSIGN_OR_RETURN(layers.emplace_back(), CouplingPlanner(lattice, stack, i % 2 == 0, layer).Plan());
      // All others are copies of these two.
      entries += TableEntries(layers[i]) * ((int64_t{stack.layers()} - i + 1) / 2);
      if (entries > kMaxTableEntries) return TablesTooLarge(name);
      continue;
    }
    layers.push_back(layers[i % 2]);
    for (size_t s = 0; s < layers[i].stages.size(); ++s) layers[i].stages[s].name = absl::StrCat(layer, ".conv", s);
  }
  return layers;
}

}  // namespace haarflow
