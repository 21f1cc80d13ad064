// What unary handlers share. Private to rpc/.
#pragma once

#include <grpcpp/support/server_callback.h>

#include "absl/status/status.h"
#include "core/base/guarded.h"
#include "server/log/log.h"
#include "server/rpc/call.h"

namespace haarflow {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <class T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

// A handler's work: its log lines carry what LogScope holds; exceptions are its INTERNAL errors. Those are defects of
// the server, and a line of the log.
template <class F>
auto Handled(F&& f) -> decltype(f()) {
  auto result = Guarded("the request", f);
  if (const absl::Status& status = StatusOf(result); absl::IsInternal(status)) {
    Log(LogLevel::kError, "a handler failed", {{"error", std::string(status.message())}});
  }
  return result;
}

// Counts and finishes a call.
inline grpc::ServerUnaryReactor* Answer(RpcCall call, grpc::CallbackServerContext* context,
                                        const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const grpc::Status end = call.End(status);
  call.Count();
  reactor->Finish(end);
  return reactor;
}

}  // namespace haarflow
