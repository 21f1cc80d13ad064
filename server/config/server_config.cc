#include "server/config/server_config.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <map>
#include <sstream>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace haarflow {
namespace {

constexpr int kExitUsage = 2;
constexpr char kPrefix[] = "HAARFLOW_OPT_";
constexpr int64_t kMostBytes = int64_t{1} << 44;

void DefineService(CLI::App* app, ServerConfig* config) {
  const std::map<std::string, ServerRole> roles = {
      {"all", ServerRole::kAll}, {"coordinator", ServerRole::kCoordinator}, {"sampler", ServerRole::kSampler}};
  app->add_option("--role", config->role, "all, coordinator (the only writer of the store) or sampler (writes nothing)")
      ->transform(CLI::CheckedTransformer(roles))
      ->default_str("all");
  app->add_option("--store", config->store, "Directory of the model store")->required();
  app->add_option("--listen", config->listen, "host:port (port 0 picks one) or unix:/path")->capture_default_str();
  app->add_option("--metrics", config->metrics, "host:port for Prometheus metrics; none when absent");
  app->add_option("--status", config->status, "host:port of the status page, for browsers; none when absent");
  const std::map<std::string, LogFormat> formats = {{"text", LogFormat::kText}, {"json", LogFormat::kJson}};
  app->add_option("--log-format", config->log_format, "text, or json: an object a line")
      ->transform(CLI::CheckedTransformer(formats))
      ->default_str("text");
  app->add_option("--device", config->device,
                  "cpu:N (N worker threads) or cuda:N (device number); cpu:N,cpu:N or cuda:0,cuda:1: several workers")
      ->capture_default_str();
  app->add_option("--endpoint-file", config->endpoint_file, "Written (JSON) once the server serves");
  app->add_flag("--reflection", config->reflection, "Offer gRPC server reflection (v1alpha)");
  app->add_option("--burn-in", config->burn_in, "Chain steps discarded when a request does not say")
      ->check(CLI::Range(uint64_t{0}, kMaxBurnIn))
      ->capture_default_str();
}

void DefineLimits(CLI::App* app, ServerConfig* config) {
  const auto bound = [app](const char* name, int64_t* value, int64_t low, int64_t high, const char* help) {
    app->add_option(name, *value, help)->check(CLI::Range(low, high))->capture_default_str();
  };
  Usage& all = config->limits.all;
  Usage& principal = config->limits.principal;
  bound("--max-streams", &all.streams, 1, 65536, "Streams served at once; more are refused");
  bound("--max-samples", &all.samples, 0, INT64_MAX / 4, "Samples that open streams may ask for together; 0: no bound");
  bound("--byte-budget", &all.bytes, 1 << 20, kMostBytes, "Bytes of buffers for all streams together");
  bound("--max-streams-per-principal", &principal.streams, 0, 65536, "Streams of one caller; 0: no bound");
  bound("--max-samples-per-principal", &principal.samples, 0, INT64_MAX / 4, "Samples of one caller; 0: no bound");
  bound("--byte-budget-per-principal", &principal.bytes, 0, kMostBytes, "Bytes of one caller's buffers; 0: no bound");
  bound("--max-chunk-bytes", &config->max_chunk_bytes, 4 << 10, 3 << 20,
        "Largest chunk of a stream; clients accept messages of 4 MiB");
  bound("--max-request-bytes", &config->max_request_bytes, 64 << 10, 64 << 20, "Largest request message");
}

void DefineLife(CLI::App* app, ServerConfig* config) {
  const auto seconds = [app](const char* name, double* value, double low, const char* help) {
    app->add_option(name, *value, help)->check(CLI::Range(low, 1e6))->capture_default_str();
  };
  seconds("--drain-seconds", &config->drain_seconds, 0, "How long running streams may take to end after SIGTERM");
  seconds("--grace-seconds", &config->grace_seconds, 0,
          "How long calls are still taken after SIGTERM, while health says NOT_SERVING");
  seconds("--linger-seconds", &config->linger_seconds, 0,
          "How long a batch that would not fill a tile waits for other streams");
  seconds("--poll-seconds", &config->poll_seconds, 0.01, "How often the store is looked at");
  seconds("--lease-seconds", &config->lease_seconds, 0,
          "How long streams may hold a version that was replaced; 0: until they end");
  seconds("--keepalive-seconds", &config->keepalive_seconds, 1,
          "Silence after which a client is asked whether it lives");
  app->add_option("--model-memory", config->model_memory, "Bytes of all models in memory; 0: no bound")
      ->check(CLI::Range(int64_t{0}, kMostBytes))
      ->capture_default_str();
}

void DefineJobs(CLI::App* app, ServerConfig* config) {
  app->add_option("--jobs", config->jobs,
                  "Directory of the job table, on a disk of this host: re-tuning is offered; none when absent");
  app->add_option("--job-lease-seconds", config->job_lease_seconds,
                  "How long a trainer may be silent before its job is given on")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
}

void DefineSecurity(CLI::App* app, ServerConfig* config) {
  app->add_option("--token-file", config->token_file, "Who may call: names, roles, hashed tokens; mode 0600");
  app->add_option("--tls-cert", config->tls_cert, "PEM certificate chain; read again when it changes");
  app->add_option("--tls-key", config->tls_key, "PEM private key; mode 0600");
  app->add_option("--tls-client-ca", config->tls_client_ca, "PEM authority that client certificates must have (mTLS)");
  app->add_option("--tls-reload-seconds", config->tls_reload_seconds, "How often the TLS files are looked at")
      ->check(CLI::Range(1.0, 1e6))
      ->capture_default_str();
  app->add_flag("--insecure", config->insecure, "Take everybody's calls on an address beyond this host");
}

// HAARFLOW_OPT_MAX_STREAMS -> --max-streams
std::string FlagOf(const std::string& variable) {
  std::string flag = "--";
  for (const char c : variable.substr(sizeof kPrefix - 1)) {
    flag += c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return flag;
}

ConfigOutcome Ended(const CLI::App& app, const CLI::ParseError& error) {
  ConfigOutcome outcome;
  std::ostringstream out, err;
  outcome.exit_code = app.exit(error, out, err) == 0 ? 0 : kExitUsage;
  outcome.message = out.str() + err.str();
  return outcome;
}

}  // namespace

ConfigOutcome ParseServerConfig(const std::vector<std::string>& arguments,
                                const std::vector<std::pair<std::string, std::string>>& environment,
                                const std::string& version) {
  CLI::App app("Serves exact lattice field configurations from a model store.", "haarflow-server");
  app.set_version_flag("--version", version);
  ConfigOutcome outcome;
  outcome.config.device = absl::StrCat("cpu:", std::max(1u, std::thread::hardware_concurrency()));
  // The last one counts: the environment stands before the flags, and scripts append overrides.
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  DefineService(&app, &outcome.config);
  DefineLimits(&app, &outcome.config);
  DefineLife(&app, &outcome.config);
  DefineJobs(&app, &outcome.config);
  DefineSecurity(&app, &outcome.config);
  app.set_config("--config", "", "File of settings: `name = value` lines, names as flags without the dashes");
  app.allow_config_extras(CLI::config_extras_mode::error);

  std::vector<std::string> words;
  for (const auto& [name, value] : environment) {
    if (!absl::StartsWith(name, kPrefix)) continue;
    if (app.get_option_no_throw(FlagOf(name)) == nullptr) {
      outcome.exit_code = kExitUsage;
      outcome.message =
          absl::StrCat(name, " in the environment is no setting: there is no ", FlagOf(name), "; see --help\n");
      return outcome;
    }
    words.push_back(absl::StrCat(FlagOf(name), "=", value));
  }
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::reverse(words.begin(), words.end());  // what CLI11 wants
  try {
    app.parse(std::move(words));
  } catch (const CLI::ParseError& error) {
    return Ended(app, error);
  }
  outcome.serve = true;
  return outcome;
}

std::vector<std::pair<std::string, std::string>> Environment() {
  std::vector<std::pair<std::string, std::string>> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string::npos) variables.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return variables;
}

}  // namespace haarflow
