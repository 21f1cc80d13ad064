#include "core/mcmc/sun_tile.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/noise.h"
#include "core/kernel/cpu/isa.h"
#include "core/kernel/cpu/loop_isa.h"
#include "core/mcmc/gauge_staples.h"

namespace haarflow {
namespace {

static_assert(kSunTile == kernel::kMatrixLanes);

constexpr int64_t kMaxLinks = int64_t{1} << 22;  // degrees of freedom of an update's noise: 9 for every link

std::array<uint64_t, kSunTile> Chains(uint64_t first) {
  std::array<uint64_t, kSunTile> index;
  for (int c = 0; c < kSunTile; ++c) index[c] = first + static_cast<uint64_t>(c);
  return index;
}

}  // namespace

SunCouplings SunCouplingsOf(const v1::SunWilsonAction& action) {
  return {static_cast<int>(action.colours()), action.beta(), action.rectangle()};
}

absl::StatusOr<SunTile> SunTile::Create(const Lattice& lattice, const SunCouplings& couplings,
                                        const std::string& instruction_set) {
  if (couplings.colours != 2 && couplings.colours != 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("chains of SU(N) links: colours is ", couplings.colours, "; 2 and 3 are supported"));
  }
  if (!std::isfinite(couplings.beta) || !std::isfinite(couplings.rectangle)) {
    return absl::InvalidArgumentError(absl::StrCat("chains of SU(N) links: beta is ", couplings.beta, ", rectangle ",
                                                   couplings.rectangle, "; they must be finite"));
  }
  if (lattice.dims() < 2 || lattice.links() > kMaxLinks) {
    return absl::InvalidArgumentError(absl::StrCat("chains of SU(N) links: the lattice is ", lattice.ToString(),
                                                   "; 2 to 4 directions and at most ", kMaxLinks,
                                                   " links are supported"));
  }
  const std::string best = instruction_set.empty() ? kernel::BestInstructionSet() : instruction_set;
  if (kernel::GaugeKernelsFor(best.c_str()) == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("this machine has no '", best, "' instructions; use avx512, avx2 or baseline"));
  }
  return SunTile(lattice, couplings, best);
}

SunTile::SunTile(const Lattice& lattice, const SunCouplings& couplings, const std::string& instruction_set)
    : lattice_(lattice),
      couplings_(couplings),
      instruction_set_(instruction_set),
      kernels_(kernel::GaugeKernelsFor(instruction_set.c_str())),
      plaquette_staples_(StapleTable(lattice, {{1, 1}})) {
  if (couplings.rectangle != 0) rectangle_staples_ = StapleTable(lattice, {{2, 1}, {1, 2}});
}

kernel::GaugeAction SunTile::Gauge() const {
  const double beta = couplings_.beta / couplings_.colours, c1 = couplings_.rectangle;
  const int planes = 2 * (lattice_.dims() - 1);
  kernel::GaugeAction gauge = {};
  gauge.colours = couplings_.colours;
  gauge.links = static_cast<int32_t>(lattice_.links());
  gauge.kind[0] = {beta * (1 - 8 * c1), planes, 3, plaquette_staples_.data()};
  gauge.kind[1] = {beta * c1, c1 == 0 ? 0 : 3 * planes, 5, rectangle_staples_.data()};
  return gauge;
}

SunRow SunTile::Action(const SunRows& links) const {
  SunRow action;
  kernels_->action(Gauge(), links[0].chain, action.chain);
  return action;
}

SunRows SunTile::Haar(uint64_t seed, uint64_t first) const {
  std::array<uint64_t, kSunTile> seeds;
  seeds.fill(seed);
  hf_loop_flow flow = {};
  flow.colours = couplings_.colours;
  flow.links = static_cast<int32_t>(lattice_.links());
  SunRows links(rows());
  kernel::LoopKernelsFor(instruction_set_.c_str())
      ->haar_tile(flow, static_cast<uint32_t>(NoisePurpose::kInitial), seeds.data(), Chains(first).data(),
                  links[0].chain);
  return links;
}

