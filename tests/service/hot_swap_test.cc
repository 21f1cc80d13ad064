// Hot swaps of the real server under load: no stream fails, every stream is one digest, old versions go, memory stays.
// 20 swaps; 1,000 in the long tier.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "core/base/file.h"
#include "core/base/mutex.h"
#include "core/exact/metropolis.h"
#include "haarflow/v1/admin.grpc.pb.h"
#include "haarflow/v1/sampler.grpc.pb.h"
#include "tests/reference/tier.h"
#include "tests/service/health.h"
#include "tests/service/scrape.h"
#include "tests/service/server_process.h"
#include "tests/service/test_store.h"

namespace haarflow::testing {
namespace {

constexpr char kModel[] = "u1-l8-b2";

// What the streams of one test saw.
struct Seen {
  std::atomic<uint64_t> streams{0};
  std::atomic<uint64_t> failed{0};
  std::atomic<uint64_t> mixed{0};  // streams with more than one digest
  Mutex mutex;
  std::set<std::string> digests ABSL_GUARDED_BY(mutex);
  std::string first_error ABSL_GUARDED_BY(mutex);
};

void ReadStreams(v1::SamplerService::Stub* stub, uint64_t seed, uint64_t count, const std::atomic<bool>& stop,
                 Seen* seen) {
  while (!stop) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(5));
    v1::SampleRequest request;
    request.set_model(kModel);
    request.set_seed(seed++);
    request.set_count(count);
    auto stream = stub->Sample(&context, request);
    v1::SampleResponse response;
    std::string digest;
    bool mixed = false;
    bool complete = false;
    while (stream->Read(&response)) {
      if (response.has_header()) digest = response.header().model_digest();
      if (response.has_chunk()) mixed |= ParseToken(response.chunk().resume_token())->model_digest() != digest;
      if (response.has_summary()) complete = response.summary().complete();
    }
    const grpc::Status status = stream->Finish();
    ++seen->streams;
    if (mixed) ++seen->mixed;
    MutexLock lock(&seen->mutex);
    seen->digests.insert(digest);
    if (status.ok() && complete) continue;
    ++seen->failed;
    if (seen->first_error.empty()) seen->first_error = status.error_message() + " (complete: " + (complete ? "1" : "0");
  }
}

