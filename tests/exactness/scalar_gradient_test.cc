// Gradients of scalar flows: each divergence against differences of its own value, the path gradient against the other
// two, forward samples, scales, transfer between lattices.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>

#include "core/action/target.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "core/train/evaluate.h"
#include "core/train/gradient.h"
#include "core/train/target_samples.h"
#include "tests/reference/scalar_specs.h"

namespace haarflow {
namespace {

using testing::ScalarOptions;

struct Loaded {
  explicit Loaded(const ScalarOptions& options, double scale = 1.5)
      : spec(testing::ScalarSpec(options)),
        plan(PlanScalarFlow(spec).value()),
        parameters(testing::RandomScalarParameters(plan, scale)) {
    batch.seed = 4;
    batch.first_index = 64;
    batch.n = 32;
    batch.action = ActionNumbers(spec.target());
    batch.integration_steps = 3;
    batch.kinetic_penalty = 0.02;
  }
  // The value whose gradient Evaluate gives.
  double Loss(GradientSource& source, const std::vector<double>& at) const {
    std::vector<double> gradient;
    BatchResult result;
    EXPECT_TRUE(source.Evaluate(at, batch, &gradient, &result).ok());
    double sum = 0;
    for (size_t i = 0; i < result.log_q.size(); ++i) {
      sum += batch.samples != nullptr ? -result.log_q[i] : result.log_q[i] + result.action[i];
    }
    return sum / static_cast<double>(batch.n) + result.penalty;
  }
  v1::ModelSpec spec;
  ScalarFlowPlan plan;
  std::vector<double> parameters;
  TrainingBatch batch;
};

std::vector<ScalarOptions> Cases() {
  std::vector<ScalarOptions> cases(6);
  cases[1].shape = {6, 4};
  cases[2].theory = "components: 2 mass { m2: -1 lambda: 1 }";
  cases[3].layers = testing::kHeatBath;
  cases[4].shape = {4};
  cases[4].layers =
      "layers { scalar_continuous_flow { frequencies: 1 max_frequency: 2 time_modes: 2 kernel_range: 1 } }"
      "layers { scalar_coupling_stack { layers: 2 network { hidden: [4] kernel: [3, 1] activation: ACTIVATION_SILU "
      "precision: PRECISION_FLOAT64 } map { affine {} } } }";
  cases[5].more = "conditioning { parameter: \"lambda\" low: 1 high: 2 degree: 2 }";
  return cases;
}

// Differences of fourth order; the discrete map's own gradient must agree to rounding.
void ExpectGradientOfLoss(const Loaded& setup) {
  const auto source = MakeScalarGradient(setup.plan, 2).value();
  std::vector<double> gradient;
  BatchResult result;
  ASSERT_TRUE(source->Evaluate(setup.parameters, setup.batch, &gradient, &result).ok());
  const auto scales = setup.plan.ParameterScales();
  size_t checked = 0;
  const size_t stride = std::max<size_t>(1, gradient.size() / 40);
  for (size_t i = 0; i < gradient.size(); i += stride) {
    const double h = 2e-3 * scales[i];
    double difference = 0;
    for (const auto& [offset, weight] : {std::pair{1, 8.0}, {2, -1.0}}) {
      auto up = setup.parameters, down = setup.parameters;
      up[i] += offset * h;
      down[i] -= offset * h;
      difference += weight * (setup.Loss(*source, up) - setup.Loss(*source, down)) / (12 * h);
    }
    EXPECT_NEAR(gradient[i], difference, 1e-7 * std::abs(difference) + 1e-8 / scales[i]) << "parameter " << i;
    checked += std::abs(difference) > 1e-3 ? 1 : 0;
  }
  EXPECT_GT(checked, 5u);
}

TEST(ScalarGradient, ReparameterisationIsTheDerivativeOfTheLoss) {
  for (const ScalarOptions& options : Cases()) {
    SCOPED_TRACE(testing::ScalarSpecText(options));
    ExpectGradientOfLoss(Loaded(options));
  }
}

TEST(ScalarGradient, ForwardDivergenceIsTheDerivativeOfTheLoss) {
  for (const ScalarOptions& options : Cases()) {
    if (!options.more.empty()) continue;  // conditional: reverse KL alone
    SCOPED_TRACE(testing::ScalarSpecText(options));
    Loaded setup(options);
    const TargetSamples samples = DrawTargetSamples(setup.spec.target(), 32, 3, 2).value();
    ASSERT_EQ(samples.n, 32);
    setup.batch.samples = samples.field.data();
    ExpectGradientOfLoss(setup);
  }
}

// d/dtheta of mean(log q + S) is the path gradient plus the derivative of log q at fixed fields, and the latter is
// minus the forward divergence's gradient at the very fields that were drawn. Up to the integration error.
TEST(ScalarGradient, PathGradientLacksExactlyTheScoreTerm) {
  for (const ScalarOptions& options : Cases()) {
    if (!options.more.empty()) continue;
    SCOPED_TRACE(testing::ScalarSpecText(options));
    std::vector<double> error;
    for (const int steps : {4, 8, 16}) {
      Loaded setup(options);
      setup.batch.kinetic_penalty = 0;
      setup.batch.integration_steps = steps;
      setup.batch.keep_fields = true;
      const auto source = MakeScalarGradient(setup.plan, 1).value();
      std::vector<double> whole, path, forward;
      BatchResult drawn, unused;
      ASSERT_TRUE(source->Evaluate(setup.parameters, setup.batch, &whole, &drawn).ok());
      setup.batch.path_gradient = true;
      ASSERT_TRUE(source->Evaluate(setup.parameters, setup.batch, &path, &unused).ok());
      setup.batch.keep_fields = false;
      setup.batch.samples = drawn.field.data();
      ASSERT_TRUE(source->Evaluate(setup.parameters, setup.batch, &forward, &unused).ok());
      const auto scales = setup.plan.ParameterScales();
      double worst = 0, largest = 0;
      for (size_t i = 0; i < path.size(); ++i) {
        worst = std::max(worst, scales[i] * std::abs(path[i] - whole[i] - forward[i]));
        largest = std::max(largest, scales[i] * std::abs(forward[i]));
      }
      EXPECT_GT(largest, 1e-2);
      error.push_back(worst);
    }
    std::printf("path gradient: error %.2e, %.2e, %.2e at 4, 8, 16 steps\n", error[0], error[1], error[2]);
    EXPECT_LT(error[2], 2e-5);
    EXPECT_LT(error[2], error[0] / 50 + 1e-10);
  }
}

TEST(ScalarGradient, ThreadsChangeNoBit) {
  for (const ScalarOptions& options : Cases()) {
    Loaded setup(options);
    setup.batch.n = 64;
    std::vector<double> one, three;
    BatchResult a, b;
    ASSERT_TRUE(MakeScalarGradient(setup.plan, 1).value()->Evaluate(setup.parameters, setup.batch, &one, &a).ok());
    ASSERT_TRUE(MakeScalarGradient(setup.plan, 3).value()->Evaluate(setup.parameters, setup.batch, &three, &b).ok());
    EXPECT_EQ(a.log_q, b.log_q);
    EXPECT_EQ(one, three);
  }
}

// What the trainer draws is what the model draws: the same map, other noise.
TEST(ScalarGradient, DensityOfTrainingDrawsIsTheModels) {
  for (const ScalarOptions& options : Cases()) {
    if (!options.more.empty() || options.layers == testing::kHeatBath) continue;
    SCOPED_TRACE(testing::ScalarSpecText(options));
    Loaded setup(options);
    setup.batch.integration_steps = 24;
    setup.batch.keep_fields = true;
    std::vector<double> gradient;
    BatchResult drawn;
    ASSERT_TRUE(
        MakeScalarGradient(setup.plan, 1).value()->Evaluate(setup.parameters, setup.batch, &gradient, &drawn).ok());
    const auto model =
        Model::Create(setup.spec, testing::ToScalarTensors(setup.plan, setup.parameters, 24), CpuKernels(), 0).value();
    Proposals p;
    p.Resize(setup.batch.n, model->field_size());
    p.field = drawn.field;
    ASSERT_TRUE(model->Density(setup.spec.target(), &p).ok());
    for (int64_t i = 0; i < p.n; ++i) {
      EXPECT_NEAR(p.log_q[i], drawn.log_q[i], 1e-4);
      EXPECT_NEAR(p.action[i], drawn.action[i], 1e-10 * (1 + std::abs(drawn.action[i])));
    }
  }
}

// ------------------------------------------------------------------------------------------------------------ transfer

double FirstLogQ(const v1::ModelSpec& spec, const ScalarFlowPlan& plan, const std::vector<double>& parameters,
                 const std::vector<double>& field) {
  const auto model = Model::Create(spec, testing::ToScalarTensors(plan, parameters, 8), CpuKernels(), 0).value();
  Proposals p;
  p.Resize(1, model->field_size());
  p.field = field;
  EXPECT_TRUE(model->Density(spec.target(), &p).ok());
  return p.log_q[0];
}

TEST(ScalarTransfer, ToTheSameLatticeIsTheIdentity) {
  for (const ScalarOptions& options : Cases()) {
    const Loaded setup(options);
    const auto moved = TransferScalarParameters(setup.plan, setup.parameters, setup.plan);
    ASSERT_TRUE(moved.ok()) << moved.status();
    for (size_t i = 0; i < moved->size(); ++i) {
      // Spectra of a heat bath keep the number that counts, at the first of two orbits.
      if (setup.plan.heat_bath && static_cast<int64_t>(i) < setup.plan.layout.blocks()[0].size) continue;
      EXPECT_NEAR((*moved)[i], setup.parameters[i], 1e-12) << i;
    }
  }
}

// A kernel of range 1 does not see the lattice's size: fields that repeat with period 4 move alike on 4^2 and 8^2. Only
// the prior knows: with the same sigma for all momenta its density is the same for each copy too.
TEST(ScalarTransfer, LocalKernelsServeOtherVolumes) {
  ScalarOptions small, large;
  small.prior = large.prior = "gaussian { sigma: 0.7 }";
  small.layers = large.layers =
      "layers { scalar_continuous_flow { frequencies: 2 max_frequency: 2.5 time_modes: 2 kernel_range: 1 } }";
  large.shape = {8, 8};
  const Loaded a(small), b(large);
  const auto moved = TransferScalarParameters(a.plan, a.parameters, b.plan);
  ASSERT_TRUE(moved.ok()) << moved.status();
  std::vector<double> field(16), tiled(64);
  for (int i = 0; i < 16; ++i) field[i] = std::sin(1 + 1.7 * i);
  for (int y = 0; y < 8; ++y) {
    for (int x = 0; x < 8; ++x) tiled[y * 8 + x] = field[y % 4 * 4 + x % 4];
  }
  EXPECT_NEAR(FirstLogQ(b.spec, b.plan, *moved, tiled), 4 * FirstLogQ(a.spec, a.plan, a.parameters, field), 1e-9);
}

TEST(ScalarTransfer, RefusesOtherLayers) {
  ScalarOptions other;
  other.layers = "layers { scalar_continuous_flow { frequencies: 3 max_frequency: 2.5 time_modes: 3 } }";
  const Loaded a((ScalarOptions())), b(other);
  const auto moved = TransferScalarParameters(a.plan, a.parameters, b.plan);
  EXPECT_EQ(moved.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace haarflow
