// The policy of re-tuning by table: what it does after what it has seen.
#include "core/train/retune_policy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace haarflow {
namespace {

using Stage = RetuneStage;

RetuneState At(Stage stage, double reached, double path) {
  RetuneState s;
  s.stage = stage;
  s.reached = reached;
  s.path = path;
  return s;
}

TEST(RetunePolicy, BeginsWithTheWholeWay) {
  const RetuneAction action = NextAction({}, {});
  EXPECT_EQ(action.stage, Stage::kProbe);
  EXPECT_EQ(action.path, 1);
}

TEST(RetunePolicy, AProbeDecidesWhetherToTrainThereOrToTakeAShorterStep) {
  const RetuneOptions options;
  struct Row {
    double reached, path, ess;
    Stage then;
    double least_path, most_path;
  };
  for (const Row& row : {
           Row{0, 1, 0.05, Stage::kTrain, 1, 1},
           Row{0, 1, 0.049, Stage::kProbe, 0.5, 0.7001},
           Row{0, 1, 0.001, Stage::kProbe, 0.5, 0.55},  // sqrt(log 0.15 / log 0.001) of the way
           Row{0, 1, 0, Stage::kProbe, 0.1, 0.4},
           Row{0.5, 1, 0.001, Stage::kProbe, 0.75, 0.775},
           Row{0.5, 0.6, 0.9, Stage::kTrain, 0.6, 0.6},
           // As short as a step gets: taken whatever it brings.
           Row{0.5, 0.5 + options.least_step, 0.001, Stage::kTrain, 0.5 + options.least_step, 0.5 + options.least_step},
           Row{0, 1, std::nan(""), Stage::kProbe, 0.1, 0.4},
       }) {
    SCOPED_TRACE(testing::Message() << row.reached << " -> " << row.path << " at " << row.ess);
    const RetuneState s = Observed(options, At(Stage::kProbe, row.reached, row.path), {row.ess, 0});
    EXPECT_EQ(s.stage, row.then);
    EXPECT_EQ(s.reached, row.reached);
    EXPECT_GE(s.path, row.least_path);
    EXPECT_LE(s.path, row.most_path);
    EXPECT_EQ(s.cycle, 0);
  }
}

// ESS = exp(-(c step)^2): however steep, the second probe or so finds a step that leaves what is wanted, and the whole
// way takes about as many steps as it must.
TEST(RetunePolicy, StepsFitASteepWay) {
  const RetuneOptions options;
  for (const double c : {0.5, 2.0, 6.0, 15.0}) {
    SCOPED_TRACE(c);
    RetuneState s;
    int probes = 0, steps = 0;
    double worst = 1;
    while (s.reached < 1) {
      ASSERT_LT(probes, 100);
      if (s.stage == Stage::kProbe) {
        ++probes;
        const double ess = std::exp(-std::pow(c * (s.path - s.reached), 2));
        const RetuneState next = Observed(options, s, {ess, 0});
        if (next.stage != Stage::kProbe) {
          ++steps;
          worst = std::min(worst, ess);
        }
        s = next;
      } else if (s.stage == Stage::kTrain) {
        s = Observed(options, s, {0.95, 0.001});
      } else {
        break;
      }
    }
    EXPECT_GE(worst, options.least_ess);
    EXPECT_LE(steps, 2 + static_cast<int>(c / std::sqrt(-std::log(options.aimed_ess)) * 1.4));
    EXPECT_LE(probes, steps + 4);
  }
}

TEST(RetunePolicy, OnTheWayItGoesOnWhenTheEssIsBackOrEnoughWasTried) {
  const RetuneOptions options;
  RetuneState s = At(Stage::kTrain, 0, 0.4);
  s.probed = options.aimed_ess;
  const double short_of_it = options.stage_ess - 0.1;
  s = Observed(options, s, {short_of_it, 0.01});
  EXPECT_EQ(s.stage, Stage::kTrain);
  EXPECT_EQ(s.cycle, 1);
  const RetuneState back = Observed(options, s, {options.stage_ess + 0.1, 0.01});
  EXPECT_EQ(back.stage, Stage::kProbe);
  EXPECT_EQ(back.reached, 0.4);
  EXPECT_NEAR(back.path, 0.8, 1e-12);  // the step that left what steps aim for
  for (int cycle = 1; cycle < options.stage_cycles; ++cycle) {
    EXPECT_EQ(s.stage, Stage::kTrain);
    s = Observed(options, s, {short_of_it, 0.01});
  }
  EXPECT_EQ(s.stage, Stage::kProbe);
}

TEST(RetunePolicy, AtTheEndItTrainsUntilTheEssIsThereOrNothingMoreComes) {
  const RetuneOptions options{.requested_ess = 0.9};
  RetuneState s = Observed(options, {}, {0.5, 0.01});
  ASSERT_EQ(s.stage, Stage::kTrain);
  EXPECT_EQ(s.best, 0.5);
  RetuneState before = s;
  s = Observed(options, s, {0.8, 0.01});
  EXPECT_TRUE(IsBest(before, s));
  EXPECT_EQ(s.cycle, 1);
  before = s;
  s = Observed(options, s, {0.79, 0.01});
  EXPECT_FALSE(IsBest(before, s));
  EXPECT_EQ(s.best, 0.8);
  EXPECT_EQ(s.barren, 1);
  // Within the error is not enough.
  EXPECT_EQ(Observed(options, s, {0.905, 0.01}).stage, Stage::kTrain);
  RetuneState there = Observed(options, s, {0.915, 0.01});
  EXPECT_EQ(there.stage, Stage::kEvaluate);
  EXPECT_EQ(Observed(options, there, {0.9, 0.001}).stage, Stage::kReached);
  EXPECT_EQ(Observed(options, there, {0.899, 0.001}).stage, Stage::kTrain);  // and on
  s = Observed(options, s, {0.803, 0.01});
  EXPECT_EQ(s.barren, 2);
  s = Observed(options, s, {0.801, 0.01});
  EXPECT_EQ(s.stage, Stage::kReport);
  EXPECT_EQ(Observed(options, s, {0.8, 0.01}).stage, Stage::kBest);
  EXPECT_EQ(Observed(options, s, {0.91, 0.01}).stage, Stage::kReached);
}

TEST(RetunePolicy, WhereItIsGoodEnoughAlreadyNothingIsTrained) {
  EXPECT_EQ(Observed({.requested_ess = 0.8}, {}, {0.85, 0.01}).stage, Stage::kEvaluate);
  EXPECT_EQ(Observed({.requested_ess = 0.8}, {}, {0.805, 0.01}).stage, Stage::kTrain);
}

TEST(RetunePolicy, AGuardLowersTheRateAndIsNotTriedForEver) {
  const RetuneOptions options;
  RetuneState s = At(Stage::kTrain, 0, 1);
  s = TrainingFailed(options, s);
  EXPECT_EQ(s.stage, Stage::kTrain);
  EXPECT_LT(NextAction(options, s).rate, 0.5);
  EXPECT_EQ(Observed(options, s, {0.5, 0.01}).failures, 0);
  for (int i = 1; i < options.max_failures; ++i) s = TrainingFailed(options, s);
  EXPECT_EQ(s.stage, Stage::kReport);
}

TEST(RetunePolicy, TheEndOfTheBudgetIsReportedFromWhereverItIs) {
  for (const Stage stage : {Stage::kProbe, Stage::kTrain, Stage::kEvaluate}) {
    EXPECT_EQ(OutOfTime(At(stage, 0, 0.3)).stage, Stage::kReport);
  }
  EXPECT_EQ(OutOfTime(At(Stage::kReached, 1, 1)).stage, Stage::kReached);
}

TEST(RetunePolicy, StatesAreNumbersAndBack) {
  RetuneState s = At(Stage::kTrain, 0.25, 0.5);
  s.probed = 0.4;
  s.cycle = 2;
  s.barren = 1;
  s.failures = 3;
  s.rate = 0.3;
  s.best = 0.1;
  s.best_error = 0.02;
  EXPECT_EQ(ToNumbers(*FromNumbers(ToNumbers(s))), ToNumbers(s));
  const std::vector<double> good = ToNumbers(s);
  for (size_t i = 0; i < good.size(); ++i) {
    for (const double bad : {-1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
      if (i == 9 && bad == -1) continue;
      std::vector<double> numbers = good;
      numbers[i] = bad;
      EXPECT_FALSE(FromNumbers(numbers).ok()) << i << " " << bad;
    }
  }
  EXPECT_FALSE(FromNumbers({}).ok());
}

}  // namespace
}  // namespace haarflow
