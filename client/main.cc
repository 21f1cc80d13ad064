// The command line: haarflow [--server ADDR] [--json] [--no-progress] COMMAND.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>

#include "client/commands.h"
#include "client/interrupt.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

constexpr char kDefaultServer[] = "127.0.0.1:50151";

const std::map<std::string, v1::SampleMode> kModes = {{"metropolis", v1::SAMPLE_MODE_METROPOLIS},
                                                      {"reweighted", v1::SAMPLE_MODE_REWEIGHTED}};

struct CommandLine {
  Globals globals;
  std::string model;
  bool spec = false;
  std::string health_model;
  std::string mode;
  SampleOptions sample;
  ConvertOptions convert;
  VerifyOptions verify;
  MeasureOptions measure;
  LogZOptions log_z;
  ThermoOptions thermo;
  RetuneCommand retune;
  std::string job;
  bool watch_job = false;
  uint32_t job_count = 20;
  std::vector<std::string> settings;
  std::string scan;
  // Operators' commands.
  uint64_t version = 0;
  bool unpin = false;
  double every = 2;
  bool once = false;
  std::string name;
  std::vector<std::string> roles = {"sampler"};
};

CLI::Option* AddMode(CLI::App* command, std::string* mode) {
  return command
      ->add_option("--mode", *mode,
                   "metropolis: states of a chain, with multiplicities; reweighted: independent, weighted")
      ->check(CLI::IsMember({"metropolis", "reweighted"}));
}

void AddSettings(CLI::App* command, CommandLine* line, const std::string& help) {
  command->add_option("--set", line->settings, help)->allow_extra_args(false);
}

void AddDraw(CLI::App* command, CommandLine* line, DrawOptions* draw, const std::string& count_help) {
  command->add_option("model", draw->model, "Name of a model, see `haarflow models`")->required();
  constexpr uint64_t kMaxCount = 1'000'000'000'000;  // the server's bound
  command->add_option("-n,--count", draw->count, count_help)->check(CLI::Range(uint64_t{1}, kMaxCount));
  command->add_option("--seed", draw->seed, "64 bits; drawn by the server when not given, and reported");
  command->add_option("--first-index", draw->first_index, "First proposal of the seed to look at");
  AddSettings(command, line,
              "NAME=VALUE: be exact for another parameter of the theory than the model's own (beta, rectangle, m2, "
              "lambda, kappa, ...); may be repeated");
  command->add_flag("--bulk", draw->bulk, "Give way to interactive work when the server is busy");
  command->add_flag("--require-reliable", draw->require_reliable, "Exit with 7 when the answer is not reliable");
}

void AddNerscRows(CLI::App* command, int* rows) {
  command->add_option("--nersc-rows", *rows, "Rows of each link in NERSC files: 3, or 2 without what they determine")
      ->check(CLI::IsMember({2, 3}))
      ->capture_default_str();
}

void AddSample(CLI::App* app, CommandLine* line) {
  CLI::App* command = app->add_subcommand("sample", "Draw exact configurations into a file");
  SampleOptions* options = &line->sample;
  AddDraw(command, line, &options->draw, "Configurations to draw: chain steps, or weighted proposals");
  command->add_option("-o,--output", options->output,
                      "FILE.h5, FILE.hdf5 or FILE.npy; SU(3) in four dimensions also FILE.lime, FILE.ildg (ILDG) and "
                      "FILE.nersc; without it, observables alone");
  AddMode(command, &line->mode);
  command->add_option("--burn-in", options->burn_in, "Chain steps before the first one delivered");
  command->add_flag("--float32", options->float32, "Fields rounded to float32");
  command->add_option("--observables", options->observables, "Values to store for each configuration: a,b,...")
      ->delimiter(',');
  command->add_flag("--resume", options->resume, "Go on with an interrupted run, or extend a finished file to -n");
  command->add_flag("--force", options->force, "Replace an existing file");
  AddNerscRows(command, &options->nersc_rows);
}

