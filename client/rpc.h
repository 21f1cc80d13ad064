// What every call of the client library, and of trainers, needs of gRPC.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/client.h"

namespace haarflow {

// The server's code and words; UNAVAILABLE and DEADLINE_EXCEEDED name the address.
absl::Status ToAbsl(const grpc::Status& status, const std::string& address);

// Shows `token` with the call; nothing when it is empty.
void ShowToken(const std::string& token, grpc::ClientContext* context);
// What every call of a user carries: the token, and the trace of this process (client/trace.h). A server logs the end
// of each call that has a trace: trainers, which ask for jobs all the time, show none.
void ShowCaller(const std::string& token, grpc::ClientContext* context);
// Token and deadline of a call that returns one message.
void BeginCall(const ClientOptions& options, grpc::ClientContext* context);
// When a refused call may come again, as the server said it (google.rpc.RetryInfo, sent as grpc-retry-pushback-ms);
// nothing when it did not. After the call has ended.
std::optional<std::chrono::milliseconds> RetryHint(const grpc::ClientContext& context);
// False when `stop` was requested meanwhile.
bool WaitUnlessStopped(const std::stop_token& stop, std::chrono::milliseconds time);
// A channel to "host:port" or "unix:/path", connected lazily. INVALID_ARGUMENT for what is no address; as
// Client::Connect for tokens and PEM files.
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& address, const ClientOptions& options);

// Cancels a call when `stop` is requested, for as long as it lives.
class StopGuard {
 public:
  StopGuard(const std::stop_token& stop, grpc::ClientContext* context) : callback_(stop, Cancel{context}) {}

 private:
  struct Cancel {
    grpc::ClientContext* context;
    void operator()() const { context->TryCancel(); }
  };
  std::stop_callback<Cancel> callback_;
};

}  // namespace haarflow
