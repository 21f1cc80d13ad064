// What Markov chains of SU(N) links are made of: action and force against the plain-loop oracle, a reversible
// integrator of second order, updates that keep the action, noise that does not depend on its neighbours.
#include "core/mcmc/sun_tile.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "core/group/sun_group.h"
#include "core/mcmc/sun_heat_bath.h"
#include "core/mcmc/sun_hmc.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/reference/sun_reference.h"

namespace haarflow {
namespace {

const std::vector<std::vector<int64_t>> kShapes = {{3, 4}, {2, 3}, {2, 2}, {2, 3, 4}, {2, 3, 2, 3}};

Lattice LatticeOf(const std::vector<int64_t>& shape) { return Lattice::Create(shape).value(); }

reference::SunField FieldOf(const SunTile& tile, const SunRows& links, int chain) {
  const std::vector<double> numbers = tile.Field(links, chain);
  reference::SunField field;
  for (size_t i = 0; i < numbers.size(); i += 2) field.emplace_back(numbers[i], numbers[i + 1]);
  return field;
}

double LargestDifference(const SunRows& a, const SunRows& b, int chain_a, int chain_b) {
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(a[i].chain[chain_a] - b[i].chain[chain_b]));
  }
  return largest;
}
double LargestDifference(const SunRows& a, const SunRows& b) {
  double largest = 0;
  for (int c = 0; c < kSunTile; ++c) largest = std::max(largest, LargestDifference(a, b, c, c));
  return largest;
}

std::vector<std::string> InstructionSets() {
  std::vector<std::string> sets;
  for (const char* name : {"baseline", "avx2", "avx512"}) {
    if (kernel::GaugeKernelsFor(name) != nullptr) sets.emplace_back(name);
  }
  return sets;
}

TEST(SunTile, ActionAgreesWithTheOracle) {
  for (const std::string& isa : InstructionSets()) {
    for (const auto& shape : kShapes) {
      for (const int n : {2, 3}) {
        for (const double c1 : {0.0, -1.0 / 12}) {
          const SunTile tile = SunTile::Create(LatticeOf(shape), {n, 2.3, c1}, isa).value();
          const SunRows links = tile.Haar(3, 8);
          const SunRow action = tile.Action(links);
          for (int c = 0; c < kSunTile; c += 3) {
            EXPECT_NEAR(action.chain[c], reference::SunAction(shape, n, 2.3, c1, FieldOf(tile, links, c)), 1e-11);
          }
        }
      }
    }
  }
}

TEST(SunTile, FieldsComeBack) {
  for (const int n : {2, 3}) {
    const SunTile tile = SunTile::Create(LatticeOf({3, 4}), {n, 1, 0}).value();
    const SunRows links = tile.Haar(3, 0);
    SunRows other = tile.Haar(4, 0);
    for (int c = 0; c < kSunTile; ++c) tile.SetField(tile.Field(links, c).data(), (c + 1) % kSunTile, &other);
    for (int c = 0; c < kSunTile; ++c) EXPECT_EQ(LargestDifference(links, other, c, (c + 1) % kSunTile), 0);
  }
}

// (d/dt) S(exp(t T^a) U_l) from the oracle, by central differences.
template <int N>
double Derivative(const std::vector<int64_t>& shape, double beta, double c1, const reference::SunField& field,
                  int64_t link, int a) {
  constexpr double kStep = 1e-4;
  const auto moved = [&](double t) {
    AlgebraVector<N> f{};
    f[a] = t;
    GroupMatrix<N> u;
    std::copy_n(field.begin() + link * N * N, N * N, u.begin());
    u = Multiply<N>(Exponential<N>(f), u);
    reference::SunField other = field;
    std::copy(u.begin(), u.end(), other.begin() + link * N * N);
    return reference::SunAction(shape, N, beta, c1, other);
  };
  return (8 * (moved(kStep) - moved(-kStep)) - (moved(2 * kStep) - moved(-2 * kStep))) / (12 * kStep);
}

