// haarflow-trainer: makes models. `train SPEC --store DIR` trains a spec's plan, evaluates the result on fresh samples
// and publishes it; `evaluate MODEL --store DIR` measures a published one again; `work --server ADDR` takes re-tuning
// jobs from a server. Under mpirun, or `srun --mpi=pmix`, all processes train one model: rank 0 does what is said here,
// the others compute with it.
#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>

#include "absl/strings/str_format.h"
#include "core/base/file.h"
#include "core/base/noise.h"
#include "core/base/status.h"
#include "core/flow/scalar_plan.h"
#include "core/flow/spectral_plan.h"
#include "core/flow/u1_plan.h"
#include "core/model/spec.h"
#include "core/model/store.h"
#include "core/train/crew.h"
#include "core/train/evaluate.h"
#include "core/train/trainer.h"
#include "server/trainer/mpi_ranks.h"
#include "server/trainer/now.h"
#ifdef HAARFLOW_WITH_SERVICE
#include "client/token.h"
#include "server/trainer/worker.h"
#endif

namespace haarflow {
namespace {

std::atomic<bool> interrupted = false;
void OnSignal(int) { interrupted = true; }

std::string Duration(double seconds) {
  const auto s = static_cast<int64_t>(seconds);
  return s >= 3600 ? absl::StrFormat("%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60)
                   : absl::StrFormat("%d:%02d", s / 60, s % 60);
}

// One line, rewritten on a terminal, printed every ten seconds elsewhere.
class ProgressLine {
 public:
  void Show(const TrainingProgress& p) {
    const bool terminal = ::isatty(STDERR_FILENO) == 1;
    const auto now = std::chrono::steady_clock::now();
    if (!terminal && p.step != p.total_steps && now - last_ < std::chrono::seconds(10)) return;
    last_ = now;
    const double fraction = static_cast<double>(p.step) / static_cast<double>(std::max<uint64_t>(1, p.total_steps));
    std::string bar;
    if (terminal) {
      const int filled = static_cast<int>(24 * fraction);
      bar = absl::StrFormat("[%s%s] ", std::string(filled, '#'), std::string(24 - filled, '.'));
    }
    absl::FPrintF(stderr, "%s%s%3.0f%%  step %d/%d  ESS %.3f  loss %.4f  %.1f steps/s  %s left%s",
                  terminal ? "\r\033[K" : "", bar, 100 * fraction, p.step, p.total_steps, p.ess, p.loss,
                  p.steps_per_second, Duration(p.seconds_left), terminal && p.step != p.total_steps ? "" : "\n");
    std::fflush(stderr);
  }

 private:
  std::chrono::steady_clock::time_point last_;
};

struct TrainArguments {
  std::string spec_file;
  std::string store;
  std::string state_file;
  int threads = 0;  // 0: DefaultThreads
  Crew* crew = nullptr;
  double max_seconds = 0;
  double save_seconds = 30;
  bool keep_champion = false;
  Team team() const { return {threads, crew}; }
};

void PrintCard(const v1::ModelCard& card, uint64_t samples, double seconds) {
  absl::PrintF("ESS %.4f +- %.4f  acceptance %.4f  log Z %.5f +- %.5f  (%d fresh samples; %s of training)\n",
               card.quality().ess(), card.quality().ess_error(), card.quality().acceptance(), card.log_z(),
               card.log_z_error(), samples, Duration(seconds));
  if (card.steps() > 0) {
    absl::PrintF("served with %d Runge-Kutta steps: error of log w %.1e (mean), %.1e (sigma)\n", card.steps(),
                 card.log_q_error_mean(), card.log_q_error_sigma());
  }
  if (card.forward_samples() > 0) {
    absl::PrintF("on %d fields of the target: forward ESS %.4f  log Z %.5f +- %.5f\n", card.forward_samples(),
                 card.forward_ess(), card.forward_log_z(), card.forward_log_z_error());
  }
  for (const v1::ConditionalQuality& q : card.conditional()) {
    absl::PrintF("  %s: ESS %.4f +- %.4f  log Z %.5f +- %.5f\n", DescribeTarget(q.target()), q.ess(), q.ess_error(),
                 q.log_z(), q.log_z_error());
  }
  if (!card.unreliable_reason().empty()) absl::PrintF("NOT RELIABLE: %s\n", card.unreliable_reason());
}

// What training leaves.
struct Trained {
  TensorMap weights;
  std::string lineage = "scratch";
  uint64_t steps = 0;
  double seconds = 0;
};

absl::StatusOr<Trained> RunTraining(const std::string& text, const v1::ModelSpec& spec, const TrainArguments& args,
                                    const std::string& state_file, uint64_t evaluation_seed, const ModelStore& store) {
  Trained trained;
  std::optional<StartingPoint> start;
  if (!spec.training().start_from().empty()) {
    ASSIGN_OR_RETURN(StoredModel parent, store.LoadByReference(spec.training().start_from()));
    trained.lineage =
        absl::StrCat(parent.manifest.model, "/", parent.manifest.version, " sha256:", parent.manifest.digest.Hex());
    start = StartingPoint{std::move(parent.spec), std::move(parent.weights)};
  }
  TrainerOptions options;
  options.threads = args.threads;
  options.crew = args.crew;
  options.max_seconds = args.max_seconds;
  options.seconds_between_saves = args.save_seconds;
  options.state_file = state_file;
  ProgressLine line;
  options.on_progress = [&line](const TrainingProgress& p) {
    line.Show(p);
    return !interrupted;
  };
  ASSIGN_OR_RETURN(auto trainer, Trainer::Create(text, options, start.has_value() ? &*start : nullptr));
  absl::FPrintF(
      stderr, "%s: %s, %d parameters, %s%d threads%s\n", spec.name(), DescribeTarget(spec.target()),
      trainer->parameters().size(),
      args.crew == nullptr ? std::string() : absl::StrCat(args.crew->ranks(), " ranks, in each "), args.threads,
      trainer->steps_done() > 0 ? absl::StrCat(", resuming after step ", trainer->steps_done()) : std::string());
  if (absl::Status status = trainer->Run(); !status.ok()) {
    return absl::IsCancelled(status) ? Annotate(status, "interrupted; the same command resumes") : status;
  }
  int32_t steps = 0;
  if (trainer->is_integrated()) {
    ASSIGN_OR_RETURN(steps, CertifiedSteps(spec, trainer->Weights(), evaluation_seed + 3, args.team()));
  }
  trained.weights = trainer->Weights(steps);
  trained.steps = trainer->steps_done();
  trained.seconds = trainer->seconds();
  return trained;
}

absl::Status Train(const TrainArguments& args) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(args.spec_file, kMaxSpecBytes));
  ASSIGN_OR_RETURN(const v1::ModelSpec spec, ParseSpec(text));
  ASSIGN_OR_RETURN(ModelStore store, ModelStore::Create(args.store));
  const std::string state_file =
      args.state_file.empty() ? absl::StrCat(args.store, "/.training-", spec.name(), ".safetensors") : args.state_file;
  const auto block = NoiseBlock(spec.training().seed(), NoisePurpose::kSeed, 0, 0);
  const uint64_t evaluation_seed = uint64_t{block[1]} << 32 | block[0];
  Trained trained;
  // A perfect sampler has nothing to train.
  if (!spec.prior().has_perfect()) {
    ASSIGN_OR_RETURN(trained, RunTraining(text, spec, args, state_file, evaluation_seed, store));
  }
  const uint64_t samples = std::max<uint64_t>(8192, spec.training().evaluation_samples());
  ASSIGN_OR_RETURN(v1::ModelCard card, EvaluateModel(spec, trained.weights, samples, evaluation_seed, args.team()));
  card.set_training_steps(trained.steps);
  card.set_training_seconds(trained.seconds);
  card.set_lineage(trained.lineage);
  card.set_created(NowUtc());
  ASSIGN_OR_RETURN(const Manifest manifest, store.Publish(text, trained.weights, card, !args.keep_champion));
  ::unlink(state_file.c_str());
  absl::PrintF("published %s/%d  sha256:%s\n", manifest.model, manifest.version, manifest.digest.Hex());
  PrintCard(card, samples, trained.seconds);
  return absl::OkStatus();
}

// Measures a model of the store again and publishes the same weights with the new card: after an upgrade, or for a
// model whose card says less than this version would.
absl::Status Evaluate(const std::string& reference, uint64_t samples, const TrainArguments& args) {
  ASSIGN_OR_RETURN(ModelStore store, ModelStore::Open(args.store));
  ASSIGN_OR_RETURN(const StoredModel stored, store.LoadByReference(reference));
  const v1::ModelCard& old = stored.manifest.card;
  if (samples == 0) samples = old.quality().samples();
  std::random_device device;
  const uint64_t seed = uint64_t{device()} << 32 | device();
  ASSIGN_OR_RETURN(v1::ModelCard card, EvaluateModel(stored.spec, stored.weights, samples, seed, args.team()));
  card.set_training_steps(old.training_steps());
  card.set_training_seconds(old.training_seconds());
  card.set_lineage(old.lineage());
  card.set_created(NowUtc());
  ASSIGN_OR_RETURN(const Manifest manifest, store.Publish(stored.spec_text, stored.weights, card, true));
  absl::PrintF("published %s/%d  sha256:%s\n", manifest.model, manifest.version, manifest.digest.Hex());
  PrintCard(card, samples, old.training_seconds());
  return absl::OkStatus();
}

absl::Status Check(const std::string& spec_file) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(spec_file, kMaxSpecBytes));
  ASSIGN_OR_RETURN(const v1::ModelSpec spec, ParseSpec(text));
  if (IsSpectral(spec)) {
    ASSIGN_OR_RETURN(const SpectralFlowPlan plan, PlanSpectralFlow(spec));
    absl::PrintF("%s: %s\n%d coupling layers, %d matrix updates per configuration, %d parameters\n", spec.name(),
                 DescribeTarget(spec.target()), plan.layers.size(), plan.updates(), plan.layout.size());
    return absl::OkStatus();
  }
  if (spec.target().has_sun_wilson()) {
    ASSIGN_OR_RETURN(const LoopFlowPlan plan, PlanLoopFlow(spec, spec.target()));
    int64_t products = 0, updates = 0;  // by the links' own loops apart
    for (const LoopStepPlan& step : plan.steps) {
      updates += static_cast<int64_t>(step.links.size());
      products += static_cast<int64_t>(step.links.size()) * plan.programs[step.program].products();
    }
    const std::string what = plan.is_continuous() ? absl::StrCat(plan.time_modes, " polynomials in time, ")
                                                  : absl::StrCat(plan.sweeps, " sweeps of ", plan.masks, " masks, ");
    absl::PrintF("%s: %s\n%s%d classes, %d parameters; a %s %d links with %.1f matrix products each\n", spec.name(),
                 DescribeTarget(spec.target()), what, plan.classes(), plan.layout.size(),
                 plan.is_continuous() ? "Runge-Kutta stage moves" : "draw updates", updates * plan.sweeps,
                 updates == 0 ? 0.0 : static_cast<double>(products) / static_cast<double>(updates));
    return absl::OkStatus();
  }
  if (spec.target().has_phi4()) {
    ASSIGN_OR_RETURN(const ScalarFlowPlan plan, PlanScalarFlow(spec));
    absl::PrintF("%s: %s\n%d layers, %d parameters\n", spec.name(), DescribeTarget(spec.target()), plan.layers.size(),
                 plan.layout.size());
    return absl::OkStatus();
  }
  if (spec.prior().has_perfect()) {
    absl::PrintF("%s: %s\nperfect sampler: no layers, no parameters\n", spec.name(), DescribeTarget(spec.target()));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const U1FlowPlan plan, PlanU1Flow(spec));
  int64_t updates = 0;
  for (const U1LayerPlan& layer : plan.layers) updates += static_cast<int64_t>(layer.active_links.size());
  absl::PrintF("%s: %s\n%d coupling layers, %d link updates and %d multiply-adds per configuration, %d parameters\n",
               spec.name(), DescribeTarget(spec.target()), plan.layers.size(), updates, plan.multiply_adds(),
               U1ParameterLayout(plan).size());
  return absl::OkStatus();
}

