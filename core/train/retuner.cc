#include "core/train/retuner.h"

#include <google/protobuf/text_format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/base/noise.h"
#include "core/base/status.h"
#include "core/flow/spectral_plan.h"
#include "core/model/spec.h"
#include "core/train/evaluate.h"

namespace haarflow {
namespace {

constexpr double kEvaluationShare = 0.25;  // of the budget, at most

std::string Text(const v1::ModelSpec& spec) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(spec, &text);
  return text;
}

uint64_t Word(const std::string& bytes) {
  uint64_t word = 0;
  std::memcpy(&word, bytes.data(), sizeof word);
  return word;
}

uint64_t DerivedSeed(uint64_t seed, uint64_t index) {
  const auto block = NoiseBlock(seed, NoisePurpose::kSeed, index, 0);
  return uint64_t{block[1]} << 32 | block[0];
}

// Fresh samples behind one measurement on the way: as many as cost about as much everywhere.
uint64_t MeasuringSamples(const v1::Target& target) {
  double work = target.has_sun_wilson() ? 16 : 1;
  for (const uint32_t extent : target.lattice().shape()) work *= extent;
  return static_cast<uint64_t>(std::clamp(262144 / work, 256.0, 2048.0)) / 256 * 256;
}

// The parameters in which two targets differ, as they are in `here`.
std::string Place(const v1::Target& from, const v1::Target& to, const v1::Target& here) {
  const auto a = TheoryParameters(from), b = TheoryParameters(to), c = TheoryParameters(here);
  std::vector<std::string> parts;
  for (size_t i = 0; i < c.size(); ++i) {
    const bool same = i < a.size() && i < b.size() && a[i] == b[i];
    if (!same) parts.push_back(absl::StrFormat("%s = %.6g", c[i].first, c[i].second));
  }
  return parts.empty() ? DescribeTheory(here) : absl::StrJoin(parts, ", ");
}

}  // namespace

struct Retuner::Clock {
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); }
};

v1::Target TargetOnTheWay(const v1::Target& from, const v1::Target& to, double path) {
  v1::Target target = to;
  const auto a = TheoryParameters(from), b = TheoryParameters(to);
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (a[i].first != b[i].first || path >= 1) continue;
    SetTheoryParameter(b[i].first, a[i].second + path * (b[i].second - a[i].second), &target).IgnoreError();
  }
  return target;
}

v1::TrainingPhase CyclePhase(const v1::ModelSpec& spec, const RetuneAction& action) {
  const auto& plan = spec.training().phases();
  v1::TrainingPhase phase = plan.empty() ? v1::TrainingPhase() : *plan.rbegin();
  const int cycle = std::min(action.cycle, 5);
  if (spec.target().has_sun_wilson() && !IsSpectral(spec)) {
    phase.clear_trivialising_regression();
    v1::GaussNewton& step = *phase.mutable_gauss_newton();
    if (step.shape().empty()) {
      for (const uint32_t extent : spec.target().lattice().shape()) step.add_shape(std::min(extent, 4u));
    }
    step.clear_beta();
    step.clear_sweeps();
    step.set_damping(0.01 / action.rate);
    for (const auto& p : plan) phase.set_batch(std::max(phase.batch(), p.batch()));
    if (phase.batch() == 0) phase.set_batch(2048);
    phase.set_steps(cycle == 0 ? 2 : 3);
    if (cycle > 1) phase.set_batch(2 * phase.batch());
    return phase;
  }
  // Plans end with small rates, to polish; taken to another place, a flow has further to go. Too large a rate is
  // noticed by the trainer's guards, and lowered.
  const bool scalar = spec.target().has_phi4(), u1 = spec.target().has_u1_wilson();
  double rate = scalar ? 0.01 : u1 ? 0.002 : 0.001;
  for (const auto& p : plan) {
    rate = std::max(rate, p.learning_rate());
    phase.set_integration_steps(std::max(phase.integration_steps(), p.integration_steps()));
  }
  if (plan.empty()) {
    phase.set_batch(scalar ? 64 : 256);
    phase.set_estimator(v1::GRADIENT_ESTIMATOR_PATH);
    phase.set_clip_norm(10);
    phase.set_adam_beta2(0.99);
    if (scalar) phase.set_kinetic_penalty(1e-3);
    if (scalar) phase.set_integration_steps(12);
  }
  // A field of U(1) is hundreds of plaquettes split by the same maps: few fields at first, more to polish.
  if (u1) phase.set_batch(std::min(phase.batch(), uint32_t{16} << cycle));
  phase.set_learning_rate(rate * action.rate * std::pow(0.7, cycle));
  phase.set_schedule(v1::LEARNING_RATE_SCHEDULE_COSINE);
  phase.set_final_learning_rate_factor(0.05);
  phase.set_steps(uint64_t{200} << cycle);
  phase.set_warmup_steps(20);
  return phase;
}

