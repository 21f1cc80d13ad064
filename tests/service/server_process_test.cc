// The haarflow-server binary: start, endpoint file, signals, restart. Waits on its output and its exit, never on a
// clock alone.
#include "tests/service/server_process.h"

#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <nlohmann/json.hpp>

#include "core/base/file.h"
#include "core/exact/metropolis.h"
#include "haarflow/v1/sampler.grpc.pb.h"
#include "tests/service/scrape.h"
#include "tests/service/stream_util.h"
#include "tests/service/test_store.h"

namespace haarflow::testing {
namespace {

using ::testing::HasSubstr;

class ServerProcessTest : public ::testing::Test {
 protected:
  ServerProcessTest() {
    store_.Publish("small", 4, 0.3);
    store_.Publish("altered", 4, 1.0);
    store_.Alter("altered/1/spec.txtpb");
  }
  std::unique_ptr<Process> Start(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {
        "--store", store_.directory(), "--listen",    "127.0.0.1:0",     "--device",
        "cpu:2",   "--metrics",        "127.0.0.1:0", "--endpoint-file", store_.path("endpoint.json")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    auto process = std::make_unique<Process>(arguments);
    EXPECT_TRUE(process->WaitForOutput("listening on ")) << process->output();
    EXPECT_TRUE(process->WaitForOutput("serving address=")) << process->output();
    return process;
  }
  nlohmann::json Endpoint() const { return nlohmann::json::parse(*ReadFile(store_.path("endpoint.json"), 4096)); }
  std::unique_ptr<v1::SamplerService::Stub> Connect() const {
    return v1::SamplerService::NewStub(
        grpc::CreateChannel(Endpoint()["address"].get<std::string>(), grpc::InsecureChannelCredentials()));
  }
  TestStore store_;
};

TEST_F(ServerProcessTest, SigtermDrainsAndARestartedServerContinuesTheChain) {
  v1::SampleRequest request;
  request.set_model("small");
  request.set_seed(3);
  request.set_count(uint64_t{1} << 32);
  Collector parts;
  {
    auto process = Start();
    EXPECT_THAT(process->output(), HasSubstr("model small version 1"));
    EXPECT_THAT(process->output(), HasSubstr("model altered refused: "));
    EXPECT_EQ(Endpoint()["pid"].get<pid_t>(), process->pid());
    EXPECT_THAT(Scrape(Endpoint()["metrics"].get<std::string>()), HasSubstr("haarflow_build_info"));
    auto stub = Connect();
    grpc::ClientContext context;
    auto stream = stub->Sample(&context, request);
    v1::SampleResponse response;
    for (int i = 0; i < 4; ++i) {
      ASSERT_TRUE(stream->Read(&response));
      parts.Add(response);
    }
    process->Signal(SIGTERM);
    while (stream->Read(&response)) parts.Add(response);
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_EQ(process->Wait(), 0) << process->output();
    EXPECT_EQ(access(store_.path("endpoint.json").c_str(), F_OK), -1);
  }
  ASSERT_TRUE(parts.summarised);
  EXPECT_FALSE(parts.summary.complete());
  const uint64_t steps = parts.summary.statistics().steps();

  auto process = Start({"--device", "cpu:1"});
  auto stub = Connect();
  const auto read = [&](const v1::SampleRequest& r) {
    grpc::ClientContext context;
    Collector collected;
    auto stream = stub->Sample(&context, r);
    v1::SampleResponse response;
    while (stream->Read(&response)) collected.Add(response);
    EXPECT_TRUE(stream->Finish().ok());
    return collected;
  };
  v1::SampleRequest rest;
  rest.set_resume_token(parts.summary.resume_token());
  rest.set_count(300);
  auto all = parts.Expanded();
  const auto tail = read(rest).Expanded();
  all.insert(all.end(), tail.begin(), tail.end());
  request.set_count(steps + 300);
  EXPECT_EQ(all, read(request).Expanded());
  process->Signal(SIGINT);
  EXPECT_EQ(process->Wait(), 0);
}

TEST_F(ServerProcessTest, ASecondSignalExitsNow) {
  auto process = Start({"--drain-seconds", "600"});
  auto stub = Connect();
  v1::SampleRequest request;
  request.set_model("small");
  request.set_count(uint64_t{1} << 32);
  grpc::ClientContext context;
  auto stream = stub->Sample(&context, request);
  v1::SampleResponse response;
  ASSERT_TRUE(stream->Read(&response));  // and no more: the drain waits for this client
  process->Signal(SIGTERM);
  ASSERT_TRUE(process->WaitForOutput("draining"));
  process->Signal(SIGTERM);
  EXPECT_EQ(process->Wait(), 128 + SIGTERM);
}

TEST_F(ServerProcessTest, SaysWhatIsWrongAndExits) {
  Process usage({"--nonsense"});
  EXPECT_EQ(usage.Wait(), 2);
  Process no_store({"--store", store_.path("absent")});
  EXPECT_EQ(no_store.Wait(), 1);
  EXPECT_THAT(no_store.output(), HasSubstr("absent"));
  Process no_device({"--store", store_.directory(), "--device", "abacus"});
  EXPECT_EQ(no_device.Wait(), 1);
  auto process = Start();
  Process taken({"--store", store_.directory(), "--listen", Endpoint()["address"].get<std::string>()});
  EXPECT_EQ(taken.Wait(), 1);
  EXPECT_THAT(taken.output(), HasSubstr("cannot listen"));
  process->Signal(SIGTERM);
  EXPECT_EQ(process->Wait(), 0);
}

}  // namespace
}  // namespace haarflow::testing
