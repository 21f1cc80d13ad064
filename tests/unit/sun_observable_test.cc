// Observables of SU(N) fields against plain loops, their symmetries, and fields whose values are known.
#include <cmath>
#include <map>
#include <numbers>
#include <random>
#include <string>
#include <vector>

#include "core/action/derivatives.h"
#include "core/action/sun_torus.h"
#include "core/action/sun_wilson.h"
#include "core/action/target.h"
#include "core/observable/observable.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/reference/sun_reference.h"

namespace haarflow {
namespace {

using std::numbers::pi;
using ::testing::HasSubstr;

const std::vector<reference::Shape> kShapes = {{2, 2}, {3, 4}, {5, 3}, {3, 4, 3}, {2, 3, 4, 3}, {3, 4, 3, 3}};

v1::Target TargetOf(const reference::Shape& shape, int n, double beta, double rectangle = 0) {
  v1::Target target;
  for (const int64_t extent : shape) target.mutable_lattice()->add_shape(static_cast<uint32_t>(extent));
  target.mutable_sun_wilson()->set_colours(static_cast<uint32_t>(n));
  target.mutable_sun_wilson()->set_beta(beta);
  target.mutable_sun_wilson()->set_rectangle(rectangle);
  return target;
}

std::vector<double> Measure(const v1::Target& target, const std::vector<std::string>& names,
                            const reference::SunField& field) {
  const auto set = ObservableSet::Create(target, names);
  EXPECT_TRUE(set.ok()) << set.status();
  std::vector<double> values(names.size());
  if (set.ok()) set->Evaluate(reference::Numbers(field).data(), values.data());
  return values;
}

// Every observable of a field as it is defined.
std::map<std::string, double> Oracle(const reference::Shape& shape, int n, double beta, double c1,
                                     const reference::SunField& field) {
  std::map<std::string, double> values;
  values["plaquette"] = reference::SunPlaquette(shape, n, field);
  values["rectangle"] = reference::SunRectangle(shape, n, field);
  values["action"] = reference::SunAction(shape, n, beta, c1, field);
  reference::Complex mean = 0;
  const auto loops = reference::SunPolyakov(shape, n, field);
  for (const reference::Complex& loop : loops) mean += loop / static_cast<double>(loops.size());
  values["polyakov_real"] = mean.real();
  values["polyakov_imag"] = mean.imag();
  values["polyakov_abs"] = std::abs(mean);
  const int64_t space = *std::min_element(shape.begin() + 1, shape.end());
  for (int64_t r = 0; r <= space / 2; ++r) {
    values["polyakov_correlator_" + std::to_string(r)] = reference::SunPolyakovCorrelator(shape, n, field, r);
  }
  const int64_t smallest = std::min(space, shape[0]);
  for (int64_t r = 1; r < smallest; ++r) {
    for (int64_t t = 1; t < smallest; ++t) {
      values["wilson_loop_" + std::to_string(r) + "x" + std::to_string(t)] =
          reference::SunWilsonLoop(shape, n, field, r, t);
    }
  }
  if (shape.size() == 4) {
    values["charge"] = reference::SunCloverCharge(shape, n, field);
    values["charge_squared"] = values["charge"] * values["charge"];
  }
  return values;
}

std::vector<std::string> NamesOf(const std::map<std::string, double>& values) {
  std::vector<std::string> names;
  for (const auto& [name, value] : values) names.push_back(name);
  return names;
}

TEST(SunObservables, AgreeWithTheOracleTogetherAndAlone) {
  std::mt19937_64 random(1);
  for (const auto& shape : kShapes) {
    for (const int n : {2, 3}) {
      for (const double c1 : {0.0, -0.331}) {
        const v1::Target target = TargetOf(shape, n, 1.3, c1);
        const auto field = reference::RandomSunField(shape, n, &random);
        const auto expected = Oracle(shape, n, 1.3, c1, field);
        const std::vector<std::string> names = NamesOf(expected);
        const std::vector<double> values = Measure(target, names, field);
        for (size_t i = 0; i < names.size(); ++i) {
          const double e = expected.at(names[i]);
          EXPECT_NEAR(values[i], e, 1e-12 * (1 + std::abs(e))) << names[i];
          EXPECT_EQ(Measure(target, {names[i]}, field)[0], values[i]) << names[i];
        }
      }
    }
  }
}

TEST(SunObservables, AreGaugeInvariant) {
  std::mt19937_64 random(2);
  for (const auto& shape : kShapes) {
    for (const int n : {2, 3}) {
      const v1::Target target = TargetOf(shape, n, 2.7, 0.25);
      const auto field = reference::RandomSunField(shape, n, &random);
      const auto names = NamesOf(Oracle(shape, n, 2.7, 0.25, field));
      const auto before = Measure(target, names, field);
      const auto after = Measure(target, names, reference::RandomGauge(shape, n, field, &random));
      for (size_t i = 0; i < names.size(); ++i) {
        EXPECT_NEAR(after[i], before[i], 1e-12 * (1 + std::abs(before[i]))) << names[i];
      }
    }
  }
}

// Links exp(i angle diag(1, -1, 0, ...)) on the lattice, an angle for each link.
reference::SunField AbelianField(int n, const std::vector<double>& angles) {
  reference::SunField field;
  for (const double angle : angles) {
    reference::Matrix m(n * n, 0.0);
    for (int i = 0; i < n; ++i) m[i * n + i] = 1;
    m[0] = std::polar(1.0, angle);
    m[n + 1] = std::polar(1.0, -angle);
    field.insert(field.end(), m.begin(), m.end());
  }
  return field;
}

TEST(SunObservables, CrossedFluxesHaveTheirCharge) {
  // Flux 2 pi q through the (x, y) torus, 2 pi p through the (z, t) torus, each spread evenly, of the generator diag(1,
  // -1, 0): every clover is the plaquette, Tr F_xy F_zt = 2 sin sin, and Q = 2 V sin(2 pi q / 9) sin(2 pi p / 9) / 4
  // pi^2, which is 2 p q on fine lattices.
  const reference::Shape shape = {3, 3, 3, 3};
  for (const int n : {2, 3}) {
    for (const auto& [q, p] : {std::pair(1, 1), std::pair(1, -1), std::pair(2, 1), std::pair(0, 1)}) {
      std::vector<double> angles;
      for (int mu = 0; mu < 4; ++mu) {
        for (int site = 0; site < 81; ++site) {
          const int x = site % 3, y = site / 3 % 3, z = site / 9 % 3, t = site / 27;
          double angle = 0;
          if (mu == 0) angle = -2 * pi * q * y / 9;
          if (mu == 1) angle = y == 2 ? 2 * pi * q * x / 3 : 0;
          if (mu == 2) angle = -2 * pi * p * t / 9;
          if (mu == 3) angle = t == 2 ? 2 * pi * p * z / 3 : 0;
          angles.push_back(angle);
        }
      }
      const auto field = AbelianField(n, angles);
      const double expected = 2 * 81 * std::sin(2 * pi * q / 9) * std::sin(2 * pi * p / 9) / (4 * pi * pi);
      const auto values = Measure(TargetOf(shape, n, 1), {"charge", "charge_squared"}, field);
      EXPECT_NEAR(values[0], expected, 1e-12) << q << " " << p;
      EXPECT_NEAR(values[1], expected * expected, 1e-12);
    }
  }
}

TEST(SunObservables, AReflectionChangesTheSignOfTheCharge) {
  // x -> -x: U_x(x) -> U_x(-x - 1)^+, others U_mu(-x).
  const reference::Shape shape = {3, 2, 3, 4};
  std::mt19937_64 random(3);
  for (const int n : {2, 3}) {
    const auto field = reference::RandomSunField(shape, n, &random);
    reference::SunField mirrored(field.size());
    const int64_t volume = reference::Volume(shape);
    for (int64_t link = 0; link < 4 * volume; ++link) {
      const int64_t x = link % 4;
      const bool along = link < volume;
      const int64_t from = link - x + (along ? 3 - x : (4 - x) % 4);
      for (int i = 0; i < n; ++i) {
        for (int j = 0; j < n; ++j) {
          const reference::Complex element =
              along ? std::conj(field[(from * n + j) * n + i]) : field[(from * n + i) * n + j];
          mirrored[(link * n + i) * n + j] = element;
        }
      }
    }
    const std::vector<std::string> names = {"plaquette", "rectangle", "polyakov_abs", "charge"};
    const auto before = Measure(TargetOf(shape, n, 1), names, field);
    const auto after = Measure(TargetOf(shape, n, 1), names, mirrored);
    for (int i = 0; i < 3; ++i) EXPECT_NEAR(after[i], before[i], 1e-12) << names[i];
    EXPECT_NEAR(after[3], -before[3], 1e-12);
    EXPECT_GT(std::abs(before[3]), 1e-3);
  }
}

TEST(SunObservables, PolyakovLoopsWindInTheLastDirection) {
  // U_t = exp(i a diag(1, -1, 0)) everywhere, all else 1: Tr L / N = cos, once for each link of time.
  const reference::Shape shape = {3, 4};
  for (const int n : {2, 3}) {
    std::vector<double> angles(24, 0.0);
    for (int x = 0; x < 12; ++x) angles[12 + x] = 0.4;
    const auto values =
        Measure(TargetOf(shape, n, 1), {"polyakov_real", "polyakov_imag", "polyakov_abs", "polyakov_correlator_2"},
                AbelianField(n, angles));
    const double expected = (2 * std::cos(3 * 0.4) + (n == 3 ? 1 : 0)) / n;
    EXPECT_NEAR(values[0], expected, 1e-13);
    EXPECT_NEAR(values[1], 0, 1e-13);
    EXPECT_NEAR(values[2], std::abs(expected), 1e-13);
    EXPECT_NEAR(values[3], expected * expected, 1e-13);
  }
}

TEST(SunObservables, TheCentreTurnsThePolyakovLoopAndNothingElse) {
  const reference::Shape shape = {3, 2, 2, 2};
  std::mt19937_64 random(4);
  for (const int n : {2, 3}) {
    auto field = reference::RandomSunField(shape, n, &random);
    const std::vector<std::string> names = {"action", "charge", "polyakov_abs", "polyakov_real", "polyakov_imag"};
    const auto before = Measure(TargetOf(shape, n, 1, 0.1), names, field);
    // The links of direction t at t = 1: 8 sites of the second slice.
    for (int64_t k = (3 * 24 + 8) * n * n; k < (3 * 24 + 16) * n * n; ++k) field[k] *= std::polar(1.0, 2 * pi / n);
    const auto after = Measure(TargetOf(shape, n, 1, 0.1), names, field);
    for (int i = 0; i < 3; ++i) EXPECT_NEAR(after[i], before[i], 1e-12) << names[i];
    const auto turned = reference::Complex(before[3], before[4]) * std::polar(1.0, 2 * pi / n);
    EXPECT_NEAR(after[3], turned.real(), 1e-12);
    EXPECT_NEAR(after[4], turned.imag(), 1e-12);
  }
}

TEST(SunObservables, RefusesNamesThatMeanNothingHere) {
  const auto status = [](const reference::Shape& shape, const std::string& name) {
    return ObservableSet::Create(TargetOf(shape, 3, 1), {name}).status();
  };
  for (const char* name : {"", "Plaquette", "wilson_loop_", "wilson_loop_8x1", "wilson_loop_0x1", "wilson_loop_01x1",
                           "polyakov", "polyakov_correlator_", "polyakov_correlator_-1", "polyakov_correlator_5",
                           "polyakov_correlator_00", "charge", "charge_squared", "charge_probability_0"}) {
    EXPECT_EQ(status({8, 9}, name).code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_THAT(std::string(status({8, 9}, "polyakov_correlator_5").message()), HasSubstr("distances are 0..4"));
  EXPECT_THAT(std::string(status({8, 9}, "charge").message()), HasSubstr("four dimensions"));
  EXPECT_THAT(std::string(status({8, 9}, "phi_squared").message()), HasSubstr("known are plaquette, rectangle"));
  for (const char* name : {"wilson_loop_7x7", "polyakov_correlator_4", "rectangle"})
    EXPECT_TRUE(status({8, 9}, name).ok());
  EXPECT_TRUE(status({2, 2, 2, 2}, "charge").ok());
}

TEST(SunObservables, ExactValuesOfTheTwoDimensionalTorus) {
  const v1::Target target = TargetOf({8, 6}, 3, 5);
  const SunTorus torus = SunTorus::Create(3, 48, 5).value();
  EXPECT_NEAR(ExactExpectation(target, "plaquette").value(), 0.35395443670527, 1e-13);
  EXPECT_NEAR(ExactExpectation(target, "action").value(), -5 * 48 * 0.35395443670527, 1e-11);
  EXPECT_NEAR(ExactExpectation(target, "wilson_loop_2x2").value(), 0.015696016326076, 1e-14);
  EXPECT_EQ(ExactExpectation(target, "rectangle").value(), torus.WilsonLoop(2));
  EXPECT_EQ(ExactExpectation(target, "polyakov_real").value(), 0);
  EXPECT_EQ(ExactExpectation(target, "polyakov_imag").value(), 0);
  EXPECT_EQ(ExactExpectation(target, "polyakov_correlator_2").value(), torus.PolyakovCorrelator(16));
  EXPECT_FALSE(ExactExpectation(target, "polyakov_abs").has_value());
  EXPECT_FALSE(ExactExpectation(target, "nonsense").has_value());
  EXPECT_NEAR(ExactLogZ(TargetOf({8, 8}, 3, 5)).value(), 54.211635546588, 1e-11);
  EXPECT_NEAR(ExactLogZ(TargetOf({16, 16}, 2, 2.2)).value(), 141.80724831252, 1e-10);
  // On an extent of 2 rectangles wind; elsewhere there is no solution.
  EXPECT_FALSE(ExactExpectation(TargetOf({2, 8}, 3, 5), "rectangle").has_value());
  EXPECT_TRUE(ExactExpectation(TargetOf({2, 8}, 3, 5), "plaquette").has_value());
  EXPECT_FALSE(ExactExpectation(TargetOf({8, 8}, 3, 5, 0.1), "plaquette").has_value());
  EXPECT_FALSE(ExactExpectation(TargetOf({8, 8}, 3, -5), "plaquette").has_value());
  EXPECT_FALSE(ExactLogZ(TargetOf({8, 8}, 3, 5, 0.1)).has_value());
  EXPECT_FALSE(ExactLogZ(TargetOf({4, 4, 4, 4}, 3, 1)).has_value());
  EXPECT_FALSE(ExactExpectation(TargetOf({4, 4, 4, 4}, 3, 1), "plaquette").has_value());
  EXPECT_EQ(ExactExpectation(TargetOf({4, 4, 4, 4}, 3, 1), "charge").value(), 0);
}

TEST(SunDerivatives, AreThoseOfTheActionAndOfItsObservables) {
  std::mt19937_64 random(5);
  for (const reference::Shape& shape : {reference::Shape{3, 4}, reference::Shape{2, 3, 2, 2}}) {
    for (const int n : {2, 3}) {
      for (const double c1 : {0.0, -0.331}) {
        const v1::Target target = TargetOf(shape, n, 1.3, c1);
        const auto field = reference::RandomSunField(shape, n, &random);
        const auto derivatives = ActionDerivatives::Create(target).value();
        ASSERT_EQ(derivatives.parameters(), (std::vector<std::string>{"beta", "rectangle"}));
        double values[2];
        derivatives.Evaluate(reference::Numbers(field).data(), values);
        // S is linear in each parameter: differences are exact.
        const auto action = [&](double beta, double rectangle) {
          return reference::SunAction(shape, n, beta, rectangle, field);
        };
        EXPECT_NEAR(values[0], action(2.3, c1) - action(1.3, c1), 1e-10);
        EXPECT_NEAR(values[1], action(1.3, c1 + 1) - action(1.3, c1), 1e-9);
        for (size_t k = 0; k < 2; ++k) {
          double sum = 0;
          for (const auto& term : derivatives.terms(k)) {
            sum += term.coefficient * Measure(target, {term.observable}, field)[0];
          }
          EXPECT_NEAR(sum, values[k], 1e-10);
        }
      }
    }
  }
}

}  // namespace
}  // namespace haarflow
