// Re-tuning: a model's weights taken to other parameters of its theory, or another lattice, by the steps of
// RetunePolicy, with the training loop and the evaluation that every model goes through.
//
// Scalar flows and U(1) stacks are trained by cycles of Adam with the settings of the start's own plan, loop flows by
// Gauss-Newton steps on the small lattice of that plan. Everything random follows from the seed of the job's spec, so
// that a re-tuning that was killed and resumed from its last state continues as an unbroken one, with any number of
// threads and ranks, up to the moment at which the budget ends.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/model/safetensors.h"
#include "core/train/crew.h"
#include "core/train/retune_policy.h"
#include "core/train/trainable_flow.h"
#include "core/train/trainer.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

struct RetuneTask {
  StartingPoint start;
  std::string lineage;  // of the card: "name/version sha256:..."
  std::string note;     // added to the description of the result
  // The start's spec with the name and the target of the result.
  v1::ModelSpec spec;
  double budget_seconds = 600;
  RetuneOptions policy;
};

struct RetuneProgress {
  RetuneStage stage = RetuneStage::kProbe;
  std::string place;  // "lambda = 6.5": the parameters that change, as they are now
  double path = 0;
  double ess = 0;  // last measured on fresh samples
  double loss = 0;
  uint64_t step = 0;         // of training, over all cycles
  uint64_t total_steps = 0;  // when this cycle will be through
  double seconds = 0;        // spent of the budget
  double seconds_left = 0;
};

struct RetunerOptions {
  int threads = 1;
  Crew* crew = nullptr;  // the other ranks, where there are some; must outlive the retuner
  std::string scratch;   // a directory for files of the run
  double seconds_between_states = 15;
  // Called about ten times a second while training, and between actions; false stops at once (CANCELLED).
  std::function<bool(const RetuneProgress&)> on_progress;
  // A state to resume from: between actions, and while training.
  std::function<void(const std::string& bytes)> on_state;
};

// One line of how it went.
struct RetuneStep {
  double path = 0;
  double ess_before = 0;  // where the weights were taken, or before the cycle
  double ess_after = 0;   // 0: only probed
  uint64_t steps = 0;
};

struct RetuneResult {
  std::string spec_text;
  TensorMap weights;
  v1::ModelCard card;
  bool reached = false;
  std::string reason;  // why it ended, for people
  std::vector<RetuneStep> steps;
};

class Retuner {
 public:
  // `state`: of an earlier run of the same task, or empty. INVALID_ARGUMENT where the layers cannot start from the
  // start's, DATA_LOSS for a state that is none, FAILED_PRECONDITION for one of another task.
  static absl::StatusOr<std::unique_ptr<Retuner>> Create(RetuneTask task, const RetunerOptions& options,
                                                         const std::string& state);
  ~Retuner();

  // To the end: the ESS asked for, or the best within the budget.
  absl::StatusOr<RetuneResult> Run();
  uint64_t steps() const { return steps_; }  // of training that is through

 private:
  static constexpr uint64_t kLeastEvaluation = 2048, kMostEvaluation = 16384;  // samples

  Retuner(RetuneTask task, const RetunerOptions& options);
  StartingPoint Current() const;
  v1::ModelSpec StageSpec(double path) const;
  v1::ModelSpec ResultSpec() const;
  absl::StatusOr<TensorMap> Taken(double path) const;
  absl::StatusOr<MeasuredEss> Measure(double path, const TensorMap& weights);
  absl::Status Probe();
  absl::Status Train();
  absl::StatusOr<std::optional<RetuneResult>> Evaluate();
  std::string Reason(bool last, const v1::ModelCard& card) const;
  bool Report(const TrainingProgress* training);
  std::string State(bool with_trainer) const;
  absl::Status Restore(const std::string& state);
  std::string TrainerFile() const;
  Team team() const { return {options_.threads, options_.crew}; }
  double SecondsSpent() const;
  double TrainingSecondsLeft() const;

  const RetuneTask task_;
  const RetunerOptions options_;
  std::string fingerprint_;  // of the task; its first bytes are the seed
  RetuneState state_;
  TensorMap weights_;  // the start's, or what the last cycle left
  double weights_path_ = 0;
  TensorMap best_;  // at the end of the way; empty: none yet
  MeasuredEss measured_;
  uint64_t cycles_ = 0;
  uint64_t measurements_ = 0;
  uint64_t steps_ = 0;         // of cycles that are through
  uint64_t cycle_steps_ = 0;   // of the one that runs
  std::string failure_;        // what the last guard said
  double seconds_before_ = 0;  // spent by earlier runs
  uint64_t evaluation_samples_ = 0;
  double evaluation_seconds_ = 0;  // estimate
  double last_state_ = 0;
  std::vector<RetuneStep> log_;
  struct Clock;
  std::unique_ptr<Clock> clock_;
};

// The target at `path` on the way from `from` to `to`: parameters in between, the lattice of `to`.
v1::Target TargetOnTheWay(const v1::Target& from, const v1::Target& to, double path);
// The phase of one cycle: length and rate from the action, the rest from the plan of the model that is re-tuned.
v1::TrainingPhase CyclePhase(const v1::ModelSpec& spec, const RetuneAction& action);

}  // namespace haarflow
