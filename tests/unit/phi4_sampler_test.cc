// The machinery of the scalar Markov chains: leapfrog, Fourier acceleration, clusters, options. What they converge to
// is tests/exactness/phi4_mcmc_test.cc.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "core/mcmc/phi4_cluster.h"
#include "core/mcmc/phi4_hmc.h"
#include "gtest/gtest.h"
#include "tests/reference/phi4_reference.h"

namespace haarflow {
namespace {

using kernel::kTile;
using std::numbers::pi;

const std::vector<reference::Shape> kShapes = {{2}, {7}, {2, 2}, {3, 6}, {4, 2, 3}, {2, 3, 2, 4}};

ChainRows RandomRows(int64_t n, std::mt19937_64* random) {
  std::normal_distribution<double> normal;
  ChainRows rows(n);
  for (ChainRow& row : rows) {
    for (double& x : row.chain) x = normal(*random);
  }
  return rows;
}
reference::Field FieldOf(const ChainRows& rows, int chain) {
  reference::Field field;
  for (const ChainRow& row : rows) field.push_back(row.chain[chain]);
  return field;
}
// hop, quadratic, quartic of this theory in the hopping form: 2 kappa, 1 - 2 lambda, lambda.
Phi4Couplings CouplingsOf(const reference::Phi4& theory) {
  return {theory.components, 2 * theory.kappa, 1 - 2 * theory.lambda, theory.lambda};
}

TEST(TileNoise, IsTheAddressedNoise) {
  constexpr uint64_t kSeed = 0xFEDCBA9876543210, kFirst = (uint64_t{1} << 40) + 32;
  constexpr int64_t kRows = 9;
  ChainRows u(kRows), v(kRows), p1(kRows), p2(kRows), normal(kRows), scratch(kRows + 1);
  UniformRows(kSeed, NoisePurpose::kAccept, kFirst, 0xFFFFFFF0, 77, kRows, u.data(), v.data());
  for (int64_t i = 0; i < kRows; ++i) {
    for (int c = 0; c < kTile; ++c) {
      const auto block =
          NoiseBlock(kSeed, NoisePurpose::kAccept, kFirst + c, 0xFFFFFFF0 + static_cast<uint32_t>(i), 77);
      EXPECT_EQ(u[i].chain[c], 1 - UnitInterval(block[0], block[1]));
      EXPECT_EQ(v[i].chain[c], 1 - UnitInterval(block[2], block[3]));
    }
  }
  ProposalRows(kSeed, NoisePurpose::kAccept, kFirst, 5, 78, kRows, u.data(), p1.data(), p2.data());
  NormalRows(kSeed, NoisePurpose::kMomenta, kFirst, 79, kRows, normal.data(), scratch.data());
  for (int64_t i = 0; i < kRows; ++i) {
    for (int c = 0; c < kTile; ++c) {
      auto block = NoiseBlock(kSeed, NoisePurpose::kAccept, kFirst + c, 5 + static_cast<uint32_t>(i), 78);
      EXPECT_EQ(u[i].chain[c], 1 - UnitInterval(block[0], block[1]));
      EXPECT_EQ(p1[i].chain[c], (block[2] + 0.5) * 0x1p-32 - 0.5);
      EXPECT_EQ(p2[i].chain[c], (block[3] + 0.5) * 0x1p-32 - 0.5);
      block = NoiseBlock(kSeed, NoisePurpose::kMomenta, kFirst + c, static_cast<uint32_t>(i / 2), 79);
      const double radius = std::sqrt(-2 * std::log(1 - UnitInterval(block[0], block[1])));
      const double angle = 2 * pi * (1 - UnitInterval(block[2], block[3]));
      EXPECT_NEAR(normal[i].chain[c], radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle)), 1e-13);
    }
  }
}

