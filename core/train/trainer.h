// The training loop: reverse KL by Adam over the phases of a spec's TrainingPlan, with guards and resumable state.
//
// Everything random is addressed by (training seed, sample index), so a resumed run continues the very sequence: after
// a kill and a resume, parameters and optimiser state equal those of an unbroken run bit for bit (same number of
// threads).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/model/safetensors.h"
#include "core/train/adam.h"
#include "core/train/gradient.h"

namespace haarflow {

struct TrainingProgress {
  uint64_t step = 0;  // over all phases
  uint64_t total_steps = 0;
  double loss = 0;  // mean(log q + S) of the last batch
  double ess = 0;   // of the weights of recent batches (exponential average); noisy and no quality claim
  double steps_per_second = 0;
  double seconds_left = 0;
};

struct TrainerOptions {
  int threads = 1;
  // Where the state is kept between steps (atomically replaced); empty: nowhere. A state of another spec is refused.
  std::string state_file;
  double seconds_between_saves = 30;
  // Stop early after so many seconds of this process, with what has been reached; 0: no limit.
  double max_seconds = 0;
  // Called about ten times a second; false stops after saving the state (CANCELLED).
  std::function<bool(const TrainingProgress&)> on_progress;
};

class Trainer {
 public:
  // A new model, or `start` = weights of another model with the same tensors. Resumes from options.state_file if it
  // exists. `gradient`: where gradients come from; the fused CPU kernels when null.
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(const std::string& spec_text, const TrainerOptions& options,
                                                         const TensorMap* start = nullptr,
                                                         std::unique_ptr<GradientSource> gradient = nullptr);

  // Runs to the end of the plan. ABORTED by a guard: NaN, log-weight variance exploding, or a mean loss below -log Z
  // where that is known (the optimiser lives on a wrong density); CANCELLED by on_progress or max_seconds == reached is
  // OK.
  absl::Status Run();

  const v1::ModelSpec& spec() const { return spec_; }
  const std::vector<double>& parameters() const { return parameters_; }
  const AdamState& optimiser() const { return adam_; }
  uint64_t steps_done() const { return step_; }
  double seconds() const { return seconds_; }
  // The weights as they are stored and served, in the networks' precision.
  TensorMap Weights() const;

 private:
  Trainer(v1::ModelSpec spec, U1FlowPlan plan, TrainerOptions options);
  absl::Status Step(const v1::TrainingPhase& phase, uint64_t step_in_phase);
  absl::Status CheckGuards(const BatchResult& batch);
  absl::Status SaveState() const;
  absl::Status LoadState();
  absl::Status UseWeights(const TensorMap& weights);

  v1::ModelSpec spec_;
  std::string spec_digest_;
  U1FlowPlan plan_;
  ParameterLayout layout_;
  TrainerOptions options_;
  std::unique_ptr<GradientSource> gradient_source_;
  std::vector<double> parameters_;
  AdamState adam_;
  uint64_t step_ = 0;
  uint64_t next_index_ = 0;
  double seconds_ = 0;  // of training, over all runs
  TrainingProgress progress_;
  // Guards.
  double first_variance_ = -1;
  double window_loss_ = 0;  // sums over the current window of steps
  double window_variance_ = 0;
  uint64_t window_samples_ = 0;
  uint64_t window_steps_ = 0;
};

// Quality on `samples` fresh proposals of the served map: ESS with a jackknife error, log Z, acceptance of a Metropolis
// chain over them. `beta` and lattice are those of the spec.
absl::StatusOr<v1::ModelCard> EvaluateModel(const v1::ModelSpec& spec, const TensorMap& weights, uint64_t samples,
                                            uint64_t seed, int threads);

}  // namespace haarflow
