#include "core/mcmc/u1_heat_bath.h"

#include <cmath>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "core/base/noise.h"
#include "core/kernel/cpu/isa.h"
#include "core/mcmc/gauge_staples.h"

namespace haarflow {
namespace {

using kernel::kGaugeLanes;

// Step of NoisePurpose::kInitial: HMC starts from step 0, so that the two share no number.
constexpr uint32_t kStartStep = 1;

}  // namespace

absl::StatusOr<U1HeatBath> U1HeatBath::Create(const Lattice& lattice, double beta, const U1HeatBathOptions& options) {
  if (options.chains < 1 || options.chains > 65536) {
    return absl::InvalidArgumentError(
        absl::StrCat("heat bath: chains is ", options.chains, "; 1..65536 are supported"));
  }
  if (options.first_chain >= uint64_t{1} << 40) {
    return absl::InvalidArgumentError(
        absl::StrCat("heat bath: first_chain is ", options.first_chain, "; use less than 2^40"));
  }
  if (!std::isfinite(beta)) return absl::InvalidArgumentError(absl::StrCat("heat bath: beta is ", beta));
  if (lattice.dims() < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("heat bath: the lattice is ", lattice.ToString(), "; 2 to 4 directions are supported"));
  }
  if (options.chains * lattice.links() > int64_t{1} << 28) {
    return absl::InvalidArgumentError("heat bath: more than 2^28 links in all chains; use fewer chains");
  }
  if (options.over_relaxations < 0 || options.over_relaxations > 64) {
    return absl::InvalidArgumentError(
        absl::StrCat("heat bath: over_relaxations is ", options.over_relaxations, "; 0..64 are supported"));
  }
  return U1HeatBath(lattice, beta, options);
}

U1HeatBath::U1HeatBath(const Lattice& lattice, double beta, const U1HeatBathOptions& options)
    : lattice_(lattice),
      beta_(beta),
      options_(options),
      kernels_(kernel::GaugeKernelsFor(kernel::BestInstructionSet())),
      staples_(StapleTable(lattice, {{1, 1}})) {
  for (int first = 0; first < options.chains; first += kGaugeLanes) {
    std::vector<Row>& tile = links_.emplace_back(2 * lattice.links());
    for (int64_t link = 0; link < lattice.links(); ++link) {
      for (int c = 0; c < kGaugeLanes; ++c) {
        const uint64_t chain = options.first_chain + static_cast<uint64_t>(first + c);
        const double u =
            UniformNoise(options.seed, NoisePurpose::kInitial, chain, static_cast<uint32_t>(link), kStartStep);
        tile[2 * link].chain[c] = std::cos(2 * std::numbers::pi * u);
        tile[2 * link + 1].chain[c] = std::sin(2 * std::numbers::pi * u);
      }
    }
  }
}

kernel::GaugeAction U1HeatBath::Gauge() const {
  kernel::GaugeAction gauge = {};
  gauge.colours = 1;
  gauge.links = static_cast<int32_t>(lattice_.links());
  gauge.kind[0] = {beta_, 2 * (lattice_.dims() - 1), 3, staples_.data()};
  return gauge;
}

void U1HeatBath::Sweep() {
  const kernel::GaugeAction gauge = Gauge();
  for (size_t tile = 0; tile < links_.size(); ++tile) {
    uint64_t index[kGaugeLanes];
    for (uint64_t c = 0; c < kGaugeLanes; ++c) index[c] = options_.first_chain + tile * kGaugeLanes + c;
    double* links = links_[tile][0].chain;
    kernels_->heat_bath(gauge, options_.seed, index, sweep_, links);
    for (int i = 0; i < options_.over_relaxations; ++i) kernels_->over_relax(gauge, links);
    kernels_->reunitarise(1, lattice_.links(), links);
  }
  ++sweep_;
}

std::vector<double> U1HeatBath::Field(int chain) const {
  const std::vector<Row>& rows = links_[chain / kGaugeLanes];
  std::vector<double> links(lattice_.links());
  for (size_t link = 0; link < links.size(); ++link) {
    const Row &cosine = rows[2 * link], &sine = rows[2 * link + 1];
    const double angle = std::atan2(sine.chain[chain % kGaugeLanes], cosine.chain[chain % kGaugeLanes]);
    links[link] = angle < std::numbers::pi ? angle : -std::numbers::pi;
  }
  return links;
}

void U1HeatBath::SetField(int chain, const double* links) {
  std::vector<Row>& rows = links_[chain / kGaugeLanes];
  for (int64_t link = 0; link < lattice_.links(); ++link) {
    rows[2 * link].chain[chain % kGaugeLanes] = std::cos(links[link]);
    rows[2 * link + 1].chain[chain % kGaugeLanes] = std::sin(links[link]);
  }
}

}  // namespace haarflow
