#include "core/mcmc/phi4_tile.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <numbers>
#include <utility>

#include "core/kernel/cpu/isa.h"
#include "core/kernel/cpu/scalar_isa.h"
#include "core/kernel/scalar_store.h"

// Resolvers of clones run before a sanitizer's runtime is ready.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define HF_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define HF_CLONES
#endif
#define HF_INLINE inline __attribute__((always_inline))

namespace haarflow {
namespace {

using kernel::kTile;
using std::numbers::pi;

struct Geometry {
  int64_t volume;
  int dims;
  const int32_t* neighbour;  // [site][2 * dims]
};

HF_CLONES void ActionRows(const Geometry& g, const Phi4Couplings& k, const ChainRow* field, ChainRow* action) {
  double total[kTile] = {};
  for (int64_t x = 0; x < g.volume; ++x) {
    double square[kTile] = {}, hop[kTile] = {};
    for (int a = 0; a < k.components; ++a) {
      const ChainRow* phi = field + a * g.volume;
      double ahead[kTile] = {};
      for (int mu = 0; mu < g.dims; ++mu) {
        const ChainRow& next = phi[g.neighbour[x * 2 * g.dims + mu]];
        for (int c = 0; c < kTile; ++c) ahead[c] += next.chain[c];
      }
      for (int c = 0; c < kTile; ++c) square[c] += phi[x].chain[c] * phi[x].chain[c];
      for (int c = 0; c < kTile; ++c) hop[c] += phi[x].chain[c] * ahead[c];
    }
    for (int c = 0; c < kTile; ++c) total[c] += (k.quadratic + k.quartic * square[c]) * square[c] - k.hop * hop[c];
  }
  for (int c = 0; c < kTile; ++c) action->chain[c] = total[c];
}

HF_CLONES void KickRows(const Geometry& g, const Phi4Couplings& k, double step, const ChainRow* field,
                        ChainRow* momenta) {
  const double hop = step * k.hop, linear = 2 * step * k.quadratic, cubic = 4 * step * k.quartic;
  for (int64_t x = 0; x < g.volume; ++x) {
    double factor[kTile] = {};
    for (int a = 0; a < k.components; ++a) {
      const ChainRow& phi = field[a * g.volume + x];
      for (int c = 0; c < kTile; ++c) factor[c] += phi.chain[c] * phi.chain[c];
    }
    for (int c = 0; c < kTile; ++c) factor[c] = linear + cubic * factor[c];
    for (int a = 0; a < k.components; ++a) {
      const ChainRow* phi = field + a * g.volume;
      double around[kTile] = {};
      for (int i = 0; i < 2 * g.dims; ++i) {
        const ChainRow& next = phi[g.neighbour[x * 2 * g.dims + i]];
        for (int c = 0; c < kTile; ++c) around[c] += next.chain[c];
      }
      ChainRow& p = momenta[a * g.volume + x];
      for (int c = 0; c < kTile; ++c) p.chain[c] += hop * around[c] - factor[c] * phi[x].chain[c];
    }
  }
}

HF_CLONES void MetropolisOne(const Geometry& g, const Phi4Couplings& k, double width, int hits, int64_t first,
                             int64_t sites, const ChainRow* log_u, const ChainRow* p, ChainRow* field,
                             ChainRow* accepted) {
  for (int64_t i = 0; i < sites; ++i) {
    double b[kTile] = {}, phi[kTile], now[kTile], count[kTile] = {};
    for (int j = 0; j < 2 * g.dims; ++j) {
      const ChainRow& next = field[g.neighbour[(first + i) * 2 * g.dims + j]];
      for (int c = 0; c < kTile; ++c) b[c] += next.chain[c];
    }
    for (int c = 0; c < kTile; ++c) {
      b[c] *= k.hop;
      phi[c] = field[first + i].chain[c];
      const double square = phi[c] * phi[c];
      now[c] = (k.quadratic + k.quartic * square) * square - b[c] * phi[c];
    }
    for (int h = 0; h < hits; ++h) {
      const ChainRow& shift = p[h * sites + i];
      const ChainRow& limit = log_u[h * sites + i];
      for (int c = 0; c < kTile; ++c) {
        const double proposal = phi[c] + width * shift.chain[c];
        const double square = proposal * proposal;
        const double then = (k.quadratic + k.quartic * square) * square - b[c] * proposal;
        const bool keep = limit.chain[c] <= now[c] - then;
        phi[c] = keep ? proposal : phi[c];
        now[c] = keep ? then : now[c];
        count[c] += keep ? 1.0 : 0.0;
      }
    }
    for (int c = 0; c < kTile; ++c) field[first + i].chain[c] = phi[c];
    for (int c = 0; c < kTile; ++c) accepted->chain[c] += count[c];
  }
}

HF_CLONES void MetropolisTwo(const Geometry& g, const Phi4Couplings& k, double width, int hits, int64_t first,
                             int64_t sites, const ChainRow* log_u, const ChainRow* p, const ChainRow* q,
                             ChainRow* field, ChainRow* accepted) {
  for (int64_t i = 0; i < sites; ++i) {
    double bp[kTile] = {}, bq[kTile] = {}, phi[kTile], chi[kTile], now[kTile], count[kTile] = {};
    for (int j = 0; j < 2 * g.dims; ++j) {
      const int64_t neighbour = g.neighbour[(first + i) * 2 * g.dims + j];
      for (int c = 0; c < kTile; ++c) bp[c] += field[neighbour].chain[c];
      for (int c = 0; c < kTile; ++c) bq[c] += field[g.volume + neighbour].chain[c];
    }
    for (int c = 0; c < kTile; ++c) {
      bp[c] *= k.hop;
      bq[c] *= k.hop;
      phi[c] = field[first + i].chain[c];
      chi[c] = field[g.volume + first + i].chain[c];
      const double square = phi[c] * phi[c] + chi[c] * chi[c];
      now[c] = (k.quadratic + k.quartic * square) * square - bp[c] * phi[c] - bq[c] * chi[c];
    }
    for (int h = 0; h < hits; ++h) {
      const ChainRow& shift = p[h * sites + i];
      const ChainRow& other = q[h * sites + i];
      const ChainRow& limit = log_u[h * sites + i];
      for (int c = 0; c < kTile; ++c) {
        const double x = phi[c] + width * shift.chain[c], y = chi[c] + width * other.chain[c];
        const double square = x * x + y * y;
        const double then = (k.quadratic + k.quartic * square) * square - bp[c] * x - bq[c] * y;
        const bool keep = limit.chain[c] <= now[c] - then;
        phi[c] = keep ? x : phi[c];
        chi[c] = keep ? y : chi[c];
        now[c] = keep ? then : now[c];
        count[c] += keep ? 1.0 : 0.0;
      }
    }
    for (int c = 0; c < kTile; ++c) field[first + i].chain[c] = phi[c];
    for (int c = 0; c < kTile; ++c) field[g.volume + first + i].chain[c] = chi[c];
    for (int c = 0; c < kTile; ++c) accepted->chain[c] += count[c];
  }
}

HF_CLONES void BondRows(const Geometry& g, double hop, int64_t first, int64_t sites, const ChainRow* spin,
                        const ChainRow* log_u, uint8_t* bond) {
  for (int64_t i = 0; i < sites; ++i) {
    const ChainRow& here = spin[first + i];
    for (int mu = 0; mu < g.dims; ++mu) {
      const ChainRow& next = spin[g.neighbour[(first + i) * 2 * g.dims + mu]];
      const ChainRow& limit = log_u[i * g.dims + mu];
      uint8_t* out = bond + (i * g.dims + mu) * kTile;
      for (int c = 0; c < kTile; ++c) out[c] = limit.chain[c] + 2 * hop * here.chain[c] * next.chain[c] > 0 ? 1 : 0;
    }
  }
}

// Philox4x32-10 for 16 chains, chains innermost: NoiseBlock of core/base/noise.h. Words stand in the low halves of 64
// bits, four to a vector: left to itself the compiler computes products of 32 bits one by one.
using Lanes = uint64_t __attribute__((vector_size(32)));
constexpr int kLanes = 4;
struct Words {
  alignas(64) uint64_t w[4][kTile];
};
HF_INLINE void Philox(uint64_t seed, NoisePurpose purpose, uint64_t first, uint32_t dof, uint32_t step, Words* words) {
  constexpr uint64_t kLow = 0xFFFFFFFFu;
  for (int lane = 0; lane < kTile; lane += kLanes) {
    const uint64_t chain = first + static_cast<uint64_t>(lane);
    const Lanes index = {chain, chain + 1, chain + 2, chain + 3};
    Lanes c0 = Lanes{} + step, c1 = Lanes{} + dof, c2 = index & kLow;
    Lanes c3 = (index >> 32 & 0xFFFFFFu) | static_cast<uint64_t>(purpose) << 24;
    uint64_t k0 = seed & kLow, k1 = seed >> 32;
    for (int round = 0; round < 10; ++round) {
      const Lanes p0 = c0 * 0xD2511F53u, p1 = c2 * 0xCD9E8D57u;
      c0 = (p1 >> 32) ^ c1 ^ k0;
      c1 = p1 & kLow;
      c2 = (p0 >> 32) ^ c3 ^ k1;
      c3 = p0 & kLow;
      k0 = (k0 + 0x9E3779B9u) & kLow;
      k1 = (k1 + 0xBB67AE85u) & kLow;
    }
    const Lanes c[4] = {c0, c1, c2, c3};
    for (int word = 0; word < 4; ++word) std::memcpy(words->w[word] + lane, &c[word], sizeof(Lanes));
  }
}

// Exactly, for x < 2^32.
HF_INLINE double FromUint32(uint64_t x) { return std::bit_cast<double>(x | 0x4330000000000000u) - 0x1p52; }

// 1 - UnitInterval(low, high), exactly: in (0, 1].
HF_INLINE void OneMinusUnit(const uint64_t* low, const uint64_t* high, double* u) {
  for (int c = 0; c < kTile; ++c) u[c] = 1 - (FromUint32(high[c]) * 0x1p-32 + FromUint32(low[c] >> 11) * 0x1p-53);
}

HF_CLONES void UniformClones(uint64_t seed, NoisePurpose purpose, uint64_t first, uint32_t dof, uint32_t step,
                             int64_t n, ChainRow* u, ChainRow* v) {
  for (int64_t i = 0; i < n; ++i) {
    Words words;
    Philox(seed, purpose, first, dof + static_cast<uint32_t>(i), step, &words);
    OneMinusUnit(words.w[0], words.w[1], u[i].chain);
    OneMinusUnit(words.w[2], words.w[3], v[i].chain);
  }
}

HF_CLONES void ProposalClones(uint64_t seed, NoisePurpose purpose, uint64_t first, uint32_t dof, uint32_t step,
                              int64_t n, ChainRow* u, ChainRow* p1, ChainRow* p2) {
  for (int64_t i = 0; i < n; ++i) {
    Words words;
    Philox(seed, purpose, first, dof + static_cast<uint32_t>(i), step, &words);
    OneMinusUnit(words.w[0], words.w[1], u[i].chain);
    for (int c = 0; c < kTile; ++c) p1[i].chain[c] = (FromUint32(words.w[2][c]) + 0.5) * 0x1p-32 - 0.5;
    for (int c = 0; c < kTile; ++c) p2[i].chain[c] = (FromUint32(words.w[3][c]) + 0.5) * 0x1p-32 - 0.5;
  }
}

constexpr int32_t kLog = 1;
constexpr int32_t kSin = 2;
constexpr int32_t kCos = 3;
void Elementary(int32_t what, int64_t n, const ChainRow* x, ChainRow* y) {
  static const kernel::IsaKernels* const best = kernel::IsaKernelsFor(kernel::BestInstructionSet());
  best->elementary(what, n * kTile, x->chain, y->chain);
}

}  // namespace

Phi4Tile::Phi4Tile(const Lattice& lattice, const Phi4Couplings& couplings) : lattice_(lattice), couplings_(couplings) {
  neighbour_.reserve(lattice.volume() * 2 * lattice.dims());
  for (int64_t x = 0; x < lattice.volume(); ++x) {
    for (const int step : {1, -1}) {
      for (int mu = 0; mu < lattice.dims(); ++mu) {
        neighbour_.push_back(static_cast<int32_t>(lattice.Shift(x, mu, step)));
      }
    }
  }
}

ChainRow Phi4Tile::Action(const ChainRow* field) const {
  ChainRow action;
  ActionRows({lattice_.volume(), lattice_.dims(), neighbour_.data()}, couplings_, field, &action);
  return action;
}

void Phi4Tile::Kick(double step, const ChainRow* field, ChainRow* momenta) const {
  KickRows({lattice_.volume(), lattice_.dims(), neighbour_.data()}, couplings_, step, field, momenta);
}

void Phi4Tile::Metropolis(double width, int hits, int64_t first, int64_t sites, const ChainRow* log_u,
                          const ChainRow* p1, const ChainRow* p2, ChainRow* field, ChainRow* accepted) const {
  const Geometry g = {lattice_.volume(), lattice_.dims(), neighbour_.data()};
  if (couplings_.components == 1) {
    MetropolisOne(g, couplings_, width, hits, first, sites, log_u, p1, field, accepted);
  } else {
    MetropolisTwo(g, couplings_, width, hits, first, sites, log_u, p1, p2, field, accepted);
  }
}

void Phi4Tile::Bonds(int64_t first, int64_t sites, const ChainRow* spin, const ChainRow* log_u, uint8_t* bond) const {
  BondRows({lattice_.volume(), lattice_.dims(), neighbour_.data()}, couplings_.hop, first, sites, spin, log_u, bond);
}

HartleyTransform::HartleyTransform(const Lattice& lattice)
    : volume_(lattice.volume()), kernels_(kernel::ScalarKernelsFor(kernel::BestInstructionSet())) {
  // The kernels' tables of a lattice are those of a flow without layers.
  const std::vector<double> sigma(lattice.volume(), 1.0);
  hf_scalar_flow flow = {};
  flow.dims = lattice.dims();
  std::copy(lattice.shape().begin(), lattice.shape().end(), flow.shape);
  flow.components = 1;
  flow.prior = {1, sigma.data()};
  auto store = std::make_shared<kernel::ScalarFlowStore>();
  if (!store->Copy(flow).empty()) std::abort();  // the store takes every lattice
  store_ = std::move(store);
}

int64_t HartleyTransform::scratch_rows() const { return 2 * store_->max_extent(); }

void HartleyTransform::Filter(const std::vector<double>& factor, int components, ChainRow* field,
                              ChainRow* scratch) const {
  kernel::ScalarGeometry geometry = store_->flow().geometry;
  geometry.components = components;
  kernels_->cas_tile(geometry, field->chain, scratch->chain);
  ChainRow* row = field;
  for (int a = 0; a < components; ++a) {
    for (const double f : factor) {
      const double g = f / static_cast<double>(volume_);
      for (double& x : row->chain) x *= g;
      ++row;
    }
  }
  kernels_->cas_tile(geometry, field->chain, scratch->chain);
}

void UniformRows(uint64_t seed, NoisePurpose purpose, uint64_t first, uint32_t dof, uint32_t step, int64_t n,
                 ChainRow* u, ChainRow* v) {
  UniformClones(seed, purpose, first, dof, step, n, u, v);
}

void ProposalRows(uint64_t seed, NoisePurpose purpose, uint64_t first, uint32_t dof, uint32_t step, int64_t n,
                  ChainRow* u, ChainRow* p1, ChainRow* p2) {
  ProposalClones(seed, purpose, first, dof, step, n, u, p1, p2);
}

void LogRows(int64_t n, ChainRow* u) { Elementary(kLog, n, u, u); }

void NormalRows(uint64_t seed, NoisePurpose purpose, uint64_t first, uint32_t step, int64_t n, ChainRow* normal,
                ChainRow* scratch) {
  const int64_t pairs = (n + 1) / 2;
  ChainRow* radius = scratch;
  ChainRow* phase = scratch + pairs;
  UniformRows(seed, purpose, first, 0, step, pairs, radius, phase);
  LogRows(pairs, radius);
  for (int64_t k = 0; k < pairs; ++k) {
    ChainRow sine, cosine;
    for (double& x : phase[k].chain) x *= 2 * pi;
    Elementary(kSin, 1, phase + k, &sine);
    Elementary(kCos, 1, phase + k, &cosine);
    for (double& x : radius[k].chain) x = std::sqrt(-2 * x);
    for (int c = 0; c < kTile; ++c) normal[2 * k].chain[c] = radius[k].chain[c] * cosine.chain[c];
    if (2 * k + 1 == n) break;
    for (int c = 0; c < kTile; ++c) normal[2 * k + 1].chain[c] = radius[k].chain[c] * sine.chain[c];
  }
}

}  // namespace haarflow
