#include "core/train/retune_policy.h"

#include <algorithm>
#include <cmath>

#include "core/base/status.h"

namespace haarflow {
namespace {

constexpr size_t kNumbers = 10;
constexpr double kSlower = 0.3;  // learning rate after a failure

// How much longer a step that left `ess` should have been to leave `aim`: log ESS is about minus the variance of log w,
// which grows as the square of the step.
double Stretch(double ess, double aim) {
  const double there = -std::log(std::clamp(ess, 1e-6, 1 - 1e-6));
  return std::sqrt(-std::log(aim) / there);
}

RetuneState AfterProbe(const RetuneOptions& options, RetuneState s, const MeasuredEss& measured) {
  const double step = s.path - s.reached;
  if (measured.ess < options.least_ess && step > options.least_step) {
    const double shorter = step * std::clamp(Stretch(measured.ess, options.aimed_ess), 0.1, 0.7);
    s.path = s.reached + std::max(shorter, options.least_step);
    return s;
  }
  s.probed = measured.ess;
  s.cycle = s.barren = s.failures = 0;
  s.rate = 1;
  s.stage = RetuneStage::kTrain;
  if (s.path < 1) return s;
  s.best = measured.ess;
  s.best_error = measured.error;
  if (measured.ess - measured.error >= options.requested_ess) s.stage = RetuneStage::kEvaluate;
  return s;
}

RetuneState AfterCycleOnTheWay(const RetuneOptions& options, RetuneState s, const MeasuredEss& measured) {
  ++s.cycle;
  if (measured.ess < options.stage_ess && s.cycle < options.stage_cycles) return s;
  const double step = (s.path - s.reached) * std::clamp(Stretch(s.probed, options.aimed_ess), 0.5, 2.0);
  s.reached = s.path;
  s.path = s.reached + std::max(step, options.least_step);
  if (s.path > 1 - options.least_step) s.path = 1;
  s.stage = RetuneStage::kProbe;
  return s;
}

RetuneState AfterCycleAtTheEnd(const RetuneOptions& options, RetuneState s, const MeasuredEss& measured) {
  ++s.cycle;
  s.reached = 1;
  const double gain = measured.ess - s.best;
  s.barren = gain < std::max(options.least_gain, measured.error) ? s.barren + 1 : 0;
  if (gain > 0) {
    s.best = measured.ess;
    s.best_error = measured.error;
  }
  if (s.best - s.best_error >= options.requested_ess) {
    s.stage = RetuneStage::kEvaluate;
  } else if (s.barren >= options.patience) {
    s.stage = RetuneStage::kReport;
  }
  return s;
}

}  // namespace

RetuneAction NextAction(const RetuneOptions& /*options*/, const RetuneState& state) {
  return {state.stage, state.path, state.cycle, state.rate};
}

RetuneState Observed(const RetuneOptions& options, RetuneState s, MeasuredEss measured) {
  if (!std::isfinite(measured.ess)) measured.ess = 0;
  switch (s.stage) {
    case RetuneStage::kProbe:
      return AfterProbe(options, s, measured);
    case RetuneStage::kTrain:
      s.failures = 0;
      return s.path < 1 ? AfterCycleOnTheWay(options, s, measured) : AfterCycleAtTheEnd(options, s, measured);
    case RetuneStage::kEvaluate:
    case RetuneStage::kReport: {
      const bool reached = measured.ess >= options.requested_ess;
      const bool last = s.stage == RetuneStage::kReport;
      s.best = measured.ess;
      s.best_error = measured.error;
      s.stage = reached ? RetuneStage::kReached : last ? RetuneStage::kBest : RetuneStage::kTrain;
      return s;
    }
    default:
      return s;
  }
}

RetuneState TrainingFailed(const RetuneOptions& options, RetuneState s) {
  s.rate *= kSlower;
  if (++s.failures >= options.max_failures) s.stage = RetuneStage::kReport;
  return s;
}

RetuneState OutOfTime(RetuneState s) {
  if (s.stage < RetuneStage::kReport) s.stage = RetuneStage::kReport;
  return s;
}

bool IsBest(const RetuneState& before, const RetuneState& after) {
  return before.stage == RetuneStage::kTrain && before.path == 1 && after.best > before.best;
}

std::vector<double> ToNumbers(const RetuneState& s) {
  return {static_cast<double>(s.stage),
          s.reached,
          s.path,
          s.probed,
          static_cast<double>(s.cycle),
          static_cast<double>(s.barren),
          static_cast<double>(s.failures),
          s.rate,
          s.best,
          s.best_error};
}

absl::StatusOr<RetuneState> FromNumbers(const std::vector<double>& n) {
  const auto within = [](double x, double low, double high) { return x >= low && x <= high; };
  const auto count = [&](double x) { return within(x, 0, 1e6) && x == std::floor(x); };
  const bool good = n.size() == kNumbers && count(n[0]) && n[0] <= static_cast<double>(RetuneStage::kBest) &&
                    within(n[1], 0, 1) && within(n[2], n[1], 1) && within(n[3], 0, 1) && count(n[4]) && count(n[5]) &&
                    count(n[6]) && within(n[7], 0, 1) && within(n[8], 0, 1) && std::isfinite(n[9]);
  if (!good) return absl::DataLossError("the re-tuning state's policy numbers are out of range");
  return RetuneState{static_cast<RetuneStage>(n[0]), n[1], n[2], n[3], static_cast<int>(n[4]), static_cast<int>(n[5]),
                     static_cast<int>(n[6]),         n[7], n[8], n[9]};
}

}  // namespace haarflow