void AddFiles(CLI::App* app, CommandLine* line) {
  CLI::App* convert = app->add_subcommand("convert", "Write configurations in another format");
  convert
      ->add_option("files", line->convert.files,
                   "IN... OUT: HDF5, npy, ILDG or NERSC by content to OUT.h5, .hdf5, .npy, .lime, .ildg or .nersc")
      ->required();
  convert->add_flag("--force", line->convert.force, "Replace an existing file");
  AddNerscRows(convert, &line->convert.nersc_rows);

  CLI::App* verify = app->add_subcommand(
      "verify",
      "Draw a file's configurations again from their names and compare everything; exit with 5 when they differ");
  verify->add_option("files", line->verify.files, "HDF5, npy, ILDG or NERSC; several are parts of one run")->required();
  verify->add_option("--store", line->verify.store, "Draw from this store here; without it, the server draws");
  verify->add_option(
      "--model", line->verify.model,
      "NAME or NAME/VERSION: action and log q of the fields by this model of --store, whoever made them");
  AddSettings(verify, line, "NAME=VALUE: with --model, another parameter of the theory than the model's own");
}

void AddError(CLI::App* command, double* error) {
  command->add_option("--error", *error, "Stop when the error of log Z is below")->check(CLI::Range(1e-12, 1e12));
}

void AddEstimates(CLI::App* app, CommandLine* line) {
  CLI::App* log_z = app->add_subcommand("logz", "Estimate the partition function: log Z");
  AddDraw(log_z, line, &line->log_z.draw, "Proposals, or their upper bound with --error");
  AddError(log_z, &line->log_z.error);

  CLI::App* thermo =
      app->add_subcommand("thermo", "Free energy, entropy, pressure and the derivatives of log Z, in one call");
  AddDraw(thermo, line, &line->thermo.log_z.draw, "Proposals, or their upper bound with --error; at each point");
  AddError(thermo, &line->thermo.log_z.error);
  thermo->add_option("--scan", line->scan,
                     "NAME=FROM:TO:POINTS: along a parameter, with the check against thermodynamic integration");

  CLI::App* measure = app->add_subcommand("measure", "Expectation values, computed by the server");
  AddDraw(measure, line, &line->measure.draw, "Chain steps, or weighted proposals (10000)");
  measure->add_option(
      "observables", line->measure.observables,
      "plaquette, charge_squared, wilson_loop_2x2, ...; of scalars phi_squared, energy, susceptibility, "
      "two_point_1, binder_cumulant, correlation_length, ...; none: the usual ones of the theory");
  AddMode(measure, &line->mode);
  measure->add_option("--burn-in", line->measure.burn_in, "Chain steps before the first one that counts");
}

void AddConnection(CLI::App* app, Globals* globals) {
  app->add_option("--token-file", globals->token_file,
                  "File with a token, mode 0600; else $HAARFLOW_TOKEN_FILE, or what `haarflow login` keeps");
  app->add_flag("--tls", globals->tls, "TLS with the system's authorities");
  app->add_option("--tls-ca", globals->tls_ca, "TLS with the authorities of this PEM file");
  app->add_option("--tls-cert", globals->tls_cert, "PEM certificate to show (mTLS)");
  app->add_option("--tls-key", globals->tls_key, "PEM key of that certificate");
}

void AddOperation(CLI::App* app, CommandLine* line) {
  const auto command = [&](const char* name, const char* help) {
    CLI::App* made = app->add_subcommand(name, help);
    made->add_option("model", line->model, "Name of the model")->required();
    return made;
  };
  command("promote", "Make a version champion, after its checks")
      ->add_option("version", line->version, "Its number; without it, the candidate");
  command("rollback", "Make the champion before champion again");
  CLI::App* pin = command("pin", "Serve one version whatever the champion is");
  pin->add_option("version", line->version, "Its number");
  pin->add_flag("--remove", line->unpin, "Serve the champion again");
  command("unload", "Take a model out of memory until a request needs it");
  CLI::App* top = app->add_subcommand("top", "Streams, models, jobs and memory of the server, live");
  top->add_option("--every", line->every, "Seconds between two looks")->check(CLI::Range(0.1, 3600.0));
  top->add_flag("--once", line->once, "One look");
  CLI::App* token = app->add_subcommand("token", "Make a token, and its line for the server's token file");
  token->add_option("name", line->name, "Who will call with it")->required();
  token->add_option("--roles", line->roles, "sampler, tuner, trainer, admin: a,b,...")->delimiter(',');
  app->add_subcommand("login", "Keep the token that stands on stdin, for all later calls");
}