TEST(Phi4Leapfrog, ActionAndFirstKickAgreeWithTheOracle) {
  std::mt19937_64 random(1);
  for (const auto& shape : kShapes) {
    for (const int components : {1, 2}) {
      for (const double kappa : {0.3, -0.4}) {
        const reference::Phi4 theory = {.components = components, .hopping_form = true, .kappa = kappa, .lambda = 0.6};
        const Lattice lattice = Lattice::Create(shape).value();
        const Phi4Leapfrog leapfrog = Phi4Leapfrog::Create(lattice, CouplingsOf(theory)).value();
        ChainRows field = RandomRows(leapfrog.rows(), &random);
        const ChainRows start = field;
        const ChainRow action = leapfrog.Action(field);
        ChainRows momenta(leapfrog.rows());
        constexpr double kStep = 1e-6;
        leapfrog.Integrate(1, kStep, &field, &momenta);
        for (int c = 0; c < kTile; c += 5) {
          const auto phi = FieldOf(start, c);
          EXPECT_NEAR(action.chain[c], reference::Phi4Action(shape, theory, phi),
                      1e-11 * (1 + std::abs(action.chain[c])));
          const auto gradient = reference::Phi4ActionGradient(shape, theory, phi);
          // From rest, p = -step dS/dphi.
          for (int64_t i = 0; i < leapfrog.rows(); ++i) {
            EXPECT_NEAR(momenta[i].chain[c] / kStep, -gradient[i], 1e-6 * (1 + std::abs(gradient[i])));
          }
        }
      }
    }
  }
}

void Negate(ChainRows* rows) {
  for (ChainRow& row : *rows) {
    for (double& x : row.chain) x = -x;
  }
}

TEST(Phi4Leapfrog, IsReversible) {
  std::mt19937_64 random(2);
  for (const auto& shape : kShapes) {
    for (const double fourier_m2 : {0.0, 0.5}) {
      const Lattice lattice = Lattice::Create(shape).value();
      const Phi4Leapfrog leapfrog = Phi4Leapfrog::Create(lattice, {2, 0.6, -0.4, 0.7}, fourier_m2).value();
      ChainRows field = RandomRows(leapfrog.rows(), &random), momenta = RandomRows(leapfrog.rows(), &random);
      leapfrog.Colour(&momenta);
      const ChainRows first_field = field, first_momenta = momenta;
      leapfrog.Integrate(15, 0.05, &field, &momenta);
      double moved = 0;
      for (size_t i = 0; i < field.size(); ++i) moved += std::abs(field[i].chain[3] - first_field[i].chain[3]);
      EXPECT_GT(moved, 0.2);
      Negate(&momenta);
      leapfrog.Integrate(15, 0.05, &field, &momenta);
      for (size_t i = 0; i < field.size(); ++i) {
        for (int c = 0; c < kTile; ++c) {
          EXPECT_NEAR(field[i].chain[c], first_field[i].chain[c], 1e-12);
          EXPECT_NEAR(momenta[i].chain[c], -first_momenta[i].chain[c], 1e-12);
        }
      }
    }
  }
}

TEST(Phi4Leapfrog, EnergyErrorIsOfSecondOrder) {
  std::mt19937_64 random(3);
  const Lattice lattice = Lattice::Create({6, 6}).value();
  for (const double fourier_m2 : {0.0, 1.0}) {
    const Phi4Leapfrog leapfrog = Phi4Leapfrog::Create(lattice, {1, 2, 0, 1}, fourier_m2).value();
    const ChainRows field = RandomRows(leapfrog.rows(), &random);
    ChainRows momenta = RandomRows(leapfrog.rows(), &random);
    leapfrog.Colour(&momenta);
    const auto rms_energy_error = [&](int steps) {
      ChainRows q = field, p = momenta;
      const ChainRow s = leapfrog.Action(q), t = leapfrog.KineticEnergy(p);
      leapfrog.Integrate(steps, 0.7 / steps, &q, &p);
      const ChainRow s2 = leapfrog.Action(q), t2 = leapfrog.KineticEnergy(p);
      double sum = 0;
      for (int c = 0; c < kTile; ++c) sum += std::pow(s2.chain[c] + t2.chain[c] - s.chain[c] - t.chain[c], 2);
      return std::sqrt(sum / kTile);
    };
    const double coarse = rms_energy_error(20), middle = rms_energy_error(40), fine = rms_energy_error(80);
    EXPECT_GT(fine, 1e-5);
    EXPECT_NEAR(coarse / middle, 4, 0.5);
    EXPECT_NEAR(middle / fine, 4, 0.2);
  }
}

