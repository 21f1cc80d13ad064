// haarflow.v1.SamplerService on gRPC's callback API: parse, check, enqueue, answer.
//
// Lifetime: registry, scheduler and state must outlive the service. Thread-safety: thread-safe.
#pragma once

#include "haarflow/v1/sampler.grpc.pb.h"
#include "server/registry/model_manager.h"
#include "server/registry/registry.h"
#include "server/rpc/call.h"
#include "server/sampling/request.h"
#include "server/sampling/scheduler.h"

namespace haarflow {

class SamplerServiceImpl final : public v1::SamplerService::CallbackService {
 public:
  // `manager` may be null: nothing is loaded on demand then. Without `draws` models are shown and nothing is drawn.
  SamplerServiceImpl(const ModelRegistry* registry, ModelManager* manager, Scheduler* scheduler, RpcState* state,
                     const RequestOptions& options, v1::ServerInfo info, bool draws)
      : registry_(registry),
        manager_(manager),
        scheduler_(scheduler),
        state_(state),
        options_(options),
        info_(std::move(info)),
        draws_(draws) {}

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context, const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context, const v1::GetModelRequest* request,
                                     v1::GetModelResponse* response) override;
  grpc::ServerWriteReactor<v1::SampleResponse>* Sample(grpc::CallbackServerContext* context,
                                                       const v1::SampleRequest* request) override;
  grpc::ServerWriteReactor<v1::MeasureResponse>* Measure(grpc::CallbackServerContext* context,
                                                         const v1::MeasureRequest* request) override;
  grpc::ServerWriteReactor<v1::EstimatePartitionFunctionResponse>* EstimatePartitionFunction(
      grpc::CallbackServerContext* context, const v1::EstimatePartitionFunctionRequest* request) override;

 private:
  // A stream of the task that `make` (registry, request, options) makes.
  template <class Response, class Request, class Maker>
  grpc::ServerWriteReactor<Response>* Stream(const char* method, grpc::CallbackServerContext* context,
                                             const Request& request, Maker make);

  const ModelRegistry* const registry_;
  ModelManager* const manager_;
  Scheduler* const scheduler_;
  RpcState* const state_;
  const RequestOptions options_;
  const v1::ServerInfo info_;
  const bool draws_;
};

}  // namespace haarflow
