#include "core/flow/scalar_plan.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "absl/strings/str_join.h"
#include "core/action/phi4.h"
#include "core/action/target.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

// The table of cosines is the square of it.
constexpr int32_t kMaxOrbits = 8192;
// Adam moves log sigma and the frequencies by this much less than the learning rate.
constexpr double kSlowScale = 0.3;
constexpr double kKernelScale = 0.3;

// T_0 .. T_{n-1} at x.
std::vector<double> Chebyshev(double x, int32_t n) {
  std::vector<double> t(n, 1.0);
  if (n > 1) t[1] = x;
  for (int32_t i = 2; i < n; ++i) t[i] = 2 * x * t[i - 1] - t[i - 2];
  return t;
}

double SquaredLength(const std::vector<int64_t>& d) {
  double sum = 0;
  for (int64_t x : d) sum += static_cast<double>(x * x);
  return sum;
}

std::vector<double> OrbitCosines(const Lattice& lattice, const Orbits& orbits) {
  const int64_t n = orbits.count();
  std::vector<double> table(n * n, 0.0);
  std::vector<std::vector<double>> cosine(lattice.dims());  // of one momentum, per axis and coordinate
  for (int64_t k = 0; k < n; ++k) {
    for (int axis = 0; axis < lattice.dims(); ++axis) {
      const int64_t extent = lattice.shape()[axis], momentum = lattice.Coordinate(orbits.representative[k], axis);
      cosine[axis].resize(extent);
      for (int64_t x = 0; x < extent; ++x) {
        cosine[axis][x] =
            std::cos(2 * std::numbers::pi * static_cast<double>(momentum * x % extent) / static_cast<double>(extent));
      }
    }
    for (int64_t d = 0; d < lattice.volume(); ++d) {
      double product = 1;
      for (int axis = 0; axis < lattice.dims(); ++axis) product *= cosine[axis][lattice.Coordinate(d, axis)];
      table[k * n + orbits.of_site[d]] += product;
    }
  }
  return table;
}

int64_t HalfPeriodAway(const Lattice& lattice, int64_t site) {
  for (int mu = 0; mu < lattice.dims(); ++mu) site = lattice.Shift(site, mu, lattice.extent(mu) / 2);
  return site;
}

void PlanPrior(const v1::ModelSpec& spec, ScalarFlowPlan* plan) {
  if (spec.prior().has_gaussian()) {
    const double sigma = spec.prior().gaussian().sigma();
    plan->initial_sigma = {sigma == 0 ? 1 : sigma};
    return;
  }
  const v1::FreeFieldPrior& free = spec.prior().free_field();
  plan->fourier_prior = true;
  plan->learnable_prior = free.learnable();
  const double hop = Phi4CouplingsOf(spec.target().phi4(), plan->lattice.dims()).hop;
  const double scale = hop > 0 ? hop : 1;
  const auto variance = [&](int64_t site) {
    return 1 / (scale * (SquaredLatticeMomentum(plan->lattice, site) + free.m2()));
  };
  for (int64_t k : plan->orbits.representative) {
    // The even sites' share of a field: the mean over the two momenta that look alike there.
    const double v = plan->heat_bath ? 0.5 * (variance(k) + variance(HalfPeriodAway(plan->lattice, k))) : variance(k);
    plan->initial_sigma.push_back(std::sqrt(v));
  }
  if (plan->learnable_prior) {
    plan->layout.Add("prior.log_sigma", {plan->orbits.count(), plan->conditioning_modes}, true);
  }
}

