#include "server/rpc/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <grpcpp/server_builder.h>
#include <sys/stat.h>

#include <algorithm>
#include <future>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "server/log/log.h"

namespace haarflow {
namespace {

constexpr char kServiceName[] = "haarflow.v1.SamplerService";
constexpr char kModelPrefix[] = "haarflow.model.";
constexpr auto kWatchdog = std::chrono::seconds(10);
constexpr auto kLastCalls = std::chrono::milliseconds(500);

void SetTransport(grpc::ServerBuilder* builder, const Server::Options& options) {
  builder->SetMaxReceiveMessageSize(options.max_receive_bytes);
  builder->SetMaxSendMessageSize(-1);                           // chunks are capped where they are made
  builder->SetDefaultCompressionAlgorithm(GRPC_COMPRESS_NONE);  // angles do not compress
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);     // a second server on the port is an error
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_concurrent_streams);
  // A vanished client is noticed within 4/3 of the keepalive. Clients may ping every 20 s, without calls too.
  const int keepalive = static_cast<int>(options.keepalive.count());
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, keepalive);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, std::max(1000, keepalive / 3));
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 20 * 1000);
}

// The reflection library adds itself to every server of a process that is linked with it.
class WithoutReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins, [](const auto& plugin) { return plugin->name() == "proto_server_reflection"; });
  }
};

}  // namespace

Server::Server(const ModelRegistry* registry, ModelManager* manager, Scheduler* scheduler, Metrics* metrics,
               const Options& options)
    : registry_(registry),
      scheduler_(scheduler),
      state_(metrics, options.authenticator),
      sampler_(registry, manager, scheduler, &state_, options.request, options.info, options.draws),
      jobs_(options.jobs),
      tuning_(options.jobs, &state_),
      worker_(options.jobs, &state_) {
  if (manager != nullptr) admin_ = std::make_unique<AdminServiceImpl>(manager, scheduler, &state_, options.info);
}

Server::~Server() = default;

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Options& options, const ModelRegistry* registry,
                                                      Scheduler* scheduler, Metrics* metrics, ModelManager* manager) {
  auto server = std::unique_ptr<Server>(new Server(registry, manager, scheduler, metrics, options));
  grpc::EnableDefaultHealthCheckService(true);
  if (options.reflection) grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  if (!options.reflection) builder.SetOption(std::make_unique<WithoutReflection>());
  SetTransport(&builder, options);
  int port = 0;
  ASSIGN_OR_RETURN(auto credentials, MakeServerCredentials(options.tls));
  builder.AddListeningPort(options.listen, std::move(credentials), &port);
  builder.RegisterService(&server->sampler_);
  if (server->admin_ != nullptr) builder.RegisterService(server->admin_.get());
  builder.RegisterService(&server->tuning_);
  builder.RegisterService(&server->worker_);
  {
    // A Unix socket is its user's alone, from its first moment on.
    const bool socket = absl::StartsWith(options.listen, "unix:");
    const mode_t mask = socket ? umask(0177) : 0;
    server->server_ = builder.BuildAndStart();
    if (socket) umask(mask);
  }
  if (server->server_ == nullptr || port == 0) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", options.listen,
                                               ": no such address, or the port is taken by another process"));
  }
  server->UpdateHealth();
  server->address_ = options.listen;
  const size_t colon = options.listen.rfind(':');
  if (!absl::StartsWith(options.listen, "unix:") && colon != std::string::npos) {
    server->address_ = absl::StrCat(options.listen.substr(0, colon + 1), port);
  }
  return server;
}

void Server::UpdateHealth() {
  MutexLock lock(&health_mutex_);
  if (health_closed_) return;
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  bool ready = false;
  for (const v1::ModelInfo& model : registry_->List()) {
    // An unloaded model serves: the request that needs it waits until it is loaded.
    const bool serving = model.state() == v1::MODEL_STATE_READY || model.state() == v1::MODEL_STATE_UNLOADED;
    ready = ready || serving;
    health->SetServingStatus(kModelPrefix + model.name(), serving);
  }
  health->SetServingStatus(kServiceName, ready);
  health->SetServingStatus("", ready);
}

void Server::StopServing() {
  MutexLock lock(&health_mutex_);
  health_closed_ = true;
  server_->GetHealthCheckService()->SetServingStatus(false);
}

void Server::SetUnhealthy() { StopServing(); }

bool Server::Shutdown(std::chrono::milliseconds drain, std::chrono::milliseconds grace) {
  StopServing();
  std::this_thread::sleep_for(grace);
  const auto deadline = std::chrono::system_clock::now() + drain;
  state_.StartDraining();
  scheduler_->Drain();
  if (jobs_ != nullptr) jobs_->Drain();
  if (!state_.WaitForStreams(drain)) Log(LogLevel::kWarning, "streams did not end in time and are cancelled");
  // Health watchers and idle calls would hold Shutdown until its deadline; ours have ended.
  std::packaged_task<void()> shutdown([server = server_.get(), deadline] {
    server->Shutdown(std::min(deadline, std::chrono::system_clock::now() + kLastCalls));
    server->Wait();
  });
  std::future<void> done = shutdown.get_future();
  std::thread helper(std::move(shutdown));
  if (done.wait_for(kLastCalls + kWatchdog) == std::future_status::ready) {
    helper.join();
    return true;
  }
  helper.detach();  // the process exits next
  return false;
}

}  // namespace haarflow
