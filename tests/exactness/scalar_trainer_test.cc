// Training of scalar flows: what is promised about kills and guards, the certificate of integrated densities, forward
// divergences, conditional flows, and models that miss a mode.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "core/train/evaluate.h"
#include "core/train/trainer.h"
#include "tests/reference/scalar_specs.h"

namespace haarflow {
namespace {

using ::testing::HasSubstr;
using testing::ScalarOptions;

constexpr char kAdam[] =
    "learning_rate: 1e-2 clip_norm: 10 adam_beta2: 0.99 warmup_steps: 10 average_decay: 0.99 "
    "schedule: LEARNING_RATE_SCHEDULE_COSINE final_learning_rate_factor: 0.05 ";

std::string Training(int steps, const std::string& more) {
  return absl::StrCat("training { seed: 2 phases { steps: ", steps, " batch: 32 ", kAdam, more, " } }");
}

constexpr char kPath[] = "estimator: GRADIENT_ESTIMATOR_PATH kinetic_penalty: 1e-3 integration_steps: 8 ";

// The tutorial's point, log Z = 9.2913638(1) (exact-values.json).
ScalarOptions Tutorial(const std::string& training) {
  ScalarOptions o;
  o.shape = {8, 8};
  o.theory = "mass { m2: -4 lambda: 8 }";
  o.prior = "free_field { m2: 1 learnable: true }";
  o.layers = "layers { scalar_continuous_flow { frequencies: 4 max_frequency: 5 time_modes: 4 } }";
  o.more = training;
  return o;
}

// Broken symmetry on a small lattice.
ScalarOptions Broken(const std::string& layers, const std::string& training) {
  ScalarOptions o;
  o.theory = "hopping { kappa: 0.3 lambda: 0.022 }";
  o.prior = "free_field { m2: 1 learnable: true }";
  o.layers = layers;
  o.more = training;
  return o;
}

TensorMap Served(const Trainer& trainer) {
  if (!trainer.is_integrated()) return trainer.Weights();
  return trainer.Weights(CertifiedSteps(trainer.spec(), trainer.Weights(), 5, 1).value());
}

TEST(ScalarTrainer, ReachesTheExactFreeEnergyWithinItsErrors) {
  auto trainer = Trainer::Create(testing::ScalarSpecText(Tutorial(Training(250, kPath))), {}).value();
  ASSERT_TRUE(trainer->Run().ok());
  const int32_t steps = CertifiedSteps(trainer->spec(), trainer->Weights(), 5, 1).value();
  const auto card = EvaluateModel(trainer->spec(), trainer->Weights(steps), 16384, 1, 1).value();
  // Measured anew on other noise: certified up to its own fluctuation.
  EXPECT_LT(std::abs(card.log_q_error_mean()), 1.2 * kCertifiedLogWeightError);
  EXPECT_LT(card.log_q_error_sigma(), 1.5 * kCertifiedLogWeightError);
  EXPECT_GT(card.log_q_error_sigma(), 0);
  EXPECT_NEAR(card.log_z_at_steps(), card.log_z_at_double_steps(), 2 * kCertifiedLogWeightError);
  EXPECT_GT(card.quality().ess(), 0.93);
  EXPECT_LT(std::abs(card.log_z() - 9.2913638), 4 * card.log_z_error());
  EXPECT_LT(card.log_z_error(), 4e-3);
  // From both sides: E_q[log w] <= log Z <= E_p[log w].
  EXPECT_LT(card.mean_log_weight(), 9.2913638);
  EXPECT_GT(card.mean_log_weight_target(), 9.2913638);
  EXPECT_LT(std::abs(card.forward_log_z() - 9.2913638), 4.5 * card.forward_log_z_error());
  EXPECT_NEAR(card.forward_ess(), card.quality().ess(), 0.03);
  EXPECT_EQ(card.unreliable_reason(), "");
  EXPECT_EQ(card.steps(), static_cast<uint32_t>(steps));
}

// Few steps and nothing to hold the flow: the optimiser finds what the integrator gets wrong.
TEST(ScalarTrainer, StopsWhereTheOptimiserLivesOnIntegrationError) {
  ScalarOptions options =
      Tutorial(absl::StrCat("training { seed: 2 phases { steps: 2000 batch: 32 ", kAdam,
                            "integration_steps: 1 estimator: GRADIENT_ESTIMATOR_REPARAMETERISATION } }"));
  auto trainer = Trainer::Create(testing::ScalarSpecText(options), {}).value();
  const absl::Status status = trainer->Run();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("integration error"));
}

// Fails at its call number `calls`: what a kill leaves behind is the state file of the step before.
class KilledGradient final : public GradientSource {
 public:
  KilledGradient(const std::string& spec, uint64_t calls)
      : source_(MakeScalarGradient(PlanScalarFlow(ParseSpec(spec).value()).value(), 1).value()), left_(calls) {}
  absl::Status Evaluate(absl::Span<const double> parameters, const TrainingBatch& batch, std::vector<double>* gradient,
                        BatchResult* result) override {
    if (left_-- == 0) return absl::AbortedError("killed");
    return source_->Evaluate(parameters, batch, gradient, result);
  }

