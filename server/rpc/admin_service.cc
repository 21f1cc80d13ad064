#include "server/rpc/admin_service.h"

#include <memory>
#include <string>
#include <utility>

#include "core/base/status.h"
#include "server/log/log.h"
#include "server/rpc/handler.h"

namespace haarflow {
namespace {

constexpr size_t kMostStreams = 1000;

// A call that is answered on another thread. What it did to which model is a line of the log, whatever came of it.
class PendingCall {
 public:
  PendingCall(RpcState* state, const char* method, grpc::CallbackServerContext* context, std::string object)
      : call_(state, method, context), object_(std::move(object)), reactor_(context->DefaultReactor()) {}
  RpcCall& call() { return call_; }
  grpc::ServerUnaryReactor* reactor() const { return reactor_; }
  // Once.
  grpc::ServerUnaryReactor* Finish(const absl::Status& status) {
    const LogScope scope(call_.log_fields());
    const grpc::Status end = call_.End(status);
    Log(LogLevel::kInfo, "audit",
        {{"method", call_.method()},
         {"principal", call_.principal()},
         {"object", object_},
         {"outcome", status.ok() ? "OK" : absl::StatusCodeToString(status.code())}});
    call_.Count();
    reactor_->Finish(end);
    return reactor_;
  }

 private:
  RpcCall call_;
  const std::string object_;
  grpc::ServerUnaryReactor* const reactor_;
};

// Lets `work` begin what an administrator asks for.
template <class Work>
grpc::ServerUnaryReactor* Begin(const std::shared_ptr<PendingCall>& pending, const Work& work) {
  const LogScope scope(pending->call().log_fields());
  if (absl::Status status = pending->call().Admit(Role::kAdmin); !status.ok()) return pending->Finish(status);
  work();
  return pending->reactor();
}

// The callback that ends `pending` with a model in its response.
template <class Response>
ModelManager::DoneWith<v1::ModelInfo> AnswersModel(std::shared_ptr<PendingCall> pending, Response* response) {
  return [pending = std::move(pending), response](absl::StatusOr<v1::ModelInfo> info) {
    if (info.ok()) *response->mutable_model() = *std::move(info);
    pending->Finish(info.status());
  };
}

}  // namespace

grpc::ServerUnaryReactor* AdminServiceImpl::SetAlias(grpc::CallbackServerContext* context,
                                                     const v1::SetAliasRequest* request,
                                                     v1::SetAliasResponse* response) {
  auto pending = std::make_shared<PendingCall>(
      state_, "SetAlias", context,
      absl::StrCat(request->alias(), " of ", request->model(), " = version ", request->version()));
  return Begin(pending, [&] {
    manager_->SetAlias(request->model(), request->alias(), request->version(), AnswersModel(pending, response));
  });
}

grpc::ServerUnaryReactor* AdminServiceImpl::Rollback(grpc::CallbackServerContext* context,
                                                     const v1::RollbackRequest* request,
                                                     v1::RollbackResponse* response) {
  auto pending = std::make_shared<PendingCall>(state_, "Rollback", context, request->model());
  return Begin(pending, [&] { manager_->Rollback(request->model(), AnswersModel(pending, response)); });
}

grpc::ServerUnaryReactor* AdminServiceImpl::Pin(grpc::CallbackServerContext* context, const v1::PinRequest* request,
                                                v1::PinResponse* response) {
  auto pending = std::make_shared<PendingCall>(state_, "Pin", context,
                                               absl::StrCat(request->model(), " at version ", request->version()));
  return Begin(pending, [&] {
    manager_->SetAlias(request->model(), kPinnedAlias, request->version(), AnswersModel(pending, response));
  });
}

grpc::ServerUnaryReactor* AdminServiceImpl::NotifyStoreChanged(grpc::CallbackServerContext* context,
                                                               const v1::NotifyStoreChangedRequest* /*request*/,
                                                               v1::NotifyStoreChangedResponse* response) {
  auto pending = std::make_shared<PendingCall>(state_, "NotifyStoreChanged", context, "");
  return Begin(pending, [&] {
    manager_->Sync([pending, response](absl::StatusOr<ModelManager::SyncResult> result) {
      if (result.ok()) {
        response->set_generation(result->generation);
        response->set_swaps(result->swaps);
        response->set_refusals(result->refusals);
      }
      pending->Finish(result.status());
    });
  });
}

grpc::ServerUnaryReactor* AdminServiceImpl::UnloadModel(grpc::CallbackServerContext* context,
                                                        const v1::UnloadModelRequest* request,
                                                        v1::UnloadModelResponse* /*response*/) {
  auto pending = std::make_shared<PendingCall>(state_, "UnloadModel", context, request->model());
  return Begin(pending, [&] {
    manager_->Unload(request->model(), [pending](const absl::Status& status) { pending->Finish(status); });
  });
}

grpc::ServerUnaryReactor* AdminServiceImpl::GetServerStatus(grpc::CallbackServerContext* context,
                                                            const v1::GetServerStatusRequest* /*request*/,
                                                            v1::GetServerStatusResponse* response) {
  RpcCall call(state_, "GetServerStatus", context);
  const LogScope scope(call.log_fields());
  const absl::Status status = Handled([&]() -> absl::Status {
    if (absl::Status status = call.Admit(Role::kAdmin);
        absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status)) {
      return status;  // a draining server may be looked at
    }
    const auto now = std::chrono::steady_clock::now();
    const auto seconds = [now](auto since) { return std::chrono::duration<double>(now - since).count(); };
    *response->mutable_server() = info_;
    for (const Scheduler::ActiveStream& stream : scheduler_->Streams(kMostStreams)) {
      v1::StreamInfo& shown = *response->add_streams();
      shown.set_id(stream.id);
      shown.set_method(stream.method);
      shown.set_model(stream.model);
      shown.set_version(stream.version);
      shown.set_principal(stream.flow.principal);
      shown.set_priority(stream.flow.bulk ? v1::PRIORITY_BULK : v1::PRIORITY_INTERACTIVE);
      shown.set_proposals(stream.proposals);
      shown.set_seconds(seconds(stream.since));
    }
    const Usage held = scheduler_->held();
    const Usage& limits = scheduler_->limits().all;
    response->set_active_streams(static_cast<uint64_t>(held.streams));
    response->set_max_streams(static_cast<uint64_t>(limits.streams));
    response->set_reserved_bytes(static_cast<uint64_t>(held.bytes));
    response->set_byte_budget(static_cast<uint64_t>(limits.bytes));
    response->set_model_bytes(static_cast<uint64_t>(manager_->loaded_bytes()));
    response->set_model_byte_budget(static_cast<uint64_t>(manager_->memory_budget()));
    response->set_draining(scheduler_->draining());
    response->set_uptime_seconds(seconds(start_));
    response->set_proposals_drawn(scheduler_->proposals_drawn());
    response->set_resident_bytes(Metrics::ResidentBytes());
    return absl::OkStatus();
  });
  return Answer(std::move(call), context, status);
}

}  // namespace haarflow
