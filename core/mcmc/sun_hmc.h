// Hybrid Monte Carlo for SU(2) and SU(3) links with the Wilson action and rectangles in 2 to 4 dimensions: the baseline
// that flows are compared with, and an independent check of them. Duane, Kennedy, Pendleton, Roweth, Phys. Lett. B 195
// (1987) 216.
//
// H = sum_{l, a} P_l^a P_l^a / 2 + S(U), dU_l/dt = P_l U_l, with the integrator of SunTile::Integrate.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/mcmc/sun_tile.h"

namespace haarflow {

struct SunHmcOptions {
  int chains = kSunTile;     // independent Markov chains; multiples of 8 waste no vector slot
  uint64_t first_chain = 0;  // the chains are first_chain, ..., of one seed, so that threads may share out a run
  uint64_t seed = 1;
  int steps = 10;          // of a trajectory: steps x step_size of about 2 decorrelates best per unit of work
  double step_size = 0.2;  // sets the acceptance: the energy error grows with its square
};

// Not thread-safe; one object per thread.
class SunHmc {
 public:
  // Starts from Haar measure. INVALID_ARGUMENT names what is wrong: chains 1..65536, first_chain below 2^40, steps >=
  // 1, step_size positive, at most 2^28 numbers in all chains, and what SunTile asks.
  static absl::StatusOr<SunHmc> Create(const Lattice& lattice, const SunCouplings& couplings,
                                       const SunHmcOptions& options);

  // One trajectory of every chain with its accept step. A trajectory with a drift too large for an accurate exponential
  // (|step P|^2 > 16) is rejected: it would be on its way back, too.
  void Trajectory();
  // Sets steps and step_size to reach about `target` acceptance at the same trajectory length: `rounds` times,
  // `trajectories` runs and a correction. Measure only afterwards. Resets the counters. INVALID_ARGUMENT unless 0 <
  // target < 1.
  absl::Status Tune(double target, int rounds = 10, int trajectories = 10);

  int chains() const { return options_.chains; }
  int steps() const { return options_.steps; }
  double step_size() const { return options_.step_size; }
  uint32_t trajectories() const { return trajectory_; }
  // Accepted over proposed since the start or ResetCounters(), over all chains; 0 before the first trajectory.
  double acceptance() const;
  void ResetCounters() { proposed_ = accepted_ = 0; }
  // H(end) - H(start) of each chain in the last trajectory, +inf where a drift was too large: <exp(-dH)> = 1 in
  // equilibrium.
  const std::vector<double>& energy_change() const { return energy_change_; }

  // The field of one chain, [mu, ..., y, x, row, column, 2]; 0 <= chain < chains().
  std::vector<double> Field(int chain) const { return tile_.Field(links_[chain / kSunTile], chain % kSunTile); }

 private:
  SunHmc(SunTile tile, const SunHmcOptions& options);
  void TrajectoryOf(int tile);

  SunTile tile_;
  SunHmcOptions options_;
  uint32_t trajectory_ = 0;
  std::vector<SunRows> links_;  // [tile]
  std::vector<double> energy_change_;
  uint64_t proposed_ = 0;
  uint64_t accepted_ = 0;
};

}  // namespace haarflow
