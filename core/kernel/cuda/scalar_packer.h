// Packs the checked copy of a scalar flow (core/kernel/scalar_store.h) for the GPU.
#pragma once

#include <cmath>
#include <vector>

#include "core/kernel/cuda/scalar_tables.h"
#include "core/kernel/cuda/schedule.h"
#include "core/kernel/line_map.h"
#include "core/kernel/scalar_store.h"

namespace haarflow::isa_cuda {

class ScalarPacker {
 public:
  // Kernels are laid out by frequency, ready to be read, up to `table_bytes`; else by orbit.
  ScalarPacker(const kernel::ScalarFlow& flow, const ScalarLayout& layout, int64_t table_bytes, Arena* arena,
               ScalarTables* out)
      : flow_(flow), layout_(layout), plan_(layout.plan()), table_bytes_(table_bytes), arena_(*arena), out_(*out) {}

  void Pack(NetworkBytes* network_bytes, int64_t* reflected_bytes) {
    PackSites();
    PackPasses();
    PackPrior();
    for (int32_t l = 0; l < flow_.layers; ++l) {
      const kernel::ScalarLayer& layer = flow_.layer[l];
      if (l == 0 || layer.coupling != nullptr || flow_.layer[l - 1].coupling != nullptr) StartPart(l);
      if (layer.continuous != nullptr) {
        PackContinuous(*layer.continuous, &out_.parts.back());
      } else {
        PackCoupling(*layer.coupling, network_bytes, reflected_bytes);
      }
    }
    if (flow_.layers == 0) StartPart(0);
    for (ScalarPart& part : out_.parts) {
      if (part.coupling < 0) PackPhases(&part);
    }
  }

 private:
  template <class T>
  const T* Add(const std::vector<T>& v) {
    return arena_.Add(v.data(), static_cast<int64_t>(v.size()));
  }

  void StartPart(int32_t l) {
    ScalarPart part;
    if (l == 0) {
      constexpr double kHalfLogTwoPi = 0.91893853320467274178;
      part.with_prior = true;
      part.log_q_constant =
          -static_cast<double>(flow_.geometry.components) * flow_.active * kHalfLogTwoPi - flow_.prior_log_volume;
      out_.parts.push_back(part);
    }
    if (flow_.layers == 0) return;
    if (flow_.layer[l].coupling != nullptr) {
      part = {};
      part.coupling = static_cast<int32_t>(out_.couplings.size());
      out_.parts.push_back(part);
    } else if (l > 0) {
      out_.parts.push_back(part);
    }
  }

  void PackSites() {
    const kernel::ScalarGeometry& g = flow_.geometry;
    out_.sites = {g.dims,       g.sites,
                  g.components, arena_.Add(g.neighbour, int64_t{2} * g.dims * g.sites),
                  flow_.drawn,  arena_.Add(flow_.drawn_sites, flow_.drawn)};
    if (flow_.heat_bath == nullptr) return;
    const kernel::HeatBathTable& t = *flow_.heat_bath;
    out_.conditional = {t.quadratic,
                        t.quartic,
                        t.hop,
                        t.spacing,
                        t.points,
                        arena_.Add(t.log_z, int64_t{3} * t.points),
                        arena_.Add(t.centre, t.points)};
  }

  // Sites or modes (by address) of the points that a pass's threads own, slot by slot, -1 where a thread has none. With
  // `pairs` those of two slots of a unit stand side by side, so that a thread reads two numbers at once.
  std::vector<int32_t> OwnedPoints(const CasPlan::Pass& pass, const std::vector<int32_t>& at_address,
                                   bool pairs) const {
    const int64_t threads = layout_.threads(), width = pairs ? 2 : 1;
    const int64_t rows = (pass.unit_points + width - 1) / width;
    const std::vector<CasPlan::Unit> units = plan_.Units(pass);
    const auto count = static_cast<int64_t>(units.size());
    std::vector<int32_t> owned((count + threads - 1) / threads * rows * threads * width, -1);
    for (int64_t u = 0; u < count; ++u) {
      for (int32_t i = 0; i < pass.unit_points; ++i) {
        const int32_t half = std::max(1, std::abs(pass.radix));
        const int32_t start = i < half ? units[u].first : units[u].mirror;
        if (start < 0) continue;
        owned[((u / threads * rows + i / width) * threads + u % threads) * width + i % width] =
            at_address[start + i % half * plan_.Step(pass)];
      }
    }
    return owned;
  }

  void PackPasses() {
    CasTables& cas = out_.cas;
    cas.sites = flow_.geometry.sites;
    cas.components = flow_.geometry.components;
    cas.padded = static_cast<int32_t>(plan_.padded());
    cas.passes = static_cast<int32_t>(plan_.passes().size());
    for (int32_t p = 0; p < cas.passes; ++p) {
      const CasPlan::Pass& pass = plan_.passes()[p];
      std::vector<UnitEntry> units;
      for (const CasPlan::Unit& u : plan_.Units(pass)) units.push_back({u.first, u.mirror, u.pair, 0});
      const std::vector<double> twiddles = plan_.Twiddles(pass);
      cas.pass[p] = {pass.radix,       static_cast<int32_t>(units.size()),
                     plan_.Step(pass), pass.radix == 0 ? static_cast<int32_t>(twiddles.size()) : 0,
                     Add(units),       Add(twiddles)};
    }
    std::vector<int32_t> site_address, mode_address, site_at(cas.padded, -1), mode_at(cas.padded, -1);
    for (int32_t i = 0; i < cas.sites; ++i) {
      site_address.push_back(plan_.SiteAddress(i));
      mode_address.push_back(plan_.ModeAddress(i));
      site_at[site_address.back()] = mode_at[mode_address.back()] = i;
    }
    cas.site_address = Add(site_address);
    cas.mode_address = Add(mode_address);
    owned_sites_ = OwnedPoints(plan_.passes().front(), site_at, false);
    owned_modes_ = OwnedPoints(plan_.passes().back(), mode_at, true);
    cas.owned_sites = static_cast<int64_t>(owned_sites_.size());
    cas.owned_modes = static_cast<int64_t>(owned_modes_.size());
  }

