#include "core/mcmc/hmc.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "core/base/noise.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

using kernel::kTile;
using std::numbers::pi;

// Degrees of freedom of NoisePurpose::kAccept. Independence Metropolis uses 0: a chain and a check of it share no
// number.
constexpr uint32_t kTrajectoryDof = 1;
constexpr uint32_t kInstantonSignDof = 2;
constexpr uint32_t kInstantonDof = 3;

// What IsaKernels::elementary computes.
constexpr int32_t kLog = 1;
constexpr int32_t kSin = 2;
constexpr int32_t kCos = 3;

const kernel::IsaKernels* Kernels() {
  static const kernel::IsaKernels* const best = kernel::IsaKernelsFor(kernel::BestInstructionSet());
  return best;
}

double Wrapped(double angle) {
  const double wrapped = angle - 2 * pi * std::floor((angle + pi) / (2 * pi));
  return wrapped < pi ? wrapped : -pi;  // rounding may end on pi itself
}

// The links theta_x = -2 pi y / V and, in the last row, theta_y = 2 pi x / Lx: every plaquette is 2 pi / V mod 2 pi, Q
// = 1.
std::vector<double> UnitCharge(const Lattice& lattice) {
  std::vector<double> links(lattice.links(), 0.0);
  const double lx = static_cast<double>(lattice.extent(0));
  for (int64_t site = 0; site < lattice.volume(); ++site) {
    const int64_t y = lattice.Coordinate(site, lattice.AxisOf(1));
    const double x = static_cast<double>(lattice.Coordinate(site, lattice.AxisOf(0)));
    links[lattice.Link(0, site)] = -2 * pi * static_cast<double>(y) / static_cast<double>(lattice.volume());
    if (y == lattice.extent(1) - 1) links[lattice.Link(1, site)] = 2 * pi * x / lx;
  }
  return links;
}

// x with erfc(x) = y, 0 < y < 1.
double InverseErfc(double y) {
  double low = 0, high = 6;
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (low + high);
    (std::erfc(middle) > y ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

absl::Status CheckOptions(const Lattice& lattice, const U1HmcOptions& options) {
  if (options.chains < 1 || options.chains > 65536) {
    return absl::InvalidArgumentError(absl::StrCat("HMC: chains is ", options.chains, "; 1..65536 are supported"));
  }
  if (options.chains * lattice.links() > int64_t{1} << 28) {
    return absl::InvalidArgumentError("HMC: more than 2^28 links in all chains; use fewer chains");
  }
  if (options.steps < 1) return absl::InvalidArgumentError(absl::StrCat("HMC: steps is ", options.steps, "; use >= 1"));
  if (!(options.step_size > 0 && std::isfinite(options.step_size))) {
    return absl::InvalidArgumentError(absl::StrCat("HMC: step_size is ", options.step_size, "; it must be positive"));
  }
  if (options.instantons && lattice.dims() != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("HMC: instantons are two-dimensional; the lattice is ", lattice.ToString()));
  }
  if (!std::isfinite(options.theta_imaginary) || (options.theta_imaginary != 0 && lattice.dims() != 2)) {
    return absl::InvalidArgumentError(absl::StrCat("HMC: theta_imaginary is ", options.theta_imaginary,
                                                   " on the lattice ", lattice.ToString(),
                                                   "; it must be finite, and 0 but in two dimensions"));
  }
  return absl::OkStatus();
}

}  // namespace

// ------------------------------------------------------------------------------------------------------------ leapfrog

absl::StatusOr<U1Leapfrog> U1Leapfrog::Create(const Lattice& lattice, double beta) {
  if (!std::isfinite(beta)) return absl::InvalidArgumentError(absl::StrCat("HMC: beta is ", beta));
  if (lattice.plaquettes() > int64_t{1} << 28) return absl::InvalidArgumentError("HMC: more than 2^28 plaquettes");
  return U1Leapfrog(lattice, beta);
}