int ExitCode(const absl::Status& status) {
  if (status.ok()) return 0;
  absl::FPrintF(stderr, "haarflow-trainer: %s\n", std::string(status.message()));
  return absl::IsCancelled(status) ? 130 : absl::IsInvalidArgument(status) ? 2 : 1;
}

void AddThreads(CLI::App* app, int* threads) {
  app->add_option("--threads", *threads,
                  "Threads of each process (default: all cores that it may use; under mpirun its part of them)")
      ->check(CLI::Range(1, 1024));
}

#ifdef HAARFLOW_WITH_SERVICE
CLI::App* AddWork(CLI::App* app, WorkerOptions* options, int* threads, std::string* token_file) {
  CLI::App* work = app->add_subcommand("work", "Take re-tuning jobs from a server, until told to stop");
  const char* server = std::getenv("HAARFLOW_SERVER");
  options->server = server != nullptr && *server != '\0' ? server : "127.0.0.1:50151";
  work->add_option("--server", options->server,
                   "host:port, unix:/path, or file:/path of a server's --endpoint-file; else $HAARFLOW_SERVER")
      ->capture_default_str();
  work->add_option("--name", options->name, "What the server calls this trainer (default: host and process)");
  AddThreads(work, threads);
  work->add_option("--scratch", options->scratch, "Directory for files of a run (default: a temporary one)");
  work->add_option("--state-seconds", options->state_seconds,
                   "How often the resumable state is uploaded while training")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  work->add_flag("--once", options->once, "Exit after one job");
  const std::map<std::string, LogFormat> formats = {{"text", LogFormat::kText}, {"json", LogFormat::kJson}};
  work->add_option("--log-format", options->log_format, "text, or json: an object a line")
      ->transform(CLI::CheckedTransformer(formats))
      ->default_str("text");
  work->add_option("--token-file", *token_file,
                   "File with a token of the role trainer, mode 0600; else $HAARFLOW_TOKEN_FILE");
  work->add_flag("--tls", options->connection.tls, "TLS with the system's authorities");
  work->add_option("--tls-ca", options->connection.ca_file, "TLS with the authorities of this PEM file");
  work->add_option("--tls-cert", options->connection.certificate_file, "PEM certificate to show (mTLS)");
  work->add_option("--tls-key", options->connection.key_file, "PEM key of that certificate");
  return work;
}
#endif

}  // namespace

