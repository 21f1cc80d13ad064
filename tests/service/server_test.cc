// The server over a real socket, in this process: every RPC, every refusal, health, metrics.
#include <cstdlib>
#include <sstream>

#include "core/exact/metropolis.h"
#include "server/registry/model_manager.h"
#include "server/sampling/in_process.h"
#include "server/sampling/retry.h"
#include "tests/service/server_fixture.h"

namespace haarflow::testing {
namespace {

using ::testing::HasSubstr;

TEST_F(ServerTest, ListsWhatItServesAndWhatItRefused) {
  auto running = Start();
  grpc::ClientContext context;
  v1::ListModelsResponse response;
  ASSERT_TRUE(running->stub->ListModels(&context, {}, &response).ok());
  ASSERT_EQ(response.models_size(), 3);
  EXPECT_EQ(response.models(0).name(), "altered");
  EXPECT_EQ(response.models(0).state(), v1::MODEL_STATE_REFUSED);
  EXPECT_THAT(response.models(0).state_reason(), HasSubstr("weights.safetensors"));
  EXPECT_EQ(response.models(1).state(), v1::MODEL_STATE_READY);
  EXPECT_EQ(response.models(1).digest().size(), 32);
  EXPECT_EQ(response.server().device(), "cpu:1");

  grpc::ClientContext second;
  v1::GetModelRequest get;
  get.set_name("small");
  v1::GetModelResponse model;
  ASSERT_TRUE(running->stub->GetModel(&second, get, &model).ok());
  EXPECT_THAT(model.spec_text(), HasSubstr("name: \"small\""));
  EXPECT_THAT(model.manifest_json(), HasSubstr("small"));
  EXPECT_EQ(model.spec().name(), "small");
}

TEST_F(ServerTest, BadInputGetsTheRightCodeAndTheServerGoesOn) {
  auto running = Start();
  const std::string token = ReadAll(*running, Request(1, 20)).summary.resume_token();
  using Change = std::function<void(v1::SampleRequest*)>;
  const std::vector<std::pair<Change, grpc::StatusCode>> cases = {
      {[](auto* r) { r->set_model("nobody"); }, grpc::StatusCode::NOT_FOUND},
      {[](auto* r) { r->set_model("altered"); }, grpc::StatusCode::FAILED_PRECONDITION},
      {[](auto* r) { r->set_count(0); }, grpc::StatusCode::INVALID_ARGUMENT},
      {[](auto* r) { r->set_count(~uint64_t{0}); }, grpc::StatusCode::INVALID_ARGUMENT},
      {[](auto* r) { r->set_first_index(~uint64_t{0}); }, grpc::StatusCode::INVALID_ARGUMENT},
      {[](auto* r) { r->set_model_digest(std::string(32, 'd')); }, grpc::StatusCode::FAILED_PRECONDITION},
      {[](auto* r) { r->add_observables("nonsense"); }, grpc::StatusCode::INVALID_ARGUMENT},
      {[](auto* r) {
         *r->mutable_target() = MakeTarget({16, 16}, 1);
       },
       grpc::StatusCode::INVALID_ARGUMENT},
      {[](auto* r) {
         r->clear_model();
         *r->mutable_target() = MakeTarget({4, 4}, 0.7);
       },
       grpc::StatusCode::FAILED_PRECONDITION},
      {[](auto* r) { r->set_resume_token("no token"); }, grpc::StatusCode::INVALID_ARGUMENT},
      {[&](auto* r) {
         r->Clear();
         r->set_count(5);
         r->set_resume_token(token);
         r->mutable_resume_token()->back() ^= 1;
       },
       grpc::StatusCode::DATA_LOSS},
      {[&](auto* r) {
         r->set_model("other");
         r->set_resume_token(token);
       },
       grpc::StatusCode::INVALID_ARGUMENT},
      {[](auto* r) { r->set_resume_token(std::string(2 << 20, 't')); }, grpc::StatusCode::RESOURCE_EXHAUSTED},
  };
  for (const auto& [change, code] : cases) {
    auto request = Request(1, 100);
    change(&request);
    Collector nothing;
    const grpc::Status status = Read(running->stub.get(), request, &nothing);
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_FALSE(status.error_message().empty());
    EXPECT_TRUE(nothing.configurations.empty());
  }
  grpc::ClientContext get_context;
  v1::GetModelRequest get;
  get.set_name("nobody");
  v1::GetModelResponse model;
  EXPECT_EQ(running->stub->GetModel(&get_context, get, &model).error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(ReadAll(*running, Request(1, 100)).summary.complete());
}

TEST_F(ServerTest, ATokenOfAnOlderVersionNeedsThatVersion) {
  TestStore store;
  store.Publish("m", 4, 0.25);
  std::string token;
  for (int version = 1; version <= 2; ++version) {
    ModelRegistry registry;
    ASSERT_TRUE(LoadStore(store.Open(), CpuKernels(), 0, &registry).ok());
    if (version == 1) {
      Scheduler scheduler{Scheduler::Options()};
      auto task = MakeSampleTask(registry, Request(1, 10, "m"), RequestOptions());
      BlockingReader<v1::SampleResponse> reader(*task);
      ASSERT_TRUE(scheduler.Submit(*task).ok());
      while (auto message = reader.Read()) {
        if (message->has_summary()) token = message->summary().resume_token();
      }
      store.Publish("m", 4, 0.26);
      continue;
    }
    v1::SampleRequest request;
    request.set_count(1);
    request.set_resume_token(token);
    const auto needed = LoadNeeded(MakeSampleTask(registry, request, RequestOptions()).status());
    ASSERT_TRUE(needed.has_value());
    EXPECT_EQ(needed->model, "m");
    EXPECT_EQ(needed->version, 1);
  }
}

TEST_F(ServerTest, HealthHasNamesForServiceAndModels) {
  auto running = Start();
  EXPECT_EQ(CheckHealth(running->channel, ""), 1);
  EXPECT_EQ(CheckHealth(running->channel, "haarflow.v1.SamplerService"), 1);
  EXPECT_EQ(CheckHealth(running->channel, "haarflow.model.small"), 1);
  EXPECT_EQ(CheckHealth(running->channel, "haarflow.model.altered"), 2);
  EXPECT_EQ(CheckHealth(running->channel, "haarflow.model.nobody"), -static_cast<int>(grpc::StatusCode::NOT_FOUND));
  running->server->SetUnhealthy();
  EXPECT_EQ(CheckHealth(running->channel, ""), 2);
  EXPECT_EQ(CheckHealth(running->channel, "haarflow.model.small"), 2);
}

TEST_F(ServerTest, AFullServerSaysWhenToComeBack) {
  Scheduler::Options scheduling;
  scheduling.limits.all.streams = 1;
  auto running = Start(scheduling);
  grpc::ClientContext context;
  auto first = running->stub->Sample(&context, Request(1, uint64_t{1} << 32));
  v1::SampleResponse response;
  ASSERT_TRUE(first->Read(&response));
  grpc::ClientContext second_context;
  auto second = running->stub->Sample(&second_context, Request(2, 10));
  EXPECT_FALSE(second->Read(&response));
  const grpc::Status status = second->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_details(), HasSubstr(kRetryInfoUrl));
  const auto& trailers = second_context.GetServerTrailingMetadata();
  const auto pushback = trailers.find("grpc-retry-pushback-ms");
  ASSERT_NE(pushback, trailers.end());
  EXPECT_EQ(std::string(pushback->second.data(), pushback->second.size()), "1000");
  context.TryCancel();
}

TEST_F(ServerTest, MeasuresAndEstimatesAgreeWithExactValues) {
  auto running = Start();
  for (const v1::SampleMode mode : {v1::SAMPLE_MODE_METROPOLIS, v1::SAMPLE_MODE_REWEIGHTED}) {
    v1::MeasureRequest request;
    request.set_model("small");
    request.set_seed(1);
    request.set_count(40000);
    request.set_mode(mode);
    for (const char* name : {"plaquette", "charge_squared", "wilson_loop_2x2"}) request.add_observables(name);
    grpc::ClientContext context;
    auto stream = running->stub->Measure(&context, request);
    v1::MeasureResponse response;
    v1::MeasureResponse last;
    while (stream->Read(&response)) last = response;
    const grpc::Status status = stream->Finish();
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_EQ(last.estimates_size(), 3);
    for (const v1::Estimate& e : last.estimates()) {
      ASSERT_TRUE(e.has_exact()) << e.observable();
      EXPECT_GT(e.error(), 0);
      EXPECT_LT(std::abs(e.value() - e.exact()), 5 * e.error()) << e.ShortDebugString();
    }
    EXPECT_TRUE(last.statistics().quality().reliable()) << last.statistics().quality().unreliable_reason();
  }
  v1::EstimatePartitionFunctionRequest request;
  request.set_model("small");
  request.set_seed(1);
  request.set_error(0.01);
  grpc::ClientContext context;
  auto stream = running->stub->EstimatePartitionFunction(&context, request);
  v1::EstimatePartitionFunctionResponse response;
  v1::EstimatePartitionFunctionResponse last;
  while (stream->Read(&response)) last = response;
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_TRUE(last.final());
  EXPECT_TRUE(last.error_reached());
  EXPECT_LT(std::abs(last.log_z() - last.exact()), 5 * last.log_z_error());
  EXPECT_LT(last.mean_log_weight(), last.log_z());
}

TEST_F(ServerTest, AModelServesAnotherCouplingByItsWeights) {
  auto running = Start();
  v1::MeasureRequest request;
  request.set_model("small");
  *request.mutable_target() = MakeTarget({4, 4}, 0.4);
  request.set_seed(2);
  request.set_count(40000);
  request.add_observables("plaquette");
  grpc::ClientContext context;
  auto stream = running->stub->Measure(&context, request);
  v1::MeasureResponse response;
  while (stream->Read(&response)) {
  }
  ASSERT_TRUE(stream->Finish().ok());
  const v1::Estimate& e = response.estimates(0);
  EXPECT_LT(std::abs(e.value() - e.exact()), 5 * e.error()) << e.ShortDebugString();
  EXPECT_NEAR(e.exact(), 0.196, 0.003);  // I1/I0(0.4), nearly
}

// name value, or name{labels} value.
bool IsSample(const std::string& line) {
  const size_t name = line.find_first_not_of("abcdefghijklmnopqrstuvwxyz_");
  if (name == std::string::npos || name == 0) return false;
  const size_t blank = line.rfind(' ');
  if (blank == std::string::npos || (line[name] == '{') != (line[blank - 1] == '}')) return false;
  if (line[name] != '{' && name != blank) return false;
  char* end = nullptr;
  std::strtod(line.c_str() + blank + 1, &end);
  return end != line.c_str() + blank + 1 && *end == '\0';
}

TEST_F(ServerTest, MetricsAreWellFormedAndCount) {
  auto running = Start({}, {}, "127.0.0.1:0");
  ReadAll(*running, Request(1, 1000));
  Collector none;
  Read(running->stub.get(), Request(1, 0), &none);
  std::string text;
  // A call is counted after its last byte has reached the client: wait for it by scraping.
  do {
    text = Scrape(running->metrics->address());
    ASSERT_FALSE(text.empty());
  } while (text.find("haarflow_requests_total{code=\"INVALID_ARGUMENT\",method=\"Sample\"} 1") == std::string::npos);
  std::istringstream lines(text);
  for (std::string l; std::getline(lines, l);) {
    if (l.empty() || l[0] == '#') continue;
    EXPECT_TRUE(IsSample(l)) << l;
  }
  for (const char* name :
       {"haarflow_requests_total{code=\"OK\",method=\"Sample\"} 1", "haarflow_request_duration_seconds_bucket",
        "haarflow_time_to_first_configuration_seconds_count 1", "haarflow_configurations_total{model=\"small\"}",
        "haarflow_accepted_total{model=\"small\"}", "haarflow_stream_bytes_total", "haarflow_batch_size_bucket",
        "haarflow_batch_seconds_sum", "haarflow_queue_depth", "haarflow_active_streams", "haarflow_build_info{",
        "haarflow_device_healthy 1", "process_resident_memory_bytes",
        "haarflow_proposals_total{model=\"small\"} 1128"}) {
    EXPECT_THAT(text, HasSubstr(name));
  }
  const std::string digest = store_->Open().LoadChampion("small")->manifest.digest.ShortHex();
  EXPECT_THAT(text, HasSubstr("haarflow_model_info{digest=\"" + digest + "\",model=\"small\",version=\"1\"} 1"));
}

TEST_F(ServerTest, UnixSocketsWorkAndATakenPortIsAnError) {
  Server::Options options;
  options.listen = "unix:" + store_->path("socket");
  auto running = Start({}, options);
  EXPECT_EQ(running->server->address(), options.listen);
  EXPECT_TRUE(ReadAll(*running, Request(1, 10)).summary.complete());
  auto tcp = Start();
  options.listen = tcp->server->address();
  const auto taken = Server::Start(options, &tcp->registry, tcp->scheduler.get(), tcp->metrics.get());
  EXPECT_EQ(taken.status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace haarflow::testing