U1Leapfrog::U1Leapfrog(const Lattice& lattice, double beta) : lattice_(lattice), beta_(beta), kernels_(Kernels()) {
  plaquette_begin_.reserve(lattice.plaquettes() + 1);
  plaquette_links_.reserve(4 * lattice.plaquettes());
  plaquette_begin_.push_back(0);
  for (int mu = 0; mu < lattice.dims(); ++mu) {
    for (int nu = mu + 1; nu < lattice.dims(); ++nu) {
      for (int64_t site = 0; site < lattice.volume(); ++site) {
        for (const PathStep& step : Rectangle(lattice, site, mu, nu, 1, 1)) {
          plaquette_links_.push_back(static_cast<int32_t>(2 * step.link + (step.sign < 0 ? 1 : 0)));
        }
        plaquette_begin_.push_back(static_cast<int32_t>(plaquette_links_.size()));
      }
    }
  }
}

hf_loops U1Leapfrog::Plaquettes() const {
  return {static_cast<int32_t>(lattice_.plaquettes()), plaquette_begin_.data(), plaquette_links_.data()};
}

ChainRow U1Leapfrog::Action(const ChainRows& angles) const {
  hf_u1_flow flow = {};
  flow.links = static_cast<int32_t>(lattice_.links());
  flow.plaquettes = Plaquettes();
  kernel::TileWorkspace work = {};
  // The kernel's workspace is mutable for the sake of the draws; the action only reads it.
  work.links = const_cast<double*>(angles[0].chain);
  ChainRow action;
  kernels_->action_tile(flow, beta_, work, action.chain);
  return action;
}

// -sum_P floor(theta_P / 2 pi + 1/2): every link enters twice with opposite signs, sum_P theta_P = 0.
ChainRow U1Leapfrog::Charge(const ChainRows& angles) const {
  ChainRow charge = {};
  for (size_t p = 0; p + 1 < plaquette_begin_.size(); ++p) {
    ChainRow plaquette = {};
    for (int32_t i = plaquette_begin_[p]; i < plaquette_begin_[p + 1]; ++i) {
      const ChainRow& link = angles[plaquette_links_[i] / 2];
      const double sign = plaquette_links_[i] % 2 == 0 ? 1 : -1;
      for (int c = 0; c < kTile; ++c) plaquette.chain[c] += sign * link.chain[c];
    }
    for (int c = 0; c < kTile; ++c) charge.chain[c] -= std::floor(plaquette.chain[c] / (2 * pi) + 0.5);
  }
  return charge;
}

ChainRow U1Leapfrog::KineticEnergy(const ChainRows& momenta) {
  ChainRow energy = {};
  for (const ChainRow& p : momenta) {
    for (int c = 0; c < kTile; ++c) energy.chain[c] += 0.5 * p.chain[c] * p.chain[c];
  }
  return energy;
}

void U1Leapfrog::Integrate(int steps, double step_size, ChainRows* angles, ChainRows* momenta) const {
  ChainRows force(lattice_.links());
  kernels_->leapfrog_tile(Plaquettes(), static_cast<int32_t>(lattice_.links()), beta_, steps, step_size,
                          (*angles)[0].chain, (*momenta)[0].chain, force[0].chain);
}

// ----------------------------------------------------------------------------------------------------------------- HMC

absl::StatusOr<U1Hmc> U1Hmc::Create(const Lattice& lattice, double beta, const U1HmcOptions& options) {
  RETURN_IF_ERROR(CheckOptions(lattice, options));
  ASSIGN_OR_RETURN(U1Leapfrog leapfrog, U1Leapfrog::Create(lattice, beta));
  return U1Hmc(std::move(leapfrog), options);
}

U1Hmc::U1Hmc(U1Leapfrog leapfrog, const U1HmcOptions& options) : leapfrog_(std::move(leapfrog)), options_(options) {
  const int64_t links = leapfrog_.lattice().links();
  const int tiles = (options_.chains + kTile - 1) / kTile;
  angles_.assign(tiles, ChainRows(links));
  before_.resize(links);
  momenta_.resize(links);
  for (auto& u : uniform_) u.resize((links + 1) / 2 * kTile);
  energy_change_.resize(options_.chains);
  if (options_.instantons) instanton_ = UnitCharge(leapfrog_.lattice());
  if (options_.hot_start) Start();
}

