// The status page without a server or a browser: what it says, and what it must never hold.
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "core/base/digest.h"
#include "server/status/chart.h"
#include "server/status/page.h"
#include "server/status/status_server.h"

namespace haarflow::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

template <class T>
T Parsed(const std::string& text) {
  T message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message)) << text;
  return message;
}

// A busy server of three models: one of them in use, one refused, one unloaded.
StatusSnapshot Busy() {
  StatusSnapshot s;
  s.time = "2026-01-01T12:00:00Z";
  s.code_version = "1.2.3";
  s.device = "cpu:8";
  s.numerics = "cpu-avx2-r1-gcc12";
  s.uptime_seconds = 3725;
  s.active_streams = 3;
  s.max_streams = 256;
  s.stream_bytes = 9 << 20;
  s.stream_byte_budget = 1 << 30;
  s.model_bytes = 40 << 20;
  s.resident_bytes = 95 << 20;
  s.queue_depth = 1200;
  s.proposals_drawn = 12345678;
  s.models.push_back(Parsed<v1::ModelInfo>(
      "name: 'su3-l16-b5' version: 3 state: MODEL_STATE_READY card { quality { ess: 0.9645 samples: 65536 } } "
      "target { lattice { shape: 16 shape: 16 } sun_wilson { colours: 3 beta: 5 } } "
      "versions { version: 2 state: MODEL_STATE_RETIRING } "
      "versions { version: 3 aliases: 'champion' state: MODEL_STATE_READY }"));
  s.models.push_back(Parsed<v1::ModelInfo>(
      "name: '<script>alert(1)</script>' state: MODEL_STATE_REFUSED state_reason: 'weights \"x\" & more' versions { "
      "version: 1 aliases: 'a<b' state: MODEL_STATE_REFUSED }"));
  s.models.push_back(Parsed<v1::ModelInfo>("name: 'u1-l8-b2' version: 1 state: MODEL_STATE_UNLOADED"));
  s.activity["su3-l16-b5"] = {{900000, 800000, 720000, 700000}, 0.9612, 8000};
  s.streams.push_back({"Sample", "su3-l16-b5", 3, false, 512345, 61});
  s.streams.push_back({"<b>Measure", "x' onload='y", 1, true, 10, 5});
  s.keeps_jobs = true;
  s.counts = {{"FAILED", 0}, {"PENDING", 1}, {"RUNNING", 1}, {"SUCCEEDED", 1}};
  s.jobs.push_back(Parsed<v1::Job>(
      "job_id: 'job-3' state: JOB_STATE_RUNNING attempt: 1 start_model: 'su3-l16-b5' start_version: 3 worker: 'node-7' "
      "request { requested_ess: 0.8 budget_seconds: 600 target { lattice { shape: 16 shape: 16 } "
      "sun_wilson { colours: 3 beta: 5.5 } } } "
      "progress { stage: 'beta = 5.5' step: 120 total_steps: 400 ess: 0.71 seconds: 83 path: 1 }"));
  s.jobs.push_back(Parsed<v1::Job>("job_id: 'job-2' state: JOB_STATE_PENDING request { requested_ess: 0.9 }"));
  s.jobs.push_back(
      Parsed<v1::Job>("job_id: 'job-1' state: JOB_STATE_FAILED published_model: 'u1' published_version: 4 ess: 0.42 "
                      "error: 'ESS 0.42 is "
                      "less than <0.9>' request { requested_ess: 0.9 }"));
  ModelHistory& lines = s.history.models["su3-l16-b5"];
  for (int i = 0; i < 360; ++i) {
    const bool drawn = i > 40 && (i < 170 || i > 200);
    s.history.rate.push_back(drawn ? 900 + 200 * std::sin(0.05 * i) : 0);
    s.history.streams.push_back(drawn ? 3 : 0);
    lines.rate.push_back(s.history.rate.back());
    lines.ess.push_back(drawn ? 0.961 + 0.006 * std::sin(0.7 * i) : std::nan(""));
    lines.acceptance.push_back(drawn ? 0.89 + 0.02 * std::sin(1.3 * i) : std::nan(""));
  }
  s.history.seconds = 1800;
  return s;
}

// Every element that is opened is closed, in order.
void ExpectBalanced(const std::string& html) {
  std::vector<std::string> open;
  for (size_t at = 0; (at = html.find('<', at)) != std::string::npos;) {
    const size_t end = html.find('>', at);
    ASSERT_NE(end, std::string::npos);
    const std::string tag = html.substr(at + 1, end - at - 1);
    const std::string name = tag.substr(tag[0] == '/' ? 1 : 0, tag.find_first_of(" /", 1) - (tag[0] == '/' ? 1 : 0));
    at = end;
    if (tag[0] == '!' || tag.back() == '/' || name == "meta" || name == "link") continue;
    if (tag[0] != '/') {
      open.push_back(name);
      continue;
    }
    ASSERT_FALSE(open.empty()) << tag;
    ASSERT_EQ("/" + open.back(), tag);
    open.pop_back();
  }
  EXPECT_TRUE(open.empty());
}

