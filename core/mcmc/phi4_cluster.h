// A cluster sampler for phi^4 in 1 to 4 dimensions, one component or two: Metropolis updates of the field, site by
// site, and Swendsen-Wang updates of its signs, the embedded Ising model (Brower and Tamayo, Phys. Rev. Lett. 62 (1989)
// 1087; Wolff, ibid. 361). Hardly slows down where HMC does, and moves between the phases of a broken symmetry: the
// source of independent fields, where it applies. Many chains at once, 16 to a tile, chains innermost.
//
// Signs: s_x = phi_x, for two components s_x = n . phi_x with a random unit vector n. The action depends on them by
// -hop s_x s_y, so bonds are set with probability 1 - exp(-2 hop s_x s_y) where hop s_x s_y > 0, and every cluster is
// reflected (s -> -s) with probability 1/2. Exact for either sign of hop.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/mcmc/phi4_tile.h"

namespace haarflow {

struct Phi4ClusterOptions {
  int chains = kernel::kTile;  // independent Markov chains; multiples of 16 waste no vector slot
  uint64_t first_chain =
      0;  // a multiple of 16: the chains are first_chain, ..., of one seed, so that threads may share out a run
  uint64_t seed = 1;     // noise is addressed by chain: chain c is the same whatever the number of chains
  int hits = 3;          // Metropolis proposals at a site before moving on
  int local_sweeps = 1;  // sweeps over all sites before the clusters
  bool clusters = true;  // false: Metropolis alone, to compare with
};

// Not thread-safe; one object per thread.
class Phi4Cluster {
 public:
  // INVALID_ARGUMENT names what is wrong: chains 1..65536, first_chain a multiple of 16 below 2^40, hits 1..16 and
  // local_sweeps 1..16 with a product of at most 32, finite couplings of an action bounded from below, at most 2^27
  // numbers in all chains. Starts from independent random fields of about the width of one site's potential.
  static absl::StatusOr<Phi4Cluster> Create(const Lattice& lattice, const Phi4Couplings& couplings,
                                            const Phi4ClusterOptions& options);

  // local_sweeps Metropolis sweeps and one cluster update of every chain.
  void Sweep();

  int chains() const { return options_.chains; }
  uint64_t sweeps() const { return sweep_; }
  // Proposals are uniform within +-width / 2 of the old value: a function of the couplings alone.
  double width() const { return width_; }
  // Of the Metropolis proposals so far; 0 before the first sweep.
  double acceptance() const;
  // The field of one chain, [component, ..., y, x]; 0 <= chain < chains().
  void Field(int chain, double* field) const;
  std::vector<double> Field(int chain) const;

 private:
  Phi4Cluster(const Lattice& lattice, const Phi4Couplings& couplings, const Phi4ClusterOptions& options);
  uint64_t FirstChain(int tile) const;
  void LocalSweep(int tile, int sweep);
  void ClusterUpdate(int tile);
  // The clusters of slot c of the tile at work: root_[site], the smallest site of its cluster.
  void FindClusters(int c);

  Phi4Tile tile_;
  Phi4ClusterOptions options_;
  double width_;
  uint32_t sweep_ = 0;
  std::vector<ChainRows> field_;  // [tile][row]
  double proposed_ = 0;
  double accepted_ = 0;
  // Of the tile at work:
  ChainRows log_u_, p1_, p2_;
  ChainRows spin_;             // [site]: n . phi, two components only
  std::vector<uint8_t> bond_;  // [site * dims + mu][chain]
  std::vector<int32_t> root_;  // [site]
};

}  // namespace haarflow