void PlanContinuous(const v1::ScalarContinuousFlow& flow, const std::string& name, ScalarFlowPlan* plan) {
  ScalarContinuousPlan layer;
  layer.name = name;
  layer.frequencies = static_cast<int32_t>(flow.frequencies());
  layer.max_frequency = flow.max_frequency();
  layer.time_modes = static_cast<int32_t>(flow.time_modes());
  for (int32_t o = 0; o < plan->orbits.count(); ++o) {
    int64_t longest = 0, sum = 0;
    for (int64_t x : Displacement(plan->lattice, plan->orbits.representative[o])) {
      longest = std::max(longest, std::abs(x));
      sum += x;
    }
    if (flow.kernel_range() != 0 && longest > flow.kernel_range()) continue;
    if (plan->heat_bath && sum % 2 != 0) continue;
    layer.orbits.push_back(o);
  }
  ScalarLayerPlan& added = plan->layers.emplace_back();
  added.first_block = plan->layout.blocks().size();
  plan->layout.Add(
      name + ".kernel",
      {layer.features(), static_cast<int64_t>(layer.orbits.size()), layer.time_modes, plan->conditioning_modes}, true);
  plan->layout.Add(name + ".frequency", {layer.frequencies}, true);
  added.continuous = std::move(layer);
}

absl::Status PlanCouplings(const v1::ScalarCouplingStack& stack, const std::string& name, ScalarFlowPlan* plan) {
  ASSIGN_OR_RETURN(std::vector<ScalarCouplingPlan> couplings, PlanScalarCouplings(plan->lattice, stack, name));
  for (ScalarCouplingPlan& coupling : couplings) {
    ScalarLayerPlan& added = plan->layers.emplace_back();
    added.first_block = plan->layout.blocks().size();
    plan->layout.AddStages(coupling.stages, coupling.double_network);
    added.coupling = std::move(coupling);
  }
  return absl::OkStatus();
}

}  // namespace

double SquaredLatticeMomentum(const Lattice& lattice, int64_t site) {
  double sum = 0;
  for (int axis = 0; axis < lattice.dims(); ++axis) {
    const double s = std::sin(std::numbers::pi * static_cast<double>(lattice.Coordinate(site, axis)) /
                              static_cast<double>(lattice.shape()[axis]));
    sum += 4 * s * s;
  }
  return sum;
}

bool ScalarFlowPlan::has_continuous_layer() const {
  return std::any_of(layers.begin(), layers.end(), [](const auto& layer) { return layer.continuous.has_value(); });
}

absl::StatusOr<ScalarFlowPlan> PlanScalarFlow(const v1::ModelSpec& spec) {
  ASSIGN_OR_RETURN(Lattice lattice, LatticeOf(spec.target()));
  ScalarFlowPlan plan{.target = spec.target(), .lattice = std::move(lattice)};
  plan.components = spec.target().phi4().components() == 2 ? 2 : 1;
  plan.orbits = SymmetryOrbits(plan.lattice);
  for (const v1::Layer& layer : spec.layers()) plan.heat_bath = plan.heat_bath || layer.has_scalar_heat_bath();
  for (const v1::Conditioning& c : spec.conditioning()) {
    plan.conditioning.push_back(c);
    plan.conditioning_modes *= static_cast<int32_t>(c.degree()) + 1;
  }
  for (int32_t o = 0; o < plan.orbits.count(); ++o) {
    int32_t shared = o;
    if (plan.heat_bath) {
      shared = std::min(o, plan.orbits.of_site[HalfPeriodAway(plan.lattice, plan.orbits.representative[o])]);
    }
    plan.spectrum_orbit.push_back(shared);
  }
  PlanPrior(spec, &plan);
  for (int i = 0; i < spec.layers_size(); ++i) {
    const v1::Layer& layer = spec.layers(i);
    const std::string name = absl::StrCat("layers.", i);
    if (layer.has_scalar_continuous_flow()) PlanContinuous(layer.scalar_continuous_flow(), name, &plan);
    if (layer.has_scalar_coupling_stack()) {
      RETURN_IF_ERROR(PlanCouplings(layer.scalar_coupling_stack(), name, &plan));
    }
  }
  if (plan.has_continuous_layer()) {
    if (plan.orbits.count() > kMaxOrbits) {
      return absl::InvalidArgumentError(absl::StrCat("layers: a continuous flow on ", plan.lattice.ToString(), " has ",
                                                     plan.orbits.count(), " orbits of displacements; at most ",
                                                     kMaxOrbits, " are supported: use a smaller lattice"));
    }
    plan.orbit_cosines = OrbitCosines(plan.lattice, plan.orbits);
  }
  return plan;
}

