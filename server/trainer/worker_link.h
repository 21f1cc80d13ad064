// A trainer's side of haarflow.v1.WorkerService: calls with deadlines, files in chunks.
//
// Errors are the server's own status. Thread-safety: thread-safe.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "haarflow/v1/worker.grpc.pb.h"

namespace haarflow {

class WorkerLink {
 public:
  // INVALID_ARGUMENT for what is no address; as Client::Connect for tokens and PEM files. Connects lazily.
  static absl::StatusOr<std::unique_ptr<WorkerLink>> Connect(const std::string& address, ClientOptions options);

  absl::StatusOr<v1::LeaseJobResponse> LeaseJob(const std::string& worker, double wait_seconds);
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const v1::HeartbeatRequest& request);
  // Files by name, each complete. DATA_LOSS for one that is not.
  absl::StatusOr<std::map<std::string, std::string>> FetchCheckpoint(const v1::Lease& lease);
  absl::Status UploadState(const v1::Lease& lease, const std::string& bytes);
  using Files = std::vector<std::pair<std::string, std::string>>;  // name, bytes
  absl::StatusOr<v1::UploadResponse> PublishVersion(const v1::Lease& lease, const Files& files,
                                                    const std::string& digest);

 private:
  WorkerLink(std::string address, ClientOptions options, std::unique_ptr<v1::WorkerService::Stub> stub)
      : address_(std::move(address)), options_(std::move(options)), stub_(std::move(stub)) {}
  void Begin(grpc::ClientContext* context, double seconds) const;

  const std::string address_;
  const ClientOptions options_;
  const std::unique_ptr<v1::WorkerService::Stub> stub_;
};

}  // namespace haarflow
