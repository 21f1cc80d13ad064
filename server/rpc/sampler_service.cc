#include "server/rpc/sampler_service.h"

#include <memory>
#include <string>
#include <utility>

#include "server/rpc/handler.h"
#include "server/rpc/stream_reactor.h"

namespace haarflow {
namespace {

template <class Response, class Make>
grpc::ServerWriteReactor<Response>* Stream(RpcState* state, const char* method, grpc::CallbackServerContext* context,
                                           Scheduler* scheduler, Make&& make) {
  absl::StatusOr<std::shared_ptr<StreamTask<Response>>> task =
      Guarded([&]() -> absl::StatusOr<std::shared_ptr<StreamTask<Response>>> {
        if (absl::Status serving = state->CheckServing(); !serving.ok()) return serving;
        auto made = make();
        if (!made.ok()) return made.status();
        return std::shared_ptr<StreamTask<Response>>(*std::move(made));
      });
  return new StreamReactor<Response>(RpcCall(state, method, context), std::move(task), scheduler);
}

}  // namespace

grpc::ServerUnaryReactor* SamplerServiceImpl::ListModels(grpc::CallbackServerContext* context,
                                                         const v1::ListModelsRequest* /*request*/,
                                                         v1::ListModelsResponse* response) {
  RpcCall call(state_, "ListModels", context);
  const absl::Status status = Guarded([&]() -> absl::Status {
    if (absl::Status serving = state_->CheckServing(); !serving.ok()) return serving;
    for (v1::ModelInfo& info : registry_->List()) *response->add_models() = std::move(info);
    *response->mutable_server() = info_;
    return absl::OkStatus();
  });
  return Answer(std::move(call), context, status);
}

grpc::ServerUnaryReactor* SamplerServiceImpl::GetModel(grpc::CallbackServerContext* context,
                                                       const v1::GetModelRequest* request,
                                                       v1::GetModelResponse* response) {
  RpcCall call(state_, "GetModel", context);
  const absl::Status status = Guarded([&]() -> absl::Status {
    if (absl::Status serving = state_->CheckServing(); !serving.ok()) return serving;
    const auto model = registry_->ByName(request->name());
    if (!model.ok()) return model.status();
    *response->mutable_model() = InfoOf(**model);
    *response->mutable_spec() = (*model)->spec;
    response->set_spec_text((*model)->spec_text);
    response->set_manifest_json((*model)->manifest_json);
    return absl::OkStatus();
  });
  return Answer(std::move(call), context, status);
}

grpc::ServerWriteReactor<v1::SampleResponse>* SamplerServiceImpl::Sample(grpc::CallbackServerContext* context,
                                                                         const v1::SampleRequest* request) {
  return Stream<v1::SampleResponse>(state_, "Sample", context, scheduler_,
                                    [&] { return MakeSampleTask(*registry_, *request, options_); });
}

grpc::ServerWriteReactor<v1::MeasureResponse>* SamplerServiceImpl::Measure(grpc::CallbackServerContext* context,
                                                                           const v1::MeasureRequest* request) {
  return Stream<v1::MeasureResponse>(state_, "Measure", context, scheduler_,
                                     [&] { return MakeMeasureTask(*registry_, *request, options_); });
}

grpc::ServerWriteReactor<v1::EstimatePartitionFunctionResponse>* SamplerServiceImpl::EstimatePartitionFunction(
    grpc::CallbackServerContext* context, const v1::EstimatePartitionFunctionRequest* request) {
  return Stream<v1::EstimatePartitionFunctionResponse>(state_, "EstimatePartitionFunction", context, scheduler_, [&] {
    return MakePartitionTask(*registry_, *request, options_);
  });
}

}  // namespace haarflow
