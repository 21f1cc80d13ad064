// The phi^4 action, its gradient, and the solutions of the free field and the chain, against plain loops and
// quadrature.
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "core/action/eigen.h"
#include "core/action/phi4.h"
#include "core/action/phi4_chain.h"
#include "gtest/gtest.h"
#include "tests/reference/phi4_exact.h"
#include "tests/reference/phi4_reference.h"

namespace haarflow {
namespace {

// One to four dimensions; extents of 2, where the neighbours ahead and behind are the same site; unequal and odd ones.
const std::vector<reference::Shape> kShapes = {{2}, {7}, {2, 2}, {3, 4}, {4, 2, 3}, {2, 3, 2, 4}};

v1::Phi4Action MassForm(double m2, double lambda, double normalisation = 0, int components = 0) {
  v1::Phi4Action action;
  action.set_components(components);
  action.mutable_mass()->set_m2(m2);
  action.mutable_mass()->set_lambda(lambda);
  action.mutable_mass()->set_normalisation(normalisation);
  return action;
}
v1::Phi4Action HoppingForm(double kappa, double lambda, int components = 0) {
  v1::Phi4Action action;
  action.set_components(components);
  action.mutable_hopping()->set_kappa(kappa);
  action.mutable_hopping()->set_lambda(lambda);
  return action;
}
reference::Phi4 ReferenceOf(const v1::Phi4Action& action) {
  reference::Phi4 theory;
  theory.components = action.components() == 2 ? 2 : 1;
  theory.hopping_form = action.has_hopping();
  theory.m2 = action.mass().m2();
  theory.normalisation = action.mass().normalisation() == 0 ? 1 : action.mass().normalisation();
  theory.kappa = action.hopping().kappa();
  theory.lambda = theory.hopping_form ? action.hopping().lambda() : action.mass().lambda();
  return theory;
}
std::vector<v1::Phi4Action> Actions() {
  std::vector<v1::Phi4Action> actions;
  for (const int components : {0, 1, 2}) {
    actions.push_back(MassForm(-4, 8, 0, components));
    actions.push_back(MassForm(0.7, 0.3, 0.5, components));
    actions.push_back(HoppingForm(0.3, 0.022, components));
    actions.push_back(HoppingForm(-0.2, 1.5, components));
  }
  return actions;
}

TEST(Phi4Action, AgreesWithTheOracleInEveryFormAndDimension) {
  std::mt19937_64 random(1);
  for (const auto& shape : kShapes) {
    const Lattice lattice = Lattice::Create(shape).value();
    for (const v1::Phi4Action& action : Actions()) {
      const reference::Phi4 theory = ReferenceOf(action);
      const Phi4Couplings couplings = Phi4CouplingsOf(action, lattice.dims());
      const auto field = reference::RandomScalar(shape, theory.components, &random);
      const double expected = reference::Phi4Action(shape, theory, field);
      EXPECT_NEAR(Phi4ActionOf(lattice, couplings, field.data()), expected, 1e-12 * (1 + std::abs(expected)))
          << lattice.ToString() << action.ShortDebugString();
    }
  }
}

TEST(Phi4Action, GradientAgreesWithTheOracle) {
  std::mt19937_64 random(2);
  for (const auto& shape : kShapes) {
    const Lattice lattice = Lattice::Create(shape).value();
    for (const v1::Phi4Action& action : Actions()) {
      const reference::Phi4 theory = ReferenceOf(action);
      const auto field = reference::RandomScalar(shape, theory.components, &random);
      std::vector<double> gradient(field.size());
      Phi4Gradient(lattice, Phi4CouplingsOf(action, lattice.dims()), field.data(), gradient.data());
      const auto expected = reference::Phi4ActionGradient(shape, theory, field);
      for (size_t i = 0; i < field.size(); ++i) {
        EXPECT_NEAR(gradient[i], expected[i], 1e-9) << lattice.ToString() << action.ShortDebugString();
      }
    }
  }
}

TEST(Phi4Action, SumsAreWhatTheActionIsMadeOf) {
  std::mt19937_64 random(3);
  for (const auto& shape : kShapes) {
    for (const int components : {1, 2}) {
      const auto field = reference::RandomScalar(shape, components, &random);
      const Lattice lattice = Lattice::Create(shape).value();
      const Phi4Sums sums = Phi4SumsOf(lattice, components, field.data());
      const double volume = static_cast<double>(lattice.volume());
      EXPECT_NEAR(sums.squares / volume, reference::PhiSquared(shape, components, field), 1e-12);
      EXPECT_NEAR(sums.quartics / volume, reference::PhiFourth(shape, components, field), 1e-12);
      EXPECT_NEAR(sums.neighbours / volume, reference::NeighbourSum(shape, components, field), 1e-12);
    }
  }
}

TEST(FreeScalar, LogZAgreesWithDenseDeterminants) {
  for (const auto& shape : kShapes) {
    const Lattice lattice = Lattice::Create(shape).value();
    for (const v1::Phi4Action& action :
         {MassForm(1, 0), MassForm(0.3, 0, 0.5), HoppingForm(0.12, 0), HoppingForm(-0.1, 0), MassForm(2, 0, 0, 2)}) {
      const auto log_z = FreeScalarLogZ(lattice, Phi4CouplingsOf(action, lattice.dims()));
      ASSERT_TRUE(log_z.has_value());
      EXPECT_NEAR(*log_z, reference::SolveFreeField(shape, ReferenceOf(action)).log_z, 1e-11)
          << lattice.ToString() << action.ShortDebugString();
    }
    EXPECT_FALSE(FreeScalarLogZ(lattice, Phi4CouplingsOf(MassForm(1, 1e-9), lattice.dims())).has_value());
    EXPECT_FALSE(FreeScalarLogZ(lattice, Phi4CouplingsOf(MassForm(0, 0), lattice.dims())).has_value());
  }
}

TEST(FreeScalar, LogZReproducesTheTable) {
  const auto log_z = [](int64_t extent, double m2, double normalisation) {
    const Lattice lattice = Lattice::Create({extent, extent}).value();
    return FreeScalarLogZ(lattice, Phi4CouplingsOf(MassForm(m2, 0, normalisation), 2)).value();
  };
  EXPECT_NEAR(log_z(8, 1, 1), -11.622885257333, 1e-11);
  EXPECT_NEAR(log_z(8, 1, 0.5), 10.557824520586, 1e-11);
  EXPECT_NEAR(log_z(8, 1.25, 1), -13.572376139507, 1e-11);
  EXPECT_NEAR(log_z(8, 1.25, 0.5), 8.6083336384117, 1e-11);
  EXPECT_NEAR(log_z(16, 1, 1), -46.49634698023, 1e-10);
  EXPECT_NEAR(log_z(16, 1.25, 0.5), 34.431111771098, 1e-10);
}

TEST(Phi4Couplings, RefusesWhatCannotBeIntegrated) {
  const auto ok = [](const Phi4Couplings& c, int dims = 2) { return CheckPhi4Couplings("test", dims, c).ok(); };
  EXPECT_TRUE(ok({.hop = 2, .quadratic = 0, .quartic = 8}));
  EXPECT_TRUE(ok({.components = 2, .hop = -2, .quadratic = -3, .quartic = 1}));
  EXPECT_TRUE(ok({.hop = 0.4, .quadratic = 1}));
  EXPECT_FALSE(ok({.hop = 0.4, .quadratic = 1}, 3));
  EXPECT_FALSE(ok({.hop = 0.5, .quadratic = 1}));
  EXPECT_FALSE(ok({.hop = -0.5, .quadratic = 1}));
  EXPECT_FALSE(ok({.quadratic = 1, .quartic = -1e-9}));
  EXPECT_FALSE(ok({.components = 3, .quadratic = 1}));
  EXPECT_FALSE(ok({.components = 0, .quadratic = 1}));
  for (const double x : {std::nan(""), double{INFINITY}, -double{INFINITY}}) {
    EXPECT_FALSE(ok({.hop = x, .quadratic = 1, .quartic = 1}));
    EXPECT_FALSE(ok({.quadratic = x, .quartic = 1}));
    EXPECT_FALSE(ok({.quadratic = 1, .quartic = x}));
  }
  // A well of depth 1e8 is still computed with, one of 1e10 is not; nor is one so deep that its depth overflows.
  EXPECT_TRUE(ok({.quadratic = -1, .quartic = 1 / 4e8}));
  EXPECT_FALSE(ok({.quadratic = -1, .quartic = 1 / 4e10}));
  EXPECT_FALSE(ok({.quadratic = -1e6, .quartic = 1e-310}));
}

TEST(SymmetricEigen, RowsDiagonaliseTheMatrix) {
  std::mt19937_64 random(4);
  std::normal_distribution<double> normal;
  for (const int n : {1, 2, 3, 7, 40}) {
    for (const bool degenerate : {false, true}) {
      std::vector<double> matrix(n * n);
      for (int i = 0; i < n; ++i) {
        for (int j = 0; j <= i; ++j) {
          const double x = degenerate ? (i == j ? 2 : (i + j) % 5 == 0 ? 1 : 0) : normal(random);
          matrix[i * n + j] = matrix[j * n + i] = x;
        }
      }
      const SymmetricEigen eigen = DiagonaliseSymmetric(n, matrix).value();
      for (int k = 0; k < n; ++k) {
        for (int i = 0; i < n; ++i) {
          double image = 0;
          for (int j = 0; j < n; ++j) image += matrix[i * n + j] * eigen.vector[k * n + j];
          EXPECT_NEAR(image, eigen.value[k] * eigen.vector[k * n + i], 1e-13 * n);
        }
        for (int l = 0; l < n; ++l) {
          double overlap = 0;
          for (int i = 0; i < n; ++i) overlap += eigen.vector[k * n + i] * eigen.vector[l * n + i];
          EXPECT_NEAR(overlap, k == l ? 1 : 0, 1e-13 * n);
        }
      }
    }
  }
  EXPECT_FALSE(DiagonaliseSymmetric(3, std::vector<double>(9, std::nan(""))).ok());
}

// m^2 < 0 and > 0, both signs of the hopping, deep wells: hop, quadratic, quartic.
const std::vector<reference::QuarticSite> kChains = {{2, -2, 8},    {2, 2.5, 0.5}, {0.6, 1 - 0.044, 0.022},
                                                     {-0.8, -1, 1}, {1, -3, 1},    {0, 1, 1}};

void ExpectMoments(const Phi4Chain& chain, const reference::Phi4Moments& expected, double tolerance,
                   const std::string& what) {
  EXPECT_NEAR(chain.LogZ(), expected.log_z, tolerance * (1 + std::abs(expected.log_z))) << what;
  EXPECT_NEAR(chain.Square(), expected.square, tolerance * (1 + expected.square)) << what;
  EXPECT_NEAR(chain.Fourth(), expected.fourth, tolerance * (1 + expected.fourth)) << what;
  for (int64_t t = 0; t < static_cast<int64_t>(expected.two_point.size()); ++t) {
    EXPECT_NEAR(chain.TwoPoint(t), expected.two_point[t], tolerance * (1 + expected.square)) << what << " t " << t;
  }
}

TEST(Phi4Chain, AgreesWithTheSumOverAllPoints) {
  for (const auto& site : kChains) {
    for (const int64_t length : {2, 3, 4}) {
      if (length == 4 && site.hop < 1) continue;  // slow
      const Lattice lattice = Lattice::Create({length}).value();
      const Phi4Couplings couplings = {1, site.hop, site.quadratic, site.quartic};
      const auto expected = reference::QuarticChainByBruteForce(site, length);
      ExpectMoments(Phi4Chain::Create(lattice, couplings).value(), expected, 1e-9,
                    testing::PrintToString(site.hop) + " length " + std::to_string(length));
    }
  }
}

TEST(Phi4Chain, AgreesWithPowersOfTheTransferMatrix) {
  for (const auto& site : kChains) {
    for (const int64_t length : {2, 5, 16, 33}) {
      const Lattice lattice = Lattice::Create({length}).value();
      const Phi4Couplings couplings = {1, site.hop, site.quadratic, site.quartic};
      ExpectMoments(Phi4Chain::Create(lattice, couplings).value(), reference::QuarticChain(site, length), 1e-11,
                    testing::PrintToString(site.hop) + " length " + std::to_string(length));
    }
  }
}

TEST(Phi4Chain, OfAFreeFieldIsTheFreeField) {
  for (const int64_t length : {2, 9, 200}) {
    const Lattice lattice = Lattice::Create({length}).value();
    for (const Phi4Couplings& couplings : {Phi4Couplings{1, 2, 2.5, 0}, Phi4Couplings{1, -1, 1.5, 0}}) {
      const Phi4Chain chain = Phi4Chain::Create(lattice, couplings).value();
      EXPECT_NEAR(chain.LogZ(), FreeScalarLogZ(lattice, couplings).value(), 1e-11 * length);
      double square = 0;
      for (const double l : Phi4Spectrum(lattice, couplings)) square += 1 / (2 * l * length);
      EXPECT_NEAR(chain.Square(), square, 1e-11);
      EXPECT_NEAR(chain.Fourth(), 3 * square * square, 1e-11);
      EXPECT_DOUBLE_EQ(chain.TwoPoint(-1), chain.TwoPoint(length + 1 - 2));
    }
  }
}

TEST(Phi4Chain, RefusesWhatItCannotSolve) {
  const Lattice line = Lattice::Create({8}).value();
  const auto code = [&](const Lattice& lattice, const Phi4Couplings& c) {
    return Phi4Chain::Create(lattice, c).status().code();
  };
  EXPECT_EQ(code(line, {1, 2, -2, 8}), absl::StatusCode::kOk);
  EXPECT_EQ(code(Lattice::Create({4, 4}).value(), {1, 2, 0, 8}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(line, {2, 2, 0, 8}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(line, {1, 2, 1, 0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(line, {1, 2, -1e6, 1}), absl::StatusCode::kInvalidArgument);
  // Two wells a thousand widths apart.
  EXPECT_EQ(code(line, {1, 2, -1e4, 1}), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace haarflow
