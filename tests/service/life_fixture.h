// The real server on a store with one small model, a client of it, and what it says about its streams.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "core/base/file.h"
#include "haarflow/v1/admin.grpc.pb.h"
#include "haarflow/v1/sampler.grpc.pb.h"
#include "tests/service/health.h"
#include "tests/service/scrape.h"
#include "tests/service/server_process.h"
#include "tests/service/test_store.h"

namespace haarflow::testing {

using ::testing::HasSubstr;
using ::testing::Not;
constexpr uint64_t kEndless = uint64_t{1} << 39;

class LifeTest : public ::testing::Test {
 protected:
  LifeTest() { store_.Publish("small", 4, 0.3); }

  // Call Connect after it.
  void Start(std::vector<std::string> more = {}, const std::string& listen = "127.0.0.1:0") {
    std::vector<std::string> arguments = {
        "--store",         store_.directory(),      "--listen",  listen,       "--device", "cpu:1",
        "--endpoint-file", store_.path("endpoint"), "--metrics", "127.0.0.1:0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    process_ = std::make_unique<Process>(arguments);
    ASSERT_TRUE(process_->WaitForOutput("listening on")) << process_->output();
    const auto endpoint = nlohmann::json::parse(*ReadFile(store_.path("endpoint"), 4096));
    address_ = endpoint["address"].get<std::string>();
    metrics_ = endpoint["metrics"].get<std::string>();
    Connect(grpc::InsecureChannelCredentials());
  }
  void Connect(const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    grpc::ChannelArguments arguments;
    arguments.SetSslTargetNameOverride("localhost");
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    channel_ = grpc::CreateCustomChannel(address_, credentials, arguments);
    sampler_ = v1::SamplerService::NewStub(channel_);
    admin_ = v1::AdminService::NewStub(channel_);
  }
  // A token file with one caller for each role, "<role>-user", who shows "hft_<role>".
  std::string Tokens() {
    std::string text;
    for (const char* role : {"sampler", "tuner", "trainer", "admin"}) {
      text += std::string(role) + "-user " + role + " sha256:" + Sha256Of(std::string("hft_") + role).Hex() + "\n";
    }
    WritePrivate(store_.path("tokens"), text);
    return store_.path("tokens");
  }
  static void WritePrivate(const std::string& path, const std::string& text) {
    std::ofstream(path) << text;
    chmod(path.c_str(), 0600);
  }
  static v1::SampleRequest Request(uint64_t count) {
    v1::SampleRequest request;
    request.set_model("small");
    request.set_seed(1);
    request.set_count(count);
    return request;
  }
  grpc::Status Read(uint64_t count, const std::string& token = "", std::string* resume = nullptr) {
    grpc::ClientContext context;
    if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
    auto stream = sampler_->Sample(&context, Request(count));
    v1::SampleResponse response;
    while (stream->Read(&response)) {
      if (response.has_summary() && resume != nullptr) *resume = response.summary().resume_token();
    }
    return stream->Finish();
  }
  v1::GetServerStatusResponse Status() {
    grpc::ClientContext context;
    v1::GetServerStatusResponse response;
    const grpc::Status status = admin_->GetServerStatus(&context, {}, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  // Until no stream holds anything.
  void ExpectNothingHeld(const std::string& what) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    v1::GetServerStatusResponse status;
    do {
      status = Status();
      if (status.active_streams() != 0 || status.reserved_bytes() != 0 || !status.streams().empty()) continue;
      if (Scrape(metrics_).find("haarflow_open_calls 0\n") != std::string::npos) return;
    } while (std::chrono::steady_clock::now() < deadline);
    ADD_FAILURE() << what << ": " << status.ShortDebugString();
  }
  // Until so many calls wait, stream or upload.
  void WaitForOpenCalls(int calls) { testing::WaitForOpenCalls(metrics_, calls); }
  void WaitForStream() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (true) {
      const v1::GetServerStatusResponse status = Status();
      if (status.streams_size() > 0 && status.streams(0).proposals() > 0) return;
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    }
  }
  // Calls of `method` that ended with `code`, 0 when there was none.
  double Counted(const std::string& method, const std::string& code) {
    const std::string text = Scrape(metrics_);
    const std::string key = "haarflow_requests_total{code=\"" + code + "\",method=\"" + method + "\"} ";
    const size_t at = text.find(key);
    return at == std::string::npos ? 0 : std::stod(text.substr(at + key.size()));
  }
  // A call is counted a moment after its client has seen its end.
  void ExpectCounted(const std::string& method, const std::string& code, double count) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    double counted = 0;
    do {
      counted = Counted(method, code);
    } while (counted < count && std::chrono::steady_clock::now() < deadline);
    EXPECT_EQ(counted, count) << method << " " << code;
  }
  int Terminate() {
    process_->Signal(SIGTERM);
    return process_->Wait();
  }

  TestStore store_;
  std::unique_ptr<Process> process_;
  std::string address_;
  std::string metrics_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::SamplerService::Stub> sampler_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
};

}  // namespace haarflow::testing
