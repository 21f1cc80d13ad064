// A real server with jobs, watched from outside: what it exports, what its log says of a request, its status page.
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "haarflow/v1/admin.grpc.pb.h"
#include "server/metrics/metric_table.h"
#include "tests/service/jobs_fixture.h"

namespace haarflow::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kTraceId[] = "4bf92f3577b34da6a3ce929d0e0e4736";
constexpr char kTraceparent[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

class WatchTest : public JobsTest {
 protected:
  void Start(std::vector<std::string> more = {}) {
    more.insert(more.end(), {"--metrics", "127.0.0.1:0", "--status", "127.0.0.1:0"});
    StartServer(more);
    const auto endpoint = nlohmann::json::parse(*ReadFile(store_.path("endpoint.json"), 4096));
    metrics_ = endpoint["metrics"].get<std::string>();
    status_ = endpoint["status"].get<std::string>();
  }
  grpc::Status Sample(uint64_t count, v1::SampleMode mode = v1::SAMPLE_MODE_METROPOLIS) {
    v1::SampleRequest request;
    request.set_model("test");
    request.set_seed(1);
    request.set_count(count);
    request.set_mode(mode);
    grpc::ClientContext context;
    const auto stub = v1::SamplerService::NewStub(channel_);
    auto stream = stub->Sample(&context, request);
    v1::SampleResponse response;
    while (stream->Read(&response)) {
    }
    return stream->Finish();
  }
  // Until a scrape has the line.
  void WaitForMetric(const std::string& line) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    std::string text;
    while ((text = Scrape(metrics_)).find(line) == std::string::npos) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << line << "\n" << text;
    }
  }
  std::string metrics_;
  std::string status_;
};

// family -> type, and family -> labels of its samples without "le".
void Parse(const std::string& text, std::map<std::string, std::string>* types,
           std::map<std::string, std::set<std::string>>* labels) {
  static const std::regex kType("# TYPE (\\S+) (\\S+)"), kName("^([a-z_]+)(\\{(.*)\\})? "), kLabel("([a-z]+)=\"");
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (std::regex_match(line, match, kType)) (*types)[match[1]] = match[2];
    if (line.empty() || line[0] == '#' || !std::regex_search(line, match, kName)) continue;
    std::string family = match[1];
    for (const std::string suffix : {"_bucket", "_sum", "_count"}) {
      const size_t at = family.size() - std::min(family.size(), suffix.size());
      if (family.substr(at) == suffix && types->count(family.substr(0, at)) > 0) family = family.substr(0, at);
    }
    const std::string list = match[3];
    for (auto it = std::sregex_iterator(list.begin(), list.end(), kLabel); it != std::sregex_iterator(); ++it) {
      if ((*it)[1] != "le") (*labels)[family].insert((*it)[1]);
    }
  }
}

