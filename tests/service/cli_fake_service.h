// A SamplerService that needs no model: it serves a FakeRun, and misbehaves when asked to.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "core/base/mutex.h"
#include "haarflow/v1/sampler.grpc.pb.h"
#include "tests/unit/io_fake_run.h"

namespace haarflow::testing {

// What goes wrong in one call of Sample.
struct FakeTrouble {
  int after_chunks = -1;   // what follows happens after that many; -1: never
  grpc::Status end;        // the stream ends so; OK: with a summary that is not complete
  bool corrupt = false;    // the next chunk has an altered payload, and the stream goes on
  bool cut_field = false;  // the next configuration breaks off after 100 bytes, then `end`
  bool hang = false;       // nothing more is sent until the client leaves
};

class FakeService : public v1::SamplerService::Service {
 public:
  explicit FakeService(const FakeRunOptions& options) : options_(options), run_(options) {}

  // For the next calls of Sample, in order; then none.
  void SetTroubles(std::vector<FakeTrouble> troubles);
  int sample_calls() const { return calls_; }
  int chunks_sent() const { return chunks_sent_; }
  std::vector<v1::SampleRequest> requests() const;
  std::vector<v1::EstimatePartitionFunctionRequest> partition_requests() const;
  // What ListModels and GetModel say beside the name.
  v1::ModelInfo* info() { return &info_; }
  const FakeRun& run() const { return run_; }
  void set_per_chunk(uint64_t per_chunk) { per_chunk_ = per_chunk; }
  void set_numerics_class(const std::string& name) { numerics_class_ = name; }

  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                          v1::ListModelsResponse* response) override;
  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest* request,
                        v1::GetModelResponse* response) override;
  grpc::Status Sample(grpc::ServerContext* context, const v1::SampleRequest* request,
                      grpc::ServerWriter<v1::SampleResponse>* writer) override;
  grpc::Status Measure(grpc::ServerContext*, const v1::MeasureRequest* request,
                       grpc::ServerWriter<v1::MeasureResponse>* writer) override;
  grpc::Status EstimatePartitionFunction(grpc::ServerContext*, const v1::EstimatePartitionFunctionRequest* request,
                                         grpc::ServerWriter<v1::EstimatePartitionFunctionResponse>* writer) override;

 private:
  FakeTrouble NextTrouble(const v1::SampleRequest& request);
  v1::ModelInfo Info() const;
  void AddThermodynamics(const v1::EstimatePartitionFunctionRequest& request,
                         v1::EstimatePartitionFunctionResponse* message) const;

  const FakeRunOptions options_;
  const FakeRun run_;
  uint64_t per_chunk_ = 5;
  std::string numerics_class_ = "fake-1";
  std::atomic<int> calls_{0};
  std::atomic<int> chunks_sent_{0};
  mutable Mutex mutex_;
  std::vector<FakeTrouble> troubles_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::SampleRequest> requests_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::EstimatePartitionFunctionRequest> partition_requests_ ABSL_GUARDED_BY(mutex_);
  v1::ModelInfo info_;  // set before the first call
};

// The service on a socket, with gRPC's health service beside it.
class FakeServer {
 public:
  // `address` "127.0.0.1:0" takes a free port; unix:/path can be taken again after a stop.
  FakeServer(FakeService* service, const std::string& address);
  ~FakeServer() { Stop(); }
  void Stop();
  const std::string& address() const { return address_; }

 private:
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace haarflow::testing
