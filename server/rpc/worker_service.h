// haarflow.v1.WorkerService on gRPC's callback API.
//
// Lifetime: jobs (null: this server keeps none, every call says so) and state must outlive the service. Thread-safety:
// thread-safe.
#pragma once

#include "haarflow/v1/worker.grpc.pb.h"
#include "server/jobs/job_service.h"
#include "server/rpc/call.h"

namespace haarflow {

class WorkerServiceImpl final : public v1::WorkerService::CallbackService {
 public:
  WorkerServiceImpl(JobService* jobs, RpcState* state) : jobs_(jobs), state_(state) {}

  grpc::ServerUnaryReactor* LeaseJob(grpc::CallbackServerContext* context, const v1::LeaseJobRequest* request,
                                     v1::LeaseJobResponse* response) override;
  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext* context, const v1::HeartbeatRequest* request,
                                      v1::HeartbeatResponse* response) override;
  grpc::ServerWriteReactor<v1::FileChunk>* FetchCheckpoint(grpc::CallbackServerContext* context,
                                                           const v1::FetchCheckpointRequest* request) override;
  grpc::ServerReadReactor<v1::UploadRequest>* UploadState(grpc::CallbackServerContext* context,
                                                          v1::UploadResponse* response) override;
  grpc::ServerReadReactor<v1::UploadRequest>* PublishVersion(grpc::CallbackServerContext* context,
                                                             v1::UploadResponse* response) override;

 private:
  JobService* const jobs_;
  RpcState* const state_;
};

}  // namespace haarflow
