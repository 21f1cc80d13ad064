// The client's calls of AdminService.
#include "client/client.h"
#include "client/rpc.h"
#include "core/base/status.h"
#include "haarflow/v1/admin.grpc.pb.h"

namespace haarflow {
namespace {

// A promotion waits until the version is verified, loaded and checked.
constexpr std::chrono::minutes kSlowCall{5};

}  // namespace

absl::StatusOr<v1::ModelInfo> Client::SetAlias(const std::string& model, const std::string& alias,
                                               uint64_t version) const {
  grpc::ClientContext context;
  BeginCall(options_, &context);
  context.set_deadline(std::chrono::system_clock::now() + kSlowCall);
  v1::SetAliasRequest request;
  request.set_model(model);
  request.set_alias(alias);
  request.set_version(version);
  v1::SetAliasResponse response;
  RETURN_IF_ERROR(ToAbsl(v1::AdminService::NewStub(channel_)->SetAlias(&context, request, &response), address_));
  return std::move(*response.mutable_model());
}

absl::StatusOr<v1::ModelInfo> Client::Rollback(const std::string& model) const {
  grpc::ClientContext context;
  BeginCall(options_, &context);
  context.set_deadline(std::chrono::system_clock::now() + kSlowCall);
  v1::RollbackRequest request;
  request.set_model(model);
  v1::RollbackResponse response;
  RETURN_IF_ERROR(ToAbsl(v1::AdminService::NewStub(channel_)->Rollback(&context, request, &response), address_));
  return std::move(*response.mutable_model());
}

absl::StatusOr<v1::ModelInfo> Client::Pin(const std::string& model, uint64_t version) const {
  grpc::ClientContext context;
  BeginCall(options_, &context);
  context.set_deadline(std::chrono::system_clock::now() + kSlowCall);
  v1::PinRequest request;
  request.set_model(model);
  request.set_version(version);
  v1::PinResponse response;
  RETURN_IF_ERROR(ToAbsl(v1::AdminService::NewStub(channel_)->Pin(&context, request, &response), address_));
  return std::move(*response.mutable_model());
}

absl::Status Client::UnloadModel(const std::string& model) const {
  grpc::ClientContext context;
  BeginCall(options_, &context);
  v1::UnloadModelRequest request;
  request.set_model(model);
  v1::UnloadModelResponse response;
  return ToAbsl(v1::AdminService::NewStub(channel_)->UnloadModel(&context, request, &response), address_);
}

absl::StatusOr<v1::GetServerStatusResponse> Client::ServerStatus() const {
  grpc::ClientContext context;
  BeginCall(options_, &context);
  v1::GetServerStatusResponse response;
  RETURN_IF_ERROR(ToAbsl(v1::AdminService::NewStub(channel_)->GetServerStatus(&context, {}, &response), address_));
  return response;
}

}  // namespace haarflow
