// haarflow.v1.AdminService: hands everything to the model manager's thread and answers when it is done.
//
// Lifetime: manager, scheduler and state must outlive the service. Thread-safety: thread-safe.
#pragma once

#include <chrono>

#include "haarflow/v1/admin.grpc.pb.h"
#include "server/registry/model_manager.h"
#include "server/rpc/call.h"
#include "server/sampling/scheduler.h"

namespace haarflow {

class AdminServiceImpl final : public v1::AdminService::CallbackService {
 public:
  AdminServiceImpl(ModelManager* manager, const Scheduler* scheduler, RpcState* state, v1::ServerInfo info)
      : manager_(manager), scheduler_(scheduler), state_(state), info_(std::move(info)) {}

  grpc::ServerUnaryReactor* SetAlias(grpc::CallbackServerContext* context, const v1::SetAliasRequest* request,
                                     v1::SetAliasResponse* response) override;
  grpc::ServerUnaryReactor* Rollback(grpc::CallbackServerContext* context, const v1::RollbackRequest* request,
                                     v1::RollbackResponse* response) override;
  grpc::ServerUnaryReactor* Pin(grpc::CallbackServerContext* context, const v1::PinRequest* request,
                                v1::PinResponse* response) override;
  grpc::ServerUnaryReactor* NotifyStoreChanged(grpc::CallbackServerContext* context,
                                               const v1::NotifyStoreChangedRequest* request,
                                               v1::NotifyStoreChangedResponse* response) override;
  grpc::ServerUnaryReactor* UnloadModel(grpc::CallbackServerContext* context, const v1::UnloadModelRequest* request,
                                        v1::UnloadModelResponse* response) override;
  grpc::ServerUnaryReactor* GetServerStatus(grpc::CallbackServerContext* context,
                                            const v1::GetServerStatusRequest* request,
                                            v1::GetServerStatusResponse* response) override;

 private:
  ModelManager* const manager_;
  const Scheduler* const scheduler_;
  RpcState* const state_;
  const v1::ServerInfo info_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace haarflow