// p A^-1 p / 2 with A = hop (khat^2 + m2) as a matrix in position space, -Laplacian + m2, by dense elimination.
double KineticOracle(const reference::Shape& shape, double hop, double m2, const reference::Field& p) {
  // S = phi A phi / 2 = (hop / 2) (sum (differences)^2 + m2 phi^2): the covariance of the free field is A^-1.
  const auto free = reference::SolveFreeField(shape, {.m2 = m2, .normalisation = 0.5 * hop});
  const size_t n = p.size();
  double energy = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) energy += 0.5 * p[i] * free.covariance[i * n + j] * p[j];
  }
  return energy;
}

TEST(FourierAcceleration, KineticEnergyIsThatOfTheInverseLaplacian) {
  std::mt19937_64 random(4);
  for (const auto& shape : kShapes) {
    const Lattice lattice = Lattice::Create(shape).value();
    const Phi4Leapfrog leapfrog = Phi4Leapfrog::Create(lattice, {1, 1.3, 0, 1}, 0.4).value();
    ChainRows momenta = RandomRows(leapfrog.rows(), &random);
    const ChainRow energy = leapfrog.KineticEnergy(momenta);
    for (int c = 0; c < kTile; c += 7) {
      const double expected = KineticOracle(shape, 1.3, 0.4, FieldOf(momenta, c));
      EXPECT_NEAR(energy.chain[c], expected, 1e-10 * (1 + expected));
    }
    // Coloured normal numbers z have the energy z^2 / 2.
    const ChainRows normal = momenta;
    leapfrog.Colour(&momenta);
    const ChainRow coloured = leapfrog.KineticEnergy(momenta);
    for (int c = 0; c < kTile; ++c) {
      double half_square = 0;
      for (const ChainRow& row : normal) half_square += 0.5 * row.chain[c] * row.chain[c];
      EXPECT_NEAR(coloured.chain[c], half_square, 1e-10 * (1 + half_square));
    }
  }
}

// All modes of the free field of mass m2 have frequency 1: a quarter period takes phi to A^-1 p, a whole one returns.
TEST(FourierAcceleration, GivesEveryModeOfTheFreeFieldTheSamePeriod) {
  std::mt19937_64 random(5);
  for (const int components : {1, 2}) {
    const Lattice lattice = Lattice::Create({4, 6}).value();
    constexpr double kHop = 0.8, kM2 = 0.3;
    // quadratic - hop sum cos k = (hop / 2) (khat^2 + m2)
    const Phi4Couplings free = {components, kHop, kHop * (2 + kM2 / 2), 0};
    const Phi4Leapfrog leapfrog = Phi4Leapfrog::Create(lattice, free, kM2).value();
    ChainRows field = RandomRows(leapfrog.rows(), &random), momenta = RandomRows(leapfrog.rows(), &random);
    leapfrog.Colour(&momenta);
    const ChainRows first = field;
    leapfrog.Integrate(4000, pi / 4000, &field, &momenta);
    for (size_t i = 0; i < field.size(); ++i) {
      for (int c = 0; c < kTile; ++c) EXPECT_NEAR(field[i].chain[c], -first[i].chain[c], 1e-5);
    }
  }
}

TEST(Phi4Hmc, AChainDoesNotDependOnHowManyOthersRun) {
  const Lattice lattice = Lattice::Create({4, 6}).value();
  const Phi4Couplings couplings = {2, 0.6, -0.4, 0.7};
  Phi4HmcOptions few = {.chains = 3, .seed = 9, .fourier_m2 = 0.5};
  Phi4HmcOptions many = few;
  many.chains = 40;
  Phi4Hmc a = Phi4Hmc::Create(lattice, couplings, few).value();
  Phi4Hmc b = Phi4Hmc::Create(lattice, couplings, many).value();
  for (int i = 0; i < 20; ++i) {
    a.Trajectory();
    b.Trajectory();
  }
  for (int c = 0; c < 3; ++c) EXPECT_EQ(a.Field(c), b.Field(c));
  EXPECT_NE(b.Field(0), b.Field(16));
  EXPECT_NE(b.Field(0), b.Field(1));
  EXPECT_EQ(a.energy_change().size(), 3u);
  EXPECT_EQ(b.trajectories(), 20u);
}