TEST(StatusPage, ShowsModelsVersionsStreamsAndJobs) {
  const std::string page = RenderStatusPage(Busy(), true);
  for (const char* text : {"SERVING",
                           "up 1:02:05",
                           "12,345,678",
                           "3 of 256",
                           "SU(3)",
                           "v3 champion",
                           "v2, retiring",
                           "0.961",
                           "0.900",
                           "512,345",
                           "1:01",
                           "interactive",
                           "bulk",
                           "step 120 of 400",
                           "1:23 of 10:00",
                           "waits for a trainer",
                           "u1 version 4, candidate",
                           "1 pending, 1 running, 1 succeeded",
                           "-30 min",
                           "http-equiv=\"refresh\""}) {
    EXPECT_THAT(page, HasSubstr(text));
  }
  EXPECT_THAT(page, Not(HasSubstr("0 failed")));
  ExpectBalanced(page);
  EXPECT_THAT(RenderStatusPage(Busy(), false), Not(HasSubstr("http-equiv=\"refresh\"")));
  std::ofstream(::testing::TempDir() + "haarflow-status-sample.html") << page;  // to be looked at
}

TEST(StatusPage, WhatComesFromOutsideIsEscapedAndNothingForeignIsLoaded) {
  StatusSnapshot snapshot = Busy();
  snapshot.jobs_error = "";
  const std::string page = RenderStatusPage(snapshot, true);
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(1)&lt;/script&gt;"));
  EXPECT_THAT(page, HasSubstr("weights &quot;x&quot; &amp; more"));
  EXPECT_THAT(page, HasSubstr("x&#39; onload=&#39;y"));
  for (const char* bad : {"<script", "<b>Measure", "onload='", "a<b", "http://", "https://", " src=", "url(", "@import",
                          " style=", "javascript:", "<iframe", "<object"}) {
    EXPECT_THAT(page, Not(HasSubstr(bad)));
  }
}

TEST(StatusPage, ThePolicyAllowsThisStyleSheetAlone) {
  const std::string page = RenderStatusPage(Busy(), true);
  const size_t begin = page.find("<style>") + 7;
  std::string hash;
  absl::Base64Escape(Sha256Of(page.substr(begin, page.find("</style>") - begin)).Bytes(), &hash);
  EXPECT_THAT(StatusPagePolicy(), HasSubstr("style-src 'sha256-" + hash + "'"));
  EXPECT_THAT(StatusPagePolicy(), HasSubstr("default-src 'none'"));
  EXPECT_THAT(StatusPagePolicy(), Not(HasSubstr("unsafe")));
}

TEST(StatusPage, AnEmptyAndABrokenServerHavePagesToo) {
  StatusSnapshot nothing;
  std::string page = RenderStatusPage(nothing, true);
  EXPECT_THAT(page, HasSubstr("The store has no models"));
  EXPECT_THAT(page, HasSubstr("No stream is open"));
  EXPECT_THAT(page, Not(HasSubstr("<h2>Jobs")));
  ExpectBalanced(page);
  nothing.device_healthy = false;
  nothing.keeps_jobs = true;
  nothing.jobs_error = "disk I/O error";
  page = RenderStatusPage(nothing, true);
  EXPECT_THAT(page, HasSubstr("DEVICE FAILED"));
  EXPECT_THAT(page, HasSubstr("disk I/O error"));
  nothing.device_healthy = true;
  nothing.draining = true;
  EXPECT_THAT(RenderStatusPage(nothing, true), HasSubstr("DRAINING"));
}

TEST(StatusPage, StaysSmallWithManyModels) {
  StatusSnapshot snapshot = Busy();
  for (int i = 0; i < 3000; ++i) {
    v1::ModelInfo model = snapshot.models[0];
    model.set_name(absl::StrCat("model-", i));
    snapshot.activity[model.name()] = {{static_cast<uint64_t>(i), 0, 0, 0}, 0.5, 8000};
    snapshot.models.push_back(model);
  }
  const std::string page = RenderStatusPage(snapshot, true);
  EXPECT_THAT(page, HasSubstr("2003 more"));
  EXPECT_LT(page.size(), 2u << 20);
}

TEST(StatusPage, BarsOfBudgetsWarnAndThoseOfJobsDoNot) {
  StatusSnapshot snapshot = Busy();
  snapshot.jobs[0].mutable_progress()->set_step(400);
  EXPECT_THAT(RenderStatusPage(snapshot, true), Not(HasSubstr("fill over")));
  snapshot.active_streams = 250;
  EXPECT_THAT(RenderStatusPage(snapshot, true), HasSubstr("fill over"));
}

