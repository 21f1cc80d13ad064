// The fused gradients against LibTorch's automatic differentiation and against finite differences.
#include <gtest/gtest.h>

#include <cmath>

#include "core/train/torch_gradient.h"
#include "tests/reference/test_specs.h"

namespace haarflow {
namespace {

using testing::SpecOptions;

struct FlowAndWeights {
  U1FlowPlan plan;
  std::vector<double> parameters;
};

FlowAndWeights MakeFlow(const SpecOptions& options) {
  const auto spec = ParseSpec(testing::SpecText(options));
  EXPECT_TRUE(spec.ok()) << spec.status();
  auto plan = *PlanU1Flow(*spec);
  auto parameters = testing::RandomParameters(U1ParameterLayout(plan), 1.0);
  return {std::move(plan), std::move(parameters)};
}

double Norm(const std::vector<double>& v) {
  double sum = 0;
  for (double x : v) sum += x * x;
  return std::sqrt(sum);
}

double RelativeDifference(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> d(a.size());
  for (size_t i = 0; i < a.size(); ++i) d[i] = a[i] - b[i];
  return Norm(d) / Norm(b);
}

TEST(Gradients, FusedKernelsAgreeWithAutomaticDifferentiation) {
  for (const char* map :
       {"spline { bins: 5 }", "moebius { components: 2 }", "non_compact_projection { components: 2 }"}) {
    for (const char* activation : {"ACTIVATION_SILU", "ACTIVATION_TANH", "ACTIVATION_LEAKY_RELU"}) {
      for (const bool path : {false, true}) {
        SpecOptions options;
        options.shape = {4, 8};
        options.layers = 8;
        options.map = map;
        options.activation = activation;
        options.masks = path ? testing::StaggeredMasks() : testing::StripeMasks();
        const FlowAndWeights setup = MakeFlow(options);
        const TrainingBatch batch{5, 100, 32, {1.7}, path};
        std::vector<double> fused, reference;
        BatchResult fused_result, reference_result;
        ASSERT_TRUE((*MakeU1Gradient(setup.plan, 2))->Evaluate(setup.parameters, batch, &fused, &fused_result).ok());
        const auto status =
            MakeTorchGradient(setup.plan)->Evaluate(setup.parameters, batch, &reference, &reference_result);
        ASSERT_TRUE(status.ok()) << status;
        ASSERT_EQ(fused.size(), reference.size());
        EXPECT_GT(Norm(reference), 1e-3);
        EXPECT_LT(RelativeDifference(fused, reference), 1e-8) << map << " " << activation << (path ? " path" : "");
        for (size_t i = 0; i < 32; ++i) {
          EXPECT_NEAR(fused_result.log_q[i], reference_result.log_q[i], 1e-9);
          EXPECT_NEAR(fused_result.action[i], reference_result.action[i], 1e-9);
        }
      }
    }
  }
}

TEST(Gradients, FusedReparameterisationGradientIsTheDerivativeOfTheLoss) {
  SpecOptions options;
  options.layers = 4;
  FlowAndWeights setup = MakeFlow(options);
  const auto source = *MakeU1Gradient(setup.plan, 1);
  const TrainingBatch batch{5, 0, 64, {1.7}, false};
  std::vector<double> gradient, unused;
  BatchResult result;
  const auto loss = [&](const std::vector<double>& p) {
    EXPECT_TRUE(source->Evaluate(p, batch, &unused, &result).ok());
    double sum = 0;
    for (size_t i = 0; i < result.log_q.size(); ++i) sum += (result.log_q[i] + result.action[i]) / 64;
    return sum;
  };
  ASSERT_TRUE(source->Evaluate(setup.parameters, batch, &gradient, &result).ok());
  for (size_t i = 0; i < setup.parameters.size(); i += 17) {
    auto up = setup.parameters, down = setup.parameters;
    up[i] += 1e-5;
    down[i] -= 1e-5;
    EXPECT_NEAR((loss(up) - loss(down)) / 2e-5, gradient[i], 1e-6 + 1e-5 * std::abs(gradient[i])) << i;
  }
}

TEST(Gradients, PathAndReparameterisationAgreeInTheMean) {
  SpecOptions options;
  options.layers = 4;
  const FlowAndWeights setup = MakeFlow(options);
  const auto source = *MakeU1Gradient(setup.plan, 2);
  std::vector<double> plain, path;
  BatchResult result;
  ASSERT_TRUE(source->Evaluate(setup.parameters, {5, 0, 1 << 16, {1.7}, false}, &plain, &result).ok());
  ASSERT_TRUE(source->Evaluate(setup.parameters, {5, 0, 1 << 16, {1.7}, true}, &path, &result).ok());
  EXPECT_LT(RelativeDifference(path, plain),
            0.1);  // their difference is the mean of the score, whose expectation vanishes
  EXPECT_GT(RelativeDifference(path, plain), 1e-6);
}

TEST(Gradients, Float32NetworksGiveTheSameGradientToTheirPrecision) {
  SpecOptions options;
  options.layers = 8;
  options.shape = {8, 8};
  const FlowAndWeights setup = MakeFlow(options);
  options.float64 = false;
  const FlowAndWeights single = MakeFlow(options);
  std::vector<double> a, b;
  BatchResult result;
  for (const bool path : {false, true}) {
    ASSERT_TRUE(
        (*MakeU1Gradient(setup.plan, 1))->Evaluate(setup.parameters, {5, 0, 64, {1.7}, path}, &a, &result).ok());
    ASSERT_TRUE(
        (*MakeU1Gradient(single.plan, 1))->Evaluate(setup.parameters, {5, 0, 64, {1.7}, path}, &b, &result).ok());
    EXPECT_LT(RelativeDifference(b, a), 1e-4);
  }
}

}  // namespace
}  // namespace haarflow