TEST(Phi4Hmc, TuningReachesTheTargetAcceptanceAtTheSameLength) {
  const Lattice lattice = Lattice::Create({12, 12}).value();
  for (const double fourier_m2 : {0.0, 0.2}) {
    Phi4HmcOptions options = {.chains = 32, .steps = 3, .step_size = 1.0 / 3, .fourier_m2 = fourier_m2};
    Phi4Hmc hmc = Phi4Hmc::Create(lattice, {1, 2, 0, 5.276}, options).value();
    ASSERT_TRUE(hmc.Tune(0.8).ok());
    EXPECT_NEAR(hmc.steps() * hmc.step_size(), 1, 1e-12);
    for (int i = 0; i < 50; ++i) hmc.Trajectory();
    EXPECT_NEAR(hmc.acceptance(), 0.8, 0.12);  // whole steps: neighbours differ by several percent
    EXPECT_FALSE(hmc.Tune(1).ok());
  }
}

// A harmonic mode of period 2 pi / omega comes back to itself, or to its mirror image, after a trajectory of length n
// pi / omega: what its square is it stays. Found as a disagreement of HMC with the exact free field.
TEST(Phi4Hmc, JitterMovesModesThatAFixedLengthLeavesAlone) {
  const Lattice lattice = Lattice::Create({2}).value();
  const Phi4Couplings free = {1, 0, 0.5 * pi * pi, 0};  // omega = pi, trajectories of length 1
  const auto moved = [&](double jitter) {
    Phi4HmcOptions options = {.chains = 16, .steps = 200, .step_size = 0.005, .jitter = jitter};
    Phi4Hmc hmc = Phi4Hmc::Create(lattice, free, options).value();
    const auto first = hmc.Field(0);
    for (int i = 0; i < 20; ++i) hmc.Trajectory();
    return std::abs(std::abs(hmc.Field(0)[0]) - std::abs(first[0]));
  };
  EXPECT_LT(moved(0), 0.01);
  EXPECT_GT(moved(0.2), 0.05);
}

TEST(Phi4Hmc, RefusesOptionsThatMakeNoSense) {
  const Lattice plane = Lattice::Create({4, 4}).value();
  const Phi4Couplings good = {1, 2, 0, 8};
  const auto code = [&](const Phi4Couplings& couplings, const Phi4HmcOptions& options) {
    return Phi4Hmc::Create(plane, couplings, options).status().code();
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code(good, {}), absl::StatusCode::kOk);
  EXPECT_EQ(code(good, {.fourier_m2 = 0.1}), absl::StatusCode::kOk);
  EXPECT_EQ(code(good, {.start_width = 0}), absl::StatusCode::kOk);
  EXPECT_EQ(code({1, 2, 1, 0}, {}), kInvalid);
  EXPECT_EQ(code(good, {.chains = 0}), kInvalid);
  EXPECT_EQ(code(good, {.chains = 65537}), kInvalid);
  EXPECT_EQ(code(good, {.steps = 0}), kInvalid);
  EXPECT_EQ(code(good, {.step_size = 0}), kInvalid);
  EXPECT_EQ(code(good, {.step_size = std::nan("")}), kInvalid);
  EXPECT_EQ(code(good, {.fourier_m2 = -1}), kInvalid);
  EXPECT_EQ(code(good, {.fourier_m2 = INFINITY}), kInvalid);
  EXPECT_EQ(code({1, -2, 0, 8}, {.fourier_m2 = 1}), kInvalid);
  EXPECT_EQ(code(good, {.jitter = 1}), kInvalid);
  EXPECT_EQ(code(good, {.jitter = -0.1}), kInvalid);
  EXPECT_EQ(code(good, {.start_width = -1}), kInvalid);
}