  void PackPrior() {
    PriorTable& prior = out_.prior;
    prior.fourier = flow_.prior.fourier;
    prior.heat_bath = flow_.heat_bath != nullptr;
    prior.sigma = arena_.Add(flow_.prior.sigma, flow_.geometry.sites);
    if (flow_.active == flow_.geometry.sites) return;
    std::vector<uint8_t> active(flow_.geometry.sites), owned;
    for (int32_t i = 0; i < flow_.active; ++i) active[flow_.active_sites[i]] = 1;
    for (const int32_t site : owned_sites_) owned.push_back(site < 0 ? 0 : active[site]);
    prior.active = Add(active);
    prior.owned_active = Add(owned);
  }

  void PackPhases(ScalarPart* part) {
    std::vector<const ContinuousTable*> layers;
    for (const ContinuousTable& layer : part->continuous) layers.push_back(&layer);
    for (const bool backwards : {false, true}) {
      const ScheduleOptions options = {backwards, part->with_prior && !backwards, part->with_prior && backwards};
      const std::vector<PhaseRecord> phases = Schedule(out_.cas, out_.prior, layers, options).phases();
      part->phase[backwards] = Add(phases);
      part->phases[backwards] = static_cast<int32_t>(phases.size());
    }
  }

  void PackContinuous(const kernel::ContinuousTables& tables, ScalarPart* part) {
    const hf_scalar_continuous& in = tables.flow;
    const int64_t times = 2 * int64_t{in.steps} + 1;
    std::vector<int32_t> sines, linear;
    for (int32_t f = 0; f < in.features; ++f) (in.frequency[f] == 0 ? linear : sines).push_back(f);
    ContinuousTable out = {};
    out.steps = in.steps;
    out.sines = static_cast<int32_t>(sines.size());
    out.linear = !linear.empty();
    const int64_t rows = times * (1 + out.sines), modes = out_.cas.owned_modes;
    const bool by_mode = rows * modes * 8 <= table_bytes_;
    out.columns = by_mode ? modes : in.orbits;
    std::vector<double> kernel(rows * out.columns);
    std::vector<int32_t> orbit;
    for (const int32_t mode : owned_modes_) orbit.push_back(mode < 0 ? 0 : in.orbit[mode]);
    for (int64_t t = 0; t < times; ++t) {
      double* row = kernel.data() + t * (1 + out.sines) * out.columns;
      for (int32_t f : linear) {
        AddKernel(in, t, f, by_mode, row);
        part->log_q_constant -=
            tables.at_origin[t * in.features + f] * Weight(t, in.steps) * flow_.geometry.components * flow_.active;
      }
      for (int32_t f : sines) {
        AddKernel(in, t, f, by_mode, row += out.columns);
        out.divergence.push_back(-tables.at_origin[t * in.features + f] * in.frequency[f] / in.steps);
      }
    }
    for (int32_t f : sines) out.frequency.push_back(in.frequency[f] / flow_.geometry.sites);
    out.kernel = Add(kernel);
    out.orbit = by_mode ? nullptr : Add(orbit);
    part->continuous.push_back(std::move(out));
  }

  // The kernel itself: the store's is over the number of sites.
  void AddKernel(const hf_scalar_continuous& in, int64_t time, int32_t feature, bool by_mode, double* row) const {
    const double* kernel = in.kernel + (time * in.features + feature) * in.orbits;
    const double sites = flow_.geometry.sites;
    for (size_t i = 0; by_mode && i < owned_modes_.size(); ++i) {
      if (owned_modes_[i] >= 0) row[i] += sites * kernel[in.orbit[owned_modes_[i]]];
    }
    for (int32_t o = 0; !by_mode && o < in.orbits; ++o) row[o] += sites * kernel[o];
  }

  // The Runge-Kutta weight of a time in the integral over [0, 1].
  static double Weight(int64_t time, int32_t steps) {
    const double inner = time % 2 == 1 ? 4.0 : 2.0;
    return (time == 0 || time == 2 * int64_t{steps} ? 1.0 : inner) / 6 / steps;
  }

  void PackCoupling(const hf_scalar_coupling& in, NetworkBytes* network_bytes, int64_t* reflected_bytes) {
    ScalarCouplingTables out = {in.active,
                                arena_.Add(in.active_sites, in.active),
                                in.features,
                                arena_.Add(in.feature_begin, int64_t{in.features} + 1),
                                arena_.Add(in.feature_sites, in.feature_begin[in.features]),
                                in.map,
                                in.pieces,
                                in.range,
                                in.odd != 0,
                                {}};
    const int64_t parameters = LineMapParameters(static_cast<LineMapKind>(in.map), in.pieces);
    PackNetwork(in.stage, in.stages, in.features, in.double_network != 0, in.active, parameters, &arena_, &out.network,
                network_bytes);
    if (out.odd) {
      *reflected_bytes = std::max(*reflected_bytes, in.active * parameters * (in.double_network != 0 ? 8 : 4));
    }
    out_.couplings.push_back(std::move(out));
  }

  const kernel::ScalarFlow& flow_;
  const ScalarLayout& layout_;
  const CasPlan& plan_;
  const int64_t table_bytes_;
  Arena& arena_;
  ScalarTables& out_;
  std::vector<int32_t> owned_sites_, owned_modes_;
};

}  // namespace haarflow::isa_cuda