TEST_F(WatchTest, ABusyServerExportsTheTableAndNothingElse) {
  v1::ModelCard dated;
  dated.set_created("2026-01-01T00:00:00Z");
  store_.Publish("dated", 4, 0.3, dated);
  Start({"--max-samples", "100000"});
  EXPECT_TRUE(Sample(3000).ok());
  EXPECT_TRUE(Sample(3000, v1::SAMPLE_MODE_REWEIGHTED).ok());
  EXPECT_EQ(Sample(1000000).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  Retune(Request("waits", 6.5, 0.9));
  const v1::LeaseJobResponse leased = Lease("trainer");
  std::string digest;
  const Files files = Version(leased, 0.99, &digest);
  EXPECT_TRUE(Heartbeat(leased.lease()).first.ok());
  WaitForMetric("haarflow_jobs{state=\"RUNNING\"} 1\n");
  EXPECT_TRUE(Upload(true, leased.lease(), files, digest).first.ok());
  Retune(Request("waits too", 6.6, 0.9));
  WaitForMetric("haarflow_requests_total{code=\"INVALID_ARGUMENT\",method=\"Sample\"} 1");
  const std::string text = Scrape(metrics_);
  std::map<std::string, std::string> types;
  std::map<std::string, std::set<std::string>> labels;
  Parse(text, &types, &labels);
  for (const MetricRow& row : MetricTable()) {
    // Of GPUs; this server draws on CPUs.
    if (row.name == "haarflow_gpu_memory_bytes") {
      EXPECT_EQ(types.count(row.name), 0u);
      continue;
    }
    EXPECT_EQ(types[row.name], row.type) << row.name;
    EXPECT_EQ(labels[row.name], std::set<std::string>(row.labels.begin(), row.labels.end())) << row.name;
    types.erase(row.name);
  }
  for (const auto& [name, type] : types) {
    // Of the library that answers scrapes, about itself.
    EXPECT_EQ(name.rfind("exposer_", 0), 0u) << name << " is not in the table";
  }
  for (const char* line :
       {"haarflow_jobs{state=\"PENDING\"} 1\n", "haarflow_jobs{state=\"SUCCEEDED\"} 1\n",
        "haarflow_job_published_total{outcome=\"champion\"} 1\n", "haarflow_job_unchanged_seconds{state=\"PENDING\"}",
        "haarflow_chain_proposals_total{model=\"test\"} 3128\n", "haarflow_proposals_total{model=\"test\"} 6128\n",
        "haarflow_rejected_total{reason=\"too_large\"} 1\n", "haarflow_queue_wait_seconds_count 2\n",
        "haarflow_ess_ratio{model=\"test\",version=\"1\"} 0.", "haarflow_draining 0\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST_F(WatchTest, LeasesThatRunOutAreCounted) {
  Start({"--job-lease-seconds", "0.2"});
  Retune(Request("lost", 6.5, 0.9));
  Lease("dies");
  WaitForMetric("haarflow_job_lease_expired_total 1\n");
  WaitForMetric("haarflow_jobs{state=\"PENDING\"} 1\n");
}

// The lines of the log that are objects; every line that is none is what the server prints for people.
std::vector<nlohmann::json> JsonLines(const std::string& output) {
  std::vector<nlohmann::json> lines;
  std::istringstream stream(output);
  for (std::string line; std::getline(stream, line);) {
    if (line.rfind("{", 0) != 0) continue;
    lines.push_back(nlohmann::json::parse(line, nullptr, false));
    EXPECT_FALSE(lines.back().is_discarded()) << line;
  }
  return lines;
}

TEST_F(WatchTest, EveryLineOfARequestCarriesItsTrace) {
  Start({"--log-format", "json", "--poll-seconds", "1000"});
  const auto admin = v1::AdminService::NewStub(channel_);
  {
    grpc::ClientContext context;
    context.AddMetadata("traceparent", kTraceparent);
    v1::Job job;
    ASSERT_TRUE(tuning_->Retune(&context, Request("traced", 6.5, 0.9), &job).ok());
  }
  ASSERT_TRUE(store_.Open().SetAlias("test", "candidate", 1).ok());
  {
    grpc::ClientContext context;
    context.AddMetadata("traceparent", kTraceparent);
    v1::UnloadModelRequest request;
    request.set_model("test");
    v1::UnloadModelResponse response;
    ASSERT_TRUE(admin->UnloadModel(&context, request, &response).ok());
  }
  {
    grpc::ClientContext context;  // loads the model again
    context.AddMetadata("traceparent", kTraceparent);
    v1::SampleRequest request;
    request.set_model("test");
    request.set_count(10);
    const auto stub = v1::SamplerService::NewStub(channel_);
    auto stream = stub->Sample(&context, request);
    v1::SampleResponse response;
    while (stream->Read(&response)) {
    }
    ASSERT_TRUE(stream->Finish().ok());
  }
  ASSERT_TRUE(server_->WaitForOutput("\"method\":\"Sample\""));
  server_->Signal(SIGTERM);
  EXPECT_EQ(server_->Wait(), 0);
  std::map<std::string, int> traced;
  std::map<std::string, int> others;
  for (const nlohmann::json& line : JsonLines(server_->output())) {
    const std::string message = line["message"];
    ++(line.value("trace_id", "") == kTraceId ? traced : others)[message];
  }
  EXPECT_EQ(traced["job submitted"], 1) << "on a thread of the job service";
  EXPECT_EQ(traced["audit"], 1);
  EXPECT_EQ(traced["model unloaded"], 1) << "on the model manager's thread";
  EXPECT_EQ(traced["model serving"], 1) << "that the Sample request waited for";
  EXPECT_EQ(traced["request"], 3);
  EXPECT_EQ(others["model serving"], 1) << "at the start";
  EXPECT_EQ(others["audit"] + others["job submitted"] + others["request"], 0) << server_->output();
}

TEST_F(WatchTest, WhatIsMalformedOrSecretIsInNoLine) {
  const std::string secret = "c2VjcmV0LW9mLWEtdXNlcg";
  std::ofstream(store_.path("tokens")) << "alice sampler sha256:" << Sha256Of(secret).Hex() << "\n";
  chmod(store_.path("tokens").c_str(), 0600);
  Start({"--log-format", "json", "--token-file", store_.path("tokens")});
  const auto admin = v1::AdminService::NewStub(channel_);
  const std::vector<std::vector<std::string>> headers = {
      {}, {"Bearer " + secret}, {std::string(kTraceparent) + "-"}, {kTraceparent, kTraceparent}, {"00-" + secret}};
  for (const auto& values : headers) {
    grpc::ClientContext context;
    context.AddMetadata("authorization", "Bearer " + secret);
    for (const std::string& value : values) context.AddMetadata("traceparent", value);
    v1::GetServerStatusResponse response;
    EXPECT_EQ(admin->GetServerStatus(&context, {}, &response).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  }
  server_->Signal(SIGTERM);
  EXPECT_EQ(server_->Wait(), 0);
  std::set<std::string> traces;
  for (const nlohmann::json& line : JsonLines(server_->output())) {
    if (line["message"] != "audit") continue;
    traces.insert(line["trace_id"].get<std::string>());
    EXPECT_EQ(line["trace_id"].get<std::string>().size(), 32u);
    EXPECT_EQ(line.count("parent_id"), 0u);
  }
  EXPECT_EQ(traces.size(), headers.size()) << "each has a trace of the server's own";
  EXPECT_EQ(traces.count(kTraceId), 0u);
  EXPECT_THAT(server_->output(), Not(HasSubstr(secret)));
  EXPECT_THAT(server_->output(), Not(HasSubstr("\"message\":\"request\""))) << "nobody traces them";
}

TEST_F(WatchTest, TheStatusPageIsServedToItsHostAlone) {
  Start();
  EXPECT_TRUE(Sample(2000).ok());
  Retune(Request("shown", 6.5, 0.9));
  const v1::LeaseJobResponse leased = Lease("node-7");
  v1::HeartbeatRequest beat;
  *beat.mutable_lease() = leased.lease();
  beat.mutable_progress()->set_step(120);
  beat.mutable_progress()->set_total_steps(400);
  beat.mutable_progress()->set_stage("lambda = 6.5");
  EXPECT_TRUE(Heartbeat(beat).first.ok());
  const std::string page = HttpGet(status_, "/");
  EXPECT_EQ(page.rfind("HTTP/1.1 200 OK", 0), 0u) << page.substr(0, 200);
  for (const char* text : {"Content-Security-Policy: default-src 'none'; style-src 'sha256-", "Cache-Control: no-store",
                           "text/html; charset=utf-8", "SERVING", leased.lease().job_id().c_str(), "RUNNING",
                           "lambda = 6.5, step 120 of 400", "node-7", "v1 champion", "2,128"}) {
    EXPECT_THAT(page, HasSubstr(text));
  }
  ChildProcess top("haarflow", {"--server", address_, "top", "--once"});
  EXPECT_EQ(top.Wait(), 0);
  EXPECT_THAT(top.output(), HasSubstr(leased.lease().job_id()));
  EXPECT_THAT(top.output(), HasSubstr("RUNNING"));
  EXPECT_THAT(top.output(), HasSubstr("lambda = 6.5, step 120/400"));
  EXPECT_THAT(HttpGet(status_, "/", "evil.example"), HasSubstr("421 Misdirected"));
  EXPECT_THAT(HttpGet(status_, "/", "evil.example"), Not(HasSubstr("node-7")));
  EXPECT_THAT(HttpGet(status_, "/../../etc/passwd"), Not(HasSubstr("200 OK")));
  EXPECT_THAT(HttpGet(status_, "/metrics"), HasSubstr("404 Not Found"));
  EXPECT_THAT(HttpGet(status_, "/", "localhost", "POST"), HasSubstr("405 Method"));
  const std::string head = HttpGet(status_, "/", "localhost", "HEAD");
  EXPECT_THAT(head, HasSubstr("200 OK"));
  EXPECT_THAT(head, Not(HasSubstr("<html")));
  EXPECT_THAT(HttpGet(status_, "/?refresh=off"), Not(HasSubstr("http-equiv=\"refresh\"")));
  server_->Signal(SIGTERM);
  EXPECT_EQ(server_->Wait(), 0);
}

TEST_F(WatchTest, AStatusPageThatCannotBeIsSaidAtTheStart) {
  for (const char* address :
       {"9465", "127.0.0.1:port", "127.0.0.1:99999", "127.0.0.1:0,127.0.0.1:0", "192.0.2.1:9465"}) {
    ChildProcess server("haarflow-server",
                        {"--store", store_.directory(), "--listen", "127.0.0.1:0", "--status", address});
    EXPECT_EQ(server.Wait(), 1) << address;
    EXPECT_THAT(server.output(), HasSubstr(address));
  }
}

// HAARFLOW_LONG, where there is a Chromium: renders without a complaint of the browser, light and dark. The pictures
// are for people: HAARFLOW_PICTURES names where to leave them.
TEST_F(WatchTest, ABrowserRendersTheStatusPage) {
  if (std::getenv("HAARFLOW_LONG") == nullptr) GTEST_SKIP() << "HAARFLOW_LONG is not set";
  if (std::system("command -v chromium > /dev/null") != 0) GTEST_SKIP() << "no chromium";
  Start();
  EXPECT_TRUE(Sample(50000).ok());
  Retune(Request("shown", 6.5, 0.9));
  const char* pictures = std::getenv("HAARFLOW_PICTURES");
  const std::string directory = pictures != nullptr ? pictures : store_.path("");
  for (const bool dark : {false, true}) {
    const std::string picture = directory + (dark ? "/status-dark.png" : "/status-light.png");
    const std::string log = store_.path("chromium.log");
    const std::string command = absl::StrCat(
        "chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1280,1100 --user-data-dir=",
        store_.path("chromium"), dark ? " --blink-settings=preferredColorScheme=0" : "",
        " --enable-logging=stderr --screenshot=", picture, " 'http://", status_, "/?refresh=off' > ", log, " 2>&1");
    ASSERT_EQ(std::system(command.c_str()), 0) << *ReadFile(log, 1 << 20);
    const std::string said = *ReadFile(log, 1 << 20);
    EXPECT_THAT(said, Not(HasSubstr("CONSOLE"))) << "a complaint, of the content security policy say";
    struct stat info {};
    ASSERT_EQ(stat(picture.c_str(), &info), 0);
    EXPECT_GT(info.st_size, 20000);
  }
}

}  // namespace
}  // namespace haarflow::testing
