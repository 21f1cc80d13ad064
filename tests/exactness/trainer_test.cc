// The training loop: what it promises about kills, guards and the meaning of its numbers.
#include "core/train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "core/observable/observable.h"
#include "core/train/evaluate.h"
#include "tests/reference/test_specs.h"

namespace haarflow {
namespace {

using testing::SpecOptions;

std::string TrainingText(int steps, const std::string& more = "") {
  return absl::StrCat("training { seed: 3 phases { steps: ", steps, " batch: 32 learning_rate: 2e-3 ", more, " } }");
}

std::string SmallSpec(int steps, const std::string& more = "") {
  SpecOptions options;
  options.layers = 8;
  options.float64 = false;
  options.training = TrainingText(steps, more);
  return testing::SpecText(options);
}

class TemporaryDirectory {
 public:
  TemporaryDirectory()
      : path_(std::filesystem::temp_directory_path() / absl::StrCat("haarflow-trainer-test-", ::getpid())) {
    std::filesystem::create_directories(path_);
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  std::string File(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

// Fails at its call number `calls`: what a kill leaves behind is the state file of the step before.
class KilledGradient final : public GradientSource {
 public:
  KilledGradient(const std::string& spec, uint64_t calls)
      : source_(*MakeU1Gradient(*PlanU1Flow(*ParseSpec(spec)), 1)), left_(calls) {}
  absl::Status Evaluate(absl::Span<const double> parameters, const TrainingBatch& batch, std::vector<double>* gradient,
                        BatchResult* result) override {
    if (left_-- == 0) return absl::AbortedError("killed");
    return source_->Evaluate(parameters, batch, gradient, result);
  }

 private:
  std::unique_ptr<GradientSource> source_;
  uint64_t left_;
};

TEST(Trainer, InterruptedAndResumedEqualsUnbrokenBitForBit) {
  TemporaryDirectory directory;
  const std::string spec =
      SmallSpec(40, "schedule: LEARNING_RATE_SCHEDULE_COSINE final_learning_rate_factor: 0.1 clip_norm: 5");
  auto unbroken = *Trainer::Create(spec, {});
  ASSERT_TRUE(unbroken->Run().ok());
  TrainerOptions options;
  options.state_file = directory.File("state");
  options.seconds_between_saves = 0;  // after every step
  for (const uint64_t steps : {1, 17, 39}) {
    auto killed = *Trainer::Create(spec, options, nullptr, std::make_unique<KilledGradient>(spec, steps));
    EXPECT_EQ(killed->Run().code(), absl::StatusCode::kAborted);
    killed.reset();
    auto resumed = *Trainer::Create(spec, options);
    EXPECT_EQ(resumed->steps_done(), steps);
    ASSERT_TRUE(resumed->Run().ok());
    EXPECT_EQ(resumed->parameters(), unbroken->parameters());
    EXPECT_EQ(resumed->optimiser().m, unbroken->optimiser().m);
    EXPECT_EQ(resumed->optimiser().v, unbroken->optimiser().v);
    EXPECT_EQ(resumed->optimiser().steps, unbroken->optimiser().steps);
    std::filesystem::remove(options.state_file);
  }
}

TEST(Trainer, RefusesTheStateOfAnotherSpec) {
  TemporaryDirectory directory;
  TrainerOptions options;
  options.state_file = directory.File("state");
  ASSERT_TRUE((*Trainer::Create(SmallSpec(3), options))->Run().ok());
  const auto other = Trainer::Create(SmallSpec(4), options);
  EXPECT_EQ(other.status().code(), absl::StatusCode::kFailedPrecondition);
}

// A gradient source that reports what a test tells it to.
class ScriptedGradient final : public GradientSource {
 public:
  ScriptedGradient(size_t parameters, std::function<double(int64_t step, int64_t i)> log_weight)
      : parameters_(parameters), log_weight_(std::move(log_weight)) {}
  absl::Status Evaluate(absl::Span<const double>, const TrainingBatch& batch, std::vector<double>* gradient,
                        BatchResult* result) override {
    gradient->assign(parameters_, 1e-3);
    result->log_q.assign(batch.n, 0.0);
    result->action.resize(batch.n);
    for (int64_t i = 0; i < batch.n; ++i) result->action[i] = -log_weight_(step_, i);
    ++step_;
    return absl::OkStatus();
  }

 private:
  size_t parameters_;
  std::function<double(int64_t, int64_t)> log_weight_;
  int64_t step_ = 0;
};

absl::Status RunScripted(std::function<double(int64_t, int64_t)> log_weight) {
  const std::string text = SmallSpec(250);
  const ParameterLayout layout = U1ParameterLayout(*PlanU1Flow(*ParseSpec(text)));
  auto trainer =
      *Trainer::Create(text, {}, nullptr, std::make_unique<ScriptedGradient>(layout.size(), std::move(log_weight)));
  return trainer->Run();
}

TEST(TrainerGuards, StopAtALossBelowMinusLogZ) {
  const double exact = *ExactLogZ(ParseSpec(SmallSpec(1))->target());
  // E_q[log w] <= log Z for every true density: 0.1 above it, with noise, is impossible.
  const auto noise = [](int64_t step, int64_t i) {
    return 0.2 * NormalNoise(1, NoisePurpose::kTraining, static_cast<uint64_t>(step), static_cast<uint32_t>(i));
  };
  const absl::Status bad = RunScripted([&](int64_t step, int64_t i) { return exact + 0.1 + noise(step, i); });
  EXPECT_EQ(bad.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(bad.message()), ::testing::HasSubstr("-log Z"));
  EXPECT_TRUE(RunScripted([&](int64_t step, int64_t i) { return exact - 0.05 + noise(step, i); }).ok());
}

TEST(TrainerGuards, StopAtNaNAndAtAnExplodingVariance) {
  const absl::Status nan = RunScripted([](int64_t step, int64_t) { return step == 20 ? std::nan("") : -100.0; });
  EXPECT_EQ(nan.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(nan.message()), ::testing::HasSubstr("step 21"));
  const absl::Status wild =
      RunScripted([](int64_t step, int64_t i) { return -100.0 - (step > 20 ? 100.0 * static_cast<double>(i) : 0.0); });
  EXPECT_EQ(wild.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(wild.message()), ::testing::HasSubstr("variance"));
}

TEST(Trainer, ReachesTheExactFreeEnergyWithinItsErrors) {
  const std::string text = SmallSpec(300, "estimator: GRADIENT_ESTIMATOR_PATH");
  auto trainer = *Trainer::Create(text, {});
  const auto before = *EvaluateModel(trainer->spec(), trainer->Weights(), 8192, 1, 1);
  ASSERT_TRUE(trainer->Run().ok());
  const auto after = *EvaluateModel(trainer->spec(), trainer->Weights(), 16384, 1, 1);
  const double exact = *ExactLogZ(trainer->spec().target());
  EXPECT_GT(after.quality().ess(), 2 * before.quality().ess());
  EXPECT_GT(after.quality().ess(), 0.3);
  EXPECT_LT(std::abs(after.log_z() - exact), 4 * after.log_z_error());
  EXPECT_LT(after.mean_log_weight(), exact);
  EXPECT_GT(after.quality().ess_error(), 0);
  EXPECT_LT(after.quality().ess_error(), 0.1);
}

}  // namespace
}  // namespace haarflow