template <int N>
void CheckForce() {
  std::mt19937 random(1);
  constexpr int kDim = N * N - 1;
  for (const std::string& isa : InstructionSets()) {
    for (const auto& shape : kShapes) {
      for (const double c1 : {0.0, -0.331}) {
        const Lattice lattice = LatticeOf(shape);
        const SunTile tile = SunTile::Create(lattice, {N, 1.7, c1}, isa).value();
        const SunRows links = tile.Haar(9, 0);
        SunRows momenta(tile.momentum_rows());
        tile.Kick(1, links, &momenta);
        const int chain = static_cast<int>(random() % kSunTile);
        const reference::SunField field = FieldOf(tile, links, chain);
        for (int trial = 0; trial < 12; ++trial) {
          const int64_t link = static_cast<int64_t>(random() % static_cast<unsigned>(lattice.links()));
          const int a = static_cast<int>(random() % kDim);
          EXPECT_NEAR(momenta[link * kDim + a].chain[chain], -Derivative<N>(shape, 1.7, c1, field, link, a), 1e-8)
              << lattice.ToString() << " " << isa;
        }
      }
    }
  }
}
TEST(SunTile, ForceIsTheDerivativeOfTheAction) {
  CheckForce<2>();
  CheckForce<3>();
}

struct Motion {
  SunTile tile;
  SunRows links, momenta;
};
Motion Equilibrated(const std::vector<int64_t>& shape, int n, double beta, double c1) {
  const Lattice lattice = LatticeOf(shape);
  const SunTile start = SunTile::Create(lattice, {n, beta, 0}).value();
  SunRows links = start.Haar(2, 0);
  for (uint32_t i = 0; i < 20; ++i) start.HeatBath(2, 0, i, &links);
  start.Reunitarise(&links);
  Motion motion = {SunTile::Create(lattice, {n, beta, c1}).value(), links, {}};
  motion.momenta = motion.tile.Momenta(5, 0, 0);
  return motion;
}

TEST(SunTile, IntegratorIsReversible) {
  for (const int n : {2, 3}) {
    for (const double c1 : {0.0, -1.0 / 12}) {
      Motion motion = Equilibrated({2, 3, 4}, n, 2.0, c1);
      SunRows links = motion.links, momenta = motion.momenta;
      motion.tile.Integrate(12, 0.15, &links, &momenta);
      EXPECT_GT(LargestDifference(links, motion.links), 0.5);
      for (SunRow& p : momenta) {
        for (double& x : p.chain) x = -x;
      }
      motion.tile.Integrate(12, 0.15, &links, &momenta);
      EXPECT_LT(LargestDifference(links, motion.links), 1e-12);
      for (SunRow& p : momenta) {
        for (double& x : p.chain) x = -x;
      }
      EXPECT_LT(LargestDifference(momenta, motion.momenta), 1e-12);
    }
  }
}

TEST(SunTile, EnergyErrorIsOfSecondOrder) {
  for (const int n : {2, 3}) {
    const Motion motion = Equilibrated({4, 6}, n, 4.0, -1.0 / 12);
    const auto rms_energy_error = [&](int steps) {
      SunRows links = motion.links, momenta = motion.momenta;
      const SunRow s = motion.tile.Action(links), t = motion.tile.KineticEnergy(momenta);
      const SunRow largest = motion.tile.Integrate(steps, 1.0 / steps, &links, &momenta);
      const SunRow s2 = motion.tile.Action(links), t2 = motion.tile.KineticEnergy(momenta);
      double sum = 0;
      for (int c = 0; c < kSunTile; ++c) {
        sum += std::pow(s2.chain[c] + t2.chain[c] - s.chain[c] - t.chain[c], 2);
        EXPECT_GT(largest.chain[c], 0);
        EXPECT_LT(largest.chain[c], 16);
      }
      return std::sqrt(sum / kSunTile);
    };
    const double coarse = rms_energy_error(8), middle = rms_energy_error(16), fine = rms_energy_error(32);
    EXPECT_GT(fine, 1e-6);
    EXPECT_NEAR(coarse / middle, 4, 0.6);
    EXPECT_NEAR(middle / fine, 4, 0.2);
  }
}

