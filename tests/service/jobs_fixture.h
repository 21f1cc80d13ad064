// A server with a job table and one small scalar model, and what tests do with jobs.
#pragma once

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "core/base/digest.h"
#include "core/base/file.h"
#include "core/model/spec.h"
#include "core/train/trainable_flow.h"
#include "haarflow/v1/sampler.grpc.pb.h"
#include "haarflow/v1/tuning.grpc.pb.h"
#include "haarflow/v1/worker.grpc.pb.h"
#include "tests/reference/scalar_specs.h"
#include "tests/service/child_process.h"
#include "tests/service/scrape.h"
#include "tests/service/test_store.h"

namespace haarflow::testing {

class JobsTest : public ::testing::Test {
 protected:
  JobsTest() { PublishModel(32); }

  // "test", as its next version and champion: a re-tuning of it takes steps of `batch` fields.
  void PublishModel(int batch) {
    ScalarOptions options;
    options.more = absl::StrCat(
        "training { seed: 3 evaluation_samples: 8192 phases { steps: 100 batch: ", batch,
        " learning_rate: 0.01 clip_norm: 10 adam_beta2: 0.99 kinetic_penalty: 1e-3 estimator: GRADIENT_ESTIMATOR_PATH "
        "integration_steps: 6 } }");
    spec_text_ = ScalarSpecText(options);
    spec_ = ParseSpec(spec_text_).value();
    const auto flow = MakeTrainableFlow(spec_).value();
    weights_ = flow->Weights(flow->InitialValues(1), 6);
    v1::ModelCard card;
    card.mutable_quality()->set_ess(0.5);
    card.mutable_quality()->set_samples(8192);
    EXPECT_TRUE(store_.Open().Publish(spec_text_, weights_, card, /*make_champion=*/true).ok());
  }

  // Another one on the address of the first, once there was one.
  void StartServer(std::vector<std::string> more = {}, const std::vector<std::string>& environment = {}) {
    ::unlink(store_.path("endpoint.json").c_str());
    std::vector<std::string> arguments = {"--store",         store_.directory(),
                                          "--jobs",          store_.path("jobs"),
                                          "--listen",        address_.empty() ? "127.0.0.1:0" : address_,
                                          "--device",        "cpu:1",
                                          "--endpoint-file", store_.path("endpoint.json")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    server_ = std::make_unique<ChildProcess>("haarflow-server", arguments, environment);
    ASSERT_TRUE(server_->WaitForOutput("listening on")) << server_->output();
    if (address_.empty()) {
      address_ = nlohmann::json::parse(*ReadFile(store_.path("endpoint.json"), 4096))["address"].get<std::string>();
    }
    // A channel of its own: no back-off from the server before.
    grpc::ChannelArguments arguments_of_channel;
    arguments_of_channel.SetInt("test.number", ++channels_);
    channel_ = grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments_of_channel);
    tuning_ = v1::TuningService::NewStub(channel_);
    worker_ = v1::WorkerService::NewStub(channel_);
  }
  void KillServer() {
    server_->Signal(SIGKILL);
    EXPECT_EQ(server_->Wait(), -SIGKILL);
  }
  std::unique_ptr<ChildProcess> StartTrainer(const std::string& name, std::vector<std::string> more = {},
                                             const std::string& server = "") const {
    std::vector<std::string> arguments = {"work",      "--server", server.empty() ? address_ : server, "--name", name,
                                          "--threads", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return std::make_unique<ChildProcess>("haarflow-trainer", arguments);
  }

  v1::RetuneRequest Request(const std::string& key, double lambda, double ess, double budget = 600) const {
    v1::RetuneRequest request;
    request.set_idempotency_key(key);
    request.set_model("test");
    *request.mutable_target() = spec_.target();
    EXPECT_TRUE(SetTheoryParameter("lambda", lambda, request.mutable_target()).ok());
    request.set_requested_ess(ess);
    request.set_budget_seconds(budget);
    return request;
  }

  // One unary call: its status, and the response.
  template <class Response, class Method, class Request, class Stub>
  static std::pair<grpc::Status, Response> Call(Stub* stub, Method method, const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(100));
    Response response;
    grpc::Status status = (stub->*method)(&context, request, &response);
    return {status, response};
  }
  v1::Job Retune(const v1::RetuneRequest& request) const {
    const auto [status, job] = Call<v1::Job>(tuning_.get(), &v1::TuningService::Stub::Retune, request);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return job;
  }
  v1::Job GetJob(const std::string& id) const {
    v1::GetJobRequest request;
    request.set_job_id(id);
    const auto [status, job] = Call<v1::Job>(tuning_.get(), &v1::TuningService::Stub::GetJob, request);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return job;
  }
  std::pair<grpc::Status, v1::Job> Cancel(const std::string& id) const {
    v1::CancelJobRequest request;
    request.set_job_id(id);
    return Call<v1::Job>(tuning_.get(), &v1::TuningService::Stub::CancelJob, request);
  }
  // Watches until `done`, or the stream's end: the last state seen.
  v1::Job WatchUntil(const std::string& id, const std::function<bool(const v1::Job&)>& done) const {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(120));
    v1::WatchJobRequest request;
    request.set_job_id(id);
    const auto reader = tuning_->WatchJob(&context, request);
    v1::Job job;
    bool found = false;
    while (!found && reader->Read(&job)) found = done(job);
    if (found) context.TryCancel();
    const grpc::Status status = reader->Finish();
    EXPECT_TRUE(found || status.ok()) << status.error_message();
    return job;
  }
  v1::Job WatchToTheEnd(const std::string& id) const {
    return WatchUntil(id, [](const v1::Job&) { return false; });
  }

