// The client library of haarflow.
//
//   auto client = haarflow::Client::Connect("127.0.0.1:50151", {});
//   haarflow::v1::SampleRequest request;
//   request.set_model("u1-l16-b2");
//   request.set_count(10000);
//   absl::Status status = (*client)->Sample(request, {}, [](const haarflow::v1::SampleResponse& message) {
//     // header, chunks, summary, checked; return false to stop
//     return true;
//   });
//
// Errors are the server's own status, or: UNAVAILABLE when it cannot be reached, DATA_LOSS when what it sent
// contradicts itself.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "haarflow/v1/admin.pb.h"
#include "haarflow/v1/sampler.pb.h"
#include "haarflow/v1/tuning.pb.h"

namespace grpc {
class Channel;
}

namespace haarflow {

struct ClientOptions {
  // Of calls that return one message. Streams have no deadline: they last as long as they are asked to; a dead
  // connection is noticed by keepalive (ping after 30 s of silence, 10 s for its answer; the server allows one every 20
  // s).
  std::chrono::milliseconds call_deadline{10000};
  // A chunk is at most a few MiB; this bounds what a server can make us allocate.
  int max_receive_bytes = 64 << 20;
  // Shown with every call. Never sent in clear beyond this host: Connect refuses.
  std::string token;
  // TLS when any of these says so. PEM files; without `ca_file` the system's authorities. Certificate and key: for
  // mTLS.
  bool tls = false;
  std::string ca_file;
  std::string certificate_file;
  std::string key_file;
};

struct StreamOptions {
  // Sample: go on from the last resume token when the server goes away in the middle of a stream (restart, drain,
  // lost connection). The joined stream is the unbroken chain, bit for bit within one numerics class. A server that
  // cannot be reached at the beginning is an error at once. All streams: come back when a full server says so.
  bool resume = true;
  // How long without any progress, or without being admitted, before giving up.
  std::chrono::milliseconds resume_for{60000};
  std::chrono::milliseconds first_backoff{100};
  std::chrono::milliseconds max_backoff{5000};
  // Called before each attempt to go on, with the reason.
  std::function<void(const absl::Status& reason)> on_resume;
  // Stops the call from any thread: CANCELLED.
  std::stop_token stop;
};

// Thread-safe: calls may run at the same time from many threads, over one connection.
class Client {
 public:
  using SampleCallback = std::function<bool(const v1::SampleResponse&)>;
  using MeasureCallback = std::function<bool(const v1::MeasureResponse&)>;
  using PartitionCallback = std::function<bool(const v1::EstimatePartitionFunctionResponse&)>;

  // `address` is "host:port" or "unix:/path". Connects lazily: the first call finds out. INVALID_ARGUMENT for what is
  // no address, FAILED_PRECONDITION for a token without TLS beyond this host, NOT_FOUND for a PEM file that is not
  // there.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(const std::string& address, const ClientOptions& options);

  absl::StatusOr<v1::ListModelsResponse> ListModels() const;
  absl::StatusOr<v1::GetModelResponse> GetModel(const std::string& name) const;

  // Draws. Every message is checked (SampleAssembler) before `callback` sees it: a header, chunks, and one summary at
  // the end. Each resumption begins with a header of its own: forget a configuration that the cut left unfinished; a
  // state whose steps the cut divided comes again with the rest of its multiplicity (SampleAssembler and RowBlock do
  // both). A false from `callback` ends the call: CANCELLED. The callback runs on the calling thread.
  absl::Status Sample(const v1::SampleRequest& request, const StreamOptions& options,
                      const SampleCallback& callback) const;

  // The last message, which holds the result; `progress` (may be null) sees all.
  absl::StatusOr<v1::MeasureResponse> Measure(const v1::MeasureRequest& request, const StreamOptions& options,
                                              const MeasureCallback& progress) const;
  absl::StatusOr<v1::EstimatePartitionFunctionResponse> EstimatePartitionFunction(
      const v1::EstimatePartitionFunctionRequest& request, const StreamOptions& options,
      const PartitionCallback& progress) const;

  // Re-tuning jobs (client/client_jobs.cc). A Retune that is repeated with its idempotency key is the same job.
  absl::StatusOr<v1::Job> Retune(const v1::RetuneRequest& request) const;
  absl::StatusOr<v1::Job> GetJob(const std::string& job_id) const;
  absl::StatusOr<v1::ListJobsResponse> ListJobs(const v1::ListJobsRequest& request) const;
  absl::StatusOr<v1::Job> CancelJob(const std::string& job_id) const;
  // The job now, and whenever it changes, until it has ended: its last state. Goes on when the server was away for no
  // longer than options.resume_for. A false from `callback` ends the call: CANCELLED.
  using JobCallback = std::function<bool(const v1::Job&)>;
  absl::StatusOr<v1::Job> WatchJob(const std::string& job_id, const StreamOptions& options,
                                   const JobCallback& callback) const;

  // grpc.health.v1 of `service` ("" is the server as a whole, "haarflow.model.NAME" a model): true when SERVING.
  // NOT_FOUND for a name it does not know.
  absl::StatusOr<bool> IsServing(const std::string& service) const;

  // What an operator does; server/README.md has the rules. Each answers when it is done.
  absl::StatusOr<v1::ModelInfo> SetAlias(const std::string& model, const std::string& alias, uint64_t version) const;
  absl::StatusOr<v1::ModelInfo> Rollback(const std::string& model) const;
  absl::StatusOr<v1::ModelInfo> Pin(const std::string& model, uint64_t version) const;  // 0: no pin
  absl::Status UnloadModel(const std::string& model) const;
  absl::StatusOr<v1::GetServerStatusResponse> ServerStatus() const;

  const std::string& address() const { return address_; }

 private:
  Client(std::string address, const ClientOptions& options, std::shared_ptr<grpc::Channel> channel)
      : address_(std::move(address)), options_(options), channel_(std::move(channel)) {}

  const std::string address_;
  const ClientOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace haarflow
