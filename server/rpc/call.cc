#include "server/rpc/call.h"

#include <iterator>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/log/log.h"
#include "server/rpc/status.h"
#include "server/sampling/retry.h"

namespace haarflow {

namespace {

// "ipv4:10.0.0.1:43210" -> "ipv4:10.0.0.1": connections of one host are one principal.
std::string HostOf(const std::string& peer) {
  const size_t colon = peer.rfind(':');
  return absl::StartsWith(peer, "unix:") || colon == std::string::npos ? peer : peer.substr(0, colon);
}

// The caller's, or a new one. A second header makes both worthless.
std::optional<TraceContext> CallersTrace(const grpc::CallbackServerContext& context) {
  const auto [first, last] = context.client_metadata().equal_range("traceparent");
  if (first == last || std::next(first) != last) return std::nullopt;
  return ParseTraceparent(std::string(first->second.data(), first->second.size()));
}

}  // namespace

RpcCall::RpcCall(RpcState* state, std::string method, grpc::CallbackServerContext* context)
    : state_(state), method_(std::move(method)), context_(context) {
  const auto trace = CallersTrace(*context);
  traced_ = trace.has_value();
  trace_ = traced_ ? *trace : NewTrace();
  Credentials credentials;
  credentials.host = HostOf(context->peer());
  const auto header = context->client_metadata().find("authorization");
  if (header != context->client_metadata().end()) {
    credentials.authorization.assign(header->second.data(), header->second.size());
  }
  const auto auth = context->auth_context();
  if (auth != nullptr && auth->IsPeerAuthenticated()) {
    const auto names = auth->GetPeerIdentity();
    if (!names.empty()) credentials.certificate.assign(names[0].data(), names[0].size());
  }
  caller_.principal = credentials.host;
  if (state->authenticator() == nullptr) {
    caller_.roles = static_cast<uint8_t>(Role::kAdmin);
    return;
  }
  auto caller = state->authenticator()->Identify(credentials);
  identified_ = caller.status();
  if (caller.ok()) caller_ = *std::move(caller);
}

absl::Status RpcCall::Admit(Role role) const {
  absl::Status status = identified_;
  if (status.ok() && !caller_.May(role)) {
    status = absl::PermissionDeniedError(
        absl::StrCat(method_, " needs the role ", RoleName(role), ", which ", caller_.principal, " does not have"));
  }
  if (status.ok()) return state_->CheckServing();
  const LogScope scope(log_fields());
  Log(LogLevel::kWarning, "audit",
      {{"method", method_}, {"principal", caller_.principal}, {"outcome", absl::StatusCodeToString(status.code())}});
  return status;
}

absl::Status RpcState::CheckServing() const {
  if (draining_) return absl::UnavailableError("the server is draining; try another one");
  return absl::OkStatus();
}

void RpcState::Began() {
  metrics_->OnOpenCalls(+1);
  MutexLock lock(&mutex_);
  ++active_;
}

void RpcState::Ended() {
  metrics_->OnOpenCalls(-1);
  MutexLock lock(&mutex_);
  if (--active_ == 0) changed_.NotifyAll();
}

bool RpcState::WaitForStreams(std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  MutexLock lock(&mutex_);
  while (active_ > 0) {
    const auto now = std::chrono::steady_clock::now();
    if (now >= deadline) return false;
    changed_.WaitFor(&mutex_, deadline - now);
  }
  return true;
}

grpc::Status RpcCall::End(const absl::Status& status) {
  if (const auto delay = RetryDelay(status)) {
    context_->AddTrailingMetadata("grpc-retry-pushback-ms", absl::StrCat(delay->count()));
  }
  grpc::Status result = ToGrpc(status);
  code_ = result.error_code();
  return result;
}

void RpcCall::Count() {
  state_->metrics().OnRequest(method_, CodeName(code_), seconds());
  if (code_ == grpc::StatusCode::CANCELLED) state_->metrics().OnCancelled();
  if (!traced_) return;
  const LogScope scope(log_fields());
  Log(LogLevel::kInfo, "request",
      {{"method", method_},
       {"principal", caller_.principal},
       {"code", CodeName(code_)},
       {"seconds", absl::StrCat(seconds())}});
}

}  // namespace haarflow