void U1Hmc::Start() {
  for (size_t tile = 0; tile < angles_.size(); ++tile) {
    for (size_t link = 0; link < angles_[tile].size(); ++link) {
      for (int c = 0; c < kTile; ++c) {
        const uint64_t chain = tile * kTile + static_cast<uint64_t>(c);
        const double u = UniformNoise(options_.seed, NoisePurpose::kInitial, chain, static_cast<uint32_t>(link));
        angles_[tile][link].chain[c] = -pi + 2 * pi * u;
      }
    }
  }
}

// Box-Muller on whole blocks: links 2k and 2k + 1 share the block at degree of freedom k. Drawing one block per link
// and throwing half of it away would cost more than the leapfrog steps.
void U1Hmc::DrawMomenta(int tile) {
  const int64_t links = leapfrog_.lattice().links();
  const int64_t pairs = (links + 1) / 2;
  for (int64_t k = 0; k < pairs; ++k) {
    for (int c = 0; c < kTile; ++c) {
      const uint64_t chain = static_cast<uint64_t>(tile) * kTile + static_cast<uint64_t>(c);
      const auto block =
          NoiseBlock(options_.seed, NoisePurpose::kMomenta, chain, static_cast<uint32_t>(k), trajectory_);
      uniform_[0][k * kTile + c] = 1 - UnitInterval(block[0], block[1]);  // in (0, 1]
      uniform_[1][k * kTile + c] = 2 * pi * UnitInterval(block[2], block[3]);
    }
  }
  const kernel::IsaKernels* kernels = Kernels();
  double sine[kTile];
  double cosine[kTile];
  for (int64_t k = 0; k < pairs; ++k) {
    double* radius = uniform_[0].data() + k * kTile;
    const double* phase = uniform_[1].data() + k * kTile;
    kernels->elementary(kLog, kTile, radius, radius);
    kernels->elementary(kSin, kTile, phase, sine);
    kernels->elementary(kCos, kTile, phase, cosine);
    for (int c = 0; c < kTile; ++c) radius[c] = std::sqrt(-2 * radius[c]);
    for (int c = 0; c < kTile; ++c) momenta_[2 * k].chain[c] = radius[c] * cosine[c];
    if (2 * k + 1 == links) break;
    for (int c = 0; c < kTile; ++c) momenta_[2 * k + 1].chain[c] = radius[c] * sine[c];
  }
}

void U1Hmc::AcceptOrRestore(int tile, uint32_t dof, const ChainRow& change, Counter* counter) {
  bool keep[kTile];
  for (int c = 0; c < kTile; ++c) {
    const int chain = tile * kTile + c;
    const double u = UniformNoise(options_.seed, NoisePurpose::kAccept, static_cast<uint64_t>(chain), dof, trajectory_);
    keep[c] = std::log1p(-u) <= -change.chain[c];  // false for NaN
    if (chain >= options_.chains) continue;        // a slot that only fills the tile
    ++counter->proposed;
    counter->accepted += keep[c] ? 1 : 0;
  }
  for (size_t link = 0; link < before_.size(); ++link) {
    ChainRow& now = angles_[tile][link];
    for (int c = 0; c < kTile; ++c) now.chain[c] = keep[c] ? now.chain[c] : before_[link].chain[c];
  }
}

ChainRow U1Hmc::ActionOf(const ChainRows& angles) const {
  ChainRow action = leapfrog_.Action(angles);
  if (options_.theta_imaginary == 0) return action;
  const ChainRow charge = leapfrog_.Charge(angles);
  for (int c = 0; c < kTile; ++c) action.chain[c] -= options_.theta_imaginary * charge.chain[c];
  return action;
}

