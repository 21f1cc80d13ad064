// What unary handlers share. Private to rpc/.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <exception>
#include <new>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/log/log.h"
#include "server/rpc/call.h"

namespace haarflow {

// Handlers run on gRPC's threads, which an exception would end together with the process.
template <class F>
auto Guarded(F&& f) -> decltype(f()) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("the server has no memory left for this request");
  } catch (const std::exception& e) {
    Log(LogLevel::kError, "a handler failed", {{"error", e.what()}});
    return absl::InternalError(absl::StrCat("the request failed: ", e.what()));
  }
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
