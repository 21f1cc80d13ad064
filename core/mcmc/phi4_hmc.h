// Hybrid Monte Carlo for phi^4 in 1 to 4 dimensions, one component or two: the baseline that flows are compared with,
// and an independent check of them. Many chains at once, 16 to a tile, chains innermost.
//
// H = p A^-1 p / 2 + S(phi), leapfrog in velocity form: half a kick, alternating drifts and kicks, half a kick. A = 1,
// or Fourier acceleration (Batrouni et al., Phys. Rev. D 32 (1985) 2736): A diagonal in momentum space, A_k = hop
// (khat^2 + m2), khat^2 = 4 sum_mu sin^2(k_mu / 2), so that all modes of the free field of mass m2 have frequency 1 and
// slow modes no longer need long trajectories.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/mcmc/phi4_tile.h"

namespace haarflow {

// Action, kinetic energy and leapfrog of one tile of 16 chains. Fields and momenta are rows [component * volume +
// site]. Const member functions are thread-safe.
class Phi4Leapfrog {
 public:
  // fourier_m2 = 0: A = 1. INVALID_ARGUMENT unless couplings are finite, the action is bounded from below, and
  // fourier_m2 is 0 or positive with hop > 0.
  static absl::StatusOr<Phi4Leapfrog> Create(const Lattice& lattice, const Phi4Couplings& couplings,
                                             double fourier_m2 = 0);

  const Lattice& lattice() const { return tile_.lattice(); }
  int64_t rows() const { return tile_.rows(); }
  ChainRow Action(const ChainRows& field) const { return tile_.Action(field.data()); }
  // p A^-1 p / 2 of each chain.
  ChainRow KineticEnergy(const ChainRows& momenta) const;
  // Turns independent normal numbers into momenta of density exp(-p A^-1 p / 2).
  void Colour(ChainRows* normal) const;
  // `steps` leapfrog steps of `step_size`. Integrate, negate the momenta, Integrate: the start again.
  void Integrate(int steps, double step_size, ChainRows* field, ChainRows* momenta) const;

 private:
  Phi4Leapfrog(const Lattice& lattice, const Phi4Couplings& couplings, double fourier_m2);
  // rows <- H diag(factor) H rows, H the Hartley transform.
  void Filter(const std::vector<double>& factor, ChainRows* rows) const;

  Phi4Tile tile_;
  // With Fourier acceleration, else empty:
  std::optional<HartleyTransform> hartley_;
  std::vector<double> inverse_mass_;  // 1 / A_k, [volume]
  std::vector<double> root_mass_;     // sqrt(A_k), [volume]
};

struct Phi4HmcOptions {
  int chains = kernel::kTile;  // independent Markov chains; multiples of 16 waste no vector slot
  uint64_t seed = 1;  // chain c is the same whatever the number of chains: noise is addressed by chain, row, trajectory
  int steps = 10;     // leapfrog steps of a trajectory
  double step_size = 0.1;  // sets the acceptance: the energy error grows with its square
  double fourier_m2 =
      0;  // > 0: Fourier acceleration; about 1 / xi^2. Then steps x step_size of about 1 to pi / 2 is right
  // Every trajectory's step is step_size times a number uniform in 1 +- jitter, the same for all chains: modes whose
  // period divides a fixed trajectory length would never move (Mackenzie, Phys. Lett. B 226 (1989) 369).
  double jitter = 0.2;
  double start_width = 1;  // the start: every number uniform in (-start_width, start_width); 0: the zero field
};

// Not thread-safe; one object per thread.
class Phi4Hmc {
 public:
  // INVALID_ARGUMENT names what is wrong: chains 1..65536, steps >= 1, step_size > 0, 0 <= jitter < 1 and start_width
  // >= 0, finite, at most 2^27 numbers in all chains, and what Phi4Leapfrog asks.
  static absl::StatusOr<Phi4Hmc> Create(const Lattice& lattice, const Phi4Couplings& couplings,
                                        const Phi4HmcOptions& options);

  // One trajectory of every chain with its accept step.
  void Trajectory();
  // Sets steps and step_size to reach about `target` acceptance at the same trajectory length: `rounds` times,
  // `trajectories` runs and a correction. Measure only afterwards. Resets the counters. INVALID_ARGUMENT unless 0 <
  // target < 1.
  absl::Status Tune(double target, int rounds = 10, int trajectories = 10);

  int chains() const { return options_.chains; }
  int steps() const { return options_.steps; }
  double step_size() const { return options_.step_size; }
  uint64_t trajectories() const { return trajectory_; }
  // Accepted over proposed since the start or ResetCounters(), over all chains; 0 before the first trajectory.
  double acceptance() const;
  void ResetCounters();
  // H(end) - H(start) of each chain in the last trajectory: <exp(-dH)> = 1 in equilibrium.
  const std::vector<double>& energy_change() const { return energy_change_; }

  // The field of one chain, [component, ..., y, x]; 0 <= chain < chains().
  std::vector<double> Field(int chain) const;

 private:
  Phi4Hmc(Phi4Leapfrog leapfrog, const Phi4HmcOptions& options);
  void TrajectoryOf(int tile, double step_size);

  Phi4Leapfrog leapfrog_;
  Phi4HmcOptions options_;
  uint32_t trajectory_ = 0;
  std::vector<ChainRows> field_;  // [tile][row]
  // Of the tile at work:
  ChainRows before_;
  ChainRows momenta_;
  ChainRows scratch_;
  std::vector<double> energy_change_;
  uint64_t proposed_ = 0;
  uint64_t accepted_ = 0;
};

}  // namespace haarflow