Retuner::Retuner(RetuneTask task, const RetunerOptions& options)
    : task_(std::move(task)), options_(options), weights_(task_.start.weights), clock_(std::make_unique<Clock>()) {
  fingerprint_ = Sha256Of(absl::StrCat(Text(task_.spec), "\n", task_.lineage, "\n", task_.policy.requested_ess)).Hex();
}
Retuner::~Retuner() = default;

absl::StatusOr<std::unique_ptr<Retuner>> Retuner::Create(RetuneTask task, const RetunerOptions& options,
                                                         const std::string& state) {
  if (task.spec.prior().has_perfect()) {
    return absl::InvalidArgumentError("a perfect sampler has nothing to train: it is served for every beta");
  }
  task.spec.mutable_training()->clear_start_from();
  RETURN_IF_ERROR(ValidateSpec(task.spec));
  // The layers must be able to start from the start's, before anything is run.
  ASSIGN_OR_RETURN(const auto flow, MakeTrainableFlow(task.spec));
  RETURN_IF_ERROR(flow->StartFrom(task.start).status());
  std::unique_ptr<Retuner> retuner(new Retuner(std::move(task), options));
  ::unlink(retuner->TrainerFile().c_str());
  if (!state.empty()) RETURN_IF_ERROR(retuner->Restore(state));
  return retuner;
}

double Retuner::SecondsSpent() const { return seconds_before_ + clock_->seconds(); }
double Retuner::TrainingSecondsLeft() const {
  return task_.budget_seconds - std::min(evaluation_seconds_, 0.5 * task_.budget_seconds) - SecondsSpent();
}

absl::StatusOr<RetuneResult> Retuner::Run() {
  while (true) {
    if (!Report(nullptr)) {
      if (options_.on_state) options_.on_state(State(false));
      return absl::CancelledError("stopped");
    }
    if (state_.stage < RetuneStage::kReport && TrainingSecondsLeft() <= 0) state_ = OutOfTime(state_);
    switch (state_.stage) {
      case RetuneStage::kProbe:
        RETURN_IF_ERROR(Probe());
        break;
      case RetuneStage::kTrain:
        RETURN_IF_ERROR(Train());
        if (options_.on_state) options_.on_state(State(false));
        last_state_ = clock_->seconds();
        break;
      default:
        ASSIGN_OR_RETURN(std::optional<RetuneResult> result, Evaluate());
        if (result.has_value()) return *std::move(result);
    }
  }
}

StartingPoint Retuner::Current() const {
  if (cycles_ == 0) return task_.start;
  return {StageSpec(weights_path_), weights_};
}

v1::ModelSpec Retuner::StageSpec(double path) const {
  v1::ModelSpec spec = task_.spec;
  *spec.mutable_target() = TargetOnTheWay(task_.start.spec.target(), task_.spec.target(), path);
  spec.clear_description();
  spec.mutable_training()->clear_phases();
  spec.mutable_training()->set_seed(DerivedSeed(Word(fingerprint_), 2 * cycles_));
  return spec;
}

// The present weights as they begin at `path`.
absl::StatusOr<TensorMap> Retuner::Taken(double path) const {
  const v1::ModelSpec spec = StageSpec(path);
  ASSIGN_OR_RETURN(const auto flow, MakeTrainableFlow(spec));
  ASSIGN_OR_RETURN(const std::vector<double> parameters, flow->StartFrom(Current()));
  return flow->Weights(parameters, IntegrationSteps(CyclePhase(task_.spec, {})));
}

