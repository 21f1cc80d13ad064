// Heat bath and over-relaxation of SU(2) and SU(3) links with the Wilson action in 2 to 4 dimensions: the source of
// fields of a gauge target, and an independent check of flows. Cabibbo and Marinari, Phys. Lett. B 119 (1982) 387;
// Kennedy and Pendleton, Phys. Lett. B 156 (1985) 393; Creutz, Phys. Rev. D 36 (1987) 515.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/mcmc/sun_tile.h"

namespace haarflow {

struct SunHeatBathOptions {
  int chains = kSunTile;     // independent Markov chains; multiples of 8 waste no vector slot
  uint64_t first_chain = 0;  // the chains are first_chain, ..., of one seed, so that threads may share out a run
  uint64_t seed = 1;
  int over_relaxations = 2;  // sweeps after each heat-bath sweep, 0..64
};

// Not thread-safe; one object per thread.
class SunHeatBath {
 public:
  // Starts from Haar measure. INVALID_ARGUMENT names what is wrong: chains 1..65536, first_chain below 2^40,
  // rectangle = 0, at most 2^28 numbers in all chains, and what SunTile asks.
  static absl::StatusOr<SunHeatBath> Create(const Lattice& lattice, const SunCouplings& couplings,
                                            const SunHeatBathOptions& options);

  // One heat-bath sweep and its over-relaxation sweeps of every chain. At most kernel::kGaugeMaxSweeps times.
  void Sweep();

  int chains() const { return options_.chains; }
  uint32_t sweeps() const { return sweep_; }
  // The field of one chain, [mu, ..., y, x, row, column, 2]; 0 <= chain < chains().
  std::vector<double> Field(int chain) const { return tile_.Field(links_[chain / kSunTile], chain % kSunTile); }
  // S of one chain.
  double Action(int chain) const { return tile_.Action(links_[chain / kSunTile]).chain[chain % kSunTile]; }

 private:
  SunHeatBath(SunTile tile, const SunHeatBathOptions& options);

  SunTile tile_;
  SunHeatBathOptions options_;
  uint32_t sweep_ = 0;
  std::vector<SunRows> links_;  // [tile]
};

}  // namespace haarflow
