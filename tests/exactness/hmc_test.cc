// Hybrid Monte Carlo: a reversible integrator of second order, and ensembles that agree with the exact solution.
#include "core/mcmc/hmc.h"

#include <cmath>
#include <numbers>
#include <random>
#include <string>
#include <vector>

#include "core/observable/observable.h"
#include "gtest/gtest.h"
#include "tests/reference/u1_reference.h"

namespace haarflow {
namespace {

using kernel::kTile;
using std::numbers::pi;

ChainRows RandomRows(int64_t links, bool normal, std::mt19937_64* random) {
  std::normal_distribution<double> gauss;
  std::uniform_real_distribution<double> angle(-pi, pi);
  ChainRows rows(links);
  for (ChainRow& row : rows) {
    for (double& x : row.chain) x = normal ? gauss(*random) : angle(*random);
  }
  return rows;
}

std::vector<double> FieldOf(const ChainRows& rows, int chain) {
  std::vector<double> field;
  for (const ChainRow& row : rows) field.push_back(row.chain[chain]);
  return field;
}

TEST(U1Leapfrog, ActionAndFirstKickAgreeWithTheOracle) {
  std::mt19937_64 random(1);
  for (const reference::Shape& shape :
       {reference::Shape{3, 5}, reference::Shape{2, 3, 4}, reference::Shape{2, 3, 2, 3}}) {
    const Lattice lattice = Lattice::Create(shape).value();
    const U1Leapfrog leapfrog = U1Leapfrog::Create(lattice, 1.7).value();
    ChainRows angles = RandomRows(lattice.links(), false, &random);
    const ChainRows start = angles;
    const ChainRow action = leapfrog.Action(angles);
    ChainRows momenta(lattice.links());
    constexpr double kStep = 1e-6;
    leapfrog.Integrate(1, kStep, &angles, &momenta);
    for (int c = 0; c < kTile; c += 5) {
      const auto field = FieldOf(start, c);
      EXPECT_NEAR(action.chain[c], reference::Action(shape, 1.7, field), 1e-11);
      const auto gradient = reference::Gradient(shape, 1.7, field);
      // From rest, p = -step dS/dtheta.
      for (int64_t l = 0; l < lattice.links(); ++l) EXPECT_NEAR(momenta[l].chain[c] / kStep, -gradient[l], 1e-7);
    }
  }
}

TEST(U1Leapfrog, IsReversible) {
  std::mt19937_64 random(2);
  const Lattice lattice = Lattice::Create({4, 6}).value();
  const U1Leapfrog leapfrog = U1Leapfrog::Create(lattice, 2).value();
  ChainRows angles = RandomRows(lattice.links(), false, &random);
  ChainRows momenta = RandomRows(lattice.links(), true, &random);
  const ChainRows first_angles = angles;
  const ChainRows first_momenta = momenta;
  leapfrog.Integrate(20, 0.05, &angles, &momenta);
  double moved = 0;
  for (size_t l = 0; l < angles.size(); ++l) moved += std::abs(angles[l].chain[3] - first_angles[l].chain[3]);
  EXPECT_GT(moved, 1);
  for (ChainRow& p : momenta) {
    for (double& x : p.chain) x = -x;
  }
  leapfrog.Integrate(20, 0.05, &angles, &momenta);
  for (size_t l = 0; l < angles.size(); ++l) {
    for (int c = 0; c < kTile; ++c) {
      EXPECT_NEAR(std::remainder(angles[l].chain[c] - first_angles[l].chain[c], 2 * pi), 0, 1e-12);
      EXPECT_NEAR(momenta[l].chain[c], -first_momenta[l].chain[c], 1e-12);
    }
  }
}

TEST(U1Leapfrog, EnergyErrorIsOfSecondOrder) {
  std::mt19937_64 random(3);
  const Lattice lattice = Lattice::Create({8, 8}).value();
  const U1Leapfrog leapfrog = U1Leapfrog::Create(lattice, 2).value();
  const ChainRows angles = RandomRows(lattice.links(), false, &random);
  const ChainRows momenta = RandomRows(lattice.links(), true, &random);
  const auto rms_energy_error = [&](int steps) {
    ChainRows q = angles, p = momenta;
    const ChainRow s = leapfrog.Action(q), t = U1Leapfrog::KineticEnergy(p);
    leapfrog.Integrate(steps, 1.0 / steps, &q, &p);
    const ChainRow s2 = leapfrog.Action(q), t2 = U1Leapfrog::KineticEnergy(p);
    double sum = 0;
    for (int c = 0; c < kTile; ++c) sum += std::pow(s2.chain[c] + t2.chain[c] - s.chain[c] - t.chain[c], 2);
    return std::sqrt(sum / kTile);
  };
  const double coarse = rms_energy_error(20);
  const double middle = rms_energy_error(40);
  const double fine = rms_energy_error(80);
  EXPECT_GT(fine, 1e-4);
  EXPECT_NEAR(coarse / middle, 4, 0.4);
  EXPECT_NEAR(middle / fine, 4, 0.2);
}

struct Average {
  double mean = 0;
  double error = 0;
};
// Chains are independent: their scatter is the error.
Average Over(const std::vector<double>& chain_means) {
  const double n = static_cast<double>(chain_means.size());
  Average a;
  double square = 0;
  for (double x : chain_means) a.mean += x / n;
  for (double x : chain_means) square += (x - a.mean) * (x - a.mean);
  a.error = std::sqrt(square / (n * (n - 1)));
  return a;
}

v1::Target TargetOf(const std::vector<int64_t>& shape, double beta) {
  v1::Target target;
  for (int64_t extent : shape) target.mutable_lattice()->add_shape(static_cast<uint32_t>(extent));
  target.mutable_u1_wilson()->set_beta(beta);
  return target;
}

struct Ensemble {
  std::vector<Average> observables;
  Average exp_minus_energy_change;
};
Ensemble Simulate(U1Hmc* hmc, const v1::Target& target, const std::vector<std::string>& names, int trajectories) {
  const ObservableSet set = ObservableSet::Create(target, names).value();
  std::vector<std::vector<double>> sums(names.size() + 1, std::vector<double>(hmc->chains(), 0.0));
  std::vector<double> values(names.size());
  for (int i = 0; i < trajectories; ++i) {
    hmc->Trajectory();
    for (int c = 0; c < hmc->chains(); ++c) {
      set.Evaluate(hmc->Field(c).data(), values.data());
      for (size_t o = 0; o < names.size(); ++o) sums[o][c] += values[o] / trajectories;
      sums.back()[c] += std::exp(-hmc->energy_change()[c]) / trajectories;
    }
  }
  Ensemble ensemble;
  for (const auto& s : sums) ensemble.observables.push_back(Over(s));
  ensemble.exp_minus_energy_change = ensemble.observables.back();
  ensemble.observables.pop_back();
  return ensemble;
}

TEST(U1Hmc, WithInstantonsItAgreesWithTheExactSolution) {
  const Lattice lattice = Lattice::Create({8, 8}).value();
  const v1::Target target = TargetOf({8, 8}, 2);
  U1HmcOptions options;
  options.chains = 64;
  options.steps = 5;
  options.step_size = 0.2;
  options.instantons = true;
  U1Hmc hmc = U1Hmc::Create(lattice, 2, options).value();
  for (int i = 0; i < 200; ++i) hmc.Trajectory();
  hmc.ResetCounters();
  const std::vector<std::string> names = {"plaquette", "wilson_loop_2x2", "charge_squared", "charge",
                                          "charge_probability_0"};
  const Ensemble ensemble = Simulate(&hmc, target, names, 1000);
  EXPECT_GT(hmc.acceptance(), 0.6);
  EXPECT_LT(hmc.acceptance(), 0.99);
  EXPECT_GT(hmc.instanton_acceptance(), 0.2);
  for (size_t o = 0; o < names.size(); ++o) {
    const Average& a = ensemble.observables[o];
    EXPECT_NEAR(a.mean, ExactExpectation(target, names[o]).value(), 4 * a.error) << names[o];
    EXPECT_GT(a.error, 0);
    EXPECT_LT(a.error, 0.02) << names[o];
  }
  const Average& creutz = ensemble.exp_minus_energy_change;
  EXPECT_NEAR(creutz.mean, 1, 4 * creutz.error);
  EXPECT_LT(creutz.error, 0.01);
}

TEST(U1Hmc, WithoutInstantonsUnequalExtentsAgreeToo) {
  const Lattice lattice = Lattice::Create({6, 5}).value();
  const v1::Target target = TargetOf({6, 5}, 1);
  U1HmcOptions options;
  options.chains = 37;  // not a multiple of the tile
  options.steps = 4;
  options.step_size = 0.25;
  options.hot_start = false;
  U1Hmc hmc = U1Hmc::Create(lattice, 1, options).value();
  for (int i = 0; i < 200; ++i) hmc.Trajectory();
  const std::vector<std::string> names = {"plaquette", "wilson_loop_1x2", "charge_squared"};
  const Ensemble ensemble = Simulate(&hmc, target, names, 2000);
  for (size_t o = 0; o < names.size(); ++o) {
    const Average& a = ensemble.observables[o];
    EXPECT_NEAR(a.mean, ExactExpectation(target, names[o]).value(), 4 * a.error) << names[o];
    EXPECT_LT(a.error, 0.02) << names[o];
  }
  EXPECT_EQ(hmc.instanton_acceptance(), 0);
}

TEST(U1Hmc, FreezesInItsSectorWithoutInstantonsAndDoesNotWithThem) {
  const Lattice lattice = Lattice::Create({8, 8}).value();
  const v1::Target target = TargetOf({8, 8}, 7);
  const auto charge_squared = [&](bool instantons) {
    U1HmcOptions options;
    options.chains = 32;
    options.hot_start = false;
    options.instantons = instantons;
    U1Hmc hmc = U1Hmc::Create(lattice, 7, options).value();
    for (int i = 0; i < 50; ++i) hmc.Trajectory();
    return Simulate(&hmc, target, {"charge_squared"}, 300).observables[0];
  };
  EXPECT_LT(charge_squared(false).mean, 0.05);
  const Average moving = charge_squared(true);
  EXPECT_NEAR(moving.mean, 0.21711083250371, 4 * moving.error);
}

TEST(U1Hmc, AChainDoesNotDependOnHowManyOthersRun) {
  const Lattice lattice = Lattice::Create({4, 6}).value();
  U1HmcOptions few;
  few.chains = 3;
  few.seed = 9;
  few.instantons = true;
  U1HmcOptions many = few;
  many.chains = 40;
  U1Hmc a = U1Hmc::Create(lattice, 2, few).value();
  U1Hmc b = U1Hmc::Create(lattice, 2, many).value();
  for (int i = 0; i < 20; ++i) {
    a.Trajectory();
    b.Trajectory();
  }
  for (int c = 0; c < 3; ++c) EXPECT_EQ(a.Field(c), b.Field(c));
  EXPECT_NE(b.Field(0), b.Field(16));
  for (double angle : b.Field(20)) {
    EXPECT_GE(angle, -pi);
    EXPECT_LT(angle, pi);
  }
}

TEST(U1Hmc, TuningReachesTheTargetAcceptanceAtTheSameLength) {
  const Lattice lattice = Lattice::Create({16, 16}).value();
  for (const double start : {0.5, 0.02}) {
    U1HmcOptions options;
    options.chains = 32;
    options.steps = static_cast<int>(1 / start);
    options.step_size = start;
    U1Hmc hmc = U1Hmc::Create(lattice, 5, options).value();
    ASSERT_TRUE(hmc.Tune(0.8).ok());
    EXPECT_NEAR(hmc.steps() * hmc.step_size(), 1, 1e-12);
    for (int i = 0; i < 50; ++i) hmc.Trajectory();
    EXPECT_NEAR(hmc.acceptance(), 0.8, 0.12);  // whole steps: neighbours differ by several percent
    EXPECT_FALSE(hmc.Tune(1).ok());
  }
}

TEST(U1Hmc, RefusesOptionsThatMakeNoSense) {
  const Lattice plane = Lattice::Create({4, 4}).value();
  const Lattice cube = Lattice::Create({4, 4, 4}).value();
  const auto code = [](const Lattice& lattice, double beta, const U1HmcOptions& options) {
    return U1Hmc::Create(lattice, beta, options).status().code();
  };
  EXPECT_EQ(code(plane, 1, {}), absl::StatusCode::kOk);
  EXPECT_EQ(code(cube, 1, {}), absl::StatusCode::kOk);
  EXPECT_EQ(code(plane, std::nan(""), {}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(plane, 1, {.chains = 0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(plane, 1, {.chains = 65537}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(plane, 1, {.steps = 0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(plane, 1, {.step_size = -0.1}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(plane, 1, {.step_size = INFINITY}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(cube, 1, {.instantons = true}), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace haarflow
