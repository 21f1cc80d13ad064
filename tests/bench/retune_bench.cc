// Adaptive re-tuning beside the naive way: the same model taken to the same parameters, by the steps that the policy
// chooses (core/train/retune_policy.h) and in equal steps with the same number of training steps in all; in one step is
// the plain "start from those weights". Both train with the same cycles of the same optimiser.
//
//   retune_bench --model phi4-l6-e1 --set lambda=4.2 --ess 0.9 --seconds 120 --fixed 1 2 4 8
//
// A line for each way: training steps and seconds, the smallest ESS that weights had where they were taken, before they
// were trained there, and what came of it on fresh samples, with what speaks against it.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/base/status.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "core/model/spec.h"
#include "core/model/store.h"
#include "core/train/evaluate.h"
#include "core/train/retuner.h"
#include "google/protobuf/text_format.h"

namespace haarflow {
namespace {

constexpr uint64_t kSamples = 8192;  // behind the last ESS of every way
constexpr uint64_t kOnTheWay = 2048;

struct Settings {
  std::string store = HAARFLOW_MODELS;
  std::string model;
  std::vector<std::string> set;
  double ess = 0.9;
  double seconds = 600;
  int threads = 1;
  std::vector<int> fixed = {1, 2, 4};
  std::string scratch = "/tmp";
};

double Since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string Text(const v1::ModelSpec& spec) {
  std::string text;
  google::protobuf::TextFormat::PrintToString(spec, &text);
  return text;
}

struct Way {
  std::string name;
  uint64_t steps = 0;
  int places = 0;
  double seconds = 0;
  double least_arrival = 1;
  std::string guard;  // what stopped it
};

absl::StatusOr<double> EssOf(const v1::ModelSpec& spec, const TensorMap& weights, int threads) {
  ASSIGN_OR_RETURN(const auto model, Model::Create(spec, weights, CpuKernels(), 0));
  ASSIGN_OR_RETURN(const auto log_weight, DrawLogWeights(*model, spec.target(), kOnTheWay, 77, threads));
  return QualityOf(log_weight).ess;
}

absl::Status Print(const Way& way, const v1::ModelSpec& spec, TensorMap weights, int threads) {
  if (const auto steps = weights.find("steps"); steps != weights.end()) {
    const auto certified = CertifiedSteps(spec, weights, 3, threads);
    if (certified.ok()) {
      steps->second = Tensor::FromDoubles(Tensor::Type::kFloat64, {1}, {static_cast<double>(*certified)});
    }
  }
  ASSIGN_OR_RETURN(const v1::ModelCard card, EvaluateModel(spec, weights, kSamples, 11, threads));
  std::printf("%-12s %7d %8llu %9.1f %16.4f %10.4f +- %.4f %11.1f %%  %s%s\n", way.name.c_str(), way.places,
              static_cast<unsigned long long>(way.steps), way.seconds, way.least_arrival, card.quality().ess(),
              card.quality().ess_error(), 100 * card.quality().acceptance(), way.guard.c_str(),
              card.unreliable_reason().c_str());
  std::fflush(stdout);
  return absl::OkStatus();
}

// The steps of training that it took.
absl::StatusOr<uint64_t> Adaptive(const Settings& settings, const RetuneTask& task) {
  RetunerOptions options;
  options.threads = settings.threads;
  options.scratch = settings.scratch;
  const auto start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const auto retuner, Retuner::Create(task, options, ""));
  ASSIGN_OR_RETURN(const RetuneResult result, retuner->Run());
  Way way{.name = "adaptive", .steps = result.card.training_steps(), .seconds = Since(start)};
  double probed = 1, place = -1;
  for (const RetuneStep& step : result.steps) {
    if (step.steps == 0) {
      probed = step.ess_before;
    } else if (step.path != place) {  // the first training there
      place = step.path;
      ++way.places;
      way.least_arrival = std::min(way.least_arrival, probed);
    }
  }
  ASSIGN_OR_RETURN(const v1::ModelSpec spec, ParseSpec(result.spec_text));
  RETURN_IF_ERROR(Print(way, spec, result.weights, settings.threads));
  return way.steps;
}

absl::Status Fixed(const Settings& settings, const RetuneTask& task, int places, uint64_t steps) {
  Way way{.name = absl::StrCat(places, " equal"), .places = places};
  const auto start = std::chrono::steady_clock::now();
  StartingPoint now = task.start;
  for (int k = 1; k <= places && way.guard.empty(); ++k) {
    v1::ModelSpec spec = task.spec;
    *spec.mutable_target() =
        TargetOnTheWay(task.start.spec.target(), task.spec.target(), static_cast<double>(k) / places);
    spec.mutable_training()->clear_phases();
    spec.mutable_training()->clear_start_from();
    spec.mutable_training()->set_seed(static_cast<uint64_t>(100 + k));
    v1::TrainingPhase phase = CyclePhase(task.spec, {RetuneStage::kTrain, 1, 0, 1});
    ASSIGN_OR_RETURN(const auto flow, MakeTrainableFlow(spec));
    ASSIGN_OR_RETURN(const auto parameters, flow->StartFrom(now));
    const TensorMap taken = flow->Weights(parameters, IntegrationSteps(phase));
    ASSIGN_OR_RETURN(const double arrival, EssOf(spec, taken, settings.threads));
    way.least_arrival = std::min(way.least_arrival, arrival);
    const auto up_to = [&](int n) { return steps * static_cast<uint64_t>(n) / static_cast<uint64_t>(places); };
    phase.set_steps(std::max<uint64_t>(up_to(k) - up_to(k - 1), 1));
    v1::ModelSpec plan = spec;
    *plan.mutable_training()->add_phases() = phase;
    TrainerOptions options;
    options.threads = settings.threads;
    ASSIGN_OR_RETURN(const auto trainer, Trainer::Create(Text(plan), options, &now));
    const absl::Status trained = trainer->Run();
    way.steps += trainer->steps_done();
    if (absl::IsAborted(trained)) {
      way.guard = absl::StrCat("stopped at place ", k, ": ", trained.message(), ". ");
      now = {spec, taken};
    } else {
      RETURN_IF_ERROR(trained);
      now = {spec, trainer->Weights()};
    }
  }
  way.seconds = Since(start);
  if (!way.guard.empty()) {  // what there is, taken the rest of the way
    ASSIGN_OR_RETURN(const auto flow, MakeTrainableFlow(task.spec));
    ASSIGN_OR_RETURN(const auto parameters, flow->StartFrom(now));
    now.weights = flow->Weights(parameters, IntegrationSteps(CyclePhase(task.spec, {})));
  }
  return Print(way, task.spec, now.weights, settings.threads);
}

absl::Status Run(const Settings& settings) {
  ASSIGN_OR_RETURN(const ModelStore store, ModelStore::Open(settings.store));
  ASSIGN_OR_RETURN(const StoredModel stored, store.LoadChampion(settings.model));
  RetuneTask task;
  task.start = {stored.spec, stored.weights};
  task.lineage = absl::StrCat(settings.model, "/", stored.manifest.version, " sha256:", stored.manifest.digest.Hex());
  task.spec = stored.spec;
  for (const std::string& pair : settings.set) {
    const std::vector<std::string> parts = absl::StrSplit(pair, '=');
    double value = 0;
    if (parts.size() != 2 || !absl::SimpleAtod(parts[1], &value)) {
      return absl::InvalidArgumentError(absl::StrCat("--set takes NAME=NUMBER, not ", pair));
    }
    RETURN_IF_ERROR(SetTheoryParameter(parts[0], value, task.spec.mutable_target()));
  }
  task.spec.mutable_training()->set_evaluation_samples(kSamples);
  task.spec.mutable_training()->clear_start_from();
  task.budget_seconds = settings.seconds;
  task.policy.requested_ess = settings.ess;
  std::printf("%s: %s -> %s\n", settings.model.c_str(), DescribeTheory(stored.spec.target()).c_str(),
              DescribeTheory(task.spec.target()).c_str());
  std::printf("%-12s %7s %8s %9s %16s %21s %13s\n", "way", "places", "steps", "seconds", "least on arrival", "ESS",
              "acceptance");
  ASSIGN_OR_RETURN(const uint64_t steps, Adaptive(settings, task));
  for (const int places : settings.fixed) {
    if (places < 1) return absl::InvalidArgumentError("--fixed takes numbers of steps");
    RETURN_IF_ERROR(Fixed(settings, task, places, steps));
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace haarflow

int main(int argc, char** argv) {
  haarflow::Settings settings;
  CLI::App app{"Adaptive re-tuning beside equal steps of the same cost"};
  app.add_option("--store", settings.store, "model store");
  app.add_option("--model", settings.model, "where to start")->required();
  app.add_option("--set", settings.set, "NAME=NUMBER, a parameter of the theory")->required();
  app.add_option("--ess", settings.ess, "asked for of the adaptive way");
  app.add_option("--seconds", settings.seconds, "its budget");
  app.add_option("--fixed", settings.fixed, "numbers of equal steps");
  app.add_option("--threads", settings.threads);
  app.add_option("--scratch", settings.scratch, "a directory for files of the run");
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = haarflow::Run(settings);
  if (status.ok()) return 0;
  std::fprintf(stderr, "retune_bench: %s\n", std::string(status.message()).c_str());
  return 1;
}
