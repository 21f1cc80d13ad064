#include <algorithm>
#include <cmath>

#include "core/flow/scalar_plan.h"

namespace haarflow {
namespace {

template <class T>
void Convert(absl::Span<const double> in, std::vector<double>* out) {
  T* values = reinterpret_cast<T*>(out->data());
  for (size_t i = 0; i < in.size(); ++i) values[i] = static_cast<T>(in[i]);
}

}  // namespace

ScalarFlowTables::ScalarFlowTables(const ScalarFlowPlan& plan, int32_t steps)
    : plan_(plan), continuous_(plan.layers.size()), coupling_(plan.layers.size()) {
  sigma_.resize(plan.lattice.volume());
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    if (plan.layers[l].coupling.has_value()) {
      const ScalarCouplingPlan& c = *plan.layers[l].coupling;
      Coupling& table = coupling_[l];
      for (size_t s = 0; s < c.stages.size(); ++s) {
        const StagePlan& stage = c.stages[s];
        const auto& blocks = plan.layout.blocks();
        table.weights.emplace_back(blocks[plan.layers[l].first_block + 2 * s].size);
        table.weights.emplace_back(blocks[plan.layers[l].first_block + 2 * s + 1].size);
        table.stages.push_back({stage.sites, stage.out_channels, stage.rows_per_tap, stage.weight_blocks,
                                stage.tap_begin.data(), stage.tap_input.data(), stage.tap_weight.data(),
                                table.weights[2 * s].data(), table.weights[2 * s + 1].data(), stage.activation});
      }
      table.flow = {static_cast<int32_t>(c.active_sites.size()),
                    c.active_sites.data(),
                    static_cast<int32_t>(c.feature_begin.size()) - 1,
                    c.feature_begin.data(),
                    c.feature_sites.data(),
                    static_cast<int32_t>(table.stages.size()),
                    table.stages.data(),
                    c.map,
                    c.pieces,
                    c.range,
                    c.odd ? 1 : 0,
                    c.double_network ? 1 : 0};
      layers_.push_back({&table.flow, nullptr});
      continue;
    }
    const ScalarContinuousPlan& c = *plan.layers[l].continuous;
    Continuous& table = continuous_[l];
    table.frequency.resize(c.features());
    table.kernel.resize((2 * int64_t{steps} + 1) * c.features() * plan.orbits.count());
    table.time = TimeModes(steps, c.time_modes);
    table.flow = {c.features(),       steps, plan.orbits.count(), table.frequency.data(), plan.orbits.of_site.data(),
                  table.kernel.data()};
    layers_.push_back({nullptr, &table.flow});
  }
  flow_.dims = plan.lattice.dims();
  for (int a = 0; a < plan.lattice.dims(); ++a) flow_.shape[a] = static_cast<int32_t>(plan.lattice.shape()[a]);
  flow_.components = plan.components;
  flow_.prior = {plan.fourier_prior ? 1 : 0, sigma_.data()};
  flow_.layers = static_cast<int32_t>(layers_.size());
  flow_.layer = layers_.data();
  flow_.heat_bath = plan.heat_bath ? 1 : 0;
}

void ScalarFlowTables::Set(absl::Span<const double> parameters, absl::Span<const double> conditioning_modes,
                           const double* couplings) {
  SetPrior(parameters, conditioning_modes);
  for (size_t l = 0; l < layers_.size(); ++l) {
    if (layers_[l].continuous != nullptr) {
      SetContinuous(l, parameters, conditioning_modes);
    } else {
      SetCoupling(l, parameters);
    }
  }
  std::copy_n(couplings, 3, flow_.heat_bath_couplings);
}

void ScalarFlowTables::SetPrior(absl::Span<const double> parameters, absl::Span<const double> modes) {
  const int64_t volume = plan_.lattice.volume();
  for (int64_t k = 0; k < volume; ++k) {
    if (!plan_.fourier_prior) {
      sigma_[k] = plan_.initial_sigma[0];
      continue;
    }
    const int32_t orbit = plan_.spectrum_orbit[plan_.orbits.of_site[k]];
    if (!plan_.learnable_prior) {
      sigma_[k] = plan_.initial_sigma[orbit];
      continue;
    }
    const double* log_sigma = parameters.data() + plan_.layout.blocks()[0].offset + orbit * modes.size();
    double sum = 0;
    for (size_t c = 0; c < modes.size(); ++c) sum += log_sigma[c] * modes[c];
    sigma_[k] = std::exp(sum);
  }
}

