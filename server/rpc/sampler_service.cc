#include "server/rpc/sampler_service.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "server/rpc/handler.h"
#include "server/rpc/stream_reactor.h"

namespace haarflow {

grpc::ServerUnaryReactor* SamplerServiceImpl::ListModels(grpc::CallbackServerContext* context,
                                                         const v1::ListModelsRequest* /*request*/,
                                                         v1::ListModelsResponse* response) {
  RpcCall call(state_, "ListModels", context);
  const LogScope scope(call.log_fields());
  const absl::Status status = Handled([&]() -> absl::Status {
    RETURN_IF_ERROR(call.Admit(Role::kSampler));
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
  const LogScope scope(call.log_fields());
  const absl::Status status = Handled([&]() -> absl::Status {
    RETURN_IF_ERROR(call.Admit(Role::kSampler));
    auto described = registry_->Describe(request->name());
    if (!described.ok()) return described.status();
    *response->mutable_model() = std::move(described->info);
    if (const ModelFacts* facts = described->facts.get()) {
      *response->mutable_spec() = facts->spec;
      response->set_spec_text(facts->spec_text);
      response->set_manifest_json(facts->manifest_json);
    }
    return absl::OkStatus();
  });
  return Answer(std::move(call), context, status);
}

template <class Response, class Request, class Maker>
grpc::ServerWriteReactor<Response>* SamplerServiceImpl::Stream(const char* method, grpc::CallbackServerContext* context,
                                                               const Request& request, Maker make) {
  RpcCall call(state_, method, context);
  // The request is copied: it may have to wait for its model.
  auto make_task = [this, make, method, admitted = call.Admit(Role::kSampler), principal = call.principal(),
                    fields = call.log_fields(), request = std::make_shared<Request>(request)]() {
    const LogScope scope(fields);
    return Handled([&]() -> absl::StatusOr<std::shared_ptr<StreamTask<Response>>> {
      RETURN_IF_ERROR(admitted);
      RETURN_IF_ERROR(state_->CheckServing());  // the model may have taken its time
      if (!draws_) {
        return absl::FailedPreconditionError("this server is a coordinator and draws nothing; ask a sampler");
      }
      ASSIGN_OR_RETURN(const bool bulk, IsBulk(request->priority()));
      ASSIGN_OR_RETURN(auto task, make(*registry_, *request, options_));
      task->SetOrigin({bulk, principal}, method);
      return std::shared_ptr<StreamTask<Response>>(std::move(task));
    });
  };
  return new StreamReactor<Response>(std::move(call), std::move(make_task), scheduler_, manager_);
}

grpc::ServerWriteReactor<v1::SampleResponse>* SamplerServiceImpl::Sample(grpc::CallbackServerContext* context,
                                                                         const v1::SampleRequest* request) {
  return Stream<v1::SampleResponse>("Sample", context, *request, &MakeSampleTask);
}

grpc::ServerWriteReactor<v1::MeasureResponse>* SamplerServiceImpl::Measure(grpc::CallbackServerContext* context,
                                                                           const v1::MeasureRequest* request) {
  return Stream<v1::MeasureResponse>("Measure", context, *request, &MakeMeasureTask);
}

grpc::ServerWriteReactor<v1::EstimatePartitionFunctionResponse>* SamplerServiceImpl::EstimatePartitionFunction(
    grpc::CallbackServerContext* context, const v1::EstimatePartitionFunctionRequest* request) {
  return Stream<v1::EstimatePartitionFunctionResponse>("EstimatePartitionFunction", context, *request,
                                                       &MakePartitionTask);
}

}  // namespace haarflow
