#include "core/mcmc/sun_heat_bath.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"

namespace haarflow {

absl::StatusOr<SunHeatBath> SunHeatBath::Create(const Lattice& lattice, const SunCouplings& couplings,
                                                const SunHeatBathOptions& options) {
  ASSIGN_OR_RETURN(SunTile tile, SunTile::Create(lattice, couplings));
  if (couplings.rectangle != 0) {
    return absl::InvalidArgumentError(absl::StrCat("heat bath: rectangle is ", couplings.rectangle,
                                                   "; only plaquettes are supported (HMC has rectangles)"));
  }
  RETURN_IF_ERROR(CheckSunChains("heat bath", tile, options.chains, options.first_chain));
  if (options.over_relaxations < 0 || options.over_relaxations > 64) {
    return absl::InvalidArgumentError(
        absl::StrCat("heat bath: over_relaxations is ", options.over_relaxations, "; 0..64 are supported"));
  }
  return SunHeatBath(std::move(tile), options);
}

SunHeatBath::SunHeatBath(SunTile tile, const SunHeatBathOptions& options) : tile_(std::move(tile)), options_(options) {
  for (int chain = 0; chain < options_.chains; chain += kSunTile) {
    links_.push_back(tile_.Haar(options_.seed, options_.first_chain + static_cast<uint64_t>(chain)));
  }
}

void SunHeatBath::Sweep() {
  for (size_t tile = 0; tile < links_.size(); ++tile) {
    SunRows* links = &links_[tile];
    tile_.HeatBath(options_.seed, options_.first_chain + tile * kSunTile, sweep_, links);
    for (int i = 0; i < options_.over_relaxations; ++i) tile_.OverRelax(links);
    tile_.Reunitarise(links);
  }
  ++sweep_;
}

}  // namespace haarflow
