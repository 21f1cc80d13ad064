// Heat bath and over-relaxation of U(1) links with the Wilson action in 2 to 4 dimensions, 8 chains to a tile. Local
// updates: in two dimensions the topological charge freezes at large beta, where U1Hmc has instantons.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/kernel/cpu/gauge_isa.h"
#include "core/lattice/lattice.h"

namespace haarflow {

struct U1HeatBathOptions {
  int chains = kernel::kGaugeLanes;  // independent Markov chains; multiples of 8 waste no vector slot
  uint64_t first_chain = 0;  // the chains are first_chain, ..., of one seed, so that threads may share out a run
  uint64_t seed = 1;
  int over_relaxations = 2;  // sweeps after each heat-bath sweep, 0..64
};

// Not thread-safe; one object per thread.
class U1HeatBath {
 public:
  // Starts from uniform angles. INVALID_ARGUMENT names what is wrong: chains 1..65536, first_chain below 2^40, finite
  // beta, 2 to 4 directions, at most 2^28 links in all chains.
  static absl::StatusOr<U1HeatBath> Create(const Lattice& lattice, double beta, const U1HeatBathOptions& options);

  // One heat-bath sweep, links in their order, and its over-relaxation sweeps (reflections of every link about its
  // staple, which keep S) of every chain. At most kernel::kGaugeMaxSweeps times.
  void Sweep();

  int chains() const { return options_.chains; }
  // The links of one chain, angles in [-pi, pi), [mu, ..., y, x]; 0 <= chain < chains().
  std::vector<double> Field(int chain) const;
  // Puts a chain there, before the first sweep: fields of the target start it in equilibrium. `links` as of Field.
  void SetField(int chain, const double* links);

 private:
  struct alignas(64) Row {
    double chain[kernel::kGaugeLanes];
  };
  U1HeatBath(const Lattice& lattice, double beta, const U1HeatBathOptions& options);
  kernel::GaugeAction Gauge() const;

  Lattice lattice_;
  double beta_;
  U1HeatBathOptions options_;
  const kernel::GaugeKernels* kernels_;
  std::vector<int32_t> staples_;
  uint32_t sweep_ = 0;
  std::vector<std::vector<Row>> links_;  // [tile][link: cosine, sine]
};

}  // namespace haarflow