TEST(SunTile, OverRelaxationKeepsTheActionAndMovesTheLinks) {
  for (const std::string& isa : InstructionSets()) {
    for (const int n : {2, 3}) {
      for (const double beta : {2.5, -1.0}) {
        const SunTile tile = SunTile::Create(LatticeOf({2, 3, 2, 4}), {n, beta, 0}, isa).value();
        const SunRows start = tile.Haar(6, 0);
        SunRows links = start;
        const SunRow action = tile.Action(links);
        for (int i = 0; i < 3; ++i) {
          tile.OverRelax(&links);
          const SunRow now = tile.Action(links);
          for (int c = 0; c < kSunTile; ++c) EXPECT_NEAR(now.chain[c], action.chain[c], 1e-11);
        }
        EXPECT_GT(LargestDifference(links, start), 0.5);
        // The links are unitary.
        SunRows again = links;
        tile.Reunitarise(&again);
        EXPECT_LT(LargestDifference(links, again), 1e-14);
      }
    }
  }
}

TEST(SunTile, InstructionSetsAgreeToRounding) {
  for (const int n : {2, 3}) {
    std::vector<SunRows> links;
    for (const std::string& isa : InstructionSets()) {
      const SunTile tile = SunTile::Create(LatticeOf({4, 4}), {n, 3.0, 0}, isa).value();
      SunRows u = tile.Haar(1, 0);
      for (uint32_t i = 0; i < 3; ++i) tile.HeatBath(1, 0, i, &u);
      SunRows p = tile.Momenta(1, 0, 4);
      tile.Integrate(3, 0.2, &u, &p);
      links.push_back(u);
    }
    for (const SunRows& u : links) EXPECT_LT(LargestDifference(u, links[0]), 1e-9);
  }
}

// Bit for bit, whatever chains it runs beside.
TEST(SunChains, AChainDoesNotDependOnOthers) {
  for (const int n : {2, 3}) {
    const Lattice lattice = LatticeOf({3, 4});
    const SunCouplings couplings = {n, 1.2, 0};
    SunHeatBath many = SunHeatBath::Create(lattice, couplings, {.chains = 21, .seed = 4}).value();
    SunHeatBath few = SunHeatBath::Create(lattice, couplings, {.chains = 3, .first_chain = 11, .seed = 4}).value();
    SunHmc many_hmc = SunHmc::Create(lattice, couplings, {.chains = 21, .seed = 4}).value();
    SunHmc few_hmc = SunHmc::Create(lattice, couplings, {.chains = 3, .first_chain = 11, .seed = 4}).value();
    for (int i = 0; i < 5; ++i) {
      many.Sweep();
      few.Sweep();
      many_hmc.Trajectory();
      few_hmc.Trajectory();
    }
    for (int c = 0; c < 3; ++c) {
      EXPECT_EQ(many.Field(11 + c), few.Field(c));
      EXPECT_EQ(many_hmc.Field(11 + c), few_hmc.Field(c));
      EXPECT_EQ(many_hmc.energy_change()[11 + c], few_hmc.energy_change()[c]);
    }
    EXPECT_NE(many.Field(0), many.Field(1));
  }
}

TEST(SunChains, RefuseWhatTheyCannotDo) {
  const Lattice lattice = LatticeOf({4, 4});
  EXPECT_THAT(SunTile::Create(lattice, {4, 1, 0}).status().message(), testing::HasSubstr("colours is 4"));
  EXPECT_THAT(SunTile::Create(lattice, {3, NAN, 0}).status().message(), testing::HasSubstr("beta is nan"));
  EXPECT_THAT(SunTile::Create(LatticeOf({4}), {3, 1, 0}).status().message(), testing::HasSubstr("the lattice is 4"));
  EXPECT_EQ(SunTile::Create(lattice, {3, 1, 0}, "mmx").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(SunHeatBath::Create(lattice, {3, 1, 0.1}, {}).status().message(), testing::HasSubstr("rectangle is 0.1"));
  EXPECT_THAT(SunHeatBath::Create(lattice, {3, 1, 0}, {.chains = 0}).status().message(),
              testing::HasSubstr("chains is 0"));
  EXPECT_THAT(SunHeatBath::Create(lattice, {3, 1, 0}, {.over_relaxations = 65}).status().message(),
              testing::HasSubstr("over_relaxations is 65"));
  EXPECT_THAT(SunHmc::Create(lattice, {3, 1, 0}, {.steps = 0}).status().message(), testing::HasSubstr("steps is 0"));
  EXPECT_THAT(SunHmc::Create(lattice, {3, 1, 0}, {.step_size = -1}).status().message(),
              testing::HasSubstr("step_size is -1"));
}

}  // namespace
}  // namespace haarflow