// Nothing: none of them was given.
std::optional<absl::StatusOr<ExitCode>> DispatchOperation(const CLI::App& app, const CommandLine& line,
                                                          const std::stop_token& stop) {
  if (app.got_subcommand("promote")) return RunPromote(line.globals, line.model, line.version);
  if (app.got_subcommand("rollback")) return RunRollback(line.globals, line.model);
  if (app.got_subcommand("unload")) return RunUnload(line.globals, line.model);
  if (app.got_subcommand("pin")) {
    if ((line.version == 0) != line.unpin) {
      return WithExitCode(absl::InvalidArgumentError("pin wants a version, or --remove"), kExitUsage);
    }
    return RunPin(line.globals, line.model, line.version);
  }
  if (app.got_subcommand("top")) return RunTop(line.globals, line.once ? 0 : line.every, stop);
  if (app.got_subcommand("token")) return RunToken(line.globals, line.name, line.roles);
  if (app.got_subcommand("login")) return RunLogin(line.globals);
  return std::nullopt;
}

void AddJobs(CLI::App* app, CommandLine* line) {
  RetuneCommand* retune = &line->retune;
  CLI::App* command = app->add_subcommand(
      "retune", "Have a model trained for other parameters; it is served once it has the ESS asked for");
  command->add_option("model", retune->model, "Name of the model to start from")->required();
  AddSettings(command, line, "NAME=VALUE: a parameter of the theory that is to be another one; may be repeated");
  command->add_option("--lattice", retune->lattice, "Another lattice, for example 32x32 (array order: t, z, y, x)");
  command->add_option("--ess", retune->ess, "ESS that the result must have to be served")
      ->check(CLI::Range(1e-6, 1 - 1e-6))
      ->capture_default_str();
  command->add_option("--budget", retune->budget_seconds, "Seconds of training and evaluation")
      ->check(CLI::Range(1.0, 2.6e6))
      ->capture_default_str();
  command->add_option("--priority", retune->priority, "Larger first")->capture_default_str();
  command->add_option("--as", retune->publish_as, "Name of the model that the result becomes a version of");
  command->add_option("--key", retune->key, "Idempotency key: the same key is the same job (default: a new one)");
  command->add_flag("--any", retune->any_model, "Start from the nearest of all models, not of this one's versions");
  command->add_flag("--watch", retune->watch, "Stay until the job has ended; exit with 8 when it failed");

  CLI::App* jobs = app->add_subcommand("jobs", "List re-tuning jobs, the newest first");
  jobs->add_option("-n,--count", line->job_count, "How many")->check(CLI::Range(1, 1000000))->capture_default_str();
  CLI::App* job = app->add_subcommand("job", "Show a job with its history");
  job->add_option("id", line->job, "Id of the job, see `haarflow jobs`")->required();
  job->add_flag("--watch", line->watch_job, "Stay until it has ended; exit with 8 when it failed");
  CLI::App* cancel = app->add_subcommand("cancel", "Cancel a job");
  cancel->add_option("id", line->job, "Id of the job")->required();
}

// Everything behind `report` belongs to the Python command, its --help too.
void AddReport(CLI::App* app) {
  CLI::App* command = app->add_subcommand(
      "report", "A page about a file or a model: histories, distributions, autocorrelation, weights, a verdict");
  command->set_help_flag();
  command->fallthrough(false);
  command->prefix_command();
}

