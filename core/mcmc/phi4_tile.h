// Loops over tiles of 16 chains of scalar fields, compiled for several instruction sets and chosen at load time: what
// HMC and the cluster sampler are made of. A tile's field is rows [component * volume + site] of 16 chains.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/action/phi4.h"
#include "core/base/noise.h"
#include "core/mcmc/hmc.h"

namespace haarflow {

namespace kernel {
struct ScalarKernels;
class ScalarFlowStore;
}  // namespace kernel

// The action's couplings and the neighbours of every site. Const member functions are thread-safe.
class Phi4Tile {
 public:
  Phi4Tile(const Lattice& lattice, const Phi4Couplings& couplings);

  const Lattice& lattice() const { return lattice_; }
  const Phi4Couplings& couplings() const { return couplings_; }
  int64_t rows() const { return couplings_.components * lattice_.volume(); }

  // S of each chain.
  ChainRow Action(const ChainRow* field) const;
  // momenta -= step dS / dphi.
  void Kick(double step, const ChainRow* field, ChainRow* momenta) const;
  // `hits` Metropolis updates of each of the sites first, ..., first + sites - 1 in this order, hits in a row:
  // proposals phi + width (p1, p2), accepted where log_u <= -dS. log_u, p1, p2: [hit][site]. Adds the acceptances of
  // each chain to `accepted`.
  void Metropolis(double width, int hits, int64_t first, int64_t sites, const ChainRow* log_u, const ChainRow* p1,
                  const ChainRow* p2, ChainRow* field, ChainRow* accepted) const;
  // bond[site * dims + mu][chain] = 1 where log_u[site * dims + mu] > -2 hop s_x s_{x+mu} (probability 1 - exp(-2 hop
  // s_x s_{x+mu}) of satisfied bonds), else 0, for the sites first, ..., first + sites - 1; log_u and bond begin at
  // `first`.
  void Bonds(int64_t first, int64_t sites, const ChainRow* spin, const ChainRow* log_u, uint8_t* bond) const;
  // Site x's neighbour in direction mu.
  int64_t Ahead(int64_t site, int mu) const { return neighbour_[site * 2 * lattice_.dims() + mu]; }

 private:
  Lattice lattice_;
  Phi4Couplings couplings_;
  std::vector<int32_t> neighbour_;  // [site][mu: ahead, then behind]
};

// Filters in momentum space by the kernels' cas (Hartley) transform of every axis, cas = cos + sin, which diagonalises
// what is invariant under translations and reflections. Const member functions are thread-safe.
class HartleyTransform {
 public:
  explicit HartleyTransform(const Lattice& lattice);
  // field <- H diag(factor) H field, H orthonormal, factor [volume] by momentum, for each of `components` tile fields.
  void Filter(const std::vector<double>& factor, int components, ChainRow* field, ChainRow* scratch) const;
  int64_t scratch_rows() const;

 private:
  int64_t volume_;
  const kernel::ScalarKernels* kernels_;
  std::shared_ptr<const kernel::ScalarFlowStore> store_;
};

// Numbers of NoiseBlock at the names (chain first + c, dof + i, step) in row i, i < n. In (0, 1], from words (0, 1) and
// (2, 3).
void UniformRows(uint64_t seed, NoisePurpose purpose, uint64_t first, uint32_t dof, uint32_t step, int64_t n,
                 ChainRow* u, ChainRow* v);
// The same blocks: u from words (0, 1), and two symmetric numbers in (-1/2, 1/2) of 32 bits each from words 2 and 3.
void ProposalRows(uint64_t seed, NoisePurpose purpose, uint64_t first, uint32_t dof, uint32_t step, int64_t n,
                  ChainRow* u, ChainRow* p1, ChainRow* p2);
// u <- log u.
void LogRows(int64_t n, ChainRow* u);
// Independent standard normal numbers: rows 2 k and 2 k + 1 share the block at degree of freedom k (Box-Muller).
// `scratch` has n + 1 rows.
void NormalRows(uint64_t seed, NoisePurpose purpose, uint64_t first, uint32_t step, int64_t n, ChainRow* normal,
                ChainRow* scratch);

}  // namespace haarflow