  // A trainer's calls, by hand.
  v1::LeaseJobResponse Lease(const std::string& name, double wait_seconds = 60) const {
    v1::LeaseJobRequest request;
    request.set_worker(name);
    request.set_wait_seconds(wait_seconds);
    const auto [status, response] =
        Call<v1::LeaseJobResponse>(worker_.get(), &v1::WorkerService::Stub::LeaseJob, request);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  std::pair<grpc::Status, v1::HeartbeatResponse> Heartbeat(const v1::HeartbeatRequest& request) const {
    return Call<v1::HeartbeatResponse>(worker_.get(), &v1::WorkerService::Stub::Heartbeat, request);
  }
  std::pair<grpc::Status, v1::HeartbeatResponse> Heartbeat(const v1::Lease& lease, uint64_t step = 1) const {
    v1::HeartbeatRequest request;
    *request.mutable_lease() = lease;
    request.mutable_progress()->set_step(step);
    return Heartbeat(request);
  }
  using Files = std::vector<std::pair<std::string, std::string>>;
  // `spoil` may change each message before it is sent.
  using Spoil = std::function<void(v1::UploadRequest*)>;
  std::pair<grpc::Status, v1::UploadResponse> Upload(bool version, const v1::Lease& lease, const Files& files,
                                                     const std::string& digest, const Spoil& spoil = nullptr) const {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(100));
    v1::UploadResponse response;
    const auto writer =
        version ? worker_->PublishVersion(&context, &response) : worker_->UploadState(&context, &response);
    bool first = true;
    for (const auto& [name, bytes] : files) {
      for (size_t offset = 0; offset < bytes.size(); offset += 1000) {
        v1::UploadRequest request;
        if (std::exchange(first, false)) {
          *request.mutable_lease() = lease;
          request.set_digest(digest);
        }
        v1::FileChunk& chunk = *request.mutable_chunk();
        chunk.set_file(name);
        chunk.set_payload(bytes.substr(offset, 1000));
        chunk.set_offset(offset);
        chunk.set_total(bytes.size());
        chunk.set_crc32c(Crc32c(chunk.payload().data(), chunk.payload().size()));
        if (spoil) spoil(&request);
        if (!writer->Write(request)) break;
      }
    }
    writer->WritesDone();
    const grpc::Status status = writer->Finish();
    return {status, response};
  }
  std::pair<grpc::Status, v1::UploadResponse> UploadState(const v1::Lease& lease, const std::string& bytes) const {
    return Upload(false, lease, {{"state", bytes}}, Sha256Of(bytes).Bytes());
  }
  // What a trainer makes of a lease without training: the start's weights, and a card that claims `ess`.
  Files Version(const v1::LeaseJobResponse& leased, double ess, std::string* digest) const {
    std::string text;
    google::protobuf::TextFormat::PrintToString(leased.spec(), &text);
    const std::string weights = WriteSafetensors(weights_, {});
    v1::ModelCard card;
    card.mutable_quality()->set_ess(ess);
    card.mutable_quality()->set_ess_error(0.001);
    card.mutable_quality()->set_samples(8192);
    *digest = ModelDigest(text, weights).Bytes();
    return {{"spec.txtpb", text}, {"weights.safetensors", weights}, {"card.pb", card.SerializeAsString()}};
  }
  std::pair<grpc::Status, v1::FileChunk> Fetch(const v1::Lease& lease, std::vector<std::string>* names = nullptr,
                                               std::string* state = nullptr) const {
    grpc::ClientContext context;
    v1::FetchCheckpointRequest request;
    *request.mutable_lease() = lease;
    const auto reader = worker_->FetchCheckpoint(&context, request);
    v1::FileChunk chunk;
    while (reader->Read(&chunk)) {
      if (names != nullptr && chunk.offset() == 0) names->push_back(chunk.file());
      if (state != nullptr && chunk.file() == "state") *state += chunk.payload();
    }
    const grpc::Status status = reader->Finish();
    return {status, chunk};
  }

  TestStore store_;
  std::string spec_text_;
  v1::ModelSpec spec_;
  TensorMap weights_;
  std::string address_;
  int channels_ = 0;
  std::unique_ptr<ChildProcess> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::TuningService::Stub> tuning_;
  std::unique_ptr<v1::WorkerService::Stub> worker_;
};

}  // namespace haarflow::testing
