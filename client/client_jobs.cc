// The client library's calls of TuningService.
#include <algorithm>
#include <chrono>
#include <thread>

#include "client/client.h"
#include "client/rpc.h"
#include "core/base/status.h"
#include "haarflow/v1/tuning.grpc.pb.h"

namespace haarflow {
namespace {

bool HasEnded(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_FAILED || state == v1::JOB_STATE_CANCELLED;
}

}  // namespace

absl::StatusOr<v1::Job> Client::Retune(const v1::RetuneRequest& request) const {
  grpc::ClientContext context;
  BeginCall(options_, &context);
  v1::Job job;
  RETURN_IF_ERROR(ToAbsl(v1::TuningService::NewStub(channel_)->Retune(&context, request, &job), address_));
  return job;
}

absl::StatusOr<v1::Job> Client::GetJob(const std::string& job_id) const {
  grpc::ClientContext context;
  BeginCall(options_, &context);
  v1::GetJobRequest request;
  request.set_job_id(job_id);
  v1::Job job;
  RETURN_IF_ERROR(ToAbsl(v1::TuningService::NewStub(channel_)->GetJob(&context, request, &job), address_));
  return job;
}

absl::StatusOr<v1::ListJobsResponse> Client::ListJobs(const v1::ListJobsRequest& request) const {
  grpc::ClientContext context;
  BeginCall(options_, &context);
  v1::ListJobsResponse response;
  RETURN_IF_ERROR(ToAbsl(v1::TuningService::NewStub(channel_)->ListJobs(&context, request, &response), address_));
  return response;
}

absl::StatusOr<v1::Job> Client::CancelJob(const std::string& job_id) const {
  grpc::ClientContext context;
  BeginCall(options_, &context);
  v1::CancelJobRequest request;
  request.set_job_id(job_id);
  v1::Job job;
  RETURN_IF_ERROR(ToAbsl(v1::TuningService::NewStub(channel_)->CancelJob(&context, request, &job), address_));
  return job;
}

absl::StatusOr<v1::Job> Client::WatchJob(const std::string& job_id, const StreamOptions& options,
                                         const JobCallback& callback) const {
  const auto stub = v1::TuningService::NewStub(channel_);
  v1::WatchJobRequest request;
  request.set_job_id(job_id);
  v1::Job job;
  bool seen = false;
  auto heard = std::chrono::steady_clock::now();
  auto pause = options.first_backoff;
  while (true) {
    grpc::ClientContext context;
    ShowCaller(options_.token, &context);
    const StopGuard guard(options.stop, &context);
    const auto reader = stub->WatchJob(&context, request);
    bool stopped = false;
    while (reader->Read(&job)) {
      seen = true;
      heard = std::chrono::steady_clock::now();
      pause = options.first_backoff;
      if (!stopped && callback && !callback(job)) {
        stopped = true;
        context.TryCancel();
      }
    }
    const absl::Status status = ToAbsl(reader->Finish(), address_);
    if (stopped || options.stop.stop_requested()) return absl::CancelledError("stopped by the caller");
    if (status.ok() && seen && HasEnded(job.state())) return job;
    // Before the first answer an absent server is an error at once; afterwards it may be restarting.
    const bool patient = options.resume && seen && std::chrono::steady_clock::now() - heard < options.resume_for;
    if (!status.ok() && !(patient && absl::IsUnavailable(status))) return status;
    if (status.ok() && !seen) return absl::DataLossError(absl::StrCat("the server at ", address_, " said nothing"));
    if (options.on_resume) options.on_resume(status);
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, options.max_backoff);
  }
}

}  // namespace haarflow
