#include "core/train/target_samples.h"

#include <algorithm>
#include <optional>
#include <thread>

#include "core/action/target.h"
#include "core/base/noise.h"
#include "core/base/status.h"
#include "core/mcmc/phi4_cluster.h"
#include "core/mcmc/phi4_hmc.h"

namespace haarflow {
namespace {

constexpr int kMaxChains = 512;
constexpr int kThermalisation = 300;  // updates from a random start
constexpr int kSpacing = 15;          // updates between fields of one chain

// Sixteen chains of one of the samplers.
class Chains {
 public:
  static absl::StatusOr<Chains> Create(TargetSampler kind, const Lattice& lattice, const Phi4Couplings& couplings,
                                       uint64_t seed, int64_t tile) {
    Chains chains;
    if (kind == TargetSampler::kHmc) {
      Phi4HmcOptions options;
      // Chains of one seed differ by their number; tiles by their seed.
      const auto block = NoiseBlock(seed, NoisePurpose::kSeed, static_cast<uint64_t>(tile), 1);
      options.seed = uint64_t{block[1]} << 32 | block[0];
      ASSIGN_OR_RETURN(chains.hmc_, Phi4Hmc::Create(lattice, couplings, options));
      RETURN_IF_ERROR(chains.hmc_->Tune(0.8));
    } else {
      Phi4ClusterOptions options;
      options.chains = kernel::kTile;
      options.first_chain = static_cast<uint64_t>(tile) * kernel::kTile;
      options.seed = seed;
      ASSIGN_OR_RETURN(chains.cluster_, Phi4Cluster::Create(lattice, couplings, options));
    }
    chains.Update(kThermalisation);
    return chains;
  }
  void Update(int times) {
    for (int i = 0; i < times; ++i) {
      if (cluster_.has_value()) cluster_->Sweep();
      if (hmc_.has_value()) hmc_->Trajectory();
    }
  }
  std::vector<double> Field(int chain) const { return hmc_.has_value() ? hmc_->Field(chain) : cluster_->Field(chain); }

 private:
  std::optional<Phi4Cluster> cluster_;
  std::optional<Phi4Hmc> hmc_;
};

}  // namespace

absl::StatusOr<TargetSamples> DrawTargetSamples(const v1::Target& target, int64_t n, uint64_t seed, int threads,
                                                TargetSampler sampler) {
  if (!target.has_phi4()) {
    return absl::InvalidArgumentError(absl::StrCat(DescribeTarget(target), ": no sampler of the target is built in"));
  }
  ASSIGN_OR_RETURN(const Lattice lattice, LatticeOf(target));
  const Phi4Couplings couplings = Phi4CouplingsOf(target.phi4(), lattice.dims());
  const int64_t tiles = std::clamp<int64_t>((n + 15) / 16, 1, kMaxChains / kernel::kTile);
  const int64_t rounds = std::max<int64_t>(1, (n + tiles * kernel::kTile - 1) / (tiles * kernel::kTile));
  const int64_t size = FieldSize(target);
  TargetSamples samples;
  samples.n = rounds * tiles * kernel::kTile;
  samples.field.resize(samples.n * size);
  std::vector<absl::Status> status(threads);
  // Each thread takes whole tiles of chains.
  const auto work = [&](int t) {
    for (int64_t tile = t; tile < tiles && status[t].ok(); tile += threads) {
      auto chains = Chains::Create(sampler, lattice, couplings, seed, tile);
      status[t] = chains.status();
      if (!chains.ok()) return;
      for (int64_t round = 0; round < rounds; ++round) {
        chains->Update(kSpacing);
        for (int chain = 0; chain < kernel::kTile; ++chain) {
          const int64_t at = (round * tiles + tile) * kernel::kTile + chain;
          const std::vector<double> field = chains->Field(chain);
          std::copy(field.begin(), field.end(), samples.field.begin() + at * size);
        }
      }
    }
  };
  std::vector<std::thread> running;
  for (int t = 1; t < threads; ++t) running.emplace_back(work, t);
  work(0);
  for (auto& thread : running) thread.join();
  for (const auto& s : status) RETURN_IF_ERROR(s);
  return samples;
}

}  // namespace haarflow
