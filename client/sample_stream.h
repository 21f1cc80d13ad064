// One Sample call, kept alive across connections. Private to client/.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "client/client.h"
#include "core/io/sample_rows.h"
#include "haarflow/v1/sampler.grpc.pb.h"

namespace haarflow {

// Runs attempts until the chain is complete. Before each, the request is made to say what is missing: the token of the
// last complete configuration and the steps left; before any chunk, the seed and digest that the first header named.
class SampleStream {
 public:
  // Called before each attempt.
  using Connect = std::function<absl::StatusOr<std::unique_ptr<v1::SamplerService::Stub>>()>;
  SampleStream(Connect connect, std::string address, std::string token, const v1::SampleRequest& request,
               const StreamOptions& options);
  absl::Status Run(const Client::SampleCallback& callback);

 private:
  enum class Next { kAgain, kDone };
  // One connection. kAgain with OK: the server ended early, politely.
  absl::StatusOr<Next> Attempt(const Client::SampleCallback& callback);
  absl::Status Deliver(const v1::SampleResponse& message, const Client::SampleCallback& callback);
  v1::SampleRequest RequestForTheRest() const;
  uint64_t StepsLeft() const { return request_.count() - received_.steps(); }
  absl::Status FinishWithoutSummary(const Client::SampleCallback& callback);

  const Connect connect_;
  const std::string address_;
  const std::string token_;
  const v1::SampleRequest request_;
  const StreamOptions options_;
  SampleAssembler received_{/*keep_fields=*/false};
  std::optional<std::chrono::milliseconds> come_back_;  // the last attempt was refused: when to try again
  bool stopped_by_callback_ = false;
};

}  // namespace haarflow