absl::StatusOr<MeasuredEss> Retuner::Measure(double path, const TensorMap& weights) {
  const v1::ModelSpec spec = StageSpec(path);
  const uint64_t samples = MeasuringSamples(spec.target());
  const uint64_t seed = DerivedSeed(Word(fingerprint_), 2 * measurements_++ + 1);
  const double before = clock_->seconds();
  ASSIGN_OR_RETURN(const std::vector<double> log_weight, DrawLogWeights(spec, weights, samples, seed, team()));
  // Evaluation draws its samples, those of the certificate and of the other side: some four times as many.
  const double each = (clock_->seconds() - before) / static_cast<double>(samples);
  const uint64_t planned = task_.spec.training().evaluation_samples();
  const uint64_t most = planned == 0 ? kMostEvaluation : std::clamp(planned, kLeastEvaluation, kMostEvaluation);
  const double affordable = kEvaluationShare * task_.budget_seconds / (4 * each);
  evaluation_samples_ =
      affordable < static_cast<double>(most) ? std::max(kLeastEvaluation, static_cast<uint64_t>(affordable)) : most;
  evaluation_seconds_ = 4 * each * static_cast<double>(evaluation_samples_);
  measured_ = QualityOf(log_weight);
  return measured_;
}

absl::Status Retuner::Probe() {
  ASSIGN_OR_RETURN(const TensorMap weights, Taken(state_.path));
  ASSIGN_OR_RETURN(const MeasuredEss ess, Measure(state_.path, weights));
  const bool at_end = state_.path == 1;
  log_.push_back({state_.path, ess.ess, 0, 0});
  state_ = Observed(task_.policy, state_, ess);
  if (at_end && state_.stage != RetuneStage::kProbe) best_ = weights;
  return absl::OkStatus();
}

