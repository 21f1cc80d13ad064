// Markov chains of SU(2) and SU(3) links with the Wilson action and rectangles (core/action/sun_wilson.h), 8 chains to
// a tile, chains innermost, with the machine's best instruction set: what the heat bath and HMC are made of.
//
// A tile's links are rows [link][number] of 8 chains, `number` as core/kernel/cpu/sun.inc says: 4 of SU(2), 18 of
// SU(3). Momenta are rows [link][component], P = sum_a P^a T^a, T^a = -i lambda^a / 2: 3 and 8. A chain's random
// numbers are addressed by its number, so that it does not depend on how many others there are, nor on threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/kernel/cpu/gauge_isa.h"
#include "core/lattice/lattice.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

constexpr int kSunTile = kernel::kGaugeLanes;

// One number of each of the 8 chains of a tile.
struct alignas(64) SunRow {
  double chain[kSunTile];
};
using SunRows = std::vector<SunRow>;

struct SunCouplings {
  int colours = 3;
  double beta = 0;
  double rectangle = 0;  // c_1
};
SunCouplings SunCouplingsOf(const v1::SunWilsonAction& action);

// Const member functions are thread-safe.
class SunTile {
 public:
  // `instruction_set`: "avx512", "avx2", "baseline", or empty for the best. INVALID_ARGUMENT unless colours is 2 or 3,
  // beta and rectangle are finite, and the lattice has 2 to 4 directions and at most 2^22 links; UNAVAILABLE for
  // instructions that this machine lacks.
  static absl::StatusOr<SunTile> Create(const Lattice& lattice, const SunCouplings& couplings,
                                        const std::string& instruction_set = "");

  const Lattice& lattice() const { return lattice_; }
  const SunCouplings& couplings() const { return couplings_; }
  int64_t rows() const { return lattice_.links() * (couplings_.colours == 2 ? 4 : 18); }
  int64_t momentum_rows() const { return lattice_.links() * (couplings_.colours == 2 ? 3 : 8); }

  // S of each chain.
  SunRow Action(const SunRows& links) const;
  // Links from Haar measure, of chains first, ..., first + 7.
  SunRows Haar(uint64_t seed, uint64_t first) const;
  // The field of one chain, [mu, ..., y, x, row, column, 2], and back.
  std::vector<double> Field(const SunRows& links, int chain) const;
  void SetField(const double* field, int chain, SunRows* links) const;
  // Makes the links special unitary again, to rounding.
  void Reunitarise(SunRows* links) const;

  // One Cabibbo-Marinari heat-bath sweep, links in their order, every SU(2) subgroup once. Requires rectangle = 0 and
  // sweep <= kernel::kGaugeMaxSweeps.
  void HeatBath(uint64_t seed, uint64_t first, uint32_t sweep, SunRows* links) const;
  // One sweep of reflections of every subgroup about its staple: S stays what it was. Requires rectangle = 0.
  void OverRelax(SunRows* links) const;

  // Momenta of density exp(-sum_a P^a P^a / 2), of chains first, ..., first + 7.
  SunRows Momenta(uint64_t seed, uint64_t first, uint32_t trajectory) const;
  // sum_a P^a P^a / 2 of each chain.
  SunRow KineticEnergy(const SunRows& momenta) const;
  // P^a -= step (d/dt) S(exp(t T^a) U).
  void Kick(double step, const SunRows& links, SunRows* momenta) const;
  // `steps` steps of size `step_size` of the minimum-norm integrator of second order with two forces a step (Omelyan,
  // Mryglod and Folk, Comput. Phys. Commun. 151 (2003) 272; Takaishi and de Forcrand, hep-lat/0505020): kicks of
  // lambda, 1 - 2 lambda, lambda, drifts of a half between them. Integrate, negate the momenta, Integrate: the start
  // again. Returns the largest |step P|^2 of each chain: beyond 16 the exponential of a drift is not accurate.
  SunRow Integrate(int steps, double step_size, SunRows* links, SunRows* momenta) const;

 private:
  SunTile(const Lattice& lattice, const SunCouplings& couplings, const std::string& instruction_set);
  // A view that is valid while this object lives.
  kernel::GaugeAction Gauge() const;
  void Drift(double step, const SunRows& momenta, SunRows* links, SunRow* largest) const;

  Lattice lattice_;
  SunCouplings couplings_;
  std::string instruction_set_;
  const kernel::GaugeKernels* kernels_;
  std::vector<int32_t> plaquette_staples_;  // [links][2 (dims - 1)][3]
  std::vector<int32_t> rectangle_staples_;  // [links][6 (dims - 1)][5]; empty without rectangles
};

// INVALID_ARGUMENT, named after `what`, unless 1 <= chains <= 65536, first_chain < 2^40 and all chains have at most
// 2^28 numbers.
absl::Status CheckSunChains(const std::string& what, const SunTile& tile, int chains, uint64_t first_chain);

}  // namespace haarflow
