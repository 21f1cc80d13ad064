// haarflow-server: serves exact lattice field configurations from a model store.
#include <google/protobuf/stubs/logging.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <future>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/file.h"
#include "core/base/status.h"
#include "core/kernel/kernels.h"
#include "core/model/spec.h"
#include "core/model/store.h"
#include "server/auth/authenticator.h"
#include "server/config/device_list.h"
#include "server/config/server_config.h"
#include "server/jobs/job_service.h"
#include "server/log/log.h"
#include "server/metrics/metrics.h"
#include "server/registry/model_manager.h"
#include "server/registry/registry.h"
#include "server/rpc/server.h"
#include "server/sampling/scheduler.h"
#include "server/status/server_view.h"
#include "server/status/status_server.h"

namespace haarflow {
namespace {

// Exit codes: 0 drained, 1 could not start, 2 bad usage, 3 the device failed.
constexpr int kExitStart = 1;
constexpr int kExitDevice = 3;

void PrintModels(const ModelRegistry& registry) {
  for (const v1::ModelInfo& model : registry.List()) {
    if (model.state() == v1::MODEL_STATE_READY || model.state() == v1::MODEL_STATE_UNLOADED) {
      const auto digest = Digest::FromBytes(model.digest());
      std::cout << "model " << model.name() << " version " << model.version() << " "
                << (digest.ok() ? digest->ShortHex() : "") << ": " << DescribeTarget(model.target()) << std::endl;
    } else {
      std::cout << "model " << model.name() << " refused: " << model.state_reason() << std::endl;
    }
  }
}

absl::Status WriteEndpoint(const ServerConfig& config, const Server& server, const Metrics& metrics,
                           const StatusServer* status) {
  if (config.endpoint_file.empty()) return absl::OkStatus();
  nlohmann::json endpoint = {{"address", server.address()}, {"metrics", metrics.address()}, {"pid", getpid()}};
  if (status != nullptr) endpoint["status"] = status->address();
  return WriteFileAtomically(config.endpoint_file, endpoint.dump() + "\n");
}

std::chrono::milliseconds Milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

// Null without --jobs. A published version that became champion is served at once.
absl::StatusOr<std::unique_ptr<JobService>> OpenJobs(const ServerConfig& config, const ModelStore& store,
                                                     Metrics* metrics,
                                                     std::function<void(const std::string&)> on_champion) {
  if (config.jobs.empty()) return std::unique_ptr<JobService>();
  if (config.role == ServerRole::kSampler) {
    return absl::InvalidArgumentError("--jobs with --role sampler: jobs publish, and a sampler writes nothing");
  }
  JobService::Options options;
  options.directory = config.jobs;
  options.lease = Milliseconds(config.job_lease_seconds);
  options.on_published = [metrics, on_champion = std::move(on_champion)](const std::string& model, uint64_t,
                                                                         bool promoted) {
    metrics->OnPublished(promoted);
    if (promoted) on_champion(model);
  };
  options.on_expired = [metrics](int leases) { metrics->OnLeasesExpired(leases); };
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

// What happens to models, for the log, the metrics and the health service.
class ModelEvents final : public RegistryObserver {
 public:
  ModelEvents(const ModelRegistry* registry, Metrics* metrics) : registry_(registry), metrics_(metrics) {}
  // Null before the server runs, and once it shuts down.
  void SetServer(Server* server) {
    MutexLock lock(&mutex_);
    server_ = server;
  }

  void DeviceFailed() {
    MutexLock lock(&mutex_);
    if (server_ != nullptr) server_->SetUnhealthy();
  }

  void OnModelEvent(const ModelEvent& event) override {
    static constexpr struct {
      const char* line;
      const char* outcome;
    } kText[] = {{"model serving", "served"},
                 {"model refused", "refused"},
                 {"model loaded for a token", "loaded"},
                 {"model unloaded", "unloaded"},
                 {"lease ended", "lease_ended"},
                 {"model destroyed", "destroyed"},
                 {"the store cannot be read", "store_error"}};
    const auto& text = kText[event.kind];
    const bool bad = event.kind == ModelEvent::kRefused || event.kind == ModelEvent::kStoreError;
    LogFields fields;
    if (!event.model.empty()) fields.push_back({"model", event.model});
    if (event.version != 0) fields.push_back({"version", absl::StrCat(event.version)});
    if (!event.digest.empty()) fields.push_back({"digest", event.digest});
    if (!event.reason.empty()) fields.push_back({"reason", event.reason});
    if (event.seconds > 0) fields.push_back({"seconds", absl::StrCat(event.seconds)});
    Log(bad ? LogLevel::kWarning : LogLevel::kInfo, text.line, fields);
    metrics_->OnModelSwap(text.outcome, event.seconds);
    metrics_->SetModels(registry_->Ready());
    MutexLock lock(&mutex_);
    if (server_ != nullptr) server_->UpdateHealth();
  }

 private:
  const ModelRegistry* const registry_;
  Metrics* const metrics_;
  Mutex mutex_;
  Server* server_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

// A device failure is latched everywhere, and ends the process.
Scheduler::Options SchedulerOptions(const ServerConfig& config, const std::vector<Device>& devices,
                                    const std::string& name, Metrics* metrics, ModelEvents* events,
                                    std::atomic<bool>* device_failed) {
  Scheduler::Options options;
  options.device_name = name;
  options.devices = static_cast<int>(devices.size());
  options.threads = devices.front().kind == Device::Kind::kCpu ? devices.front().number : 1;
  options.linger =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(config.linger_seconds));
  options.limits = config.limits;
  options.observer = metrics;
  options.on_device_failure = [=](const absl::Status& status) {
    Log(LogLevel::kError, "the device failed: draining", {{"device", name}, {"error", std::string(status.message())}});
    metrics->SetDeviceHealthy(false);
    events->DeviceFailed();
    *device_failed = true;
    kill(getpid(), SIGTERM);  // an orchestrator restarts what exits with an error
  };
  return options;
}

ModelManager::Options ManagerOptions(const ServerConfig& config, RegistryObserver* events, Scheduler* scheduler) {
  ModelManager::Options options;
  options.poll = Milliseconds(config.poll_seconds);
  options.lease = Milliseconds(config.lease_seconds);
  options.memory_budget = config.model_memory;
  options.writable = config.role != ServerRole::kSampler;
  options.observer = events;
  options.on_lease_end = [scheduler](const ServedModel& model) { scheduler->DrainModel(model.digest()); };
  return options;
}

absl::StatusOr<std::unique_ptr<Authenticator>> MakeAuthenticator(const ServerConfig& config) {
  RETURN_IF_ERROR(CheckTransport(config.listen, !config.tls_cert.empty(), !config.tls_client_ca.empty(),
                                 !config.token_file.empty(), config.insecure));
  Authenticator::Options options;
  options.token_file = config.token_file;
  options.on_reload = [](const absl::Status& status) {
    if (status.ok()) return Log(LogLevel::kInfo, "the token file is good again");
    Log(LogLevel::kError, "the token file is not used: the last good one stays",
        {{"error", std::string(status.message())}});
  };
  return Authenticator::Create(std::move(options));
}

Server::Options ServerOptions(const ServerConfig& config, const v1::ServerInfo& info,
                              const Authenticator* authenticator, JobService* jobs) {
  Server::Options options;
  options.jobs = jobs;
  options.listen = config.listen;
  options.reflection = config.reflection;
  options.authenticator = authenticator;
  options.keepalive = Milliseconds(config.keepalive_seconds);
  options.tls = {config.tls_cert, config.tls_key, config.tls_client_ca,
                 std::chrono::seconds(static_cast<int64_t>(config.tls_reload_seconds))};
  options.draws = config.role != ServerRole::kCoordinator;
  options.max_receive_bytes = static_cast<int>(config.max_request_bytes);
  options.request.max_chunk_bytes = config.max_chunk_bytes;
  options.request.burn_in = config.burn_in;
  options.info = info;
  return options;
}

// Says where it serves; returns at the first signal. A second one ends the process at once.
void ServeUntilSignal(const Server& server, const Metrics& metrics, const ModelRegistry& registry,
                      const Scheduler& scheduler, const v1::ServerInfo& info, const StatusServer* status) {
  std::cout << "listening on " << server.address() << std::endl;
  if (!metrics.address().empty()) std::cout << "metrics on http://" << metrics.address() << "/metrics" << std::endl;
  if (status != nullptr) std::cout << "status on http://" << status->address() << "/" << std::endl;
  Log(LogLevel::kInfo, "serving",
      {{"address", server.address()},
       {"device", info.device()},
       {"numerics", info.numerics_class()},
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

// Everything between the settings and the exit code. Objects are destroyed in reverse order.
absl::StatusOr<int> Serve(const ServerConfig& config) {
  ASSIGN_OR_RETURN(const std::vector<Device> devices, ParseDevices(config.device));
  const hf_kernels* kernels = nullptr;
  for (const Device& device : devices) {
    ASSIGN_OR_RETURN(kernels, KernelsFor(device));  // one table: they are of one kind
  }
  ASSIGN_OR_RETURN(const ModelStore store, ModelStore::Open(config.store));
  ASSIGN_OR_RETURN(const std::unique_ptr<Authenticator> authenticator, MakeAuthenticator(config));
  v1::ServerInfo info;
  info.set_code_version(HAARFLOW_VERSION);
  const std::string device_name =
      absl::StrJoin(devices, ",", [](std::string* out, const Device& d) { *out += d.ToString(); });
  info.set_device(device_name);
  info.set_numerics_class(kernels->numerics);
  ASSIGN_OR_RETURN(const std::unique_ptr<Metrics> metrics,
                   Metrics::Create({HAARFLOW_VERSION, device_name, kernels->numerics}, config.metrics));

  ModelRegistry registry;
  ModelEvents events(&registry, metrics.get());
  std::atomic<bool> device_failed{false};
  Scheduler scheduler(SchedulerOptions(config, devices, device_name, metrics.get(), &events, &device_failed));
  ModelManager manager(store, *kernels, DeviceNumbers(devices), &registry, ManagerOptions(config, &events, &scheduler));
  RETURN_IF_ERROR(manager.LoadAll());
  PrintModels(registry);
  manager.Start();
  ASSIGN_OR_RETURN(const std::unique_ptr<JobService> jobs,
                   OpenJobs(config, store, metrics.get(), [&manager](const std::string&) {
                     // Waits until it is served or refused, but not for ever.
                     auto looked = std::make_shared<std::promise<void>>();
                     manager.Sync([looked](const auto&) { looked->set_value(); });
                     looked->get_future().wait_for(std::chrono::seconds(30));
                   }));

  const ServerView view(
      {&registry, &scheduler, metrics.get(), &manager, jobs.get(), config.store, info, kernels, devices});
  metrics->SetSource([&view] { return view.Scrape(); });
  const absl::Cleanup no_source = [&metrics] { metrics->SetSource(nullptr); };
  std::unique_ptr<StatusServer> status;
  if (!config.status.empty()) {
    ASSIGN_OR_RETURN(status, StatusServer::Start({.listen = config.status}, &view));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Server> server,
                   Server::Start(ServerOptions(config, info, authenticator.get(), jobs.get()), &registry, &scheduler,
                                 metrics.get(), &manager));
  events.SetServer(server.get());
  server->UpdateHealth();
  const absl::Status endpoint = WriteEndpoint(config, *server, *metrics, status.get());
  if (endpoint.ok()) ServeUntilSignal(*server, *metrics, registry, scheduler, info, status.get());
  const bool stopped =
      server->Shutdown(Milliseconds(config.drain_seconds), Milliseconds(endpoint.ok() ? config.grace_seconds : 0));
  events.SetServer(nullptr);
  const int code = device_failed ? kExitDevice : 0;
  if (!stopped) {
    Log(LogLevel::kError, "gRPC did not shut down in time: exiting without it");
    std::cout.flush();
    _exit(code);
  }
  RETURN_IF_ERROR(endpoint);
  if (!config.endpoint_file.empty()) unlink(config.endpoint_file.c_str());
  Log(LogLevel::kInfo, "stopped");
  return code;
}

int Main(int argc, char** argv) {
  const ConfigOutcome outcome =
      ParseServerConfig(std::vector<std::string>(argv + 1, argv + argc), Environment(), HAARFLOW_VERSION);
  if (!outcome.serve) {
    (outcome.exit_code == 0 ? std::cout : std::cerr) << outcome.message;
    return outcome.exit_code;
  }
  // Before any thread: every thread inherits the mask, and WaitForSignal alone takes these signals.
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  SetLogFormat(outcome.config.log_format);
  google::protobuf::SetLogHandler(nullptr);  // a client's malformed message is no line of the log, whatever its format
  std::signal(SIGXFSZ, SIG_IGN);             // a file that may not grow is an error of the call that writes it
  const auto code = Serve(outcome.config);
  if (code.ok()) return *code;
  Log(LogLevel::kError, "cannot serve", {{"error", std::string(code.status().message())}});
  return kExitStart;
}

}  // namespace
}  // namespace haarflow

int main(int argc, char** argv) { return haarflow::Main(argc, argv); }