std::vector<double> SunTile::Field(const SunRows& links, int chain) const {
  std::vector<double> field;
  const int64_t n = static_cast<int64_t>(links.size());
  if (couplings_.colours == 3) {
    for (const SunRow& row : links) field.push_back(row.chain[chain]);
    return field;
  }
  for (int64_t i = 0; i < n; i += 4) {
    double w[4];
    for (int r = 0; r < 4; ++r) w[r] = links[i + r].chain[chain];
    field.insert(field.end(), {w[0], w[3], w[2], w[1], -w[2], w[1], w[0], -w[3]});
  }
  return field;
}

void SunTile::SetField(const double* field, int chain, SunRows* links) const {
  if (couplings_.colours == 3) {
    for (SunRow& row : *links) row.chain[chain] = *field++;
    return;
  }
  for (size_t i = 0; i < links->size(); i += 4, field += 8) {
    const double w[4] = {field[0], field[3], field[2], field[1]};
    for (int r = 0; r < 4; ++r) (*links)[i + r].chain[chain] = w[r];
  }
}

void SunTile::Reunitarise(SunRows* links) const {
  kernels_->reunitarise(couplings_.colours, lattice_.links(), (*links)[0].chain);
}

void SunTile::HeatBath(uint64_t seed, uint64_t first, uint32_t sweep, SunRows* links) const {
  kernels_->heat_bath(Gauge(), seed, Chains(first).data(), sweep, (*links)[0].chain);
}

void SunTile::OverRelax(SunRows* links) const { kernels_->over_relax(Gauge(), (*links)[0].chain); }

SunRows SunTile::Momenta(uint64_t seed, uint64_t first, uint32_t trajectory) const {
  SunRows momenta(momentum_rows());
  kernels_->momenta(couplings_.colours, lattice_.links(), seed, Chains(first).data(), trajectory, momenta[0].chain);
  return momenta;
}

SunRow SunTile::KineticEnergy(const SunRows& momenta) const {
  SunRow energy = {};
  for (const SunRow& p : momenta) {
    for (int c = 0; c < kSunTile; ++c) energy.chain[c] += 0.5 * p.chain[c] * p.chain[c];
  }
  return energy;
}

void SunTile::Kick(double step, const SunRows& links, SunRows* momenta) const {
  kernels_->kick(Gauge(), step, links[0].chain, (*momenta)[0].chain);
}

void SunTile::Drift(double step, const SunRows& momenta, SunRows* links, SunRow* largest) const {
  kernels_->drift(couplings_.colours, lattice_.links(), step, momenta[0].chain, (*links)[0].chain, largest->chain);
}

SunRow SunTile::Integrate(int steps, double step_size, SunRows* links, SunRows* momenta) const {
  constexpr double kLambda = 0.1931833275037836;
  SunRow largest = {};
  Kick(kLambda * step_size, *links, momenta);
  for (int step = 0; step < steps; ++step) {
    Drift(0.5 * step_size, *momenta, links, &largest);
    Kick((1 - 2 * kLambda) * step_size, *links, momenta);
    Drift(0.5 * step_size, *momenta, links, &largest);
    Kick((step + 1 == steps ? kLambda : 2 * kLambda) * step_size, *links, momenta);
  }
  return largest;
}

absl::Status CheckSunChains(const std::string& what, const SunTile& tile, int chains, uint64_t first_chain) {
  if (chains < 1 || chains > 65536) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": chains is ", chains, "; 1..65536 are supported"));
  }
  if (first_chain >= uint64_t{1} << 40) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": first_chain is ", first_chain, "; use less than 2^40"));
  }
  if (chains * tile.rows() > int64_t{1} << 28) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": more than 2^28 numbers in all chains; use fewer chains"));
  }
  return absl::OkStatus();
}

}  // namespace haarflow
