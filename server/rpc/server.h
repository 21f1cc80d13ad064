// The gRPC server: services, health, limits, and the way it ends.
//
// Health: "" and "haarflow.v1.SamplerService" are SERVING while at least one model is READY and the device works;
// "haarflow.model.<name>" per model. Models are loaded before the port is bound: there is no moment at which health
// says SERVING too early.
//
// Lifetime: registry, scheduler and metrics must outlive it. Call Shutdown before the destructor. Thread-safety:
// thread-safe, except Shutdown, which is called once.
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
#include "server/rpc/call.h"
#include "server/rpc/sampler_service.h"
#include "server/rpc/tuning_service.h"
#include "server/rpc/worker_service.h"
#include "server/sampling/scheduler.h"

namespace haarflow {

class Server {
 public:
  struct Options {
    std::string listen = "127.0.0.1:50151";  // host:port (port 0 picks one), or unix:/path
    bool reflection = false;                 // grpc.reflection.v1alpha; a synchronous service, off in production
    int max_receive_bytes = 1 << 20;         // requests are small; a token is at most 64 KiB
    int max_concurrent_streams = 1024;       // per connection: bounds what waits for admission
    RequestOptions request;
    v1::ServerInfo info;
    JobService* jobs = nullptr;  // null: no jobs are kept; else it must outlive the server
  };
  // UNAVAILABLE when the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Options& options, const ModelRegistry* registry,
                                                       Scheduler* scheduler, Metrics* metrics);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Where it listens, the port filled in.
  const std::string& address() const { return address_; }

  // The device has failed: NOT_SERVING under every name, for good.
  void SetUnhealthy();

  // Drains: NOT_SERVING; new calls are refused with UNAVAILABLE; streams end at their next configuration boundary with
  // a token and complete = false; what has not ended after `drain` is cancelled. False when gRPC did not stop within a
  // further 10 s: the process should then exit without destroying the server.
  bool Shutdown(std::chrono::milliseconds drain);

 private:
  Server(const ModelRegistry* registry, Scheduler* scheduler, Metrics* metrics, const Options& options);
  void SetHealth();

  const ModelRegistry* const registry_;
  Scheduler* const scheduler_;
  RpcState state_;
  SamplerServiceImpl service_;
  JobService* const jobs_;
  TuningServiceImpl tuning_;
  WorkerServiceImpl worker_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace haarflow
