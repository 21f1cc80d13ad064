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
#include "core/base/mutex.h"
#include "haarflow/v1/worker.grpc.pb.h"

namespace haarflow {

class WorkerLink {
 public:
  // INVALID_ARGUMENT for what is no address; as Client::Connect for tokens and PEM files. Connects lazily. A server
  // known by its endpoint file ("file:/path") need not run yet, and is looked for there again whenever it does not
  // answer: it may have moved to another node.
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
  using Stub = std::shared_ptr<v1::WorkerService::Stub>;

  WorkerLink(std::string address, ClientOptions options) : address_(std::move(address)), options_(std::move(options)) {}
  void Begin(grpc::ClientContext* context, double seconds) const;
  // The way to the server as it is known; UNAVAILABLE while its endpoint file is not there.
  absl::StatusOr<Stub> Way();
  // `status` of a call as the caller sees it. After one that did not reach the server the endpoint file is read again.
  absl::Status Ended(const grpc::Status& status);

  const std::string address_;
  const ClientOptions options_;
  Mutex mutex_;
  std::string dialled_ ABSL_GUARDED_BY(mutex_);
  Stub stub_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace haarflow