int Main(int argc, char** argv) {
  CLI::App app{"Trains haarflow models and publishes them to a store."};
  app.require_subcommand(1);
  TrainArguments args;
  auto* train =
      app.add_subcommand("train", "Train a spec (text format of haarflow.v1.ModelSpec), evaluate it, publish it");
  train->add_option("spec", args.spec_file, "Spec file")->required();
  train->add_option("--store", args.store, "Model store; created if absent")->required();
  AddThreads(train, &args.threads);
  train->add_option("--state", args.state_file, "Where the resumable state is kept (default: in the store)");
  train->add_option("--save-seconds", args.save_seconds, "How often that state is written")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  train->add_option("--max-seconds", args.max_seconds, "Stop training after so long and publish what has been reached");
  train->add_flag("--keep-champion", args.keep_champion, "Publish without making the new version the champion");
  std::string check_file;
  auto* check = app.add_subcommand("check", "Validate a spec and print what it costs");
  check->add_option("spec", check_file, "Spec file")->required();
  std::string reference;
  uint64_t samples = 0;
  auto* evaluate = app.add_subcommand("evaluate", "Measure a model again and publish it with the new card");
  evaluate->add_option("model", reference, "NAME or NAME/VERSION")->required();
  evaluate->add_option("--store", args.store, "Model store")->required();
  evaluate->add_option("--samples", samples, "Fresh samples (default: as many as the card has)");
  AddThreads(evaluate, &args.threads);
  std::function<absl::Status()> work = [] { return absl::UnimplementedError("built without the service"); };
#ifdef HAARFLOW_WITH_SERVICE
  WorkerOptions worker;
  worker.stop = [] { return interrupted.load(); };
  std::string token_file;
  AddWork(&app, &worker, &args.threads, &token_file);
  work = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(worker.connection.token, TokenFor(token_file));
    worker.threads = args.threads;
    worker.crew = args.crew;
    SetLogFormat(worker.log_format);
    return RunWorker(worker);
  };
