// Ensembles of the scalar Markov chains against exact and tabulated values: HMC, plain and Fourier accelerated, and the
// cluster sampler.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/exact/estimate.h"
#include "gtest/gtest.h"
#include "tests/exactness/phi4_chains.h"
#include "tests/reference/phi4_exact.h"
#include "tests/reference/tier.h"

namespace haarflow {
namespace {

using reference::Phi4Moments;
using testing::Length;

// ------------------------------------------------------------------------------------------- tables of targets.md 1.4

struct Point {
  Shape shape;
  double lambda, square, square_error, chi, chi_error;
};
const Point kPoints[] = {
    {{8, 8}, 8, 0.143435, 15e-6, 0.74402, 65e-5},      {{6, 6}, 6.975, 0.161394, 21e-6, 1.0637, 7e-4},
    {{8, 8}, 6.008, 0.183858, 24e-6, 1.8963, 17e-4},   {{10, 10}, 5.55, 0.199022, 29e-6, 2.9087, 34e-4},
    {{12, 12}, 5.276, 0.210444, 29e-6, 4.1188, 51e-4}, {{14, 14}, 5.113, 0.218463, 31e-6, 5.3733, 78e-4}};

TEST(Phi4Ensembles, AgreeWithTheTableOnTheCriticalLine) {
  Pulls pulls;
  const int points = Length(2, 6);
  for (int i = 0; i < points; ++i) {
    const Point& p = kPoints[i];
    const v1::Target target = MassForm(p.shape, -4, p.lambda);
    for (const Method method : kAll) {
      const auto a = Measure(target, method, {"phi_squared", "susceptibility"}, Length(800, 20000));
      const std::string what = std::string(Name(method)) + " lambda " + std::to_string(p.lambda);
      pulls.Add(what + " phi^2", a[0], p.square, p.square_error);
      pulls.Add(what + " chi", a[1], p.chi, p.chi_error);
      EXPECT_LT(a[0].error, 0.004 * p.square);
      EXPECT_LT(a[1].error, 0.04 * p.chi);
    }
  }
  // The tutorial point once more, against the tensor contraction, which has no statistical error.
  const auto a =
      Measure(MassForm({8, 8}, -4, 8), Method::kCluster, {"phi_squared", "susceptibility"}, Length(1200, 100000));
  pulls.Add("phi^2", a[0], 0.14345085, 2e-7);
  pulls.Add("chi", a[1], 0.7441167260, 1e-6);
}

TEST(Phi4Ensembles, AgreeWithTheTableOverKappa) {
  Pulls pulls;
  const struct {
    double kappa, square, error;
  } table[] = {{0.2, 0.602338, 89e-6}, {0.25, 0.79930, 28e-5}, {0.3, 4.76608, 95e-5}};
  for (const auto& row : table) {
    const v1::Target target = HoppingForm({8, 16}, row.kappa, 0.022);
    for (const Method method : kAll) {
      const auto a = Measure(target, method, {"phi_squared", "magnetisation_abs"}, Length(300, 20000));
      const std::string what = std::string(Name(method)) + " kappa " + std::to_string(row.kappa);
      pulls.Add(what, a[0], row.square, row.error);
      EXPECT_LT(a[0].error, 0.01 * row.square);
      if (row.kappa == 0.3) pulls.Add(what + " |M|", a[1], 2.08755, 24e-5);
    }
  }
}

// d log Z / d kappa = 2 V <sum_mu phi phi'>: the samplers know differences of free energies, the table their values.
TEST(Phi4Ensembles, IntegrateToTheDifferenceOfFreeEnergies) {
  // Five points of Gauss and Legendre on [0.2, 0.25].
  const double x[] = {0, 0.5384693101056831, -0.5384693101056831, 0.9061798459386640, -0.9061798459386640};
  const double w[] = {0.5688888888888889, 0.4786286704993665, 0.4786286704993665, 0.2369268850561891,
                      0.2369268850561891};
  Average integral;
  for (int i = 0; i < 5; ++i) {
    const double kappa = 0.225 + 0.025 * x[i];
    const auto a = Measure(HoppingForm({8, 8}, kappa, 0.022), Method::kCluster, {"neighbour_sum"}, Length(300, 20000));
    integral.mean += 0.025 * w[i] * 2 * 64 * a[0].mean;
    integral.error = std::hypot(integral.error, 0.025 * w[i] * 2 * 64 * a[0].error);
  }
  EXPECT_NEAR(integral.mean, 42.903372 - 40.0526802, 3.5 * integral.error);
  EXPECT_LT(integral.error, 0.02);
}

// ----------------------------------------------------------------------------------- exact values without Monte Carlo

void AddMoments(const std::string& what, const std::vector<Average>& a, const Phi4Moments& exact, Pulls* pulls) {
  pulls->Add(what + " phi^2", a[0], exact.square);
  pulls->Add(what + " phi^4", a[1], exact.fourth);
  pulls->Add(what + " chi", a[2], exact.susceptibility);
  pulls->Add(what + " G(1)", a[3], exact.two_point[1]);
}
const std::vector<std::string> kMoments = {"phi_squared", "phi_fourth", "susceptibility", "two_point_1"};

TEST(TransferMatrixOracle, ReproducesTheTable) {
  EXPECT_NEAR(reference::QuarticStrip({2, 0, 8}, 3, 3, 6).log_z, 1.476526959977071, 1e-11);  // six states there, too
  EXPECT_NEAR(reference::QuarticStrip({2, 0, 8}, 2, 4, 10).log_z, reference::QuarticStrip({2, 0, 8}, 2, 4, 8).log_z,
              1e-8);
  // 3 x 2 and 2 x 3 are the same lattice.
  const auto wide = reference::QuarticStrip({0.6, -0.5, 0.75}, 3, 2, 6),
             high = reference::QuarticStrip({0.6, -0.5, 0.75}, 2, 3, 6);
  EXPECT_NEAR(wide.log_z, high.log_z, 1e-5);
  EXPECT_NEAR(wide.square, high.square, 1e-5);
  EXPECT_NEAR(wide.susceptibility, high.susceptibility, 1e-4);
}

TEST(Phi4Ensembles, AgreeWithTransferMatricesInTwoDimensions) {
  Pulls pulls;
  const struct {
    int64_t width, length;
    double kappa, lambda;
  } strips[] = {{3, 4, 0.3, 0.5}, {2, 4, 0.25, 1}, {3, 4, -0.3, 0.5}, {2, 2, 0.4, 0.7}};
  for (const auto& s : strips) {
    const reference::QuarticSite site = {2 * s.kappa, 1 - 2 * s.lambda, s.lambda};
    const Phi4Moments exact = reference::QuarticStrip(site, s.width, s.length, 6);
    // Two states more change nothing that the chains could see.
    if (s.width == 2) {
      EXPECT_NEAR(reference::QuarticStrip(site, s.width, s.length, 8).susceptibility, exact.susceptibility, 1e-4);
    }
    const v1::Target target = HoppingForm({s.length, s.width}, s.kappa, s.lambda);
    for (const Method method : {Method::kHmc, Method::kFourierHmc, Method::kCluster, Method::kMetropolis}) {
      if (method == Method::kFourierHmc && s.kappa < 0) continue;
      AddMoments(Name(method), Measure(target, method, kMoments, Length(3000, 50000)), exact, &pulls);
    }
  }
}

TEST(Phi4Ensembles, ReweightToTheRatioOfPartitionFunctions) {
  const auto log_z = [](double lambda) { return reference::QuarticStrip({2, 0, lambda}, 3, 4, 6).log_z; };
  const double exact = log_z(8.5) - log_z(8);
  const v1::Target target = MassForm({4, 3}, -4, 8);
  for (const Method method : kAll) {
    Sampler sampler(target, method, 64, 200);
    std::vector<double> means;
    const Series series = Record(&sampler, target, {"phi_fourth"}, Length(1000, 50000));
    for (const auto& chain : series[0]) {
      double sum = 0;
      for (const double fourth : chain) sum += std::exp(-0.5 * 12 * fourth) / static_cast<double>(chain.size());
      means.push_back(sum);
    }
    const Average ratio = Over(means);
    EXPECT_NEAR(ratio.mean, std::exp(exact), 3.5 * ratio.error) << Name(method);
    EXPECT_LT(ratio.error, 0.005 * ratio.mean);
  }
}

TEST(Phi4Ensembles, AgreeWithTheExactChain) {
  Pulls pulls;
  for (const v1::Target& target : {MassForm({8}, -4, 8), HoppingForm({5}, 0.45, 0.3), HoppingForm({2}, 0.3, 0.5)}) {
    std::vector<std::string> names = {"phi_squared",          "phi_fourth", "susceptibility",
                                      "structure_factor_min", "action",     "two_point_1"};
    for (const Method method : kAll) {
      const auto a = Measure(target, method, names, Length(1000, 50000));
      for (size_t o = 0; o < names.size(); ++o) {
        pulls.Add(std::string(Name(method)) + " " + names[o], a[o], ExactExpectation(target, names[o]).value());
      }
    }
  }
}

TEST(Phi4Ensembles, OfTwoComponentsAgreeWithTheExactChain) {
  Pulls pulls;
  const struct {
    int64_t length;
    double kappa, lambda;
  } chains[] = {{6, 0.5, 0.6}, {2, 0.3, 0.4}, {5, -0.4, 0.8}};
  for (const auto& s : chains) {
    const Phi4Moments exact = reference::PlanarChain({2 * s.kappa, 1 - 2 * s.lambda, s.lambda}, s.length);
    const v1::Target target = HoppingForm({s.length}, s.kappa, s.lambda, 2);
    for (const Method method : {Method::kHmc, Method::kFourierHmc, Method::kCluster, Method::kMetropolis}) {
      if (method == Method::kFourierHmc && s.kappa < 0) continue;
      AddMoments("O(2) " + std::string(Name(method)), Measure(target, method, kMoments, Length(1000, 50000)), exact,
                 &pulls);
    }
  }
}

TEST(Phi4Ensembles, OfFreeFieldsAgreeInThreeAndFourDimensions) {
  Pulls pulls;
  const std::vector<std::string> names = {"phi_squared", "neighbour_sum", "magnetisation_abs", "structure_factor_min",
                                          "two_point_1"};
  for (const int components : {1, 2}) {
    for (const Shape& shape : {Shape{2, 3, 4}, Shape{2, 3, 2, 3}}) {
      const v1::Target target = MassForm(shape, 0.7, 0, components);
      for (const Method method : kAll) {
        const auto a = Measure(target, method, names, Length(300, 20000));
        for (size_t o = 0; o < names.size(); ++o) {
          pulls.Add(std::string(Name(method)) + " " + names[o], a[o], ExactExpectation(target, names[o]).value());
        }
      }
    }
  }
}

// No exact value is known here: two algorithms that share no step.
TEST(Phi4Ensembles, OfDifferentAlgorithmsAgreeWithEachOther) {
  Pulls pulls;
  const std::vector<std::string> names = {"phi_squared", "phi_fourth", "susceptibility", "magnetisation_abs", "energy"};
  for (const v1::Target& target :
       {HoppingForm({6, 6}, 0.35, 0.5, 2), HoppingForm({4, 4, 4}, 0.2, 0.5), HoppingForm({2, 4, 2, 4}, 0.12, 0.3, 2)}) {
    const auto cluster = Measure(target, Method::kCluster, names, Length(250, 20000));
    for (const Method method : {Method::kHmc, Method::kFourierHmc}) {
      const auto hmc = Measure(target, method, names, Length(400, 30000));
      for (size_t o = 0; o < names.size(); ++o) {
        pulls.Add(std::string(Name(method)) + " " + names[o], hmc[o], cluster[o].mean, cluster[o].error);
      }
    }
  }
}

// ------------------------------------------------------------------------------------------------ what chains are like

// At 0.9: where trajectories are coarser, exp(-dH) has so long a tail that its scatter is no error.
TEST(Phi4Hmc, EnergyChangesAverageToOne) {
  for (const int components : {1, 2}) {
    const v1::Target target = MassForm({6, 6}, -4, 5, components);
    for (const Method method : {Method::kHmc, Method::kFourierHmc}) {
      Sampler sampler(target, method, 64, 200, 0.9);
      sampler.ExpMinusEnergyChange();
      for (int i = 0; i < Length(1000, 20000); ++i) sampler.Advance();
      const Average creutz = sampler.ExpMinusEnergyChange();
      EXPECT_NEAR(creutz.mean, 1, 3.5 * creutz.error) << Name(method);
      EXPECT_GT(creutz.error, 0);
      EXPECT_LT(creutz.error, 0.01);
    }
  }
}

// At kappa = 0.3 M = +-2.09 on 8x16, and the way from one to the other is closed: clusters take it, HMC does not.
TEST(Phi4Ensembles, ClustersVisitBothPhasesAndHmcStaysInOne) {
  const v1::Target target = HoppingForm({8, 16}, 0.3, 0.022);
  Sampler cluster(target, Method::kCluster, 64, 100);
  const auto visits = Record(&cluster, target, {"magnetisation"}, 200)[0];
  std::vector<double> fraction;
  for (const auto& chain : visits) {
    fraction.push_back(static_cast<double>(std::count_if(chain.begin(), chain.end(), [](double m) { return m > 0; })) /
                       200);
    EXPECT_GT(fraction.back(), 0);
    EXPECT_LT(fraction.back(), 1);
  }
  const Average positive = Over(fraction);
  EXPECT_NEAR(positive.mean, 0.5, 3.5 * positive.error);
  EXPECT_LT(positive.error, 0.02);
  Sampler hmc(target, Method::kHmc, 32, 300);
  int positive_chains = 0;
  const Series stuck = Record(&hmc, target, {"magnetisation"}, 200);
  for (const auto& chain : stuck[0]) {
    for (const double m : chain) EXPECT_GT(m * chain.front(), 0);
    positive_chains += chain.front() > 0 ? 1 : 0;
  }
  EXPECT_GT(positive_chains, 0);
  EXPECT_LT(positive_chains, 32);
}

// The Gamma method's error of one chain is the scatter of many.
TEST(Phi4Ensembles, GammaMethodKnowsTheScatterOfChains) {
  const v1::Target target = MassForm({8, 8}, -4, 6.008);
  for (const Method method : {Method::kHmc, Method::kCluster}) {
    Sampler sampler(target, method, 128, 300);
    const Series series = Record(&sampler, target, {"susceptibility", "phi_squared"}, Length(600, 10000));
    for (const auto& chains : series) {
      double squares = 0;
      std::vector<double> means;
      for (const auto& chain : chains) {
        const ChainEstimate e = GammaMethod(chain).value();
        squares += e.error * e.error / static_cast<double>(chains.size());
        means.push_back(e.mean);
      }
      const double scatter = Over(means).error * std::sqrt(static_cast<double>(chains.size()));
      EXPECT_NEAR(std::sqrt(squares) / scatter, 1, 0.25) << Name(method);  // the scatter itself is known to 6 %
    }
  }
}

}  // namespace
}  // namespace haarflow
