// Specs of scalar flows: what is refused, with which words.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "core/model/spec.h"
#include "tests/reference/scalar_specs.h"

namespace haarflow {
namespace {

using ::testing::HasSubstr;
using testing::ScalarOptions;

void ExpectRefused(const std::function<void(ScalarOptions*)>& damage, const std::string& message) {
  ScalarOptions options;
  damage(&options);
  const auto spec = ParseSpec(testing::ScalarSpecText(options));
  EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument) << message;
  EXPECT_THAT(std::string(spec.status().message()), HasSubstr(message));
}

TEST(ScalarSpec, TheTestsOwnIsGood) {
  EXPECT_TRUE(ParseSpec(testing::ScalarSpecText({})).ok());
  ScalarOptions heat_bath;
  heat_bath.layers = testing::kHeatBath;
  EXPECT_TRUE(ParseSpec(testing::ScalarSpecText(heat_bath)).ok());
}

TEST(ScalarSpec, PriorsAndLayersMustFitTheField) {
  ExpectRefused([](auto* o) { o->prior = "uniform {}"; }, "prior.kind is not set for a scalar field");
  ExpectRefused([](auto* o) { o->prior = "free_field { m2: 0 }"; }, "prior.free_field.m2 is 0");
  ExpectRefused([](auto* o) { o->prior = "gaussian { sigma: -1 }"; }, "prior.gaussian.sigma is -1");
  ExpectRefused([](auto* o) { o->layers = "layers { u1_coupling_stack { layers: 1 } }"; },
                "transforms U(1) links; the target is a scalar field");
  const std::string couplings =
      "layers { scalar_coupling_stack { layers: 2 shells: 1 network { hidden: [4] kernel: [1, 1] activation: "
      "ACTIVATION_TANH precision: PRECISION_FLOAT64 } map { affine {} } } }";
  ExpectRefused(
      [&](auto* o) {
        o->layers = couplings;
        o->shape = {4, 3};
      },
      "needs even extents");
  ExpectRefused(
      [&](auto* o) {
        o->layers = couplings;
        o->theory = "components: 2 mass { m2: 1 lambda: 1 }";
      },
      "one-component");
  ExpectRefused([&](auto* o) { o->layers = couplings + testing::kHeatBath; },
                "follows scalar_continuous_flow layers only");
}

TEST(ScalarSpec, NumbersOfContinuousFlowsAreBounded) {
  const auto with = [](const std::string& fields) {
    return [fields](ScalarOptions* o) { o->layers = "layers { scalar_continuous_flow { " + fields + " } }"; };
  };
  ExpectRefused(with("frequencies: 33 max_frequency: 3 time_modes: 3"), ".frequencies is 33");
  ExpectRefused(with("frequencies: 3 time_modes: 3"), ".max_frequency is 0");
  ExpectRefused(with("frequencies: 3 max_frequency: 3"), ".time_modes is 0");
  ExpectRefused(with("frequencies: 3 max_frequency: 3 time_modes: 3 kernel_range: 3"), "half of the largest extent");
}

TEST(ScalarSpec, TheHeatBathIsLastAndWantsAFreeField) {
  ExpectRefused([](auto* o) { o->layers = "layers { scalar_heat_bath {} } " + o->layers; }, "must be the last layer");
  ExpectRefused(
      [](auto* o) {
        o->layers = testing::kHeatBath;
        o->prior = "gaussian {}";
      },
      "needs prior { free_field");
  ExpectRefused(
      [](auto* o) {
        o->layers = testing::kHeatBath;
        o->shape = {5, 4};
      },
      "needs even extents");
}

TEST(ScalarSpec, ConditioningNamesAParameterAndAnIntervalAroundTheTarget) {
  const auto with = [](const std::string& fields) {
    return [fields](ScalarOptions* o) { o->more = "conditioning { " + fields + " }"; };
  };
  ExpectRefused(with("parameter: \"kappa\" low: 0 high: 1 degree: 1"), "has no parameter 'kappa'");
  ExpectRefused(with("parameter: \"lambda\" low: 2 high: 1 degree: 1"), "finite and above low");
  ExpectRefused(with("parameter: \"lambda\" low: -1 high: 2 degree: 1"), "lambda is -1");
  ExpectRefused(with("parameter: \"lambda\" low: 2 high: 3 degree: 1"), "target lies outside");
  ExpectRefused(with("parameter: \"normalisation\" low: 1 high: 2 degree: 1"), "cannot be conditioned on");
  ExpectRefused(with("parameter: \"lambda\" low: 1 high: 2 degree: 17"), ".degree is 17");
}

TEST(ScalarSpec, TrainingOptionsThatDoNotGoTogetherAreRefused) {
  const auto with = [](const std::string& fields, const std::string& more = "") {
    return [=](ScalarOptions* o) {
      o->more = more + "training { phases { steps: 1 batch: 16 learning_rate: 1 " + fields + " } }";
    };
  };
  ExpectRefused(with("forward_weight: 1.5"), ".forward_weight is 1.5");
  ExpectRefused(with("forward_weight: 1 forward_samples: FORWARD_SAMPLES_METROPOLIS"), "needs proposals");
  ExpectRefused(with("forward_weight: 0.5", "conditioning { parameter: \"lambda\" low: 1 high: 2 degree: 1 } "),
                "reverse KL alone");
  ExpectRefused(with("kinetic_penalty: -1"), ".kinetic_penalty is -1");
  ExpectRefused(with("average_decay: 1"), ".average_decay is 1");
  ExpectRefused(with("integration_steps: 257"), ".integration_steps is 257");
}

TEST(ScalarSpec, ServesExactlyTheTargetsOfItsIntervals) {
  ScalarOptions options;
  options.more = "conditioning { parameter: \"lambda\" low: 1 high: 2 degree: 1 }";
  const v1::ModelSpec spec = testing::ScalarSpec(options);
  v1::Target target = spec.target();
  const auto serves = [&](const std::string& parameter, double value) {
    v1::Target other = target;
    EXPECT_TRUE(SetTheoryParameter(parameter, value, &other).ok());
    return ServesTarget(spec, other);
  };
  EXPECT_TRUE(serves("lambda", 1));
  EXPECT_TRUE(serves("lambda", 1.7));
  EXPECT_TRUE(serves("lambda", 2));
  EXPECT_FALSE(serves("lambda", 2.001));
  EXPECT_FALSE(serves("m2", 0));
  target.mutable_lattice()->set_shape(0, 8);
  EXPECT_FALSE(ServesTarget(spec, target));
}

}  // namespace
}  // namespace haarflow
