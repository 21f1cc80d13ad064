// haarflow-server: serves exact lattice field configurations from a model store.
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "core/base/file.h"
#include "core/base/status.h"
#include "core/kernel/kernels.h"
#include "core/model/spec.h"
#include "core/model/store.h"
#include "server/jobs/job_service.h"
#include "server/log/log.h"
#include "server/metrics/metrics.h"
#include "server/registry/registry.h"
#include "server/rpc/server.h"
#include "server/sampling/scheduler.h"

namespace haarflow {
namespace {

// Exit codes: 0 drained, 1 could not start, 2 bad usage, 3 the device failed.
constexpr int kExitStart = 1;
constexpr int kExitUsage = 2;
constexpr int kExitDevice = 3;

struct Flags {
  std::string store;
  std::string listen = "127.0.0.1:50151";
  std::string metrics;
  std::string device = absl::StrCat("cpu:", std::max(1u, std::thread::hardware_concurrency()));
  int64_t max_streams = 256;
  int64_t byte_budget = int64_t{1} << 30;
  int64_t max_chunk_bytes = 1 << 20;
  uint64_t burn_in = RequestOptions().burn_in;
  std::string jobs;
  double job_lease_seconds = 30;
  std::string endpoint_file;
  double drain_seconds = 30;
  bool reflection = false;
};

void DefineFlags(CLI::App* app, Flags* flags) {
  app->option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);  // scripts append overrides
  app->add_option("--store", flags->store, "Directory of the model store")->required();
  app->add_option("--listen", flags->listen, "host:port (port 0 picks one) or unix:/path")->capture_default_str();
  app->add_option("--metrics", flags->metrics, "host:port for Prometheus metrics; none when absent");
  app->add_option("--device", flags->device, "cpu:N (N worker threads) or cuda:N (device number)")
      ->capture_default_str();
  app->add_option("--max-streams", flags->max_streams, "Streams served at once; more are refused")
      ->check(CLI::Range(int64_t{1}, int64_t{65536}))
      ->capture_default_str();
  app->add_option("--byte-budget", flags->byte_budget, "Bytes of buffers for all streams together")
      ->check(CLI::Range(int64_t{1} << 20, int64_t{1} << 44))
      ->capture_default_str();
  app->add_option("--max-chunk-bytes", flags->max_chunk_bytes,
                  "Largest chunk of a stream; clients accept messages of 4 MiB")
      ->check(CLI::Range(int64_t{4} << 10, int64_t{3} << 20))
      ->capture_default_str();
  app->add_option("--burn-in", flags->burn_in, "Chain steps discarded when a request does not say")
      ->check(CLI::Range(uint64_t{0}, kMaxBurnIn))
      ->capture_default_str();
  app->add_option("--jobs", flags->jobs,
                  "Directory of the job table, on a disk of this host: re-tuning is offered; none when absent");
  app->add_option("--job-lease-seconds", flags->job_lease_seconds,
                  "How long a trainer may be silent before its job is given on")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  app->add_option("--endpoint-file", flags->endpoint_file, "Written (JSON) once the server serves");
  app->add_option("--drain-seconds", flags->drain_seconds, "How long running streams may take to end after SIGTERM")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  app->add_flag("--reflection", flags->reflection, "Offer gRPC server reflection (v1alpha)");
}

void PrintModels(const ModelRegistry& registry) {
  for (const v1::ModelInfo& model : registry.List()) {
    if (model.state() == v1::MODEL_STATE_READY) {
      const auto digest = Digest::FromBytes(model.digest());
      std::cout << "model " << model.name() << " version " << model.version() << " "
                << (digest.ok() ? digest->ShortHex() : "") << ": " << DescribeTarget(model.target()) << std::endl;
    } else {
      std::cout << "model " << model.name() << " refused: " << model.state_reason() << std::endl;
      Log(LogLevel::kWarning, "model refused", {{"model", model.name()}, {"reason", model.state_reason()}});
    }
  }
}

absl::Status WriteEndpoint(const Flags& flags, const Server& server, const Metrics& metrics) {
  if (flags.endpoint_file.empty()) return absl::OkStatus();
  const nlohmann::json endpoint = {{"address", server.address()}, {"metrics", metrics.address()}, {"pid", getpid()}};
  return WriteFileAtomically(flags.endpoint_file, endpoint.dump() + "\n");
}

// Null without --jobs. A published version that became champion is served at once.
absl::StatusOr<std::unique_ptr<JobService>> OpenJobs(const Flags& flags, const ModelStore& store,
                                                     std::function<void(const std::string&)> on_champion) {
  if (flags.jobs.empty()) return std::unique_ptr<JobService>();
  JobService::Options options;
  options.directory = flags.jobs;
  options.lease = std::chrono::milliseconds(static_cast<int64_t>(flags.job_lease_seconds * 1000));
  options.on_published = [on_champion = std::move(on_champion)](const std::string& model, uint64_t, bool promoted) {
    if (promoted) on_champion(model);
  };
  return JobService::Open(options, store);
}

int WaitForSignal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  int signal = 0;
  while (sigwait(&set, &signal) != 0) {
  }
  return signal;
}

