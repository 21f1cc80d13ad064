// The U(1) action, its exact solution and the observables, against independent oracles and tabulated numbers.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <numbers>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/action/u1_torus.h"
#include "core/action/u1_wilson.h"
#include "core/observable/observable.h"
#include "gtest/gtest.h"
#include "tests/reference/u1_reference.h"

namespace haarflow {
namespace {

using std::numbers::pi;

struct Exact {
  int64_t extent;
  double beta, plaquette, charge_squared, log_z, w2x2, w4x4;
  double probability[5];
};
// Computed independently in higher precision; every digit shown is converged.
// clang-format off
const Exact kExact[] = {
    {8, 1, 0.44638996589653, 2.6007191107246, 15.098518944459, 0.03970614235481, 2.4855973724875e-6, {0.24730683, 0.2040946, 0.11469543, 0.043869197, 0.011410048}},
    {8, 2, 0.69777465801084, 1.2392989107233, 52.735586655108, 0.23706135958323, 0.0031582565988623, {0.35899107, 0.23921852, 0.071115814, 0.0095594419, 0.0005930258}},
    {8, 3, 0.80998554741185, 0.70784300831423, 101.459690573, 0.43043812414559, 0.034367218289146, {0.47510518, 0.23343669, 0.028132776, 0.00087050922, 7.4157252e-06}},
    {8, 4, 0.86353004251233, 0.48201592952348, 155.19842583417, 0.5560986205962, 0.096439981505166, {0.57442106, 0.20347985, 0.0092517777, 5.7790924e-05, 5.5455515e-08}},
    {8, 5, 0.8934212497551, 0.36071748034192, 211.50110300833, 0.63743068649161, 0.16888637430127, {0.65688113, 0.16863249, 0.0029232607, 3.6895489e-06, 3.8693984e-10}},
    {8, 6, 0.91245491487667, 0.27920084532802, 269.32947692486, 0.69400001241334, 0.24141072433327, {0.72628806, 0.13594155, 0.00091418064, 2.388635e-07, 2.7901144e-12}},
    {8, 7, 0.9257003643508, 0.21711083250371, 328.17357594904, 0.7358297080418, 0.31007570283271, {0.78458854, 0.10742253, 0.00028318744, 1.5606538e-08, 2.1027013e-14}},
    {16, 1, 0.44638996589653, 10.402876442898, 60.394075777838, 0.03970614235481, 2.4855973724722e-6, {0.1236804, 0.11787813, 0.10205378, 0.080257373, 0.057331698}},
    {16, 2, 0.69777465796401, 4.9571956807622, 210.94234661964, 0.23706135920722, 0.0031582250981351, {0.17925874, 0.16203255, 0.1196738, 0.07223762, 0.035649135}},
    {16, 3, 0.8099852939565, 2.8315647197524, 405.83875118424, 0.4304359492735, 0.03432686506153, {0.23719905, 0.19873807, 0.11692131, 0.048336462, 0.014059233}},
    {16, 4, 0.86352261102455, 1.9338785421848, 620.79303565196, 0.55602568727183, 0.095582728193589, {0.28697302, 0.2215224, 0.1019302, 0.027987447, 0.0045938484}},
    {16, 5, 0.8933831370441, 1.4734866595117, 845.99853461057, 0.63701697137296, 0.16466602875628, {0.3287209, 0.23407173, 0.084543426, 0.015506687, 0.0014471109}},
    {16, 6, 0.91235930435508, 1.1947014482436, 1077.2953920196, 0.69288892802382, 0.23049127316599, {0.36504095, 0.24015679, 0.068410994, 0.0084479132, 0.00045313448}},
    {16, 7, 0.92553221085427, 1.006414157864, 1312.6381862662, 0.73378047562631, 0.28991094839918, {0.39771105, 0.2419514, 0.054499314, 0.0045509452, 0.00014117935}},
};
// clang-format on

void ExpectRelative(double value, double expected, double tolerance, const char* what, const Exact& e) {
  EXPECT_NEAR(value, expected, tolerance * std::abs(expected)) << what << " L = " << e.extent << " beta = " << e.beta;
}

TEST(U1Torus, ReproducesTheTabulatedValues) {
  for (const Exact& e : kExact) {
    const U1Torus torus = U1Torus::Create(e.extent * e.extent, e.beta).value();
    ExpectRelative(torus.Plaquette(), e.plaquette, 2e-14, "plaquette", e);
    ExpectRelative(torus.ChargeSquared(), e.charge_squared, 5e-14, "Q^2", e);
    ExpectRelative(torus.LogZ(), e.log_z, 5e-14, "log Z", e);
    ExpectRelative(torus.WilsonLoop(4), e.w2x2, 1e-13, "W 2x2", e);
    ExpectRelative(torus.WilsonLoop(16), e.w4x4, 1e-13, "W 4x4", e);
    for (int q = 0; q < 5; ++q) {
      const double tolerance = 1e-13 + 1e-7 * e.probability[q];  // eight digits are tabulated
      EXPECT_NEAR(torus.ChargeProbability(q), e.probability[q], tolerance)
          << "L = " << e.extent << " beta = " << e.beta;
      EXPECT_DOUBLE_EQ(torus.ChargeProbability(-q), torus.ChargeProbability(q));
    }
  }
}

TEST(U1Torus, ChargeProbabilitiesSumToOneAndGiveTheVariance) {
  for (const auto& [volume, beta] : std::vector<std::pair<int64_t, double>>{{3, 1.0},
                                                                            {4, 0.0},
                                                                            {4, 0.5},
                                                                            {6, 2.0},
                                                                            {9, 0.0},
                                                                            {64, 0.0},
                                                                            {64, 2.0},
                                                                            {64, 300.0},
                                                                            {256, 7.0},
                                                                            {4096, 1000.0},
                                                                            {10000, 0.3}}) {
    const U1Torus torus = U1Torus::Create(volume, beta).value();
    const double variance = torus.ChargeSquared();
    const int64_t reach = static_cast<int64_t>(10 * std::sqrt(variance)) + 10;
    double sum = 0, square = 0;
    for (int64_t q = -reach; q <= reach; ++q) {
      sum += torus.ChargeProbability(q);
      square += static_cast<double>(q * q) * torus.ChargeProbability(q);
    }
    // V = 3 converges as 1/nu^3 only, to 1e-12 per probability.
    EXPECT_NEAR(sum, 1, 1e-11) << "V = " << volume << " beta = " << beta;
    EXPECT_NEAR(square, variance, 1e-9 * (1 + variance)) << "V = " << volume << " beta = " << beta;
  }
}

TEST(U1Torus, StrongCouplingChargeIsTheSumOfUniformAngles) {
  // beta = 0, V = 4: three uniform angles, the fourth closes. P(Q) = P(round(a + b + c) = Q), the Irwin-Hall law of
  // order 3: P(0) = 2/3, P(+-1) = 1/6.
  const U1Torus torus = U1Torus::Create(4, 0).value();
  EXPECT_NEAR(torus.ChargeProbability(0), 2.0 / 3, 1e-12);
  EXPECT_NEAR(torus.ChargeProbability(1), 1.0 / 6, 1e-12);
  EXPECT_NEAR(torus.ChargeSquared(), 1.0 / 3, 1e-13);
  EXPECT_EQ(torus.LogZ(), 0);
  EXPECT_EQ(torus.Plaquette(), 0);
}

TEST(U1Torus, StaysFiniteAtWeakCouplingAndLargeVolume) {
  // Leading weak coupling: <1 - cos> = (1 - 1/V) / (2 beta) for one Gaussian mode per plaquette and one closure.
  const U1Torus weak = U1Torus::Create(64, 1000).value();
  EXPECT_NEAR(weak.Plaquette(), 1 - (1 - 1.0 / 64) / 2000, 1e-6);
  EXPECT_GT(weak.LogZ(), 0);
  EXPECT_LT(weak.LogZ(), 64 * 1000.0);
  EXPECT_NEAR(weak.ChargeProbability(0), 1, 1e-12);
  const U1Torus large = U1Torus::Create(int64_t{1} << 26, 2).value();
  EXPECT_NEAR(large.LogZ() / std::pow(2, 26), 0.82399354148296, 1e-13);
  EXPECT_NEAR(large.ChargeSquared() / std::pow(2, 26), 0.019364045627977, 1e-14);
}

TEST(U1Torus, PlaquetteIsTheDerivativeOfLogZ) {
  for (const auto& [volume, beta] : std::vector<std::pair<int64_t, double>>{{2, 0.5}, {6, 3}, {64, 2}, {256, 40}}) {
    constexpr double kStep = 1e-4;
    const double above = U1Torus::Create(volume, beta + kStep)->LogZ();
    const double below = U1Torus::Create(volume, beta - kStep)->LogZ();
    const double derivative = (above - below) / (2 * kStep * static_cast<double>(volume));
    EXPECT_NEAR(U1Torus::Create(volume, beta)->Plaquette(), derivative, 1e-7);
  }
}

TEST(U1Torus, WilsonLoopOfAreaOneIsThePlaquetteAndOfAreaZeroOne) {
  const U1Torus torus = U1Torus::Create(36, 1.7).value();
  EXPECT_NEAR(torus.WilsonLoop(1), torus.Plaquette(), 1e-14);
  EXPECT_NEAR(torus.WilsonLoop(0), 1, 1e-14);
  EXPECT_NEAR(torus.WilsonLoop(36), 1, 1e-14);
  EXPECT_NEAR(torus.WilsonLoop(30), torus.WilsonLoop(6), 1e-14);
}

TEST(U1Torus, RefusesParametersOutsideItsRange) {
  for (const auto& [volume, beta] : std::vector<std::pair<int64_t, double>>{
           {0, 1.0}, {-1, 1.0}, {(int64_t{1} << 26) + 1, 1.0}, {64, -0.1}, {64, 1000.5}, {64, std::nan("")}}) {
    EXPECT_EQ(U1Torus::Create(volume, beta).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

v1::Target TargetOf(const reference::Shape& shape, double beta) {
  v1::Target target;
  for (int64_t extent : shape) target.mutable_lattice()->add_shape(static_cast<uint32_t>(extent));
  target.mutable_u1_wilson()->set_beta(beta);
  return target;
}

std::vector<double> Measure(const reference::Shape& shape, double beta, const std::vector<std::string>& names,
                            const reference::Field& links) {
  const auto set = ObservableSet::Create(TargetOf(shape, beta), names);
  EXPECT_TRUE(set.ok()) << set.status();
  std::vector<double> values(names.size());
  if (set.ok()) set->Evaluate(links.data(), values.data());
  return values;
}

const std::vector<reference::Shape> kShapes = {{2, 2},    {3, 5},    {6, 4},       {7, 9},
                                               {3, 4, 5}, {5, 2, 3}, {3, 4, 5, 6}, {2, 3, 4, 5}};

TEST(U1Wilson, ActionAndGradientAgreeWithTheOracle) {
  std::mt19937_64 random(1);
  for (const auto& shape : kShapes) {
    const Lattice lattice = Lattice::Create(shape).value();
    const auto links = reference::RandomField(shape, &random);
    EXPECT_NEAR(U1WilsonActionOf(lattice, 1.3, links.data()), reference::Action(shape, 1.3, links), 1e-10);
    if (lattice.volume() > 120) continue;  // central differences cost links x plaquettes
    std::vector<double> gradient(links.size(), std::nan(""));
    U1WilsonGradient(lattice, 1.3, links.data(), gradient.data());
    const auto expected = reference::Gradient(shape, 1.3, links);
    for (size_t l = 0; l < links.size(); ++l) EXPECT_NEAR(gradient[l], expected[l], 1e-7) << "link " << l;
  }
}

TEST(Observables, AgreeWithTheOracleOnUnequalExtents) {
  std::mt19937_64 random(2);
  for (const auto& shape : kShapes) {
    const auto links = reference::RandomField(shape, &random);
    const int64_t smallest = *std::min_element(shape.begin(), shape.end());
    for (int64_t r = 1; r < smallest; ++r) {
      for (int64_t t = 1; t < smallest; ++t) {
        const std::string name = "wilson_loop_" + std::to_string(r) + "x" + std::to_string(t);
        EXPECT_NEAR(Measure(shape, 1, {name}, links)[0], reference::WilsonLoop(shape, links, r, t), 1e-12) << name;
      }
    }
    const auto values = Measure(shape, 2.5, {"action", "plaquette"}, links);
    const double planes = static_cast<double>(shape.size() * (shape.size() - 1)) / 2;
    const double plaquettes = planes * static_cast<double>(reference::Volume(shape));
    EXPECT_NEAR(values[0], reference::Action(shape, 2.5, links), 1e-10);
    EXPECT_NEAR(values[1], reference::PlaquetteSum(shape, links) / plaquettes, 1e-12);
  }
}

TEST(Observables, AreOneOnTheColdField) {
  for (const auto& shape : kShapes) {
    const reference::Field cold(reference::Links(shape), 0.0);
    EXPECT_EQ(Measure(shape, 1, {"plaquette"}, cold)[0], 1);
    EXPECT_EQ(Measure(shape, 1, {"wilson_loop_1x1"}, cold)[0], 1);
  }
}

TEST(Observables, ChargeAgreesWithTheOracleAndItsFunctionsWithIt) {
  std::mt19937_64 random(3);
  std::set<double> seen;
  for (int i = 0; i < 300; ++i) {
    const reference::Shape shape = {4, 6};
    const auto links = reference::RandomField(shape, &random);
    const auto v = Measure(
        shape, 1, {"charge_squared", "charge", "charge_probability_0", "charge_probability_-1", "charge_probability_1"},
        links);
    EXPECT_NEAR(v[1], reference::Charge(shape, links), 1e-9);
    EXPECT_EQ(v[1], std::round(v[1]));
    EXPECT_EQ(v[0], v[1] * v[1]);
    EXPECT_EQ(v[2], v[1] == 0);
    EXPECT_EQ(v[3], v[1] == -1);
    EXPECT_EQ(v[4], v[1] == 1);
    seen.insert(v[1]);
  }
  EXPECT_GE(seen.size(), 3u);
}

TEST(Observables, AFieldOfUniformFluxHasItsCharge) {
  const reference::Shape shape = {5, 7};
  for (int q : {-4, -1, 0, 1, 2, 8}) {
    // theta_x = -2 pi q y / V, theta_y = 2 pi q x / Lx in the last row: every plaquette is 2 pi q / V (mod 2 pi).
    reference::Field links(70, 0.0);
    for (int y = 0; y < 5; ++y) {
      for (int x = 0; x < 7; ++x) links[y * 7 + x] = -2 * pi * q * y / 35;
    }
    for (int x = 0; x < 7; ++x) links[35 + 4 * 7 + x] = 2 * pi * q * x / 7;
    for (double& link : links) link = std::remainder(link, 2 * pi);
    const auto v = Measure(shape, 1, {"charge", "plaquette", "wilson_loop_2x3"}, links);
    EXPECT_EQ(v[0], q);
    EXPECT_NEAR(v[1], std::cos(2 * pi * q / 35), 1e-13);
    EXPECT_NEAR(v[2], std::cos(6 * 2 * pi * q / 35), 1e-13);
  }
}

TEST(Observables, RefusesNamesThatMeanNothingHere) {
  const auto code = [](const reference::Shape& shape, const std::vector<std::string>& names) {
    return ObservableSet::Create(TargetOf(shape, 1), names).status().code();
  };
  for (const char* name : {"",
                           "plaquettes",
                           "Plaquette",
                           "wilson_loop_",
                           "wilson_loop_2",
                           "wilson_loop_2x",
                           "wilson_loop_x2",
                           "wilson_loop_0x1",
                           "wilson_loop_1x8",
                           "wilson_loop_-1x1",
                           "wilson_loop_01x1",
                           "wilson_loop_1x1x1",
                           "wilson_loop_+1x1",
                           "wilson_loop_ 1x1",
                           "wilson_loop_99999999999999999999x1",
                           "charge_probability_",
                           "charge_probability_a",
                           "charge_probability_-0",
                           "charge_probability_1.0",
                           "chargesquared"}) {
    EXPECT_EQ(code({8, 9}, {name}), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_EQ(code({8, 9}, {"plaquette", "plaquette"}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({4, 4, 4}, {"charge"}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({4, 4, 4}, {"charge_probability_0"}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({8, 9}, std::vector<std::string>(65, "plaquette")), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({8, 9}, {"wilson_loop_7x7", "wilson_loop_7x1", "charge_probability_-3", "action"}),
            absl::StatusCode::kOk);
  v1::Target target = TargetOf({8, 8}, 1);
  target.clear_u1_wilson();
  EXPECT_EQ(ObservableSet::Create(target, {"plaquette"}).status().code(), absl::StatusCode::kInvalidArgument);
  target = TargetOf({8, 8}, 1);
  target.mutable_lattice()->add_boundary(v1::BOUNDARY_ANTIPERIODIC);
  EXPECT_EQ(ObservableSet::Create(target, {"plaquette"}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Observables, ExactValuesAreKnownOnTheTwoDimensionalTorusOnly) {
  const v1::Target target = TargetOf({8, 8}, 2);
  EXPECT_NEAR(ExactExpectation(target, "plaquette").value(), 0.69777465801084, 1e-13);
  EXPECT_NEAR(ExactExpectation(target, "action").value(), -2 * 64 * 0.69777465801084, 1e-11);
  EXPECT_NEAR(ExactExpectation(target, "wilson_loop_2x2").value(), 0.23706135958323, 1e-13);
  EXPECT_NEAR(ExactExpectation(target, "wilson_loop_4x1").value(), 0.23706135958323, 1e-13);
  EXPECT_NEAR(ExactExpectation(target, "charge_squared").value(), 1.2392989107233, 1e-12);
  EXPECT_NEAR(ExactExpectation(target, "charge_probability_-1").value(), 0.23921852, 1e-8);
  EXPECT_EQ(ExactExpectation(target, "charge").value(), 0);
  EXPECT_NEAR(ExactLogZ(target).value(), 52.735586655108, 1e-11);
  EXPECT_FALSE(ExactExpectation(target, "wilson_loop_8x1").has_value());
  EXPECT_FALSE(ExactExpectation(target, "nonsense").has_value());
  EXPECT_FALSE(ExactExpectation(TargetOf({4, 4, 4}, 2), "plaquette").has_value());
  EXPECT_FALSE(ExactLogZ(TargetOf({4, 4, 4}, 2)).has_value());
  EXPECT_FALSE(ExactLogZ(v1::Target()).has_value());
}

TEST(Observables, AreCheap) {
  const reference::Shape shape = {16, 16};
  std::mt19937_64 random(4);
  const auto links = reference::RandomField(shape, &random);
  const auto set = ObservableSet::Create(TargetOf(shape, 1), {"plaquette", "charge_squared"}).value();
  double values[2];
  const auto start = std::chrono::steady_clock::now();
  constexpr int kRepetitions = 20000;
  for (int i = 0; i < kRepetitions; ++i) set.Evaluate(links.data(), values);
  const std::chrono::duration<double, std::micro> elapsed = std::chrono::steady_clock::now() - start;
  std::printf("plaquette and charge_squared on 16x16: %.2f microseconds\n", elapsed.count() / kRepetitions);
  EXPECT_LT(elapsed.count() / kRepetitions, 200);  // generous: sanitizers and shared machines
}

}  // namespace
}  // namespace haarflow
