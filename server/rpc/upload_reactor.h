// Takes a stream of file chunks from a trainer. One read is outstanding; each chunk is checked and kept on the job
// service's threads, so that a fast trainer waits for a slow disk and never for memory.
//
// Nothing finishes the call but the chain of reads: a broken connection fails the outstanding read. Lifetime: deletes
// itself in OnDone.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/jobs/job_service.h"
#include "server/rpc/call.h"
#include "server/rpc/handler.h"

namespace haarflow {

class UploadReactor final : public grpc::ServerReadReactor<v1::UploadRequest> {
 public:
  // Lease, announced digest, the files' bytes.
  using Commit =
      std::function<absl::StatusOr<v1::UploadResponse>(const v1::Lease&, const std::string&, std::vector<std::string>)>;
  // `refused`: not OK ends the call at once.
  UploadReactor(RpcCall call, JobService* jobs, const absl::Status& refused, std::vector<UploadFile> files,
                v1::UploadResponse* response, Commit commit);

  void OnReadDone(bool ok) override;
  void OnDone() override;

 private:
  absl::Status Take();
  void End(const absl::Status& status);

  RpcCall call_;
  JobService* const jobs_;
  std::unique_ptr<UploadAssembler> files_;
  v1::UploadResponse* const response_;
  const Commit commit_;
  v1::UploadRequest message_;
  bool first_ = true;
  v1::Lease lease_;
  std::string digest_;
};

}  // namespace haarflow