absl::Status Retuner::Train() {
  const v1::TrainingPhase phase = CyclePhase(task_.spec, NextAction(task_.policy, state_));
  v1::ModelSpec spec = StageSpec(state_.path);
  *spec.mutable_training()->add_phases() = phase;
  TrainerOptions options;
  options.threads = options_.threads;
  options.crew = options_.crew;
  options.state_file = TrainerFile();
  options.seconds_between_saves = options_.seconds_between_states;
  options.max_seconds = std::max(0.01, TrainingSecondsLeft());
  options.on_progress = [this](const TrainingProgress& p) { return Report(&p); };
  const StartingPoint start = Current();
  ASSIGN_OR_RETURN(const auto trainer, Trainer::Create(Text(spec), options, &start));
  cycle_steps_ = phase.steps();
  const absl::Status status = trainer->Run();
  if (absl::IsCancelled(status)) {
    if (options_.on_state) options_.on_state(State(true));
    return status;
  }
  ::unlink(options.state_file.c_str());
  if (absl::IsAborted(status)) {
    state_ = TrainingFailed(task_.policy, state_);
    failure_ = std::string(status.message());
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(status);
  const TensorMap weights = trainer->Weights();
  ASSIGN_OR_RETURN(const MeasuredEss ess, Measure(state_.path, weights));
  steps_ += trainer->steps_done();
  log_.push_back({state_.path, 0, ess.ess, trainer->steps_done()});
  ++cycles_;
  weights_path_ = state_.path;
  weights_ = weights;
  const RetuneState before = state_;
  state_ = Observed(task_.policy, state_, ess);
  if (IsBest(before, state_)) best_ = weights;
  return absl::OkStatus();
}

absl::StatusOr<std::optional<RetuneResult>> Retuner::Evaluate() {
  const bool last = state_.stage == RetuneStage::kReport;
  if (best_.empty()) {
    ASSIGN_OR_RETURN(best_, Taken(1));
    ASSIGN_OR_RETURN(const MeasuredEss ess, Measure(1, best_));  // for the number of samples
    (void)ess;
  }
  const uint64_t seed = DerivedSeed(Word(fingerprint_), 2 * measurements_++ + 1);
  v1::ModelSpec spec = ResultSpec();
  TensorMap weights = best_;
  if (const auto steps = weights.find("steps"); steps != weights.end()) {
    ASSIGN_OR_RETURN(const int32_t certified, CertifiedSteps(spec, weights, seed + 3, team()));
    steps->second = Tensor::FromDoubles(Tensor::Type::kFloat64, {1}, {static_cast<double>(certified)});
  }
  ASSIGN_OR_RETURN(v1::ModelCard card, EvaluateModel(spec, weights, evaluation_samples_, seed, team()));
  measured_ = {card.quality().ess(), card.quality().ess_error()};
  state_ = Observed(task_.policy, state_, measured_);
  if (state_.stage == RetuneStage::kTrain) return std::optional<RetuneResult>();
  card.set_training_steps(steps_);
  card.set_training_seconds(SecondsSpent());
  card.set_lineage(task_.lineage);
  RetuneResult result;
  result.reached = state_.stage == RetuneStage::kReached && card.unreliable_reason().empty();
  result.reason = Reason(last, card);
  result.spec_text = Text(spec);
  result.weights = std::move(weights);
  result.card = std::move(card);
  result.steps = log_;
  return std::optional<RetuneResult>(std::move(result));
}

std::string Retuner::Reason(bool last, const v1::ModelCard& card) const {
  const std::string ess =
      absl::StrFormat("ESS %.4f +- %.4f on %d fresh samples, %.4f asked for", card.quality().ess(),
                      card.quality().ess_error(), card.quality().samples(), task_.policy.requested_ess);
  if (!card.unreliable_reason().empty()) return absl::StrCat(ess, "; not reliable: ", card.unreliable_reason());
  if (state_.stage == RetuneStage::kReached) return ess;
  if (!last) return ess;
  if (TrainingSecondsLeft() <= 0) {
    const std::string where =
        cycles_ > 0 && weights_path_ < 1
            ? absl::StrCat(", with training no further than ",
                           Place(task_.start.spec.target(), task_.spec.target(), StageSpec(weights_path_).target()))
            : "";
    return absl::StrFormat("%s: the budget of %g s is spent%s", ess, task_.budget_seconds, where);
  }
  if (state_.failures > 0) return absl::StrCat(ess, ": training was stopped again and again (", failure_, ")");
  return absl::StrCat(ess, ": ", task_.policy.patience, " cycles in a row brought nothing more");
}

v1::ModelSpec Retuner::ResultSpec() const {
  v1::ModelSpec spec = task_.spec;
  const v1::Target& from = task_.start.spec.target();
  std::vector<std::string> way = {Place(from, spec.target(), from)};
  for (const RetuneStep& step : log_) {
    std::string place = Place(from, spec.target(), TargetOnTheWay(from, spec.target(), step.path));
    if (step.steps > 0 && place != way.back()) way.push_back(std::move(place));
  }
  const std::string reference = task_.lineage.substr(0, task_.lineage.find(' '));
  spec.set_description(absl::StrCat("re-tuned from ", reference, ": ", absl::StrJoin(way, " -> "), "; ", steps_,
                                    " steps in ", cycles_, " cycles", task_.note.empty() ? "" : "; ", task_.note));
  spec.mutable_training()->set_start_from(reference);
  spec.mutable_training()->set_seed(Word(fingerprint_));
  return spec;
}

bool Retuner::Report(const TrainingProgress* training) {
  if (training != nullptr && options_.on_state && clock_->seconds() - last_state_ > options_.seconds_between_states) {
    options_.on_state(State(true));
    last_state_ = clock_->seconds();
  }
  if (!options_.on_progress) return true;
  RetuneProgress p;
  p.stage = state_.stage;
  p.path = state_.path;
  p.place = Place(task_.start.spec.target(), task_.spec.target(), StageSpec(state_.path).target());
  p.ess = measured_.ess;
  p.step = steps_;
  p.total_steps = steps_;
  if (training != nullptr) {
    p.loss = training->loss;
    p.step += training->step;
    p.total_steps += cycle_steps_;
  }
  p.seconds = SecondsSpent();
  p.seconds_left = std::max(0.0, task_.budget_seconds - p.seconds);
  return options_.on_progress(p);
}

}  // namespace haarflow
