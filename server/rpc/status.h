// The one table from absl::Status to grpc::Status. Payloads (RetryInfo) become the details of google.rpc.Status.
#pragma once

#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"

namespace haarflow {

grpc::Status ToGrpc(const absl::Status& status);
// "INVALID_ARGUMENT": for metrics and logs.
std::string CodeName(grpc::StatusCode code);

}  // namespace haarflow