void ScalarFlowTables::SetContinuous(size_t layer, absl::Span<const double> parameters,
                                     absl::Span<const double> modes) {
  const ScalarContinuousPlan& plan = *plan_.layers[layer].continuous;
  Continuous& table = continuous_[layer];
  const auto& blocks = plan_.layout.blocks();
  const double* kernel = parameters.data() + blocks[plan_.layers[layer].first_block].offset;
  const double* frequency = parameters.data() + blocks[plan_.layers[layer].first_block + 1].offset;
  for (int32_t f = 0; f < plan.frequencies; ++f) table.frequency[f + 1] = frequency[f];
  const int64_t orbits = plan_.orbits.count(), time_modes = plan.time_modes;
  const int32_t times = 2 * table.flow.steps + 1;
  std::vector<double> at_momentum(time_modes);
  for (int32_t f = 0; f < plan.features(); ++f) {
    std::vector<double> by_displacement(plan.orbits.size() * time_modes, 0.0);
    for (double& value : by_displacement) {
      for (double mode : modes) value += *kernel++ * mode;
    }
    for (int64_t k = 0; k < orbits; ++k) {
      std::fill(at_momentum.begin(), at_momentum.end(), 0.0);
      for (size_t o = 0; o < plan.orbits.size(); ++o) {
        const double cosine = plan_.orbit_cosines[k * orbits + plan.orbits[o]];
        for (int64_t n = 0; n < time_modes; ++n) at_momentum[n] += cosine * by_displacement[o * time_modes + n];
      }
      for (int32_t t = 0; t < times; ++t) {
        double sum = 0;
        for (int64_t n = 0; n < time_modes; ++n) sum += table.time[t * time_modes + n] * at_momentum[n];
        table.kernel[(int64_t{t} * plan.features() + f) * orbits + k] = sum;
      }
    }
  }
}

void ScalarFlowTables::SetCoupling(size_t layer, absl::Span<const double> parameters) {
  const auto& blocks = plan_.layout.blocks();
  Coupling& table = coupling_[layer];
  for (size_t b = 0; b < table.weights.size(); ++b) {
    const ParameterBlock& block = blocks[plan_.layers[layer].first_block + b];
    const auto values = parameters.subspan(block.offset, block.size);
    if (block.float64) {
      Convert<double>(values, &table.weights[b]);
    } else {
      Convert<float>(values, &table.weights[b]);
    }
  }
}

ScalarFlowTables::ContinuousGradient ScalarFlowTables::MakeGradient(size_t layer) const {
  const Continuous& table = continuous_[layer];
  ContinuousGradient gradient;
  gradient.kernel.assign(table.kernel.size(), 0.0);
  gradient.origin.assign((2 * int64_t{table.flow.steps} + 1) * table.flow.features, 0.0);
  gradient.frequency.assign(table.frequency.size(), 0.0);
  return gradient;
}

void ScalarFlowTables::AddGradient(absl::Span<const double> modes, absl::Span<const double> log_sigma,
                                   const std::vector<ContinuousGradient>& layers, absl::Span<double> out) const {
  const auto& blocks = plan_.layout.blocks();
  if (plan_.learnable_prior) {
    for (size_t k = 0; k < log_sigma.size(); ++k) {
      const int32_t orbit = plan_.spectrum_orbit[plan_.orbits.of_site[k]];
      double* row = out.data() + blocks[0].offset + orbit * modes.size();
      for (size_t c = 0; c < modes.size(); ++c) row[c] += log_sigma[k] * modes[c];
    }
  }
  const int64_t orbits = plan_.orbits.count();
  const double per_site = 1.0 / static_cast<double>(plan_.lattice.volume());
  for (size_t l = 0; l < layers_.size(); ++l) {
    if (layers_[l].continuous == nullptr) continue;
    const ScalarContinuousPlan& plan = *plan_.layers[l].continuous;
    const Continuous& table = continuous_[l];
    const int64_t time_modes = plan.time_modes;
    const int32_t times = 2 * table.flow.steps + 1;
    double* kernel = out.data() + blocks[plan_.layers[l].first_block].offset;
    double* frequency = out.data() + blocks[plan_.layers[l].first_block + 1].offset;
    for (int32_t f = 0; f < plan.frequencies; ++f) frequency[f] += layers[l].frequency[f + 1];
    std::vector<double> by_displacement(plan.orbits.size() * time_modes);
    std::vector<double> at_momentum(time_modes);
    for (int32_t f = 0; f < plan.features(); ++f) {
      std::fill(by_displacement.begin(), by_displacement.end(), 0.0);
      for (int64_t k = 0; k < orbits; ++k) {
        std::fill(at_momentum.begin(), at_momentum.end(), 0.0);
        for (int32_t t = 0; t < times; ++t) {
          const int64_t row = int64_t{t} * plan.features() + f;
          // The kernels' own table is kernel / sites; at_origin is its sum over momenta.
          const double g =
              per_site * (layers[l].kernel[row * orbits + k] + plan_.orbits.size[k] * layers[l].origin[row]);
          for (int64_t n = 0; n < time_modes; ++n) at_momentum[n] += table.time[t * time_modes + n] * g;
        }
        for (size_t o = 0; o < plan.orbits.size(); ++o) {
          const double cosine = plan_.orbit_cosines[k * orbits + plan.orbits[o]];
          for (int64_t n = 0; n < time_modes; ++n) by_displacement[o * time_modes + n] += cosine * at_momentum[n];
        }
      }
      for (double value : by_displacement) {
        for (double mode : modes) *kernel++ += value * mode;
      }
    }
  }
}

}  // namespace haarflow
