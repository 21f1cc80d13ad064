// Hybrid Monte Carlo for the U(1) Wilson action in 2 to 4 dimensions: the baseline that flows are compared with, and an
// independent check of them. Many chains at once, 16 to a tile, chains innermost, so that every loop runs over whole
// vector registers.
//
// H = sum_l p_l^2 / 2 + S(theta), leapfrog in velocity form: half a kick, alternating drifts and kicks, half a kick.
// Duane, Kennedy, Pendleton, Roweth, Phys. Lett. B 195 (1987) 216.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/kernel/cpu/isa.h"
#include "core/lattice/lattice.h"

namespace haarflow {

// One number of each of the 16 chains of a tile.
struct alignas(64) ChainRow {
  double chain[kernel::kTile];
};
// [links] for fields and momenta.
using ChainRows = std::vector<ChainRow>;

// Action and leapfrog of one tile of 16 chains, with the machine's best instruction set. Const member functions are
// thread-safe.
class U1Leapfrog {
 public:
  // beta finite. INVALID_ARGUMENT otherwise.
  static absl::StatusOr<U1Leapfrog> Create(const Lattice& lattice, double beta);

  const Lattice& lattice() const { return lattice_; }
  double beta() const { return beta_; }
  // S of each chain.
  ChainRow Action(const ChainRows& angles) const;
  // Q of each chain, the geometric charge; two dimensions.
  ChainRow Charge(const ChainRows& angles) const;
  // sum_l p_l^2 / 2 of each chain.
  static ChainRow KineticEnergy(const ChainRows& momenta);
  // `steps` leapfrog steps of `step_size`; angles end in [-pi, pi). Integrate, negate the momenta, Integrate: the start
  // again.
  void Integrate(int steps, double step_size, ChainRows* angles, ChainRows* momenta) const;

 private:
  U1Leapfrog(const Lattice& lattice, double beta);
  // The four signed links of every plaquette, as the kernels want them; a view that is valid while this object lives.
  hf_loops Plaquettes() const;

  Lattice lattice_;
  double beta_;
  std::vector<int32_t> plaquette_begin_;
  std::vector<int32_t> plaquette_links_;
  const kernel::IsaKernels* kernels_;
};

struct U1HmcOptions {
  int chains = kernel::kTile;  // independent Markov chains; multiples of 16 waste no vector slot
  uint64_t seed =
      1;           // chain c is the same whatever the number of chains: noise is addressed by chain, link, trajectory
  int steps = 10;  // leapfrog steps of a trajectory: steps x step_size of about 1 decorrelates best per unit of work
  double step_size = 0.1;  // sets the acceptance: the energy error grows with its square
  bool hot_start = true;   // uniform links; false: all links 0, which starts at Q = 0
  // Two dimensions: after each trajectory propose to add a uniform field of charge +1 or -1. Leapfrog moves
  // continuously and freezes in its topological sector as beta grows (tau_int(Q) about 700 trajectories at beta = 5,
  // tenfold per unit of beta); this does not.
  bool instantons = false;
  // S = -beta sum cos theta_P - theta_imaginary Q, in two dimensions. Q has no force; its jumps are in the accept
  // steps.
  double theta_imaginary = 0;
};

// Not thread-safe; one object per thread.
class U1Hmc {
 public:
  // INVALID_ARGUMENT names what is wrong: chains 1..65536, steps >= 1, step_size > 0 and finite, instantons and a theta
  // term only in two dimensions, at most 2^28 links in all chains.
  static absl::StatusOr<U1Hmc> Create(const Lattice& lattice, double beta, const U1HmcOptions& options);

  // One trajectory of every chain with its accept step, then the instanton step if there is one.
  void Trajectory();
  // Sets steps and step_size to reach about `target` acceptance at the same trajectory length: `rounds` times,
  // `trajectories` runs and a correction. Runs real trajectories (they thermalise too), but changes what is run by what
  // was seen: measure only afterwards. Resets the counters. INVALID_ARGUMENT unless 0 < target < 1.
  absl::Status Tune(double target, int rounds = 10, int trajectories = 10);

  int chains() const { return options_.chains; }
  int steps() const { return options_.steps; }
  double step_size() const { return options_.step_size; }
  uint64_t trajectories() const { return trajectory_; }
  // Accepted over proposed since the start or ResetCounters(), over all chains; 0 before the first trajectory.
  double acceptance() const;
  double instanton_acceptance() const;
  void ResetCounters();
  // H(end) - H(start) of each chain in the last trajectory: <exp(-dH)> = 1 in equilibrium.
  const std::vector<double>& energy_change() const { return energy_change_; }

  // The field of one chain, links [mu, ..., y, x] in [-pi, pi); 0 <= chain < chains().
  std::vector<double> Field(int chain) const;
  // Puts a chain there, before the first trajectory: fields of the target start it in equilibrium. `links` as of Field.
  void SetField(int chain, const double* links);

 private:
  struct Counter {
    uint64_t proposed = 0;
    uint64_t accepted = 0;
    double Rate() const { return proposed == 0 ? 0 : static_cast<double>(accepted) / static_cast<double>(proposed); }
  };
  U1Hmc(U1Leapfrog leapfrog, const U1HmcOptions& options);
  void Start();
  void DrawMomenta(int tile);
  void TrajectoryOf(int tile);
  void InstantonStepOf(int tile);
  ChainRow ActionOf(const ChainRows& angles) const;
  // Metropolis for every chain of a tile: where exp(-change) loses against the uniform number at `dof`, `before` is put
  // back.
  void AcceptOrRestore(int tile, uint32_t dof, const ChainRow& change, Counter* counter);

  U1Leapfrog leapfrog_;
  U1HmcOptions options_;
  uint32_t trajectory_ = 0;
  std::vector<ChainRows> angles_;  // [tile][link]
  // Of the tile at work:
  ChainRows before_;
  ChainRows momenta_;
  std::vector<double> uniform_[2];  // [pairs of links x 16]
  std::vector<double> instanton_;   // [links]: a field whose plaquettes are all 2 pi / V mod 2 pi
  std::vector<double> energy_change_;
  Counter trajectory_counter_;
  Counter instanton_counter_;
};

}  // namespace haarflow
