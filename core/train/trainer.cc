#include "core/train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numbers>
#include <thread>

#include "core/base/file.h"
#include "core/base/noise.h"
#include "core/base/status.h"
#include "core/exact/estimate.h"
#include "core/exact/metropolis.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "core/model/spec.h"
#include "core/observable/observable.h"

namespace haarflow {
namespace {

using SteadyClock = std::chrono::steady_clock;
double SecondsSince(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

constexpr uint64_t kMaxStateBytes = uint64_t{8} << 30;
constexpr uint64_t kGuardWindow = 100;  // steps

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

Trainer::Trainer(v1::ModelSpec spec, U1FlowPlan plan, TrainerOptions options)
    : spec_(std::move(spec)), plan_(std::move(plan)), layout_(plan_), options_(std::move(options)) {}

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(const std::string& spec_text, const TrainerOptions& options,
                                                         const TensorMap* start,
                                                         std::unique_ptr<GradientSource> gradient) {
  ASSIGN_OR_RETURN(v1::ModelSpec spec, ParseSpec(spec_text));
  for (const auto& phase : spec.training().phases()) {
    if (phase.batch() % 16 != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("training.phases: batch ", phase.batch(), " is not a multiple of 16"));
    }
  }
  ASSIGN_OR_RETURN(U1FlowPlan plan, PlanU1Flow(spec));
  std::unique_ptr<Trainer> trainer(new Trainer(std::move(spec), std::move(plan), options));
  trainer->spec_digest_ = Sha256Of(spec_text).Hex();
  trainer->gradient_source_ = std::move(gradient);
  if (trainer->gradient_source_ == nullptr) {
    ASSIGN_OR_RETURN(trainer->gradient_source_, MakeFusedGradient(trainer->plan_, options.threads));
  }
  trainer->parameters_ = trainer->layout_.InitialValues(trainer->plan_, trainer->spec_.training().seed());
  trainer->adam_.m.assign(trainer->layout_.size(), 0.0);
  trainer->adam_.v.assign(trainer->layout_.size(), 0.0);
  if (start != nullptr) RETURN_IF_ERROR(trainer->UseWeights(*start));
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
  TrainingBatch batch;
  batch.seed = spec_.training().seed();
  batch.first_index = next_index_;
  batch.n = phase.batch();
  batch.beta = spec_.target().u1_wilson().beta();
  batch.path_gradient = phase.estimator() == v1::GRADIENT_ESTIMATOR_PATH;
  std::vector<double> gradient;
  BatchResult result;
  RETURN_IF_ERROR(gradient_source_->Evaluate(parameters_, batch, &gradient, &result));
  next_index_ += phase.batch();
  RETURN_IF_ERROR(CheckGuards(result));
  const double norm = ClipNorm(phase.clip_norm(), &gradient);
  if (!std::isfinite(norm))
    return absl::AbortedError("the gradient is not finite; lower the learning rate or set clip_norm");
  AdamOptions adam;
  adam.learning_rate = LearningRate(phase, step_in_phase);
  if (phase.adam_beta1() > 0) adam.beta1 = phase.adam_beta1();
  if (phase.adam_beta2() > 0) adam.beta2 = phase.adam_beta2();
  AdamStep(adam, gradient, &adam_, &parameters_);
  return absl::OkStatus();
}

absl::Status Trainer::CheckGuards(const BatchResult& batch) {
  WeightStatistics weights;
  double mean = 0, square = 0;
  const double n = static_cast<double>(batch.log_q.size());
  for (size_t i = 0; i < batch.log_q.size(); ++i) {
    const double log_w = -batch.log_q[i] - batch.action[i];
    if (!std::isfinite(log_w)) {
      return absl::AbortedError(
          absl::StrCat("log w of sample ", i, " is ", log_w, "; lower the learning rate or set clip_norm"));
    }
    weights.Add(log_w);
    mean += log_w / n;
    square += log_w * log_w / n;
  }
  const double variance = std::max(0.0, square - mean * mean);
  progress_.loss = -mean;
  progress_.ess = step_ == 0 ? weights.Ess() : 0.98 * progress_.ess + 0.02 * weights.Ess();
  if (first_variance_ < 0) first_variance_ = variance;
  if (variance > 100 * (first_variance_ + 10)) {
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
  const auto exact = ExactLogZ(spec_.target());
  if (exact.has_value() && loss < -*exact - 6 * sigma - 1e-9 * std::abs(*exact)) {
    return absl::AbortedError(absl::StrCat("mean loss ", loss, " +- ", sigma, " lies below -log Z = ", -*exact,
                                           ": log q is not the density of the map (a bug; please report the spec)"));
  }
  return absl::OkStatus();
}

TensorMap Trainer::Weights() const {
  TensorMap tensors;
  for (const ParameterBlock& block : layout_.blocks()) {
    const std::vector<double> values(parameters_.begin() + block.offset,
                                     parameters_.begin() + block.offset + block.size);
    tensors[block.name] = Tensor::FromDoubles(block.double_network ? Tensor::Type::kFloat64 : Tensor::Type::kFloat32,
                                              block.shape, values);
  }
  return tensors;
}

absl::Status Trainer::UseWeights(const TensorMap& weights) {
  for (const ParameterBlock& block : layout_.blocks()) {
    const auto it = weights.find(block.name);
    if (it == weights.end() || it->second.shape != block.shape) {
      return absl::InvalidArgumentError(absl::StrCat("training.start_from: tensor '", block.name,
                                                     "' is missing or has another shape; the layers must be the same"));
    }
    ASSIGN_OR_RETURN(const std::vector<double> values, it->second.ToDoubles());
    std::copy(values.begin(), values.end(), parameters_.begin() + block.offset);
  }
  return absl::OkStatus();
}

absl::Status Trainer::SaveState() const {
  if (options_.state_file.empty()) return absl::OkStatus();
  TensorMap tensors;
  tensors["parameters"] = Doubles(parameters_);
  tensors["adam.m"] = Doubles(adam_.m);
  tensors["adam.v"] = Doubles(adam_.v);
  // Counters below 2^53 are exact as float64.
  tensors["counters"] =
      Doubles({static_cast<double>(step_), static_cast<double>(next_index_), static_cast<double>(adam_.steps), seconds_,
               first_variance_, window_loss_, window_variance_, static_cast<double>(window_samples_),
               static_cast<double>(window_steps_), progress_.ess});
  return WriteFileAtomically(
      options_.state_file, WriteSafetensors(tensors, {{"spec_sha256", spec_digest_}, {"format", "training-state-1"}}));
}

absl::Status Trainer::LoadState() {
  if (options_.state_file.empty()) return absl::OkStatus();
  const auto bytes = ReadFile(options_.state_file, kMaxStateBytes);
  if (absl::IsNotFound(bytes.status())) return absl::OkStatus();
  RETURN_IF_ERROR(bytes.status());
  StringMap metadata;
  ASSIGN_OR_RETURN(const TensorMap tensors, ReadSafetensors(*bytes, &metadata));
  if (metadata["format"] != "training-state-1" || metadata["spec_sha256"] != spec_digest_) {
    return absl::FailedPreconditionError(absl::StrCat(
        options_.state_file, " is the state of another spec; remove it, or train with the spec that it belongs to"));
  }
  const size_t n = parameters_.size();
  ASSIGN_OR_RETURN(parameters_, TakeDoubles(tensors, "parameters", n));
  ASSIGN_OR_RETURN(adam_.m, TakeDoubles(tensors, "adam.m", n));
  ASSIGN_OR_RETURN(adam_.v, TakeDoubles(tensors, "adam.v", n));
  ASSIGN_OR_RETURN(const std::vector<double> counters, TakeDoubles(tensors, "counters", 10));
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
  return absl::OkStatus();
}

// ---------------------------------------------------------------------------------------------------------- evaluation

namespace {

// Log-weights of proposals 0 .. samples - 1 of one seed.
absl::StatusOr<std::vector<double>> DrawLogWeights(const Model& model, uint64_t samples, uint64_t seed, int threads) {
  constexpr uint64_t kBatch = 1024;
  std::vector<double> log_weight(samples);
  std::vector<absl::Status> status(threads);
  const auto work = [&](int t) {
    Proposals proposals;
    for (uint64_t first = t * kBatch; first < samples && status[t].ok(); first += threads * kBatch) {
      const uint64_t n = std::min(kBatch, samples - first);
      std::vector<uint64_t> seeds(n, seed), index(n);
      for (uint64_t i = 0; i < n; ++i) index[i] = first + i;
      status[t] = model.Draw(model.target(), seeds, index, &proposals);
      if (!status[t].ok()) return;
      for (uint64_t i = 0; i < n; ++i) log_weight[first + i] = proposals.LogWeight(static_cast<int64_t>(i));
    }
  };
  std::vector<std::thread> running;
  for (int t = 1; t < threads; ++t) running.emplace_back(work, t);
  work(0);
  for (auto& thread : running) thread.join();
  for (const auto& s : status) RETURN_IF_ERROR(s);
  return log_weight;
}

// Jackknife error of the ESS over `kBins` interleaved bins.
double EssError(const std::vector<double>& log_weight) {
  constexpr size_t kBins = 64;
  std::vector<double> ess;
  for (size_t left_out = 0; left_out < kBins; ++left_out) {
    WeightStatistics rest;
    for (size_t i = 0; i < log_weight.size(); ++i) {
      if (i % kBins != left_out) rest.Add(log_weight[i]);
    }
    ess.push_back(rest.Ess());
  }
  double mean = 0, square = 0;
  for (double e : ess) mean += e / kBins;
  for (double e : ess) square += (e - mean) * (e - mean);
  return std::sqrt(square * (kBins - 1) / kBins);
}

}  // namespace

absl::StatusOr<v1::ModelCard> EvaluateModel(const v1::ModelSpec& spec, const TensorMap& weights, uint64_t samples,
                                            uint64_t seed, int threads) {
  ASSIGN_OR_RETURN(const auto model, Model::Create(spec, weights, CpuKernels(), 0));
  ASSIGN_OR_RETURN(const std::vector<double> log_weight, DrawLogWeights(*model, samples, seed, threads));
  MetropolisChain chain(seed, 0, 0);
  PartitionEstimator partition;
  for (double w : log_weight) {
    chain.Look(w);
    partition.Add(w);
  }
  v1::ModelCard card;
  *card.mutable_quality() = chain.Statistics().quality();
  card.mutable_quality()->set_ess_error(EssError(log_weight));
  card.set_log_z(partition.LogZ());
  card.set_log_z_error(partition.LogZError());
  card.set_mean_log_weight(partition.MeanLogWeight());
  card.set_mean_log_weight_error(partition.MeanLogWeightError());
  card.set_parameters(model->parameters());
  card.set_code_version(HAARFLOW_VERSION);
  card.set_device(model->numerics_class());
  return card;
}

}  // namespace haarflow