class HotSwapTest : public ::testing::Test {
 protected:
  HotSwapTest() {
    std::filesystem::copy(std::string(HAARFLOW_MODELS) + "/" + kModel, store_.directory() + "/" + kModel,
                          std::filesystem::copy_options::recursive);
    stored_ = *store_.Open().LoadChampion(kModel);
  }
  void Start(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {
        "--store",         store_.directory(),      "--listen",  "127.0.0.1:0", "--device", "cpu:1",
        "--endpoint-file", store_.path("endpoint"), "--metrics", "127.0.0.1:0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    process_ = std::make_unique<Process>(arguments);
    ASSERT_TRUE(process_->WaitForOutput("INFO serving")) << process_->output();
    const auto endpoint = nlohmann::json::parse(*ReadFile(store_.path("endpoint"), 4096));
    metrics_ = endpoint["metrics"].get<std::string>();
    channel_ = grpc::CreateChannel(endpoint["address"].get<std::string>(), grpc::InsecureChannelCredentials());
    sampler_ = v1::SamplerService::NewStub(channel_);
    admin_ = v1::AdminService::NewStub(channel_);
  }
  // The same model with one weight a little different: another digest, the same quality.
  Manifest PublishAnother(int k) {
    TensorMap weights = stored_.weights;
    for (auto& [name, tensor] : weights) {
      if (tensor.type != Tensor::Type::kFloat32 || tensor.elements() == 0) continue;
      float value;
      std::memcpy(&value, tensor.bytes.data(), sizeof value);
      value += 1e-6f * static_cast<float>(k);
      std::memcpy(tensor.bytes.data(), &value, sizeof value);
      break;
    }
    auto manifest = store_.Open().Publish(stored_.spec_text, weights, stored_.manifest.card, /*make_champion=*/true);
    EXPECT_TRUE(manifest.ok()) << manifest.status();
    return manifest.value_or(Manifest());
  }
  v1::NotifyStoreChangedResponse Notify() {
    grpc::ClientContext context;
    v1::NotifyStoreChangedResponse response;
    const grpc::Status status = admin_->NotifyStoreChanged(&context, {}, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  v1::GetServerStatusResponse Status() {
    grpc::ClientContext context;
    v1::GetServerStatusResponse response;
    EXPECT_TRUE(admin_->GetServerStatus(&context, {}, &response).ok());
    return response;
  }
  v1::ModelInfo Info() {
    grpc::ClientContext context;
    v1::GetModelRequest request;
    request.set_name(kModel);
    v1::GetModelResponse response;
    EXPECT_TRUE(sampler_->GetModel(&context, request, &response).ok());
    return response.model();
  }
  // Until the metrics say so.
  void WaitForMetric(const std::string& line) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (Scrape(metrics_).find(line) == std::string::npos) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << line << "\n" << Scrape(metrics_);
    }
  }

  TestStore store_;
  StoredModel stored_;
  std::unique_ptr<Process> process_;
  std::string metrics_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::SamplerService::Stub> sampler_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
};

TEST_F(HotSwapTest, SwapsUnderLoadFailNoStreamAndLeaveNoMemory) {
  const int swaps = Length(20, 1000);
  Start();
  Seen seen;
  std::atomic<bool> stop{false};
  std::vector<std::thread> clients;
  for (uint64_t i = 0; i < 3; ++i) {
    clients.emplace_back([&, i] { ReadStreams(sampler_.get(), i << 32, 200 << (2 * i), stop, &seen); });
  }
  uint64_t resident_early = 0;
  for (int k = 1; k <= swaps; ++k) {
    const Manifest manifest = PublishAnother(k);
    EXPECT_EQ(Notify().refusals(), 0);
    const v1::ModelInfo info = Info();
    EXPECT_EQ(info.version(), manifest.version) << info.state_reason();
    EXPECT_EQ(info.digest(), manifest.digest.Bytes());
    if (k == swaps / 4) resident_early = Status().resident_bytes();
  }
  stop = true;
  for (std::thread& client : clients) client.join();
  {
    MutexLock lock(&seen.mutex);
    EXPECT_EQ(seen.failed, 0) << seen.first_error;
    EXPECT_GT(seen.digests.size(), 3u) << "the load saw the swaps";
  }
  EXPECT_EQ(seen.mixed, 0);
  EXPECT_GT(seen.streams, static_cast<uint64_t>(swaps));
  WaitForMetric(absl::StrCat("haarflow_model_swap_total{outcome=\"destroyed\"} ", swaps, "\n"));
  const uint64_t resident_end = Status().resident_bytes();
  EXPECT_LT(resident_end, resident_early + (uint64_t{16} << 20))
      << "from " << resident_early << " after a quarter of the swaps to " << resident_end;
  std::cout << swaps << " swaps, " << seen.streams << " streams, resident " << (resident_early >> 20) << " MiB after "
            << swaps / 4 << " swaps, " << (resident_end >> 20) << " MiB at the end\n";
  process_->Signal(SIGTERM);
  EXPECT_EQ(process_->Wait(), 0);
}

TEST_F(HotSwapTest, AResumeTokenOfAReplacedVersionLoadsThatVersion) {
  Start();
  v1::SampleRequest request;
  request.set_model(kModel);
  request.set_seed(5);
  request.set_count(100);
  const auto read = [&](const v1::SampleRequest& r, std::string* token) {
    grpc::ClientContext context;
    auto stream = sampler_->Sample(&context, r);
    v1::SampleResponse response;
    std::string digest;
    while (stream->Read(&response)) {
      if (response.has_header()) digest = response.header().model_digest();
      if (response.has_summary() && token != nullptr) *token = response.summary().resume_token();
    }
    const grpc::Status status = stream->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return digest;
  };
  std::string token;
  const std::string old_digest = read(request, &token);
  const Manifest second = PublishAnother(1);
  Notify();
  WaitForMetric("haarflow_model_swap_total{outcome=\"destroyed\"} 1\n");
  EXPECT_EQ(read(request, nullptr), second.digest.Bytes());
  v1::SampleRequest rest;
  rest.set_resume_token(token);
  rest.set_count(100);
  EXPECT_EQ(read(rest, nullptr), old_digest);
  // A model out of memory comes back with the first request, too.
  grpc::ClientContext context;
  v1::UnloadModelRequest unload;
  unload.set_model(kModel);
  v1::UnloadModelResponse unloaded;
  ASSERT_TRUE(admin_->UnloadModel(&context, unload, &unloaded).ok());
  EXPECT_EQ(Info().state(), v1::MODEL_STATE_UNLOADED);
  EXPECT_EQ(CheckHealth(channel_, std::string("haarflow.model.") + kModel), 1);
  EXPECT_EQ(read(request, nullptr), second.digest.Bytes());
  EXPECT_EQ(Info().state(), v1::MODEL_STATE_READY);
}

}  // namespace
}  // namespace haarflow::testing
