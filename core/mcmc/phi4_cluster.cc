#include "core/mcmc/phi4_cluster.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include "core/base/status.h"

namespace haarflow {
namespace {

using kernel::kTile;
using std::numbers::pi;

// Step of NoisePurpose::kInitial: HMC starts from step 0, so that the two share no number.
constexpr uint32_t kStartStep = 1;
constexpr int64_t kBlock = ClusterNoise::kBlock;

// The standard deviation of |phi| in the potential of one site, exp(-quadratic phi^2 - quartic phi^4), by the midpoint
// rule.
double SiteWidth(const Phi4Couplings& c) {
  const double bottom = c.quadratic < 0 ? std::sqrt(-c.quadratic / (2 * c.quartic)) : 0;
  const auto height = [&](double x) {
    const double off =
        x * x - bottom * bottom;  // quadratic < 0: the potential is quartic (x^2 - bottom^2)^2 + constant
    return c.quadratic < 0 ? c.quartic * off * off : (c.quadratic + c.quartic * x * x) * x * x;
  };
  double reach = 1;
  while (height(bottom + reach) > 40) reach /= 2;
  while (height(bottom + reach) < 40) reach *= 2;
  // Towards 0 the well is flatter: twice as far has all of it, or ends at 0.
  const double low = std::max(0.0, bottom - 2 * reach), high = bottom + reach;
  double sums[3] = {};
  constexpr int kPoints = 4000;
  for (int i = 0; i < kPoints; ++i) {
    const double x = (high - low) * (i + 0.5) / kPoints, weight = std::exp(-height(low + x));
    sums[0] += weight;
    sums[1] += weight * x;
    sums[2] += weight * x * x;
  }
  const double mean = sums[1] / sums[0];
  return std::sqrt(std::max(sums[2] / sums[0] - mean * mean, 1e-300));
}

// Half of the proposals or so are accepted. Where neighbours hold a field the potential is narrower than one site's
// own: the mean-field value gives its curvature.
double ProposalWidth(const Phi4Couplings& c, int dims) {
  double width = 5 * SiteWidth(c);
  if (c.quartic > 0) {
    const double square = (dims * std::abs(c.hop) - c.quadratic) / (2 * c.quartic);
    if (square > 0) width = std::min(width, 4 / std::sqrt(2 * c.quadratic + 12 * c.quartic * square));
  }
  return width;
}

}  // namespace

absl::StatusOr<Phi4Cluster> Phi4Cluster::Create(const Lattice& lattice, const Phi4Couplings& couplings,
                                                const Phi4ClusterOptions& options) {
  RETURN_IF_ERROR(CheckPhi4Couplings("cluster sampler", lattice.dims(), couplings));
  if (options.chains < 1 || options.chains > 65536) {
    return absl::InvalidArgumentError(
        absl::StrCat("cluster sampler: chains is ", options.chains, "; 1..65536 are supported"));
  }
  if (options.first_chain % kTile != 0 || options.first_chain >= uint64_t{1} << 40) {
    return absl::InvalidArgumentError(absl::StrCat("cluster sampler: first_chain is ", options.first_chain,
                                                   "; it must be a multiple of ", kTile, " below 2^40"));
  }
  if (options.hits < 1 || options.hits > 16 || options.local_sweeps < 1 || options.local_sweeps > 16 ||
      options.hits * options.local_sweeps > 32) {
    return absl::InvalidArgumentError(absl::StrCat("cluster sampler: hits and local_sweeps are ", options.hits, " and ",
                                                   options.local_sweeps, "; both 1..16, product at most 32"));
  }
  if (options.chains * lattice.volume() * couplings.components > int64_t{1} << 27) {
    return absl::InvalidArgumentError("cluster sampler: more than 2^27 numbers in all chains; use fewer chains");
  }
  return Phi4Cluster(lattice, couplings, options);
}

Phi4Cluster::Phi4Cluster(const Lattice& lattice, const Phi4Couplings& couplings, const Phi4ClusterOptions& options)
    : tile_(lattice, couplings),
      options_(options),
      noise_(lattice.volume(), lattice.dims(), options.hits, options.local_sweeps),
      width_(ProposalWidth(couplings, lattice.dims())) {
  const int tiles = (options.chains + kTile - 1) / kTile;
  field_.assign(tiles, ChainRows(tile_.rows()));
  const int64_t block = kBlock * std::max(options.hits, lattice.dims() + 1);
  for (ChainRows* rows : {&log_u_, &p1_, &p2_}) rows->resize(block);
  if (couplings.components == 2) spin_.resize(lattice.volume());
  bond_.resize(lattice.volume() * lattice.dims() * kTile);
  root_.resize(lattice.volume());
  flip_.resize((lattice.volume() + ClusterNoise::kFlipsOfOne) / 32);
  ChainRows unused(tile_.rows());
  for (int tile = 0; tile < tiles; ++tile) {
    UniformRows(options.seed, NoisePurpose::kInitial, FirstChain(tile), 0, kStartStep, tile_.rows(),
                field_[tile].data(), unused.data());
    for (ChainRow& row : field_[tile]) {
      for (double& x : row.chain) x = width_ * (0.5 - x);
    }
  }
}

uint64_t Phi4Cluster::FirstChain(int tile) const { return options_.first_chain + static_cast<uint64_t>(tile) * kTile; }

void Phi4Cluster::LocalSweep(int tile, int sweep) {
  const int64_t volume = tile_.lattice().volume();
  ChainRow accepted = {};
  for (int64_t first = 0; first < volume; first += kBlock) {
    const int64_t sites = std::min(kBlock, volume - first);
    for (int hit = 0; hit < options_.hits; ++hit) {
      const auto dof = static_cast<uint32_t>(noise_.Local(sweep, hit, first));
      const int64_t at = hit * sites;
      ProposalRows(options_.seed, NoisePurpose::kAccept, FirstChain(tile), dof, sweep_, sites, &log_u_[at], &p1_[at],
                   &p2_[at]);
    }
    LogRows(options_.hits * sites, log_u_.data());
    tile_.Metropolis(width_, options_.hits, first, sites, log_u_.data(), p1_.data(), p2_.data(), field_[tile].data(),
                     &accepted);
  }
  for (int c = 0; c < kTile && tile * kTile + c < options_.chains; ++c) {
    accepted_ += accepted.chain[c];
    proposed_ += static_cast<double>(volume * options_.hits);
  }
}

// Union-find with path halving; the smaller site is the root.
void Phi4Cluster::FindClusters(int c) {
  const int64_t volume = tile_.lattice().volume();
  const int dims = tile_.lattice().dims();
  int32_t* root = root_.data();
  const auto find = [root](int32_t x) {
    while (root[x] != x) x = root[x] = root[root[x]];
    return x;
  };
  for (int64_t x = 0; x < volume; ++x) root[x] = static_cast<int32_t>(x);
  for (int64_t x = 0; x < volume; ++x) {
    for (int mu = 0; mu < dims; ++mu) {
      if (bond_[(x * dims + mu) * kTile + c] == 0) continue;
      const int32_t a = find(static_cast<int32_t>(x));
      const int32_t b = find(static_cast<int32_t>(tile_.Ahead(x, mu)));
      root[std::max(a, b)] = std::min(a, b);
    }
  }
  for (int64_t x = 0; x < volume; ++x) root[x] = root[root[x]];  // parents are smaller sites: already final
}

// s = n . phi of every site, n a random unit vector for each chain.
void Phi4Cluster::ProjectSpins(int tile) {
  const int64_t volume = tile_.lattice().volume();
  const ChainRow* phi = field_[tile].data();
  for (int c = 0; c < kTile; ++c) {
    const double angle = 2 * pi *
                         UniformNoise(options_.seed, NoisePurpose::kAccept, FirstChain(tile) + c,
                                      static_cast<uint32_t>(ClusterNoise::kDirection), sweep_);
    normal_[0].chain[c] = std::cos(angle);
    normal_[1].chain[c] = std::sin(angle);
  }
  for (int64_t x = 0; x < volume; ++x) {
    for (int c = 0; c < kTile; ++c) {
      spin_[x].chain[c] = normal_[0].chain[c] * phi[x].chain[c] + normal_[1].chain[c] * phi[volume + x].chain[c];
    }
  }
}

// Reflects the clusters of slot c with probability 1/2 each: bit r of the noise decides about the one with root r.
void Phi4Cluster::FlipClusters(int tile, int c) {
  const int64_t volume = tile_.lattice().volume();
  ChainRow* phi = field_[tile].data();
  for (int64_t r = 0; r < volume; r += ClusterNoise::kFlipsOfOne) {
    const auto bits = NoiseBlock(options_.seed, NoisePurpose::kAccept, FirstChain(tile) + c,
                                 static_cast<uint32_t>(noise_.Flips(r)), sweep_);
    std::copy(bits.begin(), bits.end(), flip_.begin() + r / 32);
  }
  for (int64_t x = 0; x < volume; ++x) {
    const int32_t r = root_[x];
    if ((flip_[r / 32] >> (r % 32) & 1) == 0) continue;
    if (tile_.couplings().components == 1) {
      phi[x].chain[c] = -phi[x].chain[c];
      continue;
    }
    phi[x].chain[c] -= 2 * spin_[x].chain[c] * normal_[0].chain[c];
    phi[volume + x].chain[c] -= 2 * spin_[x].chain[c] * normal_[1].chain[c];
  }
}

void Phi4Cluster::ClusterUpdate(int tile) {
  const int64_t volume = tile_.lattice().volume();
  const int dims = tile_.lattice().dims();
  const bool planar = tile_.couplings().components == 2;
  if (planar) ProjectSpins(tile);
  const ChainRow* spin = planar ? spin_.data() : field_[tile].data();
  for (int64_t first = 0; first < volume; first += kBlock) {
    const int64_t sites = std::min(kBlock, volume - first);
    const int64_t pairs = noise_.BondBlocks(sites);
    UniformRows(options_.seed, NoisePurpose::kAccept, FirstChain(tile), static_cast<uint32_t>(noise_.Bonds(first)),
                sweep_, pairs, &log_u_[0], &log_u_[pairs]);
    LogRows(2 * pairs, log_u_.data());
    tile_.Bonds(first, sites, spin, log_u_.data(), &bond_[first * dims * kTile]);
  }
  for (int c = 0; c < kTile; ++c) {
    FindClusters(c);
    FlipClusters(tile, c);
  }
}

void Phi4Cluster::Sweep() {
  for (int tile = 0; tile < static_cast<int>(field_.size()); ++tile) {
    for (int sweep = 0; sweep < options_.local_sweeps; ++sweep) LocalSweep(tile, sweep);
    if (options_.clusters) ClusterUpdate(tile);
  }
  ++sweep_;
}

double Phi4Cluster::acceptance() const { return proposed_ == 0 ? 0 : accepted_ / proposed_; }

void Phi4Cluster::Field(int chain, double* field) const {
  for (const ChainRow& row : field_[chain / kTile]) *field++ = row.chain[chain % kTile];
}

std::vector<double> Phi4Cluster::Field(int chain) const {
  std::vector<double> field(tile_.rows());
  Field(chain, field.data());
  return field;
}

}  // namespace haarflow