TEST(Phi4Cluster, AChainDoesNotDependOnHowManyOthersRunNorWhere) {
  for (const int components : {1, 2}) {
    const Lattice lattice = Lattice::Create({5, 30}).value();  // more sites than one batch of noise
    const Phi4Couplings couplings = {components, 0.6, -0.4, 0.7};
    Phi4Cluster few = Phi4Cluster::Create(lattice, couplings, {.chains = 19, .seed = 4}).value();
    Phi4Cluster many = Phi4Cluster::Create(lattice, couplings, {.chains = 48, .seed = 4}).value();
    Phi4Cluster other = Phi4Cluster::Create(lattice, couplings, {.chains = 16, .first_chain = 16, .seed = 4}).value();
    for (int i = 0; i < 5; ++i) {
      few.Sweep();
      many.Sweep();
      other.Sweep();
    }
    for (int c = 0; c < 19; ++c) EXPECT_EQ(few.Field(c), many.Field(c));
    for (int c = 0; c < 16; ++c) EXPECT_EQ(other.Field(c), many.Field(16 + c));
    EXPECT_NE(many.Field(0), many.Field(16));
    EXPECT_NE(many.Field(0), many.Field(1));
  }
}

// No number is used twice: statistics would hardly notice.
TEST(Phi4Cluster, NoiseAddressesOfASweepAreDisjoint) {
  for (const auto& [volume, dims] :
       std::vector<std::pair<int64_t, int>>{{2, 1}, {64, 2}, {65, 1}, {150, 2}, {405, 4}}) {
    for (const auto& [hits, sweeps] : {std::pair{1, 1}, {3, 1}, {2, 3}}) {
      const ClusterNoise noise(volume, dims, hits, sweeps);
      std::set<int64_t> seen = {0, 1, 2, 3, ClusterNoise::kDirection};  // Metropolis and HMC, and the direction
      size_t used = seen.size();
      for (int sweep = 0; sweep < sweeps; ++sweep) {
        for (int hit = 0; hit < hits; ++hit) {
          for (int64_t x = 0; x < volume; ++x, ++used) seen.insert(noise.Local(sweep, hit, x));
        }
      }
      for (int64_t first = 0; first < volume; first += ClusterNoise::kBlock) {
        const int64_t sites = std::min(volume - first, ClusterNoise::kBlock);
        EXPECT_GE(2 * noise.BondBlocks(sites), sites * dims);
        for (int64_t i = 0; i < noise.BondBlocks(sites); ++i, ++used) seen.insert(noise.Bonds(first) + i);
      }
      for (int64_t r = 0; r < volume; r += ClusterNoise::kFlipsOfOne, ++used) seen.insert(noise.Flips(r));
      EXPECT_EQ(seen.size(), used) << volume << " " << hits << " " << sweeps;
    }
  }
  // The largest lattice and the most updates still have addresses of 32 bits.
  EXPECT_LT(ClusterNoise(int64_t{1} << 26, 4, 16, 2).Flips((int64_t{1} << 26) - 1), int64_t{1} << 32);
}

// A cluster update reflects: |phi| stays at every site (for two components the part along the mirror), the signs do
// not.
TEST(Phi4Cluster, ClusterUpdatesReflectAndMetropolisDoesNot) {
  const Lattice lattice = Lattice::Create({8, 8}).value();
  const Phi4Couplings broken = {1, 0.6, 1 - 0.044, 0.022};
  Phi4Cluster with = Phi4Cluster::Create(lattice, broken, {.seed = 3}).value();
  Phi4Cluster without = Phi4Cluster::Create(lattice, broken, {.seed = 3, .clusters = false}).value();
  with.Sweep();
  without.Sweep();
  int flipped = 0;
  for (int c = 0; c < kTile; ++c) {
    const auto a = with.Field(c), b = without.Field(c);
    for (size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(std::abs(a[i]), std::abs(b[i]));
      flipped += a[i] != b[i] ? 1 : 0;
    }
  }
  EXPECT_GT(flipped, 200);
  EXPECT_LT(flipped, 824);
  EXPECT_EQ(with.acceptance(), without.acceptance());
  EXPECT_GT(with.acceptance(), 0.3);
}