void Describe(CLI::App* app, CommandLine* line) {
  app->description("Exact lattice field configurations on demand.");
  app->footer(kExitCodeHelp);
  app->set_version_flag("--version", "haarflow " HAARFLOW_VERSION);
  app->require_subcommand(1);
  app->fallthrough();
  const char* server = std::getenv("HAARFLOW_SERVER");
  line->globals.server = server != nullptr && *server != '\0' ? server : kDefaultServer;
  app->add_option("--server", line->globals.server,
                  "host:port, unix:/path, or file:/path of a server's --endpoint-file; else $HAARFLOW_SERVER")
      ->capture_default_str();
  app->add_flag("--json", line->globals.json, "One JSON document on stdout, errors too");
  app->add_flag("!--no-progress", line->globals.progress,
                "No progress bar (there is none anyway when stderr is no terminal)");
  app->add_subcommand("models", "List the models of the server");
  CLI::App* model = app->add_subcommand("model", "Show a model: what it is, how it was made, how good it is");
  model->add_option("name", line->model, "Name of the model")->required();
  model->add_flag("--spec", line->spec, "Print its spec, as stored");
  AddSample(app, line);
  AddFiles(app, line);
  AddEstimates(app, line);
  AddReport(app);
  AddOperation(app, line);
  AddConnection(app, &line->globals);
  AddJobs(app, line);
  CLI::App* health =
      app->add_subcommand("healthcheck", "Exit with 0 when the server, or one of its models, is serving");
  health->add_option("--model", line->health_model, "Name of a model");
}

absl::Status ParseSettings(CommandLine* line) {
  std::vector<Setting> settings;
  for (const std::string& text : line->settings) {
    ASSIGN_OR_RETURN(settings.emplace_back(), ParseSetting(text));
  }
  for (DrawOptions* draw : {&line->sample.draw, &line->measure.draw, &line->log_z.draw, &line->thermo.log_z.draw}) {
    draw->settings = settings;
  }
  line->retune.settings = settings;
  line->verify.settings = settings;
  if (!line->scan.empty()) {
    ASSIGN_OR_RETURN(line->thermo.scan, ParseScan(line->scan));
  }
  return absl::OkStatus();
}

absl::StatusOr<ExitCode> Dispatch(const CLI::App& app, CommandLine* line, const std::stop_token& stop) {
  if (auto done = DispatchOperation(app, *line, stop)) return *std::move(done);
  RETURN_IF_ERROR(ParseSettings(line));
  if (!line->mode.empty()) {
    line->sample.mode = kModes.at(line->mode);
    line->measure.mode = kModes.at(line->mode);
  }
  if (app.got_subcommand("report")) return RunReport(line->globals, app.get_subcommand("report")->remaining());
  if (app.got_subcommand("models")) return RunModels(line->globals);
  if (app.got_subcommand("model")) return RunModel(line->globals, line->model, line->spec);
  if (app.got_subcommand("sample")) return RunSample(line->globals, line->sample, stop);
  if (app.got_subcommand("convert")) return RunConvert(line->globals, line->convert);
  if (app.got_subcommand("verify")) return RunVerify(line->globals, line->verify, stop);
  if (app.got_subcommand("logz")) return RunLogZ(line->globals, line->log_z, stop);
  if (app.got_subcommand("thermo")) return RunThermo(line->globals, line->thermo, stop);
  if (app.got_subcommand("retune")) return RunRetune(line->globals, line->retune, stop);
  if (app.got_subcommand("jobs")) return RunJobs(line->globals, line->job_count);
  if (app.got_subcommand("job")) return RunJob(line->globals, line->job, line->watch_job, stop);
  if (app.got_subcommand("cancel")) return RunCancel(line->globals, line->job);
  if (app.got_subcommand("measure")) return RunMeasure(line->globals, line->measure, stop);
  return RunHealthcheck(line->globals, line->health_model);
}

bool WantsJson(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--json") == 0) return true;
  }
  return false;
}

int Main(int argc, char** argv) {
  const Interrupt interrupt;
  CLI::App app;
  CommandLine line;
  Describe(&app, &line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success))
      return app.exit(error);  // --help, --version
    PrintError(absl::InvalidArgumentError(std::string(error.what()) + "; see `haarflow --help`"),
               WantsJson(argc, argv));
    return kExitUsage;
  }
  const auto code = Dispatch(app, &line, interrupt.token());
  if (!code.ok()) PrintError(code.status(), line.globals.json);
  const int result = code.ok() ? *code : ExitCodeOf(code.status());
  // A full disk or a closed pipe behind stdout is no success.
  return std::fflush(stdout) != 0 && result == kExitOk ? kExitLocalFile : result;
}

}  // namespace
}  // namespace haarflow

int main(int argc, char** argv) { return haarflow::Main(argc, argv); }
