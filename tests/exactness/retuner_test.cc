// Re-tuning of real models: adaptive steps arrive where one long step collapses; a killed and resumed re-tuning is the
// unbroken one; what cannot be had is reported.
#include "core/train/retuner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>

#include "core/base/status.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "core/model/spec.h"
#include "core/model/store.h"
#include "core/train/evaluate.h"
#include "tests/reference/tier.h"

namespace haarflow {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

class RetunerTest : public ::testing::Test {
 protected:
  RetunerTest() {
    std::string pattern = (fs::temp_directory_path() / "haarflow-retune-XXXXXX").string();
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    scratch_ = pattern;
  }
  ~RetunerTest() override { fs::remove_all(scratch_); }

  // A bundled model, to be taken to other parameters.
  static RetuneTask Task(const std::string& model, std::vector<std::pair<std::string, double>> parameters, double ess,
                         double seconds) {
    const StoredModel stored = ModelStore::Open(HAARFLOW_MODELS)->LoadChampion(model).value();
    RetuneTask task;
    task.start = {stored.spec, stored.weights};
    task.lineage = absl::StrCat(model, "/", stored.manifest.version, " sha256:", stored.manifest.digest.Hex());
    task.spec = stored.spec;
    for (const auto& [name, value] : parameters) {
      EXPECT_TRUE(SetTheoryParameter(name, value, task.spec.mutable_target()).ok());
    }
    task.spec.mutable_training()->set_evaluation_samples(8192);
    task.budget_seconds = seconds;
    task.policy.requested_ess = ess;
    return task;
  }
  RetunerOptions Options() const {
    RetunerOptions options;
    options.threads = 2;
    options.scratch = scratch_;
    return options;
  }
  static void Print(const RetuneResult& result) {
    for (const RetuneStep& s : result.steps) {
      std::cout << "  path " << s.path << (s.steps > 0 ? " trained " : " probed ") << s.steps << " ESS "
                << s.ess_before + s.ess_after << "\n";
    }
    std::cout << "  " << result.reason << "; " << result.card.training_seconds() << " s, "
              << result.card.training_steps() << " steps\n";
  }
  std::string scratch_;
};

double EssAt(const RetuneTask& task) {
  const auto model = Model::Create(task.start.spec, task.start.weights, CpuKernels(), 0).value();
  return QualityOf(DrawLogWeights(*model, task.spec.target(), 4096, 7, 2).value()).ess;
}

// Deep towards the transition the weights as they are have an ESS of some percent. Never is the ESS of what is trained
// below the policy's floor, and it arrives.
TEST_F(RetunerTest, AdaptiveStepsArriveWhereOneLongStepCollapses) {
  const double lambda = haarflow::testing::Length(4.8, 4.2);
  const RetuneTask task = Task("phi4-l6-e1", {{"lambda", lambda}}, 0.9, 120);
  EXPECT_LT(EssAt(task), 0.05);
  const auto result = Retuner::Create(task, Options(), "").value()->Run();
  ASSERT_TRUE(result.ok()) << result.status();
  Print(*result);
  EXPECT_TRUE(result->reached) << result->reason;
  EXPECT_GE(result->card.quality().ess(), 0.9);
  EXPECT_EQ(result->card.unreliable_reason(), "");
  double before = 0;
  int taken = 0;
  for (const RetuneStep& step : result->steps) {
    if (step.steps > 0 && before > 0) {
      EXPECT_GE(before, task.policy.least_ess);
      ++taken;
    }
    before = step.steps > 0 ? 0 : step.ess_before;
  }
  EXPECT_GE(taken, 2);
  const v1::ModelSpec spec = ParseSpec(result->spec_text).value();
  EXPECT_EQ(CanonicalTarget(spec.target()), CanonicalTarget(task.spec.target()));
  EXPECT_THAT(spec.description(), HasSubstr("re-tuned from phi4-l6-e1/1: lambda = 6.975 -> "));
  EXPECT_EQ(spec.training().start_from(), "phi4-l6-e1/1");
  EXPECT_TRUE(Model::Create(spec, result->weights, CpuKernels(), 0).ok());
}

// Interrupted in the middle of a cycle, twice, and gone on with in another directory: the same bits.
TEST_F(RetunerTest, InterruptedAndResumedEqualsUnbrokenBitForBit) {
  const RetuneTask task = Task("phi4-l6-e1", {{"lambda", 5.8}}, 0.98, 1e6);
  RetunerOptions options = Options();
  const auto unbroken = Retuner::Create(task, options, "").value()->Run().value();
  ASSERT_GE(unbroken.card.training_steps(), 200);
  std::string state;
  options.on_state = [&](const std::string& bytes) { state = bytes; };
  for (const uint64_t stop_at : {40, 110}) {
    options.scratch = absl::StrCat(scratch_, "/", stop_at);
    fs::create_directories(options.scratch);
    uint64_t seen = 0;
    options.on_progress = [&](const RetuneProgress& p) {
      seen = p.step;
      return p.step < stop_at;
    };
    const auto stopped = Retuner::Create(task, options, state).value()->Run();
    EXPECT_EQ(stopped.status().code(), absl::StatusCode::kCancelled);
    EXPECT_GE(seen, stop_at);
    EXPECT_LT(seen, unbroken.card.training_steps());
    fs::remove_all(options.scratch);  // the machine is gone
  }
  options.scratch = scratch_;
  options.on_progress = nullptr;
  const auto resumed = Retuner::Create(task, options, state).value()->Run().value();
  EXPECT_EQ(resumed.spec_text, unbroken.spec_text);
  EXPECT_EQ(WriteSafetensors(resumed.weights, {}), WriteSafetensors(unbroken.weights, {}));
  EXPECT_EQ(resumed.card.log_z(), unbroken.card.log_z());
}

TEST_F(RetunerTest, StatesOfOthersAndDamagedOnesAreRefused) {
  const RetuneTask task = Task("su2-l16-b2.2", {{"beta", 2.3}}, 0.99, 1e6);
  RetunerOptions options = Options();
  std::string state;
  options.on_state = [&](const std::string& bytes) { state = bytes; };
  options.on_progress = [](const RetuneProgress&) { return false; };
  EXPECT_EQ(Retuner::Create(task, options, "").value()->Run().status().code(), absl::StatusCode::kCancelled);
  ASSERT_FALSE(state.empty());
  EXPECT_TRUE(Retuner::Create(task, options, state).ok());
  EXPECT_EQ(Retuner::Create(Task("su2-l16-b2.2", {{"beta", 2.4}}, 0.99, 1e6), options, state).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(Retuner::Create(task, options, state.substr(0, state.size() - 1)).ok());
  EXPECT_FALSE(Retuner::Create(task, options, "nonsense").ok());
  EXPECT_EQ(Retuner::Create(Task("u1-l16-perfect", {{"beta", 3}}, 0.5, 10), options, "").status().code(),
            absl::StatusCode::kInvalidArgument);
}

// A loop flow's way to another coupling: two Gauss-Newton steps on a small lattice.
TEST_F(RetunerTest, LoopFlowsAreRetunedByGaussNewtonSteps) {
  const RetuneTask task = Task("su2-l16-b2.2", {{"beta", 2.45}}, 0.85, 120);
  const auto result = Retuner::Create(task, Options(), "").value()->Run();
  ASSERT_TRUE(result.ok()) << result.status();
  Print(*result);
  EXPECT_TRUE(result->reached) << result->reason;
  EXPECT_LE(result->card.training_steps(), 8);
}

TEST_F(RetunerTest, WhatCannotBeHadIsReportedWithTheBestReached) {
  const RetuneTask task = Task("phi4-l6-e1", {{"lambda", 5.5}}, 0.9999, 3);
  const auto result = Retuner::Create(task, Options(), "").value()->Run();
  ASSERT_TRUE(result.ok()) << result.status();
  Print(*result);
  EXPECT_FALSE(result->reached);
  EXPECT_THAT(result->reason, HasSubstr("the budget of 3 s is spent"));
  EXPECT_GT(result->card.quality().ess(), 0.05);
}

// What a cycle trains with is a plan that specs may have, for every bundled model that can be trained.
TEST_F(RetunerTest, EveryModelsCycleIsAValidPlan) {
  const ModelStore store = ModelStore::Open(HAARFLOW_MODELS).value();
  int trained = 0;
  const std::vector<std::string> names = store.ListModels().value();
  for (const std::string& name : names) {
    v1::ModelSpec spec = store.LoadChampion(name).value().spec;
    if (spec.prior().has_perfect()) continue;
    RetuneAction action;
    for (action.cycle = 0; action.cycle < 3; ++action.cycle) {
      const v1::TrainingPhase phase = CyclePhase(spec, action);
      v1::ModelSpec cycle = spec;
      cycle.mutable_training()->clear_phases();
      *cycle.mutable_training()->add_phases() = phase;
      EXPECT_TRUE(ValidateSpec(cycle).ok()) << name << ": " << ValidateSpec(cycle);
    }
    ++trained;
  }
  EXPECT_GT(trained, 20);
}

// Flows whose specs have no phases, and flows of networks on SU(N) links, are taken along too.
TEST_F(RetunerTest, UntrainedContinuousAndSpectralFlowsAreTakenAlong) {
  for (const auto& [model, beta, ess] :
       {std::tuple{"su3-l8-b2-leading", 2.1, 0.7}, std::tuple{"su2-l8-b2.2-spectral", 2.21, 0.9}}) {
    const auto result = Retuner::Create(Task(model, {{"beta", beta}}, ess, 120), Options(), "").value()->Run();
    ASSERT_TRUE(result.ok()) << model << ": " << result.status();
    EXPECT_TRUE(result->reached) << model << ": " << result->reason;
  }
}

// Two cores, the bundled models, by request: HAARFLOW_LONG.
TEST_F(RetunerTest, BundledModelsReachNeighbouringCouplings) {
  if (haarflow::testing::Length(true, false)) GTEST_SKIP() << "in the long tier";
  struct Row {
    const char* model;
    const char* parameter;
    double value, ess, seconds;
  };
  for (const Row& row : {Row{"phi4-l16", "lambda", 5.2, 0.95, 180}, Row{"u1-l16-b2", "beta", 2.5, 0.9, 600},
                         Row{"su3-l16-b5", "beta", 5.5, 0.7, 180}, Row{"su3-l16-b5", "beta", 6, 0.5, 180}}) {
    std::cout << row.model << " -> " << row.parameter << " = " << row.value << std::endl;
    const RetuneTask task = Task(row.model, {{row.parameter, row.value}}, row.ess, row.seconds);
    const auto result = Retuner::Create(task, Options(), "").value()->Run();
    ASSERT_TRUE(result.ok()) << result.status();
    Print(*result);
    EXPECT_TRUE(result->reached) << result->reason;
    EXPECT_LE(result->card.training_seconds(), row.seconds);
  }
}

}  // namespace
}  // namespace haarflow
