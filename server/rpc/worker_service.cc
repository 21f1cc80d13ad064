#include "server/rpc/worker_service.h"

#include <memory>
#include <utility>
#include <vector>

#include "core/base/status.h"
#include "core/model/spec.h"
#include "server/rpc/job_call.h"
#include "server/rpc/source_reactor.h"
#include "server/rpc/upload_reactor.h"

namespace haarflow {
namespace {

constexpr uint64_t kMaxCardBytes = 1 << 20;

}  // namespace

grpc::ServerUnaryReactor* WorkerServiceImpl::LeaseJob(grpc::CallbackServerContext* context,
                                                      const v1::LeaseJobRequest* request,
                                                      v1::LeaseJobResponse* response) {
  RpcCall call(state_, "LeaseJob", context);
  const LogScope scope(call.log_fields());
  const absl::Status refused = AdmitJobs(call, jobs_, Role::kTrainer);
  if (!refused.ok()) return Answer(std::move(call), context, refused);
  auto answer = AnswerLater<v1::LeaseJobResponse>(std::move(call), context, response);
  jobs_->LeaseJob(
      *request, [context] { return context->IsCancelled(); }, std::move(answer.done));
  return answer.reactor;
}

grpc::ServerUnaryReactor* WorkerServiceImpl::Heartbeat(grpc::CallbackServerContext* context,
                                                       const v1::HeartbeatRequest* request,
                                                       v1::HeartbeatResponse* response) {
  return RunLater(
      RpcCall(state_, "Heartbeat", context), jobs_, Role::kTrainer, context, response,
      [this, request]() -> absl::StatusOr<v1::HeartbeatResponse> {
        v1::HeartbeatResponse answer;
        ASSIGN_OR_RETURN(const bool cancel, jobs_->queue().Heartbeat(*request));
        answer.set_cancel(cancel);
        return answer;
      },
      /*urgent=*/true);
}

grpc::ServerWriteReactor<v1::FileChunk>* WorkerServiceImpl::FetchCheckpoint(grpc::CallbackServerContext* context,
                                                                            const v1::FetchCheckpointRequest* request) {
  RpcCall call(state_, "FetchCheckpoint", context);
  const LogScope scope(call.log_fields());
  absl::StatusOr<std::shared_ptr<FileSource>> source = std::make_shared<FileSource>();
  if (const absl::Status refused = AdmitJobs(call, jobs_, Role::kTrainer); !refused.ok()) source = refused;
  return new SourceReactor<v1::FileChunk, FileSource>(
      std::move(call), std::move(source),
      [this, lease = request->lease()](const std::shared_ptr<FileSource>& started) -> absl::Status {
        const bool taken = jobs_->Post([this, lease, started] {
          auto files = Handled([&] { return jobs_->Checkpoint(lease); });
          files.ok() ? started->SetFiles(*std::move(files)) : started->End(files.status());
        });
        return taken ? absl::OkStatus() : absl::UnavailableError("the server stops");
      });
}

grpc::ServerReadReactor<v1::UploadRequest>* WorkerServiceImpl::UploadState(grpc::CallbackServerContext* context,
                                                                           v1::UploadResponse* response) {
  RpcCall call(state_, "UploadState", context);
  const absl::Status refused = AdmitJobs(call, jobs_, Role::kTrainer);
  std::vector<UploadFile> files = {{"state", refused.ok() ? jobs_->options().max_state_bytes : 0}};
  return new UploadReactor(
      std::move(call), jobs_, refused, std::move(files), response,
      [jobs = jobs_](const v1::Lease& lease, const std::string& digest, std::vector<std::string> bytes) {
        return jobs->StoreState(lease, digest, bytes[0]);
      });
}

grpc::ServerReadReactor<v1::UploadRequest>* WorkerServiceImpl::PublishVersion(grpc::CallbackServerContext* context,
                                                                              v1::UploadResponse* response) {
  RpcCall call(state_, "PublishVersion", context);
  const absl::Status refused = AdmitJobs(call, jobs_, Role::kTrainer);
  const uint64_t weights = refused.ok() ? jobs_->options().max_state_bytes : 0;
  std::vector<UploadFile> files = {{kSpecFile, kMaxSpecBytes}, {kWeightsFile, weights}, {"card.pb", kMaxCardBytes}};
  return new UploadReactor(
      std::move(call), jobs_, refused, std::move(files), response,
      [jobs = jobs_](const v1::Lease& lease, const std::string& digest, std::vector<std::string> bytes) {
        return jobs->Publish(lease, {std::move(bytes[0]), std::move(bytes[1]), std::move(bytes[2]), digest});
      });
}

}  // namespace haarflow