std::vector<double> ScalarFlowPlan::ConditioningModes(const v1::Target& at) const {
  std::vector<double> modes = {1.0};
  const auto parameters = TheoryParameters(at);
  for (const v1::Conditioning& c : conditioning) {
    double value = c.low();
    for (const auto& [name, parameter] : parameters) {
      if (name == c.parameter()) value = std::clamp(parameter, c.low(), c.high());
    }
    const double x = 2 * (value - c.low()) / (c.high() - c.low()) - 1;
    const std::vector<double> t = Chebyshev(x, static_cast<int32_t>(c.degree()) + 1);
    std::vector<double> product;
    for (double mode : modes) {
      for (double factor : t) product.push_back(mode * factor);
    }
    modes = std::move(product);
  }
  return modes;
}

std::vector<double> ScalarFlowPlan::InitialValues(uint64_t seed) const {
  std::vector<double> values(layout.size(), 0.0);
  if (learnable_prior) {
    for (int32_t o = 0; o < orbits.count(); ++o) {
      values[layout.blocks()[0].offset + int64_t{o} * conditioning_modes] = std::log(initial_sigma[o]);
    }
  }
  for (const ScalarLayerPlan& layer : layers) {
    if (layer.coupling.has_value()) {
      InitialiseStages(layer.coupling->stages, layer.coupling->starts_as_identity, seed,
                       layout.blocks()[layer.first_block].offset, &values);
      continue;
    }
    const ScalarContinuousPlan& flow = *layer.continuous;
    const int64_t offset = layout.blocks()[layer.first_block + 1].offset;
    for (int32_t f = 0; f < flow.frequencies; ++f) values[offset + f] = flow.max_frequency * (f + 1) / flow.frequencies;
  }
  return values;
}

std::vector<double> ScalarFlowPlan::ParameterScales() const {
  std::vector<double> scales(layout.size(), 1.0);
  // Higher polynomials move less.
  std::vector<double> conditioning_scale = {1.0};
  for (const v1::Conditioning& c : conditioning) {
    std::vector<double> product;
    for (double scale : conditioning_scale) {
      for (uint32_t degree = 0; degree <= c.degree(); ++degree) product.push_back(scale / (1 + degree));
    }
    conditioning_scale = std::move(product);
  }
  if (learnable_prior) {
    const ParameterBlock& block = layout.blocks()[0];
    for (int64_t i = 0; i < block.size; ++i) {
      scales[block.offset + i] = kSlowScale * conditioning_scale[i % conditioning_modes];
    }
  }
  for (const ScalarLayerPlan& layer : layers) {
    if (!layer.continuous.has_value()) continue;
    const ScalarContinuousPlan& flow = *layer.continuous;
    double* kernel = scales.data() + layout.blocks()[layer.first_block].offset;
    for (int32_t f = 0; f < flow.features(); ++f) {
      const double frequency = f == 0 ? 0 : flow.max_frequency * f / flow.frequencies;
      for (int32_t o : flow.orbits) {
        const double length = SquaredLength(Displacement(lattice, orbits.representative[o]));
        const double scale = kKernelScale / (orbits.size[o] * (1 + length)) / std::max(1.0, frequency);
        for (int32_t n = 0; n < flow.time_modes; ++n) {
          for (int32_t c = 0; c < conditioning_modes; ++c) *kernel++ = scale / (1 + n) * conditioning_scale[c];
        }
      }
    }
    const ParameterBlock& block = layout.blocks()[layer.first_block + 1];
    std::fill_n(scales.begin() + block.offset, block.size, kSlowScale);
  }
  return scales;
}

}  // namespace haarflow
