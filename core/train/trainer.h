// The training loop: Kullback-Leibler divergences by Adam over the phases of a spec's TrainingPlan, with guards and
// resumable state.
//
// Everything random is addressed by (training seed, sample index), so a resumed run continues the very sequence: after
// a kill and a resume, parameters and optimiser state equal those of an unbroken run bit for bit, with any number of
// threads and ranks.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/model/safetensors.h"
#include "core/train/adam.h"
#include "core/train/crew.h"
#include "core/train/gradient.h"
#include "core/train/log_weight.h"
#include "core/train/target_samples.h"
#include "core/train/trainable_flow.h"

namespace haarflow {

struct TrainingProgress {
  uint64_t step = 0;  // over all phases
  uint64_t total_steps = 0;
  double loss = 0;  // mean(log q + S) of the last batch that the flow drew
  // Of the weights of recent batches (of conditional flows: of tiles of 16), exponential average: noisy, no quality
  // claim.
  double ess = 0;
  double steps_per_second = 0;
  double seconds_left = 0;
};

struct TrainerOptions {
  int threads = 1;
  Crew* crew = nullptr;  // the other ranks, where there are some; must outlive the trainer
  // Where the state is kept between steps (atomically replaced); empty: nowhere. A state of another spec is refused.
  std::string state_file;
  double seconds_between_saves = 30;
  // Stop early after so many seconds of this process, with what has been reached; 0: no limit.
  double max_seconds = 0;
  // Called about ten times a second; false stops after saving the state (CANCELLED).
  std::function<bool(const TrainingProgress&)> on_progress;
};

// Runge-Kutta steps of continuous flows while they train.
int32_t IntegrationSteps(const v1::TrainingPhase& phase);

class Trainer {
 public:
  // A new model, or from `start`, another model with the same layers. Resumes from options.state_file if it exists.
  // `gradient`: where gradients come from; the fused CPU kernels, here and on other ranks, when null.
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(const std::string& spec_text, const TrainerOptions& options,
                                                         const StartingPoint* start = nullptr,
                                                         std::unique_ptr<GradientSource> gradient = nullptr);

  // Runs to the end of the plan. ABORTED by a guard: NaN, log-weight variance exploding, or a mean loss below -log Z
  // (the optimiser lives on a wrong density): against the exact log Z where it is known, for integrated flows against
  // log Z at twice the integration steps; CANCELLED by on_progress or max_seconds == reached is OK.
  absl::Status Run();

  const v1::ModelSpec& spec() const { return spec_; }
  const std::vector<double>& parameters() const { return parameters_; }
  const AdamState& optimiser() const { return adam_; }
  uint64_t steps_done() const { return step_; }
  double seconds() const { return seconds_; }
  // The weights as they are stored and served, in the networks' precision: of the moving average where the plan asks
  // for one. `steps`: of integrated flows; 0: those of the last phase.
  TensorMap Weights(int32_t steps = 0) const;
  bool is_integrated() const { return flow_->is_integrated(); }

 private:
  Trainer(v1::ModelSpec spec, std::unique_ptr<TrainableFlow> flow, TrainerOptions options);
  absl::Status Step(const v1::TrainingPhase& phase, uint64_t step_in_phase);
  absl::Status GaussNewton(const v1::TrainingPhase& phase, uint64_t step_in_phase);
  absl::Status TrivialisingRegression(const v1::TrainingPhase& phase);
  absl::Status AddForwardGradient(const v1::TrainingPhase& phase, TrainingBatch batch, const BatchResult& drawn,
                                  std::vector<double>* gradient);
  void UpdateChains(const BatchResult& drawn, const BatchResult& states, uint64_t first_index);
  absl::Status CheckGuards(const BatchResult& batch);
  absl::Status CheckIntegration(const v1::TrainingPhase& phase) const;
  absl::Status SaveState() const;
  absl::Status LoadState();
  Team team() const { return {options_.threads, options_.crew}; }

  v1::ModelSpec spec_;
  std::string spec_digest_;
  std::unique_ptr<TrainableFlow> flow_;
  TrainerOptions options_;
  std::unique_ptr<GradientSource> gradient_source_;
  std::vector<double> scales_;
  std::vector<double> parameters_;
  std::vector<double> average_;  // exponential moving average, where the phase asks for one; else the parameters
  AdamState adam_;
  // For forward KL: drawn when a phase first asks, or the states of the flow's own chains.
  TargetSamples samples_;
  v1::ForwardSamples samples_from_ = v1::FORWARD_SAMPLES_UNSPECIFIED;
  std::vector<double> chains_;
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
  uint64_t wild_steps_ = 0;  // in a row
  // Of Gauss-Newton phases: log w and its derivatives on the lattice and with the sweeps of the phase.
  double damping_ = 0.01;
  std::unique_ptr<LogWeightSource> log_weights_;
  const v1::TrainingPhase* log_weights_of_ = nullptr;
};

}  // namespace haarflow