void U1Hmc::TrajectoryOf(int tile) {
  ChainRows& angles = angles_[tile];
  DrawMomenta(tile);
  before_ = angles;
  const ChainRow action = ActionOf(angles);
  const ChainRow kinetic = U1Leapfrog::KineticEnergy(momenta_);
  leapfrog_.Integrate(options_.steps, options_.step_size, &angles, &momenta_);
  const ChainRow new_action = ActionOf(angles);
  const ChainRow new_kinetic = U1Leapfrog::KineticEnergy(momenta_);
  ChainRow change;
  for (int c = 0; c < kTile; ++c) {
    change.chain[c] = (new_action.chain[c] - action.chain[c]) + (new_kinetic.chain[c] - kinetic.chain[c]);
    if (tile * kTile + c < options_.chains) energy_change_[tile * kTile + c] = change.chain[c];
  }
  AcceptOrRestore(tile, kTrajectoryDof, change, &trajectory_counter_);
}

// Both signs are proposed with probability 1/2 and undo each other: symmetric, accepted with exp(-dS).
void U1Hmc::InstantonStepOf(int tile) {
  ChainRows& angles = angles_[tile];
  before_ = angles;
  double sign[kTile];
  for (int c = 0; c < kTile; ++c) {
    const uint64_t chain = static_cast<uint64_t>(tile) * kTile + static_cast<uint64_t>(c);
    sign[c] = UniformNoise(options_.seed, NoisePurpose::kAccept, chain, kInstantonSignDof, trajectory_) < 0.5 ? 1 : -1;
  }
  const ChainRow action = ActionOf(angles);
  for (size_t link = 0; link < angles.size(); ++link) {
    for (int c = 0; c < kTile; ++c) angles[link].chain[c] += sign[c] * instanton_[link];
  }
  const ChainRow new_action = ActionOf(angles);
  ChainRow change;
  for (int c = 0; c < kTile; ++c) change.chain[c] = new_action.chain[c] - action.chain[c];
  AcceptOrRestore(tile, kInstantonDof, change, &instanton_counter_);
}

void U1Hmc::Trajectory() {
  for (int tile = 0; tile < static_cast<int>(angles_.size()); ++tile) {
    TrajectoryOf(tile);
    if (options_.instantons) InstantonStepOf(tile);
  }
  ++trajectory_;
}

// In equilibrium dH is Gaussian with mean v/2 and variance v, acceptance = erfc(sqrt(v / 8)), and v grows like
// step_size^4: so step_size goes like the square root of erfc^-1(acceptance) (Gupta et al., Phys. Lett. B 242 (1990)
// 437).
absl::Status U1Hmc::Tune(double target, int rounds, int trajectories) {
  if (!(target > 0 && target < 1)) {
    return absl::InvalidArgumentError(absl::StrCat("HMC: target acceptance is ", target, "; it lies between 0 and 1"));
  }
  const double length = options_.steps * options_.step_size;
  for (int round = 0; round < rounds; ++round) {
    ResetCounters();
    for (int i = 0; i < trajectories; ++i) Trajectory();
    // 0 and 1 would ask for factors of 0 and infinity.
    const double seen = std::clamp(acceptance(), 0.001, 0.999);
    const double factor = std::clamp(std::sqrt(InverseErfc(target) / InverseErfc(seen)), 0.5, 2.0);
    constexpr double kMaxSteps = 10000;
    const double steps = std::clamp(std::round(length / (options_.step_size * factor)), 1.0, kMaxSteps);
    options_.steps = static_cast<int>(steps);
    options_.step_size = length / steps;
  }
  ResetCounters();
  return absl::OkStatus();
}

double U1Hmc::acceptance() const { return trajectory_counter_.Rate(); }
double U1Hmc::instanton_acceptance() const { return instanton_counter_.Rate(); }

void U1Hmc::ResetCounters() {
  trajectory_counter_ = {};
  instanton_counter_ = {};
}

std::vector<double> U1Hmc::Field(int chain) const {
  const ChainRows& rows = angles_[chain / kTile];
  std::vector<double> links(rows.size());
  for (size_t link = 0; link < rows.size(); ++link) links[link] = Wrapped(rows[link].chain[chain % kTile]);
  return links;
}

void U1Hmc::SetField(int chain, const double* links) {
  ChainRows& rows = angles_[chain / kTile];
  for (size_t link = 0; link < rows.size(); ++link) rows[link].chain[chain % kTile] = links[link];
}

}  // namespace haarflow