// Everything between the flags and the exit code. Objects are destroyed in reverse order: server, jobs, scheduler,
// metrics.
absl::StatusOr<int> Serve(const Flags& flags) {
  ASSIGN_OR_RETURN(const Device device, ParseDevice(flags.device));
  ASSIGN_OR_RETURN(const hf_kernels* kernels, KernelsFor(device));
  const bool cpu = device.kind == Device::Kind::kCpu;
  ASSIGN_OR_RETURN(const ModelStore store, ModelStore::Open(flags.store));
  ModelRegistry registry;
  RETURN_IF_ERROR(registry.LoadStore(store, *kernels, cpu ? 0 : device.number));
  PrintModels(registry);

  ASSIGN_OR_RETURN(const std::unique_ptr<Metrics> metrics,
                   Metrics::Create({HAARFLOW_VERSION, device.ToString(), kernels->numerics}, flags.metrics));
  metrics->SetModels(registry.Ready());

  std::atomic<bool> device_failed{false};
  std::atomic<Server*> running{nullptr};
  Scheduler::Options scheduler_options;
  scheduler_options.device_name = device.ToString();
  scheduler_options.threads = cpu ? device.number : 1;
  scheduler_options.max_streams = flags.max_streams;
  scheduler_options.byte_budget = flags.byte_budget;
  scheduler_options.observer = metrics.get();
  scheduler_options.on_device_failure = [&](const absl::Status& status) {
    Log(LogLevel::kError, "the device failed: draining",
        {{"device", device.ToString()}, {"error", std::string(status.message())}});
    metrics->SetDeviceHealthy(false);
    if (Server* server = running.load()) server->SetUnhealthy();
    device_failed = true;
    kill(getpid(), SIGTERM);  // an orchestrator restarts what exits with an error
  };
  Scheduler scheduler(scheduler_options);
  ASSIGN_OR_RETURN(const std::unique_ptr<JobService> jobs, OpenJobs(flags, store, [&](const std::string& model) {
                     registry.LoadModel(store, model, *kernels, cpu ? 0 : device.number);
                     metrics->SetModels(registry.Ready());
                   }));

  Server::Options options;
  options.listen = flags.listen;
  options.reflection = flags.reflection;
  options.request.max_chunk_bytes = flags.max_chunk_bytes;
  options.request.burn_in = flags.burn_in;
  options.jobs = jobs.get();
  options.info.set_code_version(HAARFLOW_VERSION);
  options.info.set_device(device.ToString());
  options.info.set_numerics_class(kernels->numerics);
  ASSIGN_OR_RETURN(const std::unique_ptr<Server> server, Server::Start(options, &registry, &scheduler, metrics.get()));
  running = server.get();
  const absl::Status endpoint = WriteEndpoint(flags, *server, *metrics);
  if (endpoint.ok()) {
    std::cout << "listening on " << server->address() << std::endl;
    if (!metrics->address().empty()) std::cout << "metrics on http://" << metrics->address() << "/metrics" << std::endl;
    Log(LogLevel::kInfo, "serving",
        {{"address", server->address()},
         {"device", device.ToString()},
         {"numerics", kernels->numerics},
         {"models", absl::StrCat(registry.Ready().size())},
         {"pid", absl::StrCat(getpid())}});
    const int signal = WaitForSignal();
    Log(LogLevel::kInfo, "draining",
        {{"signal", strsignal(signal)}, {"streams", absl::StrCat(scheduler.active_streams())}});
    std::thread([] {
      const int second = WaitForSignal();
      Log(LogLevel::kWarning, "second signal: exiting now");
      _exit(128 + second);
    }).detach();
  }
  const bool stopped = server->Shutdown(std::chrono::milliseconds(static_cast<int64_t>(flags.drain_seconds * 1000)));
  running = nullptr;
  const int code = device_failed ? kExitDevice : 0;
  if (!stopped) {
    Log(LogLevel::kError, "gRPC did not shut down in time: exiting without it");
    std::cout.flush();
    _exit(code);
  }
  RETURN_IF_ERROR(endpoint);
  if (!flags.endpoint_file.empty()) unlink(flags.endpoint_file.c_str());
  Log(LogLevel::kInfo, "stopped");
  return code;
}

int Main(int argc, char** argv) {
  CLI::App app("Serves exact lattice field configurations from a model store.", "haarflow-server");
  app.set_version_flag("--version", std::string(HAARFLOW_VERSION));
  Flags flags;
  DefineFlags(&app, &flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kExitUsage;
  }
  // Before any thread: every thread inherits the mask, and WaitForSignal alone takes these signals.
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  const auto code = Serve(flags);
  if (code.ok()) return *code;
  Log(LogLevel::kError, "cannot serve", {{"error", std::string(code.status().message())}});
  return kExitStart;
}

}  // namespace
}  // namespace haarflow

int main(int argc, char** argv) { return haarflow::Main(argc, argv); }
