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

// Where a sweep's random numbers are: degrees of freedom of NoisePurpose::kAccept at the step that is the sweep. Local
// updates come first, then bonds, then flips.
class ClusterNoise {
 public:
  static constexpr int64_t kBlock = 64;        // sites that are updated from one batch of random numbers
  static constexpr int64_t kDirection = 7;     // n of two components; 0 to 2 belong to other chains
  static constexpr int64_t kFlipsOfOne = 128;  // clusters that one block of noise decides
  ClusterNoise(int64_t volume, int dims, int hits, int local_sweeps)
      : volume_(volume), dims_(dims), hits_(hits), local_sweeps_(local_sweeps) {}

  // One for each site.
  int64_t Local(int sweep, int hit, int64_t site) const { return 8 + (int64_t{sweep} * hits_ + hit) * volume_ + site; }
  // BondBlocks(n) for the bonds of sites first, ..., first + n - 1; first a multiple of kBlock, n <= kBlock.
  int64_t Bonds(int64_t first) const { return Local(local_sweeps_, 0, 0) + first / kBlock * BondBlocks(kBlock); }
  int64_t BondBlocks(int64_t sites) const { return (sites * dims_ + 1) / 2; }  // two numbers each
  int64_t Flips(int64_t cluster) const {
    return Bonds((volume_ + kBlock - 1) / kBlock * kBlock) + cluster / kFlipsOfOne;
  }

 private:
  int64_t volume_;
  int dims_, hits_, local_sweeps_;
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
  void ProjectSpins(int tile);
  void FlipClusters(int tile, int c);
  // The clusters of slot c of the tile at work: root_[site], the smallest site of its cluster.
  void FindClusters(int c);

  Phi4Tile tile_;
  Phi4ClusterOptions options_;
  ClusterNoise noise_;
  double width_;
  uint32_t sweep_ = 0;
  std::vector<ChainRows> field_;  // [tile][row]
  double proposed_ = 0;
  double accepted_ = 0;
  // Of the tile at work:
  ChainRows log_u_, p1_, p2_;
  ChainRows spin_;              // [site]: n . phi, two components only
  ChainRow normal_[2];          // n, two components only
  std::vector<uint8_t> bond_;   // [site * dims + mu][chain]
  std::vector<int32_t> root_;   // [site]
  std::vector<uint32_t> flip_;  // [site / 32]: a bit for every root
};

}  // namespace haarflow
