// Scalar observables against plain loops, exact expectation values against dense linear algebra and transfer matrices,
// and the functions of means.
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "core/observable/derived.h"
#include "core/observable/observable.h"
#include "gtest/gtest.h"
#include "tests/reference/phi4_exact.h"
#include "tests/reference/phi4_reference.h"

namespace haarflow {
namespace {

const std::vector<reference::Shape> kShapes = {{2}, {7}, {2, 2}, {3, 4}, {6, 6}, {4, 2, 3}, {4, 4, 4}, {2, 3, 2, 4}};

v1::Target TargetOf(const reference::Shape& shape, const reference::Phi4& theory) {
  v1::Target target;
  for (const int64_t extent : shape) target.mutable_lattice()->add_shape(static_cast<uint32_t>(extent));
  v1::Phi4Action* action = target.mutable_phi4();
  action->set_components(theory.components);
  if (theory.hopping_form) {
    action->mutable_hopping()->set_kappa(theory.kappa);
    action->mutable_hopping()->set_lambda(theory.lambda);
  } else {
    action->mutable_mass()->set_m2(theory.m2);
    action->mutable_mass()->set_lambda(theory.lambda);
    action->mutable_mass()->set_normalisation(theory.normalisation);
  }
  return target;
}

double Volume(const reference::Shape& shape) {
  double volume = 1;
  for (const int64_t extent : shape) volume *= static_cast<double>(extent);
  return volume;
}

// Every observable of a field as it is defined.
std::map<std::string, double> Oracle(const reference::Shape& shape, const reference::Phi4& theory,
                                     const reference::Field& field) {
  const int n = theory.components;
  std::map<std::string, double> values;
  values["phi_squared"] = reference::PhiSquared(shape, n, field);
  values["phi_fourth"] = reference::PhiFourth(shape, n, field);
  values["neighbour_sum"] = reference::NeighbourSum(shape, n, field);
  values["energy"] = -values["neighbour_sum"] / static_cast<double>(shape.size());
  values["action"] = reference::Phi4Action(shape, theory, field);
  const reference::Field m = reference::Magnetisation(shape, n, field);
  const double square = n == 1 ? m[0] * m[0] : m[0] * m[0] + m[1] * m[1];
  if (n == 1) values["magnetisation"] = m[0];
  values["magnetisation_abs"] = std::sqrt(square);
  values["magnetisation_squared"] = square;
  values["magnetisation_fourth"] = square * square;
  values["susceptibility"] = reference::Susceptibility(shape, n, field);
  values["structure_factor_min"] = reference::StructureFactorMin(shape, n, field);
  for (int64_t t = 0; t <= shape[0] / 2; ++t) {
    values["two_point_" + std::to_string(t)] = reference::TwoPoint(shape, n, field, t);
  }
  return values;
}

TEST(ScalarObservables, AgreeWithTheOracle) {
  std::mt19937_64 random(1);
  for (const auto& shape : kShapes) {
    for (const int components : {1, 2}) {
      for (const bool hopping : {false, true}) {
        const reference::Phi4 theory = {components, hopping, -1.3, 0.5, 0.2, 0.7};
        const v1::Target target = TargetOf(shape, theory);
        const auto field = reference::RandomScalar(shape, components, &random);
        std::vector<std::string> names;
        const auto expected = Oracle(shape, theory, field);
        for (const auto& [name, value] : expected) names.push_back(name);
        std::vector<double> values(names.size());
        ObservableSet::Create(target, names).value().Evaluate(field.data(), values.data());
        for (size_t i = 0; i < names.size(); ++i) {
          const double e = expected.at(names[i]);
          EXPECT_NEAR(values[i], e, 1e-11 * (1 + std::abs(e))) << names[i] << " " << target.ShortDebugString();
          // Alone, nothing that another name needs is computed for it.
          double alone = 0;
          ObservableSet::Create(target, {names[i]}).value().Evaluate(field.data(), &alone);
          EXPECT_EQ(alone, values[i]) << names[i];
        }
      }
    }
  }
}

TEST(ScalarObservables, SlicesSumToTheSusceptibility) {
  std::mt19937_64 random(2);
  const reference::Shape shape = {6, 4};
  const auto field = reference::RandomScalar(shape, 1, &random);
  double v[5];
  ObservableSet::Create(TargetOf(shape, {.m2 = 1}),
                        {"two_point_0", "two_point_1", "two_point_2", "two_point_3", "susceptibility"})
      .value()
      .Evaluate(field.data(), v);
  EXPECT_NEAR(v[0] + 2 * v[1] + 2 * v[2] + v[3], v[4], 1e-12);
}

TEST(ScalarObservables, RefusesNamesThatMeanNothingHere) {
  const auto code = [](const reference::Shape& shape, int components, const std::vector<std::string>& names) {
    return ObservableSet::Create(TargetOf(shape, {.components = components, .m2 = 1}), names).status().code();
  };
  for (const char* name : {"", "plaquette", "phi_squared ", "Energy", "two_point", "two_point_", "two_point_x",
                           "two_point_-1", "two_point_5", "two_point_01", "two_point_99999999999999999999"}) {
    EXPECT_EQ(code({8, 9}, 1, {name}), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_EQ(code({8, 9}, 1, {"two_point_4", "magnetisation"}), absl::StatusCode::kOk);
  EXPECT_EQ(code({8, 9}, 2, {"magnetisation"}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({8, 9}, 1, {"energy", "energy"}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ObservableSet::Create(TargetOf({8, 8}, {.m2 = -1}), {"energy"}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// Expectation values of a Gaussian field by Wick's theorem from its dense covariance.
std::map<std::string, double> FreeOracle(const reference::Shape& shape, const reference::Phi4& theory) {
  const auto covariance = reference::SolveFreeField(shape, theory).covariance;
  const int64_t volume = static_cast<int64_t>(Volume(shape)), size = theory.components * volume;
  const auto field = [&](int64_t i) {
    return std::vector<double>(covariance.begin() + i * size, covariance.begin() + (i + 1) * size);
  };
  // Bilinear observables are sums over the rows of the covariance as over a field times phi_i.
  std::map<std::string, double> sums;
  for (int64_t i = 0; i < size; ++i) {
    const reference::Field row = field(i);
    reference::Field unit(size, 0.0);
    unit[i] = 1;
    const auto bilinear = [&](const auto& f) {  // polarisation: B(unit, row)
      reference::Field sum = row;
      sum[i] += 1;
      return (f(sum) - f(row) - f(unit)) / 2;
    };
    const int n = theory.components;
    sums["phi_squared"] += bilinear([&](const auto& f) { return reference::PhiSquared(shape, n, f); });
    sums["neighbour_sum"] += bilinear([&](const auto& f) { return reference::NeighbourSum(shape, n, f); });
    sums["action"] += bilinear([&](const auto& f) { return reference::Phi4Action(shape, theory, f); });
    sums["susceptibility"] += bilinear([&](const auto& f) { return reference::Susceptibility(shape, n, f); });
    sums["structure_factor_min"] += bilinear([&](const auto& f) { return reference::StructureFactorMin(shape, n, f); });
    for (int64_t t = 0; t <= shape[0] / 2; ++t) {
      sums["two_point_" + std::to_string(t)] +=
          bilinear([&](const auto& f) { return reference::TwoPoint(shape, n, f, t); });
    }
  }
  sums["energy"] = -sums["neighbour_sum"] / static_cast<double>(shape.size());
  const double n = theory.components, m2 = sums["susceptibility"] / (n * volume), square = covariance[0];
  sums["magnetisation_squared"] = n * m2;
  sums["magnetisation_fourth"] = n == 1 ? 3 * m2 * m2 : 8 * m2 * m2;
  sums["phi_fourth"] = n == 1 ? 3 * square * square : 8 * square * square;
  const double pi = std::acos(-1.0);  // <|M|> of one and of two normal numbers
  sums["magnetisation_abs"] = n == 1 ? std::sqrt(2 * m2 / pi) : std::sqrt(pi * m2 / 2);
  if (n == 1) sums["magnetisation"] = 0;
  return sums;
}

TEST(ScalarObservables, FreeFieldsAreKnownExactly) {
  for (const auto& shape : kShapes) {
    if (Volume(shape) > 36 && shape.size() < 4) continue;
    for (const int components : {1, 2}) {
      for (const reference::Phi4& theory :
           {reference::Phi4{components, false, 0.6, 0.5}, reference::Phi4{components, true, 0, 1, 0.11},
            reference::Phi4{components, true, 0, 1, -0.09}}) {
        if (components == 2 && Volume(shape) > 30) continue;  // dense
        const v1::Target target = TargetOf(shape, theory);
        for (const auto& [name, value] : FreeOracle(shape, theory)) {
          const auto exact = ExactExpectation(target, name);
          ASSERT_TRUE(exact.has_value()) << name;
          EXPECT_NEAR(*exact, value, 1e-10 * (1 + std::abs(value))) << name << " " << target.ShortDebugString();
        }
        EXPECT_NEAR(ExactLogZ(target).value(), reference::SolveFreeField(shape, theory).log_z, 1e-10);
      }
    }
  }
}

TEST(ScalarObservables, FreeFieldsReproduceTheTable) {
  const auto square = [](int64_t extent, double m2, double normalisation) {
    return ExactExpectation(TargetOf({extent, extent}, {.m2 = m2, .normalisation = normalisation}), "phi_squared")
        .value();
  };
  EXPECT_NEAR(square(8, 1, 1), 0.12708699884517, 1e-13);
  EXPECT_NEAR(square(8, 1, 0.5), 0.25417399769035, 1e-13);
  EXPECT_NEAR(square(8, 1.25, 1), 0.11698350077333, 1e-13);
  EXPECT_NEAR(square(16, 1, 1), 0.12702493937872, 1e-13);
  EXPECT_NEAR(square(16, 1.25, 0.5), 0.23391688564888, 1e-13);
}

TEST(ScalarObservables, ChainsAreKnownExactly) {
  for (const int64_t length : {2, 3, 8, 21}) {
    for (const reference::Phi4& theory :
         {reference::Phi4{1, false, -4, 1, 0, 8}, reference::Phi4{1, true, 0, 1, -0.3, 0.4}}) {
      const v1::Target target = TargetOf({length}, theory);
      const reference::QuarticSite site =
          theory.hopping_form ? reference::QuarticSite{2 * theory.kappa, 1 - 2 * theory.lambda, theory.lambda}
                              : reference::QuarticSite{2, 2 + theory.m2, theory.lambda};
      const auto moments = reference::QuarticChain(site, length);
      const auto exact = [&](const std::string& name) { return ExactExpectation(target, name).value(); };
      const double v = static_cast<double>(length);
      EXPECT_NEAR(exact("phi_squared"), moments.square, 1e-11);
      EXPECT_NEAR(exact("phi_fourth"), moments.fourth, 1e-11);
      EXPECT_NEAR(exact("neighbour_sum"), moments.two_point[1], 1e-11);
      EXPECT_NEAR(exact("energy"), -moments.two_point[1], 1e-11);
      EXPECT_NEAR(
          exact("action"),
          v * (-site.hop * moments.two_point[1] + site.quadratic * moments.square + site.quartic * moments.fourth),
          1e-10 * v);
      EXPECT_NEAR(exact("susceptibility"), moments.susceptibility, 1e-10);
      EXPECT_NEAR(exact("magnetisation_squared"), moments.susceptibility / v, 1e-10);
      double minimum = 0;
      for (int64_t t = 0; t < length; ++t) {
        minimum += moments.two_point[t] * std::cos(2 * std::acos(-1.0) * static_cast<double>(t) / v);
        if (2 * t > length) continue;
        EXPECT_NEAR(exact("two_point_" + std::to_string(t)), moments.two_point[t], 1e-11);
      }
      EXPECT_NEAR(exact("structure_factor_min"), minimum, 1e-10);
      EXPECT_EQ(exact("magnetisation"), 0);
      EXPECT_NEAR(ExactLogZ(target).value(), moments.log_z, 1e-10);
      EXPECT_FALSE(ExactExpectation(target, "magnetisation_abs").has_value());
    }
  }
}

TEST(ScalarObservables, NothingIsClaimedWhereNothingIsKnown) {
  const v1::Target plane = TargetOf({8, 8}, {.m2 = -4, .lambda = 8});
  EXPECT_FALSE(ExactExpectation(plane, "phi_squared").has_value());
  EXPECT_FALSE(ExactLogZ(plane).has_value());
  EXPECT_EQ(ExactExpectation(plane, "magnetisation").value(), 0);
  const v1::Target planar_chain = TargetOf({8}, {.components = 2, .m2 = -4, .lambda = 8});
  EXPECT_FALSE(ExactExpectation(planar_chain, "phi_squared").has_value());
  EXPECT_FALSE(ExactLogZ(planar_chain).has_value());
}

// ------------------------------------------------------------------------------------------------- functions of means

std::vector<double> ExactMeans(const v1::Target& target, const DerivedObservable& derived) {
  std::vector<double> means;
  for (const std::string& name : derived.primaries()) means.push_back(ExactExpectation(target, name).value());
  return means;
}

TEST(DerivedObservables, AFreeFieldOfMassMHasCorrelationLengthOneOverM) {
  for (const auto& shape : kShapes) {
    for (const double mass : {0.25, 1.0, 1.7}) {
      for (const int components : {1, 2}) {
        const v1::Target target = TargetOf(shape, {.components = components, .m2 = mass * mass, .normalisation = 0.5});
        const auto xi = DerivedObservable::Create(target, "correlation_length").value();
        EXPECT_NEAR(xi.Value(ExactMeans(target, xi)), 1 / mass, 1e-11) << target.ShortDebugString();
      }
    }
  }
}

TEST(DerivedObservables, TheBinderCumulantOfAGaussianAndOfAFixedMagnetisation) {
  for (const int components : {1, 2}) {
    const v1::Target target = TargetOf({6, 6}, {.components = components, .m2 = 0.5});
    const auto binder = DerivedObservable::Create(target, "binder_cumulant").value();
    EXPECT_NEAR(binder.Value(ExactMeans(target, binder)), components == 1 ? 0 : 1.0 / 3, 1e-12);
    EXPECT_NEAR(binder.Value({2.25, 2.25 * 2.25}), 2.0 / 3, 1e-14);
  }
}

TEST(DerivedObservables, GradientsAreDerivatives) {
  const v1::Target target = TargetOf({6, 6}, {.m2 = 0.5});
  for (const std::string& name : DerivedObservableNames(target)) {
    const auto derived = DerivedObservable::Create(target, name).value();
    const std::vector<double> means = {1.3, 0.9};
    const std::vector<double> gradient = derived.Gradient(means);
    for (size_t i = 0; i < means.size(); ++i) {
      std::vector<double> up = means, down = means;
      up[i] += 1e-5;
      down[i] -= 1e-5;
      EXPECT_NEAR(gradient[i], (derived.Value(up) - derived.Value(down)) / 2e-5, 1e-8) << name << i;
    }
  }
}

TEST(DerivedObservables, NoiseThatMakesTheLengthImaginaryGivesNaN) {
  const auto xi = DerivedObservable::Create(TargetOf({6, 6}, {.m2 = 0.5}), "correlation_length").value();
  EXPECT_TRUE(std::isnan(xi.Value({0.9, 1.0})));
  EXPECT_FALSE(std::isnan(xi.Value({1.0, 0.9})));
}

TEST(DerivedObservables, AreOfScalarsOnly) {
  v1::Target gauge;
  gauge.mutable_lattice()->add_shape(4);
  gauge.mutable_lattice()->add_shape(4);
  gauge.mutable_u1_wilson()->set_beta(1);
  EXPECT_TRUE(DerivedObservableNames(gauge).empty());
  EXPECT_EQ(DerivedObservable::Create(gauge, "binder_cumulant").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(DerivedObservable::Create(TargetOf({4, 4}, {.m2 = 1}), "nonsense").status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace haarflow
