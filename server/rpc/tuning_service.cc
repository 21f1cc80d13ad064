#include "server/rpc/tuning_service.h"

#include <memory>

#include "server/rpc/job_call.h"
#include "server/rpc/source_reactor.h"

namespace haarflow {

// The request lives until the call is finished.
grpc::ServerUnaryReactor* TuningServiceImpl::Retune(grpc::CallbackServerContext* context,
                                                    const v1::RetuneRequest* request, v1::Job* response) {
  return RunLater(RpcCall(state_, "Retune", context), jobs_, Role::kTuner, context, response,
                  [this, request] { return jobs_->Retune(*request); });
}

grpc::ServerUnaryReactor* TuningServiceImpl::GetJob(grpc::CallbackServerContext* context,
                                                    const v1::GetJobRequest* request, v1::Job* response) {
  return RunLater(RpcCall(state_, "GetJob", context), jobs_, Role::kTuner, context, response,
                  [this, request] { return jobs_->queue().Get(request->job_id(), /*with_events=*/true); });
}

grpc::ServerUnaryReactor* TuningServiceImpl::ListJobs(grpc::CallbackServerContext* context,
                                                      const v1::ListJobsRequest* request,
                                                      v1::ListJobsResponse* response) {
  return RunLater(RpcCall(state_, "ListJobs", context), jobs_, Role::kTuner, context, response,
                  [this, request] { return jobs_->queue().List(*request); });
}

grpc::ServerUnaryReactor* TuningServiceImpl::CancelJob(grpc::CallbackServerContext* context,
                                                       const v1::CancelJobRequest* request, v1::Job* response) {
  return RunLater(RpcCall(state_, "CancelJob", context), jobs_, Role::kTuner, context, response,
                  [this, request] { return jobs_->queue().Cancel(request->job_id()); });
}

grpc::ServerWriteReactor<v1::Job>* TuningServiceImpl::WatchJob(grpc::CallbackServerContext* context,
                                                               const v1::WatchJobRequest* request) {
  RpcCall call(state_, "WatchJob", context);
  const LogScope scope(call.log_fields());
  absl::StatusOr<std::shared_ptr<JobWatch>> watch = Handled([&]() -> absl::StatusOr<std::shared_ptr<JobWatch>> {
    if (absl::Status refused = AdmitJobs(call, jobs_, Role::kTuner); !refused.ok()) return refused;
    return std::make_shared<JobWatch>();
  });
  return new SourceReactor<v1::Job, JobWatch>(
      std::move(call), std::move(watch),
      [this, id = request->job_id()](const std::shared_ptr<JobWatch>& started) { return jobs_->Watch(id, started); });
}

}  // namespace haarflow
