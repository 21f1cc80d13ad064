#include "core/mcmc/sun_hmc.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/noise.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

// Degree of freedom of NoisePurpose::kAccept: as in U1Hmc, not the one of independence Metropolis, which is 0.
constexpr uint32_t kTrajectoryDof = 1;
constexpr double kLargestDrift = 16;

// x with erfc(x) = y, 0 < y < 1.
double InverseErfc(double y) {
  double low = 0, high = 6;
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (low + high);
    (std::erfc(middle) > y ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

}  // namespace

absl::StatusOr<SunHmc> SunHmc::Create(const Lattice& lattice, const SunCouplings& couplings,
                                      const SunHmcOptions& options) {
  ASSIGN_OR_RETURN(SunTile tile, SunTile::Create(lattice, couplings));
  RETURN_IF_ERROR(CheckSunChains("HMC", tile, options.chains, options.first_chain));
  if (options.steps < 1) return absl::InvalidArgumentError(absl::StrCat("HMC: steps is ", options.steps, "; use >= 1"));
  if (!(options.step_size > 0 && std::isfinite(options.step_size))) {
    return absl::InvalidArgumentError(absl::StrCat("HMC: step_size is ", options.step_size, "; it must be positive"));
  }
  return SunHmc(std::move(tile), options);
}

SunHmc::SunHmc(SunTile tile, const SunHmcOptions& options)
    : tile_(std::move(tile)), options_(options), energy_change_(options.chains) {
  for (int chain = 0; chain < options_.chains; chain += kSunTile) {
    links_.push_back(tile_.Haar(options_.seed, options_.first_chain + static_cast<uint64_t>(chain)));
  }
}

void SunHmc::TrajectoryOf(int tile) {
  SunRows& links = links_[tile];
  const uint64_t first = options_.first_chain + static_cast<uint64_t>(tile) * kSunTile;
  SunRows momenta = tile_.Momenta(options_.seed, first, trajectory_);
  const SunRows before = links;
  const SunRow action = tile_.Action(links), kinetic = tile_.KineticEnergy(momenta);
  const SunRow largest = tile_.Integrate(options_.steps, options_.step_size, &links, &momenta);
  tile_.Reunitarise(&links);
  const SunRow new_action = tile_.Action(links), new_kinetic = tile_.KineticEnergy(momenta);
  bool keep[kSunTile];
  for (int c = 0; c < kSunTile; ++c) {
    double change = (new_action.chain[c] - action.chain[c]) + (new_kinetic.chain[c] - kinetic.chain[c]);
    if (!(largest.chain[c] <= kLargestDrift)) change = std::numeric_limits<double>::infinity();
    const double u = UniformNoise(options_.seed, NoisePurpose::kAccept, first + static_cast<uint64_t>(c),
                                  kTrajectoryDof, trajectory_);
    keep[c] = std::log1p(-u) <= -change;  // false for NaN
    const int chain = tile * kSunTile + c;
    if (chain >= options_.chains) continue;  // a slot that only fills the tile
    energy_change_[chain] = change;
    ++proposed_;
    accepted_ += keep[c] ? 1 : 0;
  }
  for (size_t row = 0; row < links.size(); ++row) {
    for (int c = 0; c < kSunTile; ++c) links[row].chain[c] = keep[c] ? links[row].chain[c] : before[row].chain[c];
  }
}

void SunHmc::Trajectory() {
  for (int tile = 0; tile < static_cast<int>(links_.size()); ++tile) TrajectoryOf(tile);
  ++trajectory_;
}

// The law of U1Hmc::Tune, acceptance = erfc(sqrt(v / 8)) with v growing like step_size^4, between bounds: steps are few
// integers, beyond the largest of which acceptance falls much faster.
absl::Status SunHmc::Tune(double target, int rounds, int trajectories) {
  if (!(target > 0 && target < 1)) {
    return absl::InvalidArgumentError(absl::StrCat("HMC: target acceptance is ", target, "; it lies between 0 and 1"));
  }
  const double length = options_.steps * options_.step_size;
  constexpr double kMaxSteps = 10000;
  double too_few = 0;
  for (int round = 0; round < rounds; ++round) {
    ResetCounters();
    for (int i = 0; i < trajectories; ++i) Trajectory();
    if (acceptance() < target) too_few = std::max<double>(too_few, options_.steps);
    // 0 and 1 would ask for factors of 0 and infinity.
    const double seen = std::clamp(acceptance(), 0.001, 0.999);
    const double factor = std::clamp(std::sqrt(InverseErfc(target) / InverseErfc(seen)), 0.5, 2.0);
    const double steps =
        std::clamp(std::round(length / (options_.step_size * factor)), std::min(too_few + 1, kMaxSteps), kMaxSteps);
    options_.steps = static_cast<int>(steps);
    options_.step_size = length / steps;
  }
  ResetCounters();
  return absl::OkStatus();
}

double SunHmc::acceptance() const {
  return proposed_ == 0 ? 0 : static_cast<double>(accepted_) / static_cast<double>(proposed_);
}

}  // namespace haarflow
