// What a re-tuning does next: a pure function of what it has seen.
//
// The way leads from the parameters that the weights were trained for (path = 0) to those asked for (path = 1). Taking
// weights straight to another coupling collapses them (the variance of log w grows as the square of the distance), and
// a reverse divergence cannot train what it no longer sees. So the length of every step is set by the ESS that the
// weights have where they are taken, before they are trained there: a step that leaves less than least_ess is made
// shorter, the next one is as long as the last one suggests. Training for long on the way is time lost for its end
// (tests/bench/retuning.md): steps are as long as the measured ESS can still be trusted. At the end of the way training
// goes on in cycles, each twice as long as the one before, until the ESS asked for is there, the budget is spent, or
// several in a row have brought nothing.
//
//   RetuneState state;
//   while (true) {
//     const RetuneAction action = NextAction(options, state);
//     ... do it, measure the ESS on fresh samples ...
//     state = Observed(options, state, {ess, error});
//   }
//
// States are plain numbers: they go into the file that an interrupted re-tuning resumes from.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/train/evaluate.h"

namespace haarflow {

struct RetuneOptions {
  double requested_ess = 0.8;
  double least_ess = 0.05;      // of weights at a new place, before training there
  double aimed_ess = 0.15;      // what steps are chosen for
  double stage_ess = 0.3;       // enough, on the way, to go on
  int stage_cycles = 2;         // most cycles at a place on the way
  double least_step = 1. / 64;  // taken whatever comes of it
  int patience = 3;             // cycles at the end without improvement
  double least_gain = 0.002;    // what counts as one, and no less than its error
  int max_failures = 6;         // of training, in a row
};

enum class RetuneStage : int {
  kProbe = 0,     // measure the present weights at `path`
  kTrain = 1,     // one cycle of training at `path`, then measure
  kEvaluate = 2,  // measure the best weights at the end of the way, with all samples; may send back to training
  kReport = 3,    // the same, for the last time
  kReached = 4,   // done: the ESS asked for is there
  kBest = 5,      // done: it is not
};

struct RetuneState {
  RetuneStage stage = RetuneStage::kProbe;
  double reached = 0;  // where the weights have been trained for
  double path = 1;     // where they are tried or trained
  double probed = 1;   // ESS of the last probe that was good enough
  int cycle = 0;       // of training at this place
  int barren = 0;      // cycles at the end without improvement, in a row
  int failures = 0;    // in a row
  double rate = 1;     // factor of the learning rate
  double best = 0;     // ESS at the end of the way, and its error
  double best_error = 0;
};

struct RetuneAction {
  RetuneStage stage = RetuneStage::kProbe;
  double path = 1;
  int cycle = 0;    // for its length: 2^cycle
  double rate = 1;  // factor of the learning rate
};

RetuneAction NextAction(const RetuneOptions& options, const RetuneState& state);
// What was measured after that action.
RetuneState Observed(const RetuneOptions& options, RetuneState state, MeasuredEss measured);
// The action was training, and a guard stopped it: it is tried again from the same weights at a lower rate, and after
// max_failures given up.
RetuneState TrainingFailed(const RetuneOptions& options, RetuneState state);
// The budget is spent.
RetuneState OutOfTime(RetuneState state);
// Whether training at the end has just improved on what is known: its weights are then the best ones.
bool IsBest(const RetuneState& before, const RetuneState& after);

std::vector<double> ToNumbers(const RetuneState& state);
// DATA_LOSS for numbers that are no state.
absl::StatusOr<RetuneState> FromNumbers(const std::vector<double>& numbers);

}  // namespace haarflow
