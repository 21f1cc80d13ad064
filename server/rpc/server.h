// The gRPC server: services, health, limits, and the way it ends.
//
// Services: SamplerService; AdminService where there is a model manager. Health: "" and "haarflow.v1.SamplerService"
// are SERVING while at least one model is READY and the device works; "haarflow.model.<name>" per model. Models are
// loaded before the port is bound: there is no moment at which health says SERVING too early.
//
// Lifetime: registry, manager, scheduler and metrics must outlive it. Call Shutdown before the destructor.
// Thread-safety: thread-safe, except Shutdown, which is called once.
#pragma once

#include <grpcpp/server.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/jobs/job_service.h"
#include "server/metrics/metrics.h"
#include "server/registry/registry.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/call.h"
#include "server/rpc/credentials.h"
#include "server/rpc/sampler_service.h"
#include "server/rpc/tuning_service.h"
#include "server/rpc/worker_service.h"
#include "server/sampling/scheduler.h"

namespace haarflow {

class Server {
 public:
  struct Options {
    std::string listen = "127.0.0.1:50151";  // host:port (port 0 picks one), or unix:/path
    TlsFiles tls;
    const Authenticator* authenticator = nullptr;  // null: everybody may do everything
    std::chrono::milliseconds keepalive{30000};    // after such a silence a client is asked whether it lives
    bool reflection = false;                       // grpc.reflection.v1alpha; a synchronous service, off in production
    bool draws = true;                             // false (role coordinator): Sample, Measure, ... are refused
    int max_receive_bytes = 1 << 20;               // requests are small; a token is at most 64 KiB
    int max_concurrent_streams = 1024;             // per connection: bounds what waits for admission
    RequestOptions request;
    v1::ServerInfo info;
    JobService* jobs = nullptr;  // null: no jobs are kept; else it must outlive the server
  };
  // UNAVAILABLE when the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Options& options, const ModelRegistry* registry,
                                                       Scheduler* scheduler, Metrics* metrics,
                                                       ModelManager* manager = nullptr);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Where it listens, the port filled in.
  const std::string& address() const { return address_; }

  // The device has failed: NOT_SERVING under every name, for good.
  void SetUnhealthy();
  // The registry has changed: health says so. Nothing after SetUnhealthy or Shutdown.
  void UpdateHealth();

  // Drains: NOT_SERVING; for `grace` calls are still taken, so that balancers notice first; then new calls are refused
  // with UNAVAILABLE, and streams end at their next configuration boundary with a token, complete = false and
  // UNAVAILABLE; what has not ended after `drain` is cancelled. False when gRPC did not stop within a further 10 s: the
  // process should then exit without destroying the server.
  bool Shutdown(std::chrono::milliseconds drain, std::chrono::milliseconds grace = std::chrono::milliseconds(0));

 private:
  Server(const ModelRegistry* registry, ModelManager* manager, Scheduler* scheduler, Metrics* metrics,
         const Options& options);
  void StopServing();

  const ModelRegistry* const registry_;
  Scheduler* const scheduler_;
  RpcState state_;
  SamplerServiceImpl sampler_;
  std::unique_ptr<AdminServiceImpl> admin_;
  JobService* const jobs_;
  TuningServiceImpl tuning_;
  WorkerServiceImpl worker_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
  Mutex health_mutex_;
  bool health_closed_ ABSL_GUARDED_BY(health_mutex_) = false;
};

}  // namespace haarflow