TEST(Chart, AnAxisThatDoesNotBeginAtZeroSaysSo) {
  const std::string svg = LineChart({{"ess", {0.8, 1.0}}}, {.bottom = 0.8, .reference = 0.9});
  EXPECT_THAT(svg, HasSubstr(">0.8</text>"));
  EXPECT_THAT(svg, HasSubstr(">0.9</text>"));
  EXPECT_THAT(svg, HasSubstr("M30.0 78.0L354.0 6.0")) << "from the bottom to the top";
  EXPECT_THAT(svg, HasSubstr("class=\"reference\" x1=\"30.0\" x2=\"354.0\" y1=\"42.0\""));
}

TEST(Chart, BreaksItsLineWhereThereIsNothing) {
  const double none = std::nan("");
  const std::string svg = LineChart({{"ess", {0.5, 0.6, none, 0.7, none, 2.0, 0.1}}}, {.label = "x\"y"});
  size_t paths = 0;
  for (size_t at = 0; (at = svg.find("<path", at)) != std::string::npos; ++at) ++paths;
  EXPECT_EQ(paths, 2u);
  EXPECT_THAT(svg, HasSubstr("<circle")) << "a value that stands alone";
  EXPECT_THAT(svg, HasSubstr("x&quot;y"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(Sparkline({"ess", {}}, ""), Not(HasSubstr("nan")));
}

ModelActivity Activity(uint64_t proposals, uint64_t chain, uint64_t accepted) {
  ModelActivity activity;
  activity.counts = {proposals, chain, accepted, 0};
  activity.ess = 0.9;
  return activity;
}

TEST(StatusHistory, HasRatesOfItsIntervalsAndGapsWhereNothingWasDrawn) {
  StatusHistory history;
  history.Record({{"a", Activity(1000, 1000, 900)}}, 1000, 1, 10);
  EXPECT_TRUE(history.Lines().rate.empty()) << "what was before is no point";
  history.Record({{"a", Activity(1500, 1100, 980)}}, 1500, 2, 15);
  history.Record({{"a", Activity(1500, 1100, 980)}, {"b", Activity(0, 0, 0)}}, 1500, 0, 20);
  history.Record({{"a", Activity(100, 100, 50)}, {"b", Activity(50, 0, 0)}}, 1600, 0, 25);
  const StatusHistoryLines lines = history.Lines();
  EXPECT_EQ(lines.seconds, 15);
  EXPECT_EQ(lines.rate, (std::vector<double>{100, 0, 20}));
  EXPECT_EQ(lines.streams, (std::vector<double>{2, 0, 0}));
  const ModelHistory& a = lines.models.at("a");
  EXPECT_NEAR(a.acceptance[0], 0.8, 1e-6);
  EXPECT_TRUE(std::isnan(a.acceptance[1]));
  EXPECT_TRUE(std::isnan(a.ess[1]));
  EXPECT_NEAR(a.acceptance[2], 0.5, 1e-6) << "its counters began again";
  const ModelHistory& b = lines.models.at("b");
  ASSERT_EQ(b.rate.size(), 3u);
  EXPECT_TRUE(std::isnan(b.rate[1])) << "it was not there";
  EXPECT_EQ(b.rate[2], 10);
  EXPECT_TRUE(std::isnan(b.acceptance[2])) << "weighted streams accept nothing";
}

TEST(StatusHistory, IsBoundedInPointsAndModelsAndForgets) {
  StatusHistory history({.points = 10, .models = 3});
  std::map<std::string, ModelActivity> activity;
  for (int i = 0; i < 50; ++i) {
    for (int m = 0; m < 5; ++m) activity[absl::StrCat("m", m)] = Activity(static_cast<uint64_t>(i), 0, 0);
    history.Record(activity, static_cast<uint64_t>(i), 0, i);
  }
  EXPECT_EQ(history.Lines().rate.size(), 10u);
  EXPECT_EQ(history.Lines().models.size(), 3u);
  EXPECT_EQ(history.Lines().models.at("m0").ess.size(), 10u);
  EXPECT_EQ(history.Lines().seconds, 10);
  history.Record({}, 50, 0, 50);
  EXPECT_TRUE(history.Lines().models.empty());
}

TEST(StatusServer, OnLoopbackTheHostMustBeThisOne) {
  for (const char* host :
       {"localhost", "localhost:9465", "127.0.0.1", "127.0.0.1:80", "[::1]:80", "[::1]", "10.0.0.1:1"}) {
    EXPECT_TRUE(NamesLocalHost(host)) << host;
  }
  for (const char* host : {"", "evil.example", "evil.example:9465", "localhost.evil.example",
                           "127.0.0.1.evil.example:1", "[evil]:1", ":80"}) {
    EXPECT_FALSE(NamesLocalHost(host)) << host;
  }
}

}  // namespace
}  // namespace haarflow::testing
