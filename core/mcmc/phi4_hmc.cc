#include "core/mcmc/phi4_hmc.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/status.h"

namespace haarflow {
namespace {

using kernel::kTile;

// Degree of freedom of NoisePurpose::kAccept: as in U1Hmc, not the one of independence Metropolis, which is 0.
constexpr uint32_t kTrajectoryDof = 1;

// x with erfc(x) = y, 0 < y < 1.
double InverseErfc(double y) {
  double low = 0, high = 6;
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (low + high);
    (std::erfc(middle) > y ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

absl::Status CheckOptions(const Lattice& lattice, const Phi4Couplings& couplings, const Phi4HmcOptions& options) {
  if (options.chains < 1 || options.chains > 65536) {
    return absl::InvalidArgumentError(absl::StrCat("HMC: chains is ", options.chains, "; 1..65536 are supported"));
  }
  if (options.chains * lattice.volume() * couplings.components > int64_t{1} << 27) {
    return absl::InvalidArgumentError("HMC: more than 2^27 numbers in all chains; use fewer chains");
  }
  if (options.steps < 1) return absl::InvalidArgumentError(absl::StrCat("HMC: steps is ", options.steps, "; use >= 1"));
  if (!(options.step_size > 0 && std::isfinite(options.step_size))) {
    return absl::InvalidArgumentError(absl::StrCat("HMC: step_size is ", options.step_size, "; it must be positive"));
  }
  if (!(options.jitter >= 0 && options.jitter < 1)) {
    return absl::InvalidArgumentError(absl::StrCat("HMC: jitter is ", options.jitter, "; it must be in [0, 1)"));
  }
  if (!(options.start_width >= 0 && std::isfinite(options.start_width))) {
    return absl::InvalidArgumentError(
        absl::StrCat("HMC: start_width is ", options.start_width, "; it must not be negative"));
  }
  return absl::OkStatus();
}

}  // namespace

// ------------------------------------------------------------------------------------------------------------ leapfrog

absl::StatusOr<Phi4Leapfrog> Phi4Leapfrog::Create(const Lattice& lattice, const Phi4Couplings& couplings,
                                                  double fourier_m2) {
  RETURN_IF_ERROR(CheckPhi4Couplings("HMC", lattice.dims(), couplings));
  if (fourier_m2 != 0 && !(fourier_m2 > 0 && std::isfinite(fourier_m2) && couplings.hop > 0)) {
    return absl::InvalidArgumentError(absl::StrCat("HMC: fourier_m2 is ", fourier_m2, " and hop ", couplings.hop,
                                                   "; Fourier acceleration needs both positive"));
  }
  return Phi4Leapfrog(lattice, couplings, fourier_m2);
}

Phi4Leapfrog::Phi4Leapfrog(const Lattice& lattice, const Phi4Couplings& couplings, double fourier_m2)
    : tile_(lattice, couplings) {
  if (fourier_m2 == 0) return;
  hartley_.emplace(lattice);
  // khat^2 / 2 + m2 / 2 = dims + m2 / 2 - sum_mu cos k_mu.
  const Phi4Couplings unit = {.components = 1, .hop = 1, .quadratic = lattice.dims() + 0.5 * fourier_m2, .quartic = 0};
  for (const double l : Phi4Spectrum(lattice, unit)) {
    const double mass = 2 * couplings.hop * l;
    inverse_mass_.push_back(1 / mass);
    root_mass_.push_back(std::sqrt(mass));
  }
}

void Phi4Leapfrog::Filter(const std::vector<double>& factor, ChainRows* rows) const {
  ChainRows scratch(hartley_->scratch_rows());
  hartley_->Filter(factor, tile_.couplings().components, rows->data(), scratch.data());
}

ChainRow Phi4Leapfrog::KineticEnergy(const ChainRows& momenta) const {
  ChainRows velocity = momenta;
  if (hartley_) Filter(inverse_mass_, &velocity);
  ChainRow energy = {};
  for (int64_t i = 0; i < rows(); ++i) {
    for (int c = 0; c < kTile; ++c) energy.chain[c] += 0.5 * momenta[i].chain[c] * velocity[i].chain[c];
  }
  return energy;
}

void Phi4Leapfrog::Colour(ChainRows* normal) const {
  if (hartley_) Filter(root_mass_, normal);
}

void Phi4Leapfrog::Integrate(int steps, double step_size, ChainRows* field, ChainRows* momenta) const {
  ChainRows velocity;
  tile_.Kick(0.5 * step_size, field->data(), momenta->data());
  for (int step = 0; step < steps; ++step) {
    const ChainRows* v = momenta;
    if (hartley_) {
      velocity = *momenta;
      Filter(inverse_mass_, &velocity);
      v = &velocity;
    }
    for (int64_t i = 0; i < rows(); ++i) {
      for (int c = 0; c < kTile; ++c) (*field)[i].chain[c] += step_size * (*v)[i].chain[c];
    }
    tile_.Kick(step + 1 == steps ? 0.5 * step_size : step_size, field->data(), momenta->data());
  }
}

// ----------------------------------------------------------------------------------------------------------------- HMC

absl::StatusOr<Phi4Hmc> Phi4Hmc::Create(const Lattice& lattice, const Phi4Couplings& couplings,
                                        const Phi4HmcOptions& options) {
  RETURN_IF_ERROR(CheckOptions(lattice, couplings, options));
  ASSIGN_OR_RETURN(Phi4Leapfrog leapfrog, Phi4Leapfrog::Create(lattice, couplings, options.fourier_m2));
  return Phi4Hmc(std::move(leapfrog), options);
}

Phi4Hmc::Phi4Hmc(Phi4Leapfrog leapfrog, const Phi4HmcOptions& options)
    : leapfrog_(std::move(leapfrog)), options_(options) {
  const int64_t rows = leapfrog_.rows();
  const int tiles = (options_.chains + kTile - 1) / kTile;
  field_.assign(tiles, ChainRows(rows));
  momenta_.resize(rows);
  scratch_.resize(rows + 1);
  energy_change_.resize(options_.chains);
  for (int tile = 0; tile < tiles; ++tile) {
    const uint64_t first = static_cast<uint64_t>(tile) * kTile;
    UniformRows(options_.seed, NoisePurpose::kInitial, first, 0, 0, rows, field_[tile].data(), scratch_.data());
    for (ChainRow& row : field_[tile]) {
      for (double& x : row.chain) x = options_.start_width * (1 - 2 * x);
    }
  }
}

void Phi4Hmc::TrajectoryOf(int tile, double step_size) {
  ChainRows& field = field_[tile];
  const uint64_t first = static_cast<uint64_t>(tile) * kTile;
  NormalRows(options_.seed, NoisePurpose::kMomenta, first, trajectory_, leapfrog_.rows(), momenta_.data(),
             scratch_.data());
  ChainRow kinetic = {};  // of the normal numbers: p A^-1 p is their square
  for (const ChainRow& p : momenta_) {
    for (int c = 0; c < kTile; ++c) kinetic.chain[c] += 0.5 * p.chain[c] * p.chain[c];
  }
  leapfrog_.Colour(&momenta_);
  before_ = field;
  const ChainRow action = leapfrog_.Action(field);
  leapfrog_.Integrate(options_.steps, step_size, &field, &momenta_);
  const ChainRow new_action = leapfrog_.Action(field);
  const ChainRow new_kinetic = leapfrog_.KineticEnergy(momenta_);
  bool keep[kTile];
  for (int c = 0; c < kTile; ++c) {
    const double change = (new_action.chain[c] - action.chain[c]) + (new_kinetic.chain[c] - kinetic.chain[c]);
    const double u = UniformNoise(options_.seed, NoisePurpose::kAccept, first + static_cast<uint64_t>(c),
                                  kTrajectoryDof, trajectory_);
    keep[c] = std::log1p(-u) <= -change;  // false for NaN
    const int chain = tile * kTile + c;
    if (chain >= options_.chains) continue;  // a slot that only fills the tile
    energy_change_[chain] = change;
    ++proposed_;
    accepted_ += keep[c] ? 1 : 0;
  }
  for (size_t row = 0; row < field.size(); ++row) {
    for (int c = 0; c < kTile; ++c) field[row].chain[c] = keep[c] ? field[row].chain[c] : before_[row].chain[c];
  }
}

void Phi4Hmc::Trajectory() {
  const double u = UniformNoise(options_.seed, NoisePurpose::kMomenta, kMaxSampleIndex, 0, trajectory_);
  const double step_size = options_.step_size * (1 + options_.jitter * (2 * u - 1));
  for (int tile = 0; tile < static_cast<int>(field_.size()); ++tile) TrajectoryOf(tile, step_size);
  ++trajectory_;
}

// The law of U1Hmc::Tune: acceptance = erfc(sqrt(v / 8)) with v growing like step_size^4.
absl::Status Phi4Hmc::Tune(double target, int rounds, int trajectories) {
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

double Phi4Hmc::acceptance() const {
  return proposed_ == 0 ? 0 : static_cast<double>(accepted_) / static_cast<double>(proposed_);
}

void Phi4Hmc::ResetCounters() { proposed_ = accepted_ = 0; }

std::vector<double> Phi4Hmc::Field(int chain) const {
  const ChainRows& rows = field_[chain / kTile];
  std::vector<double> field(rows.size());
  for (size_t row = 0; row < rows.size(); ++row) field[row] = rows[row].chain[chain % kTile];
  return field;
}

}  // namespace haarflow
