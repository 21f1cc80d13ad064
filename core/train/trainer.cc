#include "core/train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numbers>
#include <optional>

#include "core/base/file.h"
#include "core/base/noise.h"
#include "core/base/status.h"
#include "core/exact/weights.h"
#include "core/model/spec.h"
#include "core/observable/observable.h"
#include "core/train/evaluate.h"
#include "core/train/ranked.h"

namespace haarflow {
namespace {

using SteadyClock = std::chrono::steady_clock;
double SecondsSince(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

constexpr uint64_t kMaxStateBytes = uint64_t{8} << 30;
constexpr uint64_t kGuardWindow = 100;  // steps
constexpr uint64_t kMaxWildSteps = 10;
constexpr uint64_t kIntegrationCheckSteps = 500;
constexpr int32_t kDefaultIntegrationSteps = 8;
// Fields of the target that forward KL draws its batches from, and the most numbers they may hold.
constexpr int64_t kForwardSamples = 16384;
constexpr int64_t kMaxSampleNumbers = int64_t{1} << 26;
constexpr uint32_t kForwardDof = 0xFFFFFE00u;  // of kTraining: above any site's

double LearningRate(const v1::TrainingPhase& phase, uint64_t step) {
  const double done = static_cast<double>(step) / static_cast<double>(phase.steps());
  const double last = phase.final_learning_rate_factor();
  double rate = phase.learning_rate();
  if (phase.schedule() == v1::LEARNING_RATE_SCHEDULE_COSINE) {
    rate *= last + (1 - last) * 0.5 * (1 + std::cos(std::numbers::pi * done));
  } else if (phase.schedule() == v1::LEARNING_RATE_SCHEDULE_EXPONENTIAL) {
    rate *= std::pow(last, done);
  }
  if (step < phase.warmup_steps()) rate *= static_cast<double>(step + 1) / static_cast<double>(phase.warmup_steps());
  return rate;
}

uint64_t TotalSteps(const v1::ModelSpec& spec) {
  uint64_t total = 0;
  for (const auto& phase : spec.training().phases()) total += phase.steps();
  return total;
}

Tensor Doubles(const std::vector<double>& values) {
  return Tensor::FromDoubles(Tensor::Type::kFloat64, {static_cast<int64_t>(values.size())}, values);
}

absl::StatusOr<std::vector<double>> TakeDoubles(const TensorMap& tensors, const std::string& name, size_t size) {
  const auto it = tensors.find(name);
  if (it == tensors.end()) return absl::DataLossError(absl::StrCat("the training state lacks '", name, "'"));
  ASSIGN_OR_RETURN(std::vector<double> values, it->second.ToDoubles());
  if (values.size() != size) {
    return absl::DataLossError(
        absl::StrCat("the training state's '", name, "' has ", values.size(), " numbers instead of ", size));
  }
  return values;
}

}  // namespace

int32_t IntegrationSteps(const v1::TrainingPhase& phase) {
  return phase.integration_steps() == 0 ? kDefaultIntegrationSteps : static_cast<int32_t>(phase.integration_steps());
}

Trainer::Trainer(v1::ModelSpec spec, std::unique_ptr<TrainableFlow> flow, TrainerOptions options)
    : spec_(std::move(spec)), flow_(std::move(flow)), options_(std::move(options)) {}

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(const std::string& spec_text, const TrainerOptions& options,
                                                         const StartingPoint* start,
                                                         std::unique_ptr<GradientSource> gradient) {
  ASSIGN_OR_RETURN(v1::ModelSpec spec, ParseSpec(spec_text));
  for (const auto& phase : spec.training().phases()) {
    if (phase.batch() % 16 != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("training.phases: batch ", phase.batch(), " is not a multiple of 16"));
    }
  }
  ASSIGN_OR_RETURN(auto flow, MakeTrainableFlow(spec));
  std::unique_ptr<Trainer> trainer(new Trainer(std::move(spec), std::move(flow), options));
  trainer->spec_digest_ = Sha256Of(spec_text).Hex();
  trainer->gradient_source_ = std::move(gradient);
  if (trainer->gradient_source_ == nullptr && trainer->flow_->loop_plan() == nullptr) {
    if (options.crew != nullptr) {
      trainer->gradient_source_ = MakeRankedGradient(trainer->spec_, options.crew);
    } else {
      ASSIGN_OR_RETURN(trainer->gradient_source_, trainer->flow_->MakeGradient(options.threads));
    }
  }
  if (start != nullptr) {
    ASSIGN_OR_RETURN(trainer->parameters_, trainer->flow_->StartFrom(*start));
  } else {
    trainer->parameters_ = trainer->flow_->InitialValues(trainer->spec_.training().seed());
  }
  trainer->average_ = trainer->parameters_;
  trainer->scales_ = trainer->flow_->ParameterScales();
  trainer->adam_.m.assign(trainer->parameters_.size(), 0.0);
  trainer->adam_.v.assign(trainer->parameters_.size(), 0.0);
  RETURN_IF_ERROR(trainer->LoadState());
  return trainer;
}

absl::Status Trainer::Run() {
  const uint64_t total = TotalSteps(spec_);
  const auto start = SteadyClock::now();
  auto last_save = start, last_report = start;
  const double seconds_before = seconds_;
  const uint64_t step_before = step_;
  uint64_t first_of_phase = 0;
  for (const auto& phase : spec_.training().phases()) {
    for (; step_ < first_of_phase + phase.steps(); ++step_) {
      if (step_ < first_of_phase) break;
      RETURN_IF_ERROR(Annotate(Step(phase, step_ - first_of_phase), absl::StrCat("training step ", step_ + 1)));
      seconds_ = seconds_before + SecondsSince(start);
      progress_.step = step_ + 1;
      progress_.total_steps = total;
      progress_.steps_per_second = static_cast<double>(step_ + 1 - step_before) / std::max(1e-9, SecondsSince(start));
      progress_.seconds_left = static_cast<double>(total - step_ - 1) / progress_.steps_per_second;
      const bool out_of_time = options_.max_seconds > 0 && SecondsSince(start) > options_.max_seconds;
      bool go_on = true;
      if (options_.on_progress != nullptr && (SecondsSince(last_report) > 0.1 || step_ + 1 == total || out_of_time)) {
        last_report = SteadyClock::now();
        go_on = options_.on_progress(progress_);
      }
      if (!go_on || out_of_time || SecondsSince(last_save) > options_.seconds_between_saves) {
        ++step_;
        const absl::Status saved = SaveState();
        --step_;
        RETURN_IF_ERROR(saved);
        last_save = SteadyClock::now();
      }
      if (!go_on || out_of_time) {
        ++step_;
        return go_on ? absl::OkStatus()
                     : absl::CancelledError(absl::StrCat("stopped after step ", step_, " of ", total));
      }
    }
    first_of_phase += phase.steps();
  }
  return SaveState();
}

absl::Status Trainer::Step(const v1::TrainingPhase& phase, uint64_t step_in_phase) {
  if (flow_->loop_plan() != nullptr) {
    // Regressions do not look at the integrated log w.
    if (!phase.has_gauss_newton()) return TrivialisingRegression(phase);
    RETURN_IF_ERROR(GaussNewton(phase, step_in_phase));
    const bool last = step_in_phase + 1 == phase.steps();
    return last && flow_->is_integrated() ? CheckIntegration(phase) : absl::OkStatus();
  }
  TrainingBatch batch;
  batch.seed = spec_.training().seed();
  batch.first_index = next_index_;
  batch.n = phase.batch();
  batch.action = ActionNumbers(spec_.target());
  batch.path_gradient = phase.estimator() == v1::GRADIENT_ESTIMATOR_PATH;
  batch.integration_steps = IntegrationSteps(phase);
  batch.kinetic_penalty = phase.kinetic_penalty();
  batch.keep_fields = phase.forward_weight() > 0 && phase.forward_samples() == v1::FORWARD_SAMPLES_METROPOLIS;
  std::vector<double> gradient(parameters_.size(), 0.0);
  BatchResult drawn;
  if (phase.forward_weight() < 1) {
    RETURN_IF_ERROR(gradient_source_->Evaluate(parameters_, batch, &gradient, &drawn));
    RETURN_IF_ERROR(CheckGuards(drawn));
  }
  if (phase.forward_weight() > 0) RETURN_IF_ERROR(AddForwardGradient(phase, batch, drawn, &gradient));
  next_index_ += phase.batch();
  for (size_t i = 0; i < scales_.size(); ++i) gradient[i] *= scales_[i];
  const double norm = ClipNorm(phase.clip_norm(), &gradient);
  if (!std::isfinite(norm))
    return absl::AbortedError("the gradient is not finite; lower the learning rate or set clip_norm");
  AdamOptions adam;
  adam.learning_rate = LearningRate(phase, step_in_phase);
  if (phase.adam_beta1() > 0) adam.beta1 = phase.adam_beta1();
  if (phase.adam_beta2() > 0) adam.beta2 = phase.adam_beta2();
  AdamStep(adam, gradient, scales_, &adam_, &parameters_);
  // Young averages forget their start faster.
  const double decay =
      std::min(phase.average_decay(), static_cast<double>(step_in_phase) / static_cast<double>(step_in_phase + 10));
  for (size_t i = 0; i < parameters_.size(); ++i) average_[i] += (1 - decay) * (parameters_[i] - average_[i]);
  const bool look = (step_in_phase + 1) % kIntegrationCheckSteps == 0 || step_in_phase + 1 == phase.steps();
  return look && flow_->is_integrated() ? CheckIntegration(phase) : absl::OkStatus();
}

// Mixes the gradient of E_p[-log q] in: batches of the target's fields, chosen by addressed noise, or the states of the
// flow's own chains.
absl::Status Trainer::AddForwardGradient(const v1::TrainingPhase& phase, TrainingBatch batch, const BatchResult& drawn,
                                         std::vector<double>* gradient) {
  const int64_t size = FieldSize(spec_.target());
  const bool own = phase.forward_samples() == v1::FORWARD_SAMPLES_METROPOLIS;
  std::vector<double> fields;
  if (own) {
    if (static_cast<int64_t>(chains_.size()) != batch.n * size) chains_ = drawn.field;  // every chain opens
    batch.samples = chains_.data();
  } else {
    if (samples_.n == 0 || samples_from_ != phase.forward_samples()) {
      const int64_t wanted = std::clamp<int64_t>(kMaxSampleNumbers / size, 16, kForwardSamples);
      const auto sampler =
          phase.forward_samples() == v1::FORWARD_SAMPLES_HMC ? TargetSampler::kHmc : TargetSampler::kCluster;
      ASSIGN_OR_RETURN(samples_, DrawTargetSamples(spec_.target(), wanted, batch.seed, team(), sampler));
      samples_from_ = phase.forward_samples();
    }
    fields.resize(batch.n * size);
    for (int64_t i = 0; i < batch.n; ++i) {
      const uint64_t index = batch.first_index + static_cast<uint64_t>(i);
      const double u = UniformNoise(batch.seed, NoisePurpose::kTraining, index, kForwardDof);
      const auto at = static_cast<int64_t>(u * static_cast<double>(samples_.n));
      std::copy_n(samples_.field.begin() + at * size, size, fields.begin() + i * size);
    }
    batch.samples = fields.data();
  }
  batch.keep_fields = false;
  std::vector<double> forward;
  BatchResult states;
  RETURN_IF_ERROR(gradient_source_->Evaluate(parameters_, batch, &forward, &states));
  if (phase.forward_weight() == 1) RETURN_IF_ERROR(CheckGuards(states));
  for (size_t i = 0; i < forward.size(); ++i) {
    (*gradient)[i] = (1 - phase.forward_weight()) * (*gradient)[i] + phase.forward_weight() * forward[i];
  }
  if (own) UpdateChains(drawn, states, batch.first_index);
  return absl::OkStatus();
}

// One independence-Metropolis step of every chain, both weights with the flow as it is: leaves the target invariant
// while the flow changes.
void Trainer::UpdateChains(const BatchResult& drawn, const BatchResult& states, uint64_t first_index) {
  const int64_t size = FieldSize(spec_.target());
  for (size_t i = 0; i < drawn.log_q.size(); ++i) {
    const double proposed = -drawn.action[i] - drawn.log_q[i], open = -states.action[i] - states.log_q[i];
    const double u = UniformNoise(spec_.training().seed(), NoisePurpose::kAccept, first_index + i, 0);
    if (!(std::log1p(-u) <= proposed - open)) continue;
    const int64_t at = static_cast<int64_t>(i) * size;
    std::copy_n(drawn.field.begin() + at, size, chains_.begin() + at);
  }
}

// E_q[log q + S] >= -log Z holds for densities, and log q from too few steps is none: then the optimiser may find what
// the integrator gets wrong. Both sides are taken from the same proposals, log Z at twice the steps.
absl::Status Trainer::CheckIntegration(const v1::TrainingPhase& phase) const {
  constexpr uint64_t kSamples = 1024;
  const int32_t steps = IntegrationSteps(phase);
  const uint64_t seed = spec_.training().seed() ^ 0x5EEDu;
  std::vector<double> log_weight[2];
  for (int i = 0; i < 2; ++i) {
    ASSIGN_OR_RETURN(log_weight[i],
                     DrawLogWeights(spec_, flow_->Weights(parameters_, steps << i), kSamples, seed, team()));
  }
  constexpr size_t kBins = 32;
  std::vector<double> excess(kBins);  // loss + log Z without one bin: the divergence, never negative
  double mean = 0, square = 0;
  for (size_t bin = 0; bin < kBins; ++bin) {
    WeightStatistics fine;
    double sum = 0, count = 0;
    for (size_t i = 0; i < kSamples; ++i) {
      if (i % kBins == bin) continue;
      fine.Add(log_weight[1][i]);
      sum -= log_weight[0][i];
      ++count;
    }
    excess[bin] = sum / count + fine.LogZ();
    mean += excess[bin] / kBins;
  }
  for (double e : excess) square += (e - mean) * (e - mean);
  const double error = std::sqrt(square * (kBins - 1) / kBins);
  if (!(mean < -6 * error - 1e-9)) return absl::OkStatus();
  return absl::AbortedError(
      absl::StrCat("the mean loss at ", steps, " integration steps lies ", -mean, " +- ", error,
                   " below -log Z: the optimiser lives on integration error; raise integration_steps",
                   spec_.target().has_phi4() ? " or kinetic_penalty" : ""));
}

absl::Status Trainer::CheckGuards(const BatchResult& batch) {
  // A conditional flow has another target for every tile: weights compare within one.
  const bool conditional = spec_.conditioning_size() > 0;
  const size_t group = conditional ? 16 : batch.log_q.size();
  const double groups = static_cast<double>(batch.log_q.size() / group);
  double mean = 0, variance = 0, ess = 0;
  for (size_t first = 0; first < batch.log_q.size(); first += group) {
    WeightStatistics weights;
    double sum = 0, square = 0;
    for (size_t i = first; i < first + group; ++i) {
      const double log_w = -batch.log_q[i] - batch.action[i];
      if (!std::isfinite(log_w)) {
        return absl::AbortedError(
            absl::StrCat("log w of sample ", i, " is ", log_w, "; lower the learning rate or set clip_norm"));
      }
      weights.Add(log_w);
      sum += log_w / static_cast<double>(group);
      square += log_w * log_w / static_cast<double>(group);
    }
    mean += sum / groups;
    variance += std::max(0.0, square - sum * sum) / groups;
    ess += weights.Ess() / groups;
  }
  progress_.loss = -mean;
  progress_.ess = step_ == 0 ? ess : 0.98 * progress_.ess + 0.02 * ess;
  if (first_variance_ < 0) first_variance_ = variance;
  // One wild field is no explosion: weights may have a tail.
  wild_steps_ = variance > 100 * (first_variance_ + 10) ? wild_steps_ + 1 : 0;
  if (wild_steps_ == kMaxWildSteps) {
    return absl::AbortedError(absl::StrCat("the variance of log w grew from ", first_variance_, " to ", variance,
                                           "; lower the learning rate or set clip_norm"));
  }
  // Mean over a window, so that a lucky batch is no alarm: E_q[log q + S] >= -log Z always.
  window_loss_ += -mean;
  window_variance_ += variance;
  window_samples_ += batch.log_q.size();
  if (++window_steps_ < kGuardWindow) return absl::OkStatus();
  const double loss = window_loss_ / static_cast<double>(window_steps_);
  const double sigma =
      std::sqrt(window_variance_ / static_cast<double>(window_steps_) / static_cast<double>(window_samples_));
  window_loss_ = window_variance_ = 0;
  window_samples_ = window_steps_ = 0;
  const auto exact = conditional ? std::nullopt : ExactLogZ(spec_.target());
  if (exact.has_value() && loss < -*exact - 6 * sigma - 1e-9 * std::abs(*exact)) {
    return absl::AbortedError(absl::StrCat("mean loss ", loss, " +- ", sigma, " lies below -log Z = ", -*exact,
                                           ": log q is not the density of the map (a bug; please report the spec)"));
  }
  return absl::OkStatus();
}

TensorMap Trainer::Weights(int32_t steps) const {
  const auto& phases = spec_.training().phases();
  if (steps == 0) steps = phases.empty() ? kDefaultIntegrationSteps : IntegrationSteps(*phases.rbegin());
  return flow_->Weights(average_, steps);
}

absl::Status Trainer::SaveState() const {
  if (options_.state_file.empty()) return absl::OkStatus();
  TensorMap tensors;
  tensors["parameters"] = Doubles(parameters_);
  tensors["average"] = Doubles(average_);
  tensors["chains"] = Doubles(chains_);
  tensors["adam.m"] = Doubles(adam_.m);
  tensors["adam.v"] = Doubles(adam_.v);
  // Counters below 2^53 are exact as float64.
  tensors["counters"] =
      Doubles({static_cast<double>(step_), static_cast<double>(next_index_), static_cast<double>(adam_.steps), seconds_,
               first_variance_, window_loss_, window_variance_, static_cast<double>(window_samples_),
               static_cast<double>(window_steps_), progress_.ess, static_cast<double>(wild_steps_), damping_});
  return WriteFileAtomically(
      options_.state_file, WriteSafetensors(tensors, {{"spec_sha256", spec_digest_}, {"format", "training-state-3"}}));
}

absl::Status Trainer::LoadState() {
  if (options_.state_file.empty()) return absl::OkStatus();
  const auto bytes = ReadFile(options_.state_file, kMaxStateBytes);
  if (absl::IsNotFound(bytes.status())) return absl::OkStatus();
  RETURN_IF_ERROR(bytes.status());
  StringMap metadata;
  ASSIGN_OR_RETURN(const TensorMap tensors, ReadSafetensors(*bytes, &metadata));
  if (metadata["format"] != "training-state-3" || metadata["spec_sha256"] != spec_digest_) {
    return absl::FailedPreconditionError(absl::StrCat(
        options_.state_file, " is the state of another spec; remove it, or train with the spec that it belongs to"));
  }
  const size_t n = parameters_.size();
  ASSIGN_OR_RETURN(parameters_, TakeDoubles(tensors, "parameters", n));
  ASSIGN_OR_RETURN(average_, TakeDoubles(tensors, "average", n));
  ASSIGN_OR_RETURN(adam_.m, TakeDoubles(tensors, "adam.m", n));
  ASSIGN_OR_RETURN(adam_.v, TakeDoubles(tensors, "adam.v", n));
  if (const auto chains = tensors.find("chains"); chains != tensors.end()) {
    ASSIGN_OR_RETURN(chains_, chains->second.ToDoubles());
  }
  ASSIGN_OR_RETURN(const std::vector<double> counters, TakeDoubles(tensors, "counters", 12));
  step_ = static_cast<uint64_t>(counters[0]);
  next_index_ = static_cast<uint64_t>(counters[1]);
  adam_.steps = static_cast<int64_t>(counters[2]);
  seconds_ = counters[3];
  first_variance_ = counters[4];
  window_loss_ = counters[5];
  window_variance_ = counters[6];
  window_samples_ = static_cast<uint64_t>(counters[7]);
  window_steps_ = static_cast<uint64_t>(counters[8]);
  progress_.ess = counters[9];
  wild_steps_ = static_cast<uint64_t>(counters[10]);
  damping_ = counters[11];
  return absl::OkStatus();
}

}  // namespace haarflow
