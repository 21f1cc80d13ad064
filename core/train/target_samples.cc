#include "core/train/target_samples.h"

#include <algorithm>
#include <optional>

#include "core/action/target.h"
#include "core/base/noise.h"
#include "core/base/on_threads.h"
#include "core/base/status.h"
#include "core/mcmc/phi4_cluster.h"
#include "core/mcmc/phi4_hmc.h"
#include "core/mcmc/sun_heat_bath.h"
#include "core/mcmc/sun_hmc.h"
#include "core/train/ranked.h"

namespace haarflow {
namespace {

constexpr int kTile = 16;  // chains of one piece of work

// How many chains, and how many updates of one: from a random start, and between its fields.
struct Schedule {
  int max_chains, thermalisation, spacing;
};
constexpr Schedule kScalar = {512, 300, 15};
// A heat-bath sweep with two over-relaxation sweeps, or a trajectory of length 2: plaquettes forget in one to five of
// them at the couplings that flows reach, and an update costs more.
constexpr Schedule kLinks = {128, 100, 8};
constexpr double kTrajectoryLength = 2;
const Schedule& ScheduleOf(const v1::Target& target) { return target.has_phi4() ? kScalar : kLinks; }

// Sixteen chains of one of the samplers.
class Chains {
 public:
  static absl::StatusOr<Chains> Create(TargetSampler kind, const v1::Target& target, uint64_t seed, int64_t tile) {
    ASSIGN_OR_RETURN(const Lattice lattice, LatticeOf(target));
    Chains chains;
    const uint64_t first = static_cast<uint64_t>(tile) * kTile;
    // Chains of one seed differ by their number; tiles by their seed, where each tunes its own step.
    const auto block = NoiseBlock(seed, NoisePurpose::kSeed, static_cast<uint64_t>(tile), 1);
    const uint64_t own_seed = uint64_t{block[1]} << 32 | block[0];
    if (target.has_sun_wilson()) {
      const SunCouplings couplings = SunCouplingsOf(target.sun_wilson());
      if (kind == TargetSampler::kHmc || couplings.rectangle != 0) {
        const int steps = 8;
        const SunHmcOptions options = {
            .chains = kTile, .seed = own_seed, .steps = steps, .step_size = kTrajectoryLength / steps};
        ASSIGN_OR_RETURN(chains.sun_hmc_, SunHmc::Create(lattice, couplings, options));
        // The first trajectories lose much energy: steps are tuned in equilibrium.
        for (int i = 0; i < kLinks.thermalisation; ++i) chains.sun_hmc_->Trajectory();
        RETURN_IF_ERROR(chains.sun_hmc_->Tune(0.8));
      } else {
        const SunHeatBathOptions options = {.chains = kTile, .first_chain = first, .seed = seed};
        ASSIGN_OR_RETURN(chains.heat_bath_, SunHeatBath::Create(lattice, couplings, options));
      }
    } else if (kind == TargetSampler::kHmc) {
      Phi4HmcOptions options;
      options.seed = own_seed;
      ASSIGN_OR_RETURN(chains.hmc_, Phi4Hmc::Create(lattice, Phi4CouplingsOf(target.phi4(), lattice.dims()), options));
      RETURN_IF_ERROR(chains.hmc_->Tune(0.8));
    } else {
      Phi4ClusterOptions options;
      options.chains = kTile;
      options.first_chain = first;
      options.seed = seed;
      ASSIGN_OR_RETURN(chains.cluster_,
                       Phi4Cluster::Create(lattice, Phi4CouplingsOf(target.phi4(), lattice.dims()), options));
    }
    return chains;
  }
  void Update(int times) {
    for (int i = 0; i < times; ++i) {
      if (cluster_.has_value()) cluster_->Sweep();
      if (hmc_.has_value()) hmc_->Trajectory();
      if (heat_bath_.has_value()) heat_bath_->Sweep();
      if (sun_hmc_.has_value()) sun_hmc_->Trajectory();
    }
  }
  std::vector<double> Field(int chain) const {
    if (cluster_.has_value()) return cluster_->Field(chain);
    if (hmc_.has_value()) return hmc_->Field(chain);
    return heat_bath_.has_value() ? heat_bath_->Field(chain) : sun_hmc_->Field(chain);
  }

 private:
  std::optional<Phi4Cluster> cluster_;
  std::optional<Phi4Hmc> hmc_;
  std::optional<SunHeatBath> heat_bath_;
  std::optional<SunHmc> sun_hmc_;
};

}  // namespace

TargetSchedule::TargetSchedule(const v1::Target& target, int64_t n) {
  const int64_t most = ScheduleOf(target).max_chains / kTile;
  tiles = std::clamp<int64_t>((n + kTile - 1) / kTile, 1, most);
  rounds = std::max<int64_t>(1, (n + tiles * kTile - 1) / (tiles * kTile));
}

absl::Status DrawTargetTiles(const v1::Target& target, const TargetSchedule& schedule, Share tiles, uint64_t seed,
                             int threads, TargetSampler sampler,
                             const std::function<double*(int64_t round, int64_t tile, int64_t chain)>& place) {
  if (!target.has_phi4() && !target.has_sun_wilson()) {
    return absl::InvalidArgumentError(absl::StrCat(DescribeTarget(target), ": no sampler of the target is built in"));
  }
  std::vector<absl::Status> status(threads);
  // Each thread takes whole tiles of chains.
  OnThreads(threads, [&](int64_t t) {
    for (int64_t tile = tiles.begin + t; tile < tiles.end && status[t].ok(); tile += threads) {
      auto chains = Chains::Create(sampler, target, seed, tile);
      status[t] = chains.status();
      if (!chains.ok()) return;
      chains->Update(ScheduleOf(target).thermalisation);
      for (int64_t round = 0; round < schedule.rounds; ++round) {
        chains->Update(ScheduleOf(target).spacing);
        for (int chain = 0; chain < kTile; ++chain) {
          const std::vector<double> field = chains->Field(chain);
          std::copy(field.begin(), field.end(), place(round, tile, chain));
        }
      }
    }
  });
  for (const auto& s : status) RETURN_IF_ERROR(s);
  return absl::OkStatus();
}

absl::StatusOr<TargetSamples> DrawTargetSamples(const v1::Target& target, int64_t n, uint64_t seed, const Team& team,
                                                TargetSampler sampler) {
  if (team.crew != nullptr) return RankedTargetSamples(target, n, seed, sampler, team.crew);
  const TargetSchedule schedule(target, n);
  const int64_t size = FieldSize(target);
  TargetSamples samples;
  samples.n = schedule.n();
  samples.field.resize(samples.n * size);
  RETURN_IF_ERROR(DrawTargetTiles(target, schedule, {0, schedule.tiles}, seed, team.threads, sampler,
                                  [&](int64_t round, int64_t tile, int64_t chain) {
                                    return samples.field.data() + schedule.At(round, tile, chain) * size;
                                  }));
  return samples;
}

}  // namespace haarflow
