// What every call of the client library, and of trainers, needs of gRPC.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace haarflow {

// The server's code and words; UNAVAILABLE and DEADLINE_EXCEEDED name the address.
absl::Status ToAbsl(const grpc::Status& status, const std::string& address);

// A channel to "host:port" or "unix:/path", connected lazily. INVALID_ARGUMENT for what is no address.
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& address, int max_receive_bytes);

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