// Deep in the broken phase nearly all sites are one cluster; without hopping every site is its own.
TEST(Phi4Cluster, ClustersAreTheBondsComponents) {
  const Lattice lattice = Lattice::Create({6, 7}).value();
  const auto aligned = [&](const Phi4Couplings& couplings, int sweeps) {
    Phi4Cluster sampler = Phi4Cluster::Create(lattice, couplings, {.chains = 64, .seed = 5}).value();
    for (int i = 0; i < sweeps; ++i) sampler.Sweep();
    double sum = 0, positive = 0;
    for (int c = 0; c < 64; ++c) {
      double m = 0;
      for (const double phi : sampler.Field(c)) m += phi > 0 ? 1 : -1;
      sum += std::abs(m) / 42 / 64;
      positive += m > 0 ? 1 : 0;
    }
    EXPECT_GT(positive, 12);  // both signs
    EXPECT_LT(positive, 52);
    return sum;
  };
  EXPECT_GT(aligned({1, 1.2, -1, 0.5}, 30), 0.99);
  EXPECT_LT(aligned({1, 0, -1, 0.5}, 30), 0.25);
}

TEST(Phi4Cluster, RefusesOptionsThatMakeNoSense) {
  const Lattice plane = Lattice::Create({4, 4}).value();
  const Phi4Couplings good = {1, 2, 0, 8};
  const auto code = [&](const Phi4Couplings& couplings, const Phi4ClusterOptions& options) {
    return Phi4Cluster::Create(plane, couplings, options).status().code();
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code(good, {}), absl::StatusCode::kOk);
  EXPECT_EQ(code(good, {.hits = 16, .local_sweeps = 2}), absl::StatusCode::kOk);
  EXPECT_EQ(code({1, 2, 1, 0}, {}), kInvalid);
  EXPECT_EQ(code(good, {.chains = 0}), kInvalid);
  EXPECT_EQ(code(good, {.chains = 65537}), kInvalid);
  EXPECT_EQ(code(good, {.first_chain = 8}), kInvalid);
  EXPECT_EQ(code(good, {.first_chain = uint64_t{1} << 40}), kInvalid);
  EXPECT_EQ(code(good, {.hits = 0}), kInvalid);
  EXPECT_EQ(code(good, {.hits = 17}), kInvalid);
  EXPECT_EQ(code(good, {.local_sweeps = 0}), kInvalid);
  EXPECT_EQ(code(good, {.hits = 16, .local_sweeps = 3}), kInvalid);
}

// The width of proposals is right over many orders of magnitude, deep wells included.
TEST(Phi4Cluster, AcceptanceIsReasonableForAllCouplings) {
  const Lattice line = Lattice::Create({4}).value();
  for (const Phi4Couplings& couplings :
       {Phi4Couplings{1, 0, 1e-6, 0}, Phi4Couplings{1, 0, 1e6, 0}, Phi4Couplings{1, 2, 0, 8},
        Phi4Couplings{1, 2, -2, 1e4}, Phi4Couplings{1, 1, -1e3, 1}, Phi4Couplings{1, 1, -1e4, 0.1},
        Phi4Couplings{2, 1, -1e3, 1}, Phi4Couplings{2, 2, 0, 8}, Phi4Couplings{1, 0.5, -1, 1e-6}}) {
    Phi4Cluster sampler = Phi4Cluster::Create(line, couplings, {}).value();
    for (int i = 0; i < 500; ++i) sampler.Sweep();
    EXPECT_GT(sampler.acceptance(), 0.15) << couplings.quadratic << " " << couplings.quartic;
    EXPECT_LT(sampler.acceptance(), 0.9) << couplings.quadratic << " " << couplings.quartic;
  }
}

}  // namespace
}  // namespace haarflow