#endif
  CLI11_PARSE(app, argc, argv);
  if (check->parsed()) return ExitCode(Check(check_file));
  const auto ranks = JoinRanks(&argc, &argv);
  if (!ranks.ok()) return ExitCode(ranks.status());
  if (args.threads == 0) args.threads = DefaultThreads(**ranks);
  // Rank 0 decides when all stop. (mpirun passes USR1 on to its processes; TERM makes it kill them after a second.)
  const bool leads = (*ranks)->rank() == 0, alone = (*ranks)->size() == 1;
  for (const int signal : {SIGINT, SIGTERM}) std::signal(signal, leads ? OnSignal : SIG_IGN);
  if (!alone) std::signal(SIGUSR1, leads ? OnSignal : SIG_IGN);
  if (!leads) return ServeCrew(ranks->get(), args.threads);
  std::unique_ptr<Crew> crew;
  if (!alone) {
    auto gathered = Crew::Gather(ranks->get(), args.threads);
    if (!gathered.ok()) return ExitCode(gathered.status());
    crew = *std::move(gathered);
    args.crew = crew.get();
  }
  const int code = ExitCode(train->parsed()      ? Train(args)
                            : evaluate->parsed() ? Evaluate(reference, samples, args)
                                                 : work());
  if (crew != nullptr) crew->End(code);
  return code;
}

}  // namespace haarflow

int main(int argc, char** argv) { return haarflow::Main(argc, argv); }
