// What every handler does first and last: who calls, may he, are we draining; count, time.
//
// RpcState is shared by all calls and outlives them. RpcCall belongs to one call. Thread-safety: RpcState is
// thread-safe; an RpcCall is used under its reactor's lock.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <atomic>
#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "core/base/mutex.h"
#include "server/auth/authenticator.h"
#include "server/log/trace.h"
#include "server/metrics/metrics.h"

namespace haarflow {

class RpcState {
 public:
  // `authenticator` may be null: everybody may do everything, and is his host.
  RpcState(Metrics* metrics, const Authenticator* authenticator) : metrics_(metrics), authenticator_(authenticator) {}
  const Authenticator* authenticator() const { return authenticator_; }
  Metrics& metrics() { return *metrics_; }
  // From now on new calls are refused with UNAVAILABLE.
  void StartDraining() { draining_ = true; }
  absl::Status CheckServing() const;
  void Began();
  void Ended();
  // Waits until no stream is open. False when `timeout` passed first.
  bool WaitForStreams(std::chrono::milliseconds timeout);

 private:
  Metrics* const metrics_;
  const Authenticator* const authenticator_;
  std::atomic<bool> draining_{false};
  Mutex mutex_;
  CondVar changed_;
  int64_t active_ ABSL_GUARDED_BY(mutex_) = 0;
};

class RpcCall {
 public:
  RpcCall(RpcState* state, std::string method, grpc::CallbackServerContext* context);
  RpcState& state() { return *state_; }
  const std::string& method() const { return method_; }
  // Who calls: fairness and bounds are by principal.
  const std::string& principal() const { return caller_.principal; }
  // The first thing that every handler asks: UNAUTHENTICATED, PERMISSION_DENIED, or UNAVAILABLE while draining. A
  // refusal for want of rights is a line of the log.
  absl::Status Admit(Role role) const;
  // Every line of the call carries its trace: while the scope lives those of this thread do, and what is handed to the
  // threads of jobs and models takes it along.
  LogFields log_fields() const { return TraceFields(trace_); }
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  // The status to finish with; adds retry pushback to the trailing metadata and remembers the code. Once, before
  // Finish.
  grpc::Status End(const absl::Status& status);
  // Counts the call, and logs it when its caller traces it. After its last use of the transport.
  void Count();

 private:
  RpcState* state_;
  std::string method_;
  TraceContext trace_;
  bool traced_ = false;  // by the caller
  Caller caller_;
  absl::Status identified_;
  grpc::CallbackServerContext* context_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  grpc::StatusCode code_ = grpc::StatusCode::UNKNOWN;
};

}  // namespace haarflow
