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
        cosine[axis][x] = std::cos(2 * std::numbers::pi * static_cast<double>(momentum * x % extent) /
                                   static_cast<double>(extent));
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

// khat^2 = 4 sum sin^2(k / 2).
double SquaredLatticeMomentum(const Lattice& lattice, int64_t site) {
  double sum = 0;
  for (int axis = 0; axis < lattice.dims(); ++axis) {
    const double s = std::sin(std::numbers::pi * static_cast<double>(lattice.Coordinate(site, axis)) /
                              static_cast<double>(lattice.shape()[axis]));
    sum += 4 * s * s;
  }
  return sum;
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
    const double v =
        plan->heat_bath ? 0.5 * (variance(k) + variance(HalfPeriodAway(plan->lattice, k))) : variance(k);
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
  plan->layout.Add(name + ".kernel",
                   {layer.features(), static_cast<int64_t>(layer.orbits.size()), layer.time_modes,
                    plan->conditioning_modes},
                   true);
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

// ------------------------------------------------------------------------------------------------------------ transfer

namespace {

// The parameters of one block with the conditioning contracted at `modes`, or as they are.
std::vector<double> Contract(absl::Span<const double> block, absl::Span<const double> modes) {
  std::vector<double> out(block.size() / modes.size(), 0.0);
  for (size_t i = 0; i < block.size(); ++i) out[i / modes.size()] += block[i] * modes[i % modes.size()];
  return out;
}

bool SameConditioning(const ScalarFlowPlan& a, const ScalarFlowPlan& b) {
  if (a.conditioning.size() != b.conditioning.size()) return false;
  for (size_t i = 0; i < a.conditioning.size(); ++i) {
    if (a.conditioning[i].SerializeAsString() != b.conditioning[i].SerializeAsString()) return false;
  }
  return true;
}

// How the spectrum of one lattice looks on another.
class SpectrumTransfer {
 public:
  SpectrumTransfer(const ScalarFlowPlan& from, const ScalarFlowPlan& to) : from_(from), to_(to) {
    for (int32_t o = 0; o < from.orbits.count(); ++o) {
      if (from.spectrum_orbit[o] == o) {
        order_.emplace_back(SquaredLatticeMomentum(from.lattice, from.orbits.representative[o]), o);
      }
    }
    std::sort(order_.begin(), order_.end());
  }
  // The orbit of the same momentum, or -1.
  int32_t SameMomentum(int32_t orbit) const {
    int64_t site = 0;
    for (int axis = 0; axis < to_.lattice.dims(); ++axis) {
      const int64_t here = to_.lattice.shape()[axis], there = from_.lattice.shape()[axis];
      const int64_t n = to_.lattice.Coordinate(to_.orbits.representative[orbit], axis) * there;
      if (n % here != 0) return -1;
      site = site * there + n / here;
    }
    return from_.spectrum_orbit[from_.orbits.of_site[site]];
  }
  // log sigma between the momenta of the source: 1 / sigma^2 is linear in khat^2 between neighbours, constant beyond.
  double Interpolated(const std::vector<double>& log_sigma, int32_t orbit) const {
    const double k = SquaredLatticeMomentum(to_.lattice, to_.orbits.representative[orbit]);
    const auto above = std::upper_bound(order_.begin(), order_.end(), std::make_pair(k, int32_t{0}));
    if (above == order_.begin()) return log_sigma[order_.front().second];
    if (above == order_.end()) return log_sigma[order_.back().second];
    const auto below = above - 1;
    const double width = above->first - below->first;
    const double t = width > 0 ? (k - below->first) / width : 0;
    const double inverse =
        (1 - t) * std::exp(-2 * log_sigma[below->second]) + t * std::exp(-2 * log_sigma[above->second]);
    return -0.5 * std::log(inverse);
  }

 private:
  const ScalarFlowPlan& from_;
  const ScalarFlowPlan& to_;
  std::vector<std::pair<double, int32_t>> order_;  // (khat^2, orbit)
};

// Where a kernel's value at a displacement of `to` comes from: the orbit of `from` (or -1) and a factor.
std::pair<int32_t, double> SourceOrbit(const ScalarFlowPlan& from, const ScalarFlowPlan& to, int32_t orbit) {
  const std::vector<int64_t> d = Displacement(to.lattice, to.orbits.representative[orbit]);
  double factor = 1;
  int64_t site = 0;
  for (int axis = 0; axis < to.lattice.dims(); ++axis) {
    const int64_t here = to.lattice.shape()[axis], there = from.lattice.shape()[axis];
    const int64_t length = std::abs(d[axis]);
    if (2 * length > there) return {-1, 0.0};
    if (2 * length == there && here > there) factor *= 0.5;
    if (2 * length == here && there > here) factor *= 2;
    site = site * there + length;
  }
  return {from.orbits.of_site[site], factor};
}

absl::Status SameLayers(const ScalarFlowPlan& from, const ScalarFlowPlan& to) {
  const auto differ = [](const std::string& what) {
    return absl::InvalidArgumentError(absl::StrCat("training.start_from: ", what, "; the layers must be the same"));
  };
  if (from.lattice.dims() != to.lattice.dims()) return differ("another number of dimensions");
  if (from.components != to.components) return differ("another number of components");
  if (from.heat_bath != to.heat_bath) return differ("one of the two has a heat bath");
  if (from.layers.size() != to.layers.size()) return differ("another number of layers");
  for (size_t l = 0; l < to.layers.size(); ++l) {
    const auto &a = from.layers[l], &b = to.layers[l];
    const std::string name = absl::StrCat("layer ", l);
    if (a.coupling.has_value() != b.coupling.has_value()) return differ(name + " is of another kind");
    if (b.coupling.has_value()) {
      if (a.coupling->stages.size() != b.coupling->stages.size()) return differ(name + " has another network");
      for (size_t s = 0; s < b.coupling->stages.size(); ++s) {
        const auto& x = from.layout.blocks()[a.first_block + 2 * s].shape;
        if (x != to.layout.blocks()[b.first_block + 2 * s].shape) return differ(name + " has another network");
      }
      continue;
    }
    if (a.continuous->frequencies != b.continuous->frequencies) return differ(name + " has other frequencies");
    if (a.continuous->time_modes != b.continuous->time_modes) return differ(name + " has other time modes");
  }
  return absl::OkStatus();
}

absl::Span<const double> Block(const ScalarFlowPlan& plan, size_t block, absl::Span<const double> parameters) {
  return parameters.subspan(plan.layout.blocks()[block].offset, plan.layout.blocks()[block].size);
}

}  // namespace

absl::StatusOr<std::vector<double>> TransferScalarParameters(const ScalarFlowPlan& from,
                                                             absl::Span<const double> parameters,
                                                             const ScalarFlowPlan& to) {
  RETURN_IF_ERROR(SameLayers(from, to));
  // Width of the numbers that are transferred, and in the result.
  const bool same = SameConditioning(from, to);
  const size_t width = same ? static_cast<size_t>(to.conditioning_modes) : 1;
  const std::vector<double> modes = same ? std::vector<double>{1.0} : from.ConditioningModes(to.target);
  std::vector<double> out = to.InitialValues(0);
  if (to.learnable_prior && from.fourier_prior) {
    std::vector<double> source(from.orbits.count());
    const SpectrumTransfer transfer(from, to);
    double* target = out.data() + to.layout.blocks()[0].offset;
    for (size_t c = 0; c < width; ++c) {
      for (int32_t o = 0; o < from.orbits.count(); ++o) source[o] = c == 0 ? std::log(from.initial_sigma[o]) : 0;
      if (from.learnable_prior) {
        const std::vector<double> block = Contract(Block(from, 0, parameters), modes);
        for (int32_t o = 0; o < from.orbits.count(); ++o) source[o] = block[o * width + c];
      }
      for (int32_t o = 0; o < to.orbits.count(); ++o) {
        // Higher conditioning modes are corrections to log sigma: kept where the momentum is the same.
        const int32_t same_momentum = transfer.SameMomentum(o);
        target[int64_t{o} * to.conditioning_modes + c] = same_momentum >= 0 ? source[same_momentum]
                                                         : c == 0           ? transfer.Interpolated(source, o)
                                                                            : 0;
      }
    }
  }
  for (size_t l = 0; l < to.layers.size(); ++l) {
    const size_t a = from.layers[l].first_block, b = to.layers[l].first_block;
    if (to.layers[l].coupling.has_value()) {
      for (size_t i = 0; i < 2 * to.layers[l].coupling->stages.size(); ++i) {
        const auto block = Block(from, a + i, parameters);
        std::copy(block.begin(), block.end(), out.begin() + to.layout.blocks()[b + i].offset);
      }
      continue;
    }
    const ScalarContinuousPlan &x = *from.layers[l].continuous, &y = *to.layers[l].continuous;
    const auto frequency = Block(from, a + 1, parameters);
    std::copy(frequency.begin(), frequency.end(), out.begin() + to.layout.blocks()[b + 1].offset);
    const std::vector<double> source = Contract(Block(from, a, parameters), modes);
    double* target = out.data() + to.layout.blocks()[b].offset;
    for (size_t i = 0; i < y.orbits.size(); ++i) {
      const auto [orbit, factor] = SourceOrbit(from, to, y.orbits[i]);
      const auto at = std::lower_bound(x.orbits.begin(), x.orbits.end(), orbit);
      if (orbit < 0 || at == x.orbits.end() || *at != orbit) continue;
      const size_t j = static_cast<size_t>(at - x.orbits.begin());
      for (int32_t f = 0; f < y.features(); ++f) {
        for (int32_t n = 0; n < y.time_modes; ++n) {
          for (size_t c = 0; c < width; ++c) {
            target[((f * y.orbits.size() + i) * y.time_modes + n) * to.conditioning_modes + c] =
                factor * source[((f * x.orbits.size() + j) * x.time_modes + n) * width + c];
          }
        }
      }
    }
  }
  return out;
}

}  // namespace haarflow