 private:
  std::unique_ptr<GradientSource> source_;
  uint64_t left_;
};

TEST(ScalarTrainer, InterruptedAndResumedEqualsUnbrokenBitForBit) {
  for (const std::string source : {"FORWARD_SAMPLES_CLUSTER", "FORWARD_SAMPLES_METROPOLIS"}) {
    ScalarOptions options;  // 4 x 4
    options.more = Training(24, absl::StrCat(kPath, "forward_weight: 0.5 forward_samples: ", source, " "));
    const std::string text = testing::ScalarSpecText(options);
    auto unbroken = Trainer::Create(text, {}).value();
    ASSERT_TRUE(unbroken->Run().ok());
    TrainerOptions resumable;
    resumable.state_file = std::filesystem::temp_directory_path() / absl::StrCat("haarflow-scalar-", ::getpid());
    resumable.seconds_between_saves = 0;  // after every step
    // A step asks twice: for proposals, and for the states' gradient.
    for (const uint64_t calls : {14, 19}) {
      auto killed = Trainer::Create(text, resumable, nullptr, std::make_unique<KilledGradient>(text, calls)).value();
      EXPECT_EQ(killed->Run().code(), absl::StatusCode::kAborted);
      killed.reset();
      auto resumed = Trainer::Create(text, resumable).value();
      EXPECT_EQ(resumed->steps_done(), calls / 2);
      ASSERT_TRUE(resumed->Run().ok());
      EXPECT_EQ(resumed->parameters(), unbroken->parameters());
      EXPECT_EQ(resumed->optimiser().v, unbroken->optimiser().v);
      const auto a = resumed->Weights(8), b = unbroken->Weights(8);
      for (const auto& [name, tensor] : a) EXPECT_EQ(tensor.bytes, b.at(name).bytes) << name;
      std::filesystem::remove(resumable.state_file);
    }
  }
}

TEST(ScalarTrainer, ForwardDivergencesTrainFromEverySource) {
  for (const std::string source : {"FORWARD_SAMPLES_CLUSTER", "FORWARD_SAMPLES_HMC", "FORWARD_SAMPLES_METROPOLIS"}) {
    SCOPED_TRACE(source);
    const bool own = source == "FORWARD_SAMPLES_METROPOLIS";
    ScalarOptions options;
    options.theory = "mass { m2: -4 lambda: 8 }";
    options.more =
        Training(400, absl::StrCat(kPath, "forward_weight: ", own ? "0.7" : "1", " forward_samples: ", source, " "));
    auto trainer = Trainer::Create(testing::ScalarSpecText(options), {}).value();
    const auto before = EvaluateModel(trainer->spec(), Served(*trainer), 8192, 1, 1).value();
    ASSERT_TRUE(trainer->Run().ok());
    const auto after = EvaluateModel(trainer->spec(), Served(*trainer), 8192, 1, 1).value();
    EXPECT_LT(before.quality().ess(), 0.8);
    EXPECT_GT(after.quality().ess(), 0.92);
    EXPECT_GT(after.forward_ess(), 0.92);
    EXPECT_EQ(after.unreliable_reason(), "");
  }
}

// An affine flow without the symmetry settles in one of two modes and looks well to itself; log Z is short by log 2. A
// symmetric flow keeps both.
TEST(ScalarModes, AModelThatMissesOneIsSaidToAndASymmetricOneKeepsBoth) {
  const std::string affine =
      "layers { scalar_coupling_stack { layers: 8 network { hidden: [8, 8] kernel: [3, 3, 3] activation: "
      "ACTIVATION_LEAKY_RELU precision: PRECISION_FLOAT64 initialisation: INITIALISATION_FAN_IN } map { affine {} } } "
      "}";
  auto collapsed =
      Trainer::Create(testing::ScalarSpecText(Broken(affine, Training(800, "estimator: GRADIENT_ESTIMATOR_PATH "))), {})
          .value();
  ASSERT_TRUE(collapsed->Run().ok());
  const auto one = EvaluateModel(collapsed->spec(), Served(*collapsed), 16384, 1, 1).value();
  EXPECT_GT(one.quality().ess(), 0.3);  // nothing in its own weights tells
  EXPECT_NE(one.unreliable_reason(), "");
  EXPECT_NEAR(one.forward_log_z() - one.log_z(), std::log(2), 0.1);

  const std::string symmetric = "layers { scalar_continuous_flow { frequencies: 4 max_frequency: 4 time_modes: 4 } }";
  auto whole = Trainer::Create(testing::ScalarSpecText(Broken(symmetric, Training(800, kPath))), {}).value();
  ASSERT_TRUE(whole->Run().ok());
  const auto both = EvaluateModel(whole->spec(), Served(*whole), 16384, 1, 1).value();
  EXPECT_EQ(both.unreliable_reason(), "");
  EXPECT_GT(both.quality().ess(), 0.8);
  EXPECT_LT(std::abs(both.log_z() - both.forward_log_z()),
            4 * std::hypot(both.log_z_error(), both.forward_log_z_error()));
  EXPECT_NEAR(both.log_z() - one.log_z(), std::log(2), 0.1);
}

TEST(ScalarConditional, OneModelServesAnIntervalOfTargets) {
  ScalarOptions options;
  options.theory = "mass { m2: -4 lambda: 7 }";
  options.layers = "layers { scalar_continuous_flow { frequencies: 4 max_frequency: 5 time_modes: 4 } }";
  options.more =
      absl::StrCat("conditioning { parameter: \"lambda\" low: 6 high: 8 degree: 3 }\n", Training(500, kPath));
  auto trainer = Trainer::Create(testing::ScalarSpecText(options), {}).value();
  ASSERT_TRUE(trainer->Run().ok());
  const auto card = EvaluateModel(trainer->spec(), Served(*trainer), 8192, 1, 1).value();
  ASSERT_EQ(card.conditional_size(), 9);
  EXPECT_EQ(card.conditional(0).target().phi4().mass().lambda(), 6);
  EXPECT_EQ(card.conditional(8).target().phi4().mass().lambda(), 8);
  for (const auto& q : card.conditional()) EXPECT_GT(q.ess(), 0.9) << q.target().ShortDebugString();
  // d log Z / d lambda = -V <phi^4>: log Z falls with lambda.
  for (int i = 0; i + 1 < 9; ++i) EXPECT_GT(card.conditional(i).log_z(), card.conditional(i + 1).log_z());
}

// From a small lattice to a larger one at the same couplings: a far better start than none.
TEST(ScalarTransfer, TrainingGoesOnFromASmallerLattice) {
  ScalarOptions small;
  small.theory = "mass { m2: -4 lambda: 8 }";
  small.more = Training(400, kPath);
  auto trainer = Trainer::Create(testing::ScalarSpecText(small), {}).value();
  ASSERT_TRUE(trainer->Run().ok());
  const StartingPoint start{trainer->spec(), Served(*trainer)};
  ScalarOptions large = small;
  large.shape = {8, 8};
  auto moved = Trainer::Create(testing::ScalarSpecText(large), {}, &start).value();
  const auto at_once = EvaluateModel(moved->spec(), Served(*moved), 8192, 1, 1).value();
  auto fresh = Trainer::Create(testing::ScalarSpecText(large), {}).value();
  const auto from_nothing = EvaluateModel(fresh->spec(), Served(*fresh), 8192, 1, 1).value();
  EXPECT_GT(at_once.quality().ess(), 0.5);
  EXPECT_LT(from_nothing.quality().ess(), 0.3);
}

}  // namespace
}  // namespace haarflow
