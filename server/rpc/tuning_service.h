// haarflow.v1.TuningService on gRPC's callback API.
//
// Lifetime: jobs (null: this server keeps none, every call says so) and state must outlive the service. Thread-safety:
// thread-safe.
#pragma once

#include "haarflow/v1/tuning.grpc.pb.h"
#include "server/jobs/job_service.h"
#include "server/rpc/call.h"

namespace haarflow {

class TuningServiceImpl final : public v1::TuningService::CallbackService {
 public:
  TuningServiceImpl(JobService* jobs, RpcState* state) : jobs_(jobs), state_(state) {}

  grpc::ServerUnaryReactor* Retune(grpc::CallbackServerContext* context, const v1::RetuneRequest* request,
                                   v1::Job* response) override;
  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* context, const v1::GetJobRequest* request,
                                   v1::Job* response) override;
  grpc::ServerUnaryReactor* ListJobs(grpc::CallbackServerContext* context, const v1::ListJobsRequest* request,
                                     v1::ListJobsResponse* response) override;
  grpc::ServerUnaryReactor* CancelJob(grpc::CallbackServerContext* context, const v1::CancelJobRequest* request,
                                      v1::Job* response) override;
  grpc::ServerWriteReactor<v1::Job>* WatchJob(grpc::CallbackServerContext* context,
                                              const v1::WatchJobRequest* request) override;

 private:
  JobService* const jobs_;
  RpcState* const state_;
};

}  // namespace haarflow
