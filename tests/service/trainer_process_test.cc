// The trainer process and the server, both as they are: end to end, killed, restarted, cancelled.
#include "tests/service/jobs_fixture.h"

namespace haarflow::testing {
namespace {

using ::testing::HasSubstr;

using TrainerTest = JobsTest;

// Steps so large that a wish for ESS 0.99999 keeps any trainer busy for minutes (with the small ones it was given up
// after 6 s).
class BusyTrainerTest : public JobsTest {
 protected:
  BusyTrainerTest() { PublishModel(1024); }
  std::string Endless() const { return Retune(Request("endless", 3, 0.99999)).job_id(); }
};

TEST_F(TrainerTest, ARetunedModelIsServedAtTheEssAskedFor) {
  StartServer();
  const auto trainer = StartTrainer("w", {"--once"});
  const std::string id = Retune(Request("k", 2.5, 0.9, 60)).job_id();
  const v1::Job job = WatchToTheEnd(id);
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.error() << trainer->output();
  EXPECT_TRUE(job.promoted());
  EXPECT_GE(job.ess(), 0.9);
  EXPECT_EQ(trainer->Wait(), 0);
  EXPECT_THAT(trainer->output(), HasSubstr("version published"));
  // The target alone finds it.
  const auto sampler = v1::SamplerService::NewStub(channel_);
  v1::SampleRequest request;
  *request.mutable_target() = job.request().target();
  request.set_count(2000);
  request.set_omit_fields(true);
  grpc::ClientContext context;
  const auto stream = sampler->Sample(&context, request);
  v1::SampleResponse message;
  v1::SampleSummary summary;
  std::string model;
  while (stream->Read(&message)) {
    if (message.has_header()) model = message.header().model();
    if (message.has_summary()) summary = message.summary();
  }
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(model, "phi4-4x4-m2-1-lambda2.5");
  EXPECT_NEAR(summary.statistics().quality().ess(), job.ess(), 0.05);
  const StoredModel stored = store_.Open().LoadChampion(model).value();
  EXPECT_THAT(stored.spec.description(), HasSubstr("re-tuned from test/1: lambda = 1.5 -> "));
  EXPECT_THAT(stored.manifest.card.lineage(), HasSubstr("test/1 sha256:"));
  EXPECT_EQ(stored.manifest.job, id);
}

TEST_F(TrainerTest, AnImpossibleWishEndsAsAReportAndACandidate) {
  StartServer();
  const auto trainer = StartTrainer("w");
  v1::RetuneRequest request = Request("k", 1.5, 0.99999, 3);
  const v1::Job job = WatchToTheEnd(Retune(request).job_id());
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(job.error(), HasSubstr("of 1.0000 asked for"));
  EXPECT_GT(job.ess(), 0.3);
  EXPECT_EQ(store_.Open().ReadIndex("test")->aliases.at("champion"), 1);
  EXPECT_EQ(store_.Open().ReadIndex("test")->aliases.at("candidate"), 2);
}

TEST_F(BusyTrainerTest, AKilledTrainersJobIsResumedByAnotherFromItsLastState) {
  StartServer({"--job-lease-seconds", "1"});
  const std::string id = Endless();
  uint64_t step = 0;
  {
    const auto first = StartTrainer("first", {"--state-seconds", "0"});
    // Far enough that a state of a cycle's middle is there.
    ASSERT_TRUE(first->WaitForOutput("state uploaded", 12)) << first->output();
    step = WatchUntil(id, [](const v1::Job& job) { return job.progress().step() > 0; }).progress().step();
    first->Signal(SIGKILL);
    EXPECT_EQ(first->Wait(), -SIGKILL);
  }
  const auto second = StartTrainer("second", {"--state-seconds", "0"});
  ASSERT_TRUE(second->WaitForOutput("training resumed")) << second->output();
  const v1::Job job =
      WatchUntil(id, [&](const v1::Job& j) { return j.worker() == "second" && j.progress().step() > step; });
  EXPECT_EQ(job.attempt(), 2);
  EXPECT_EQ(job.state(), v1::JOB_STATE_RUNNING);
  // And cancelled: the trainer stops within a step and takes the next job.
  EXPECT_EQ(Cancel(id).second.state(), v1::JOB_STATE_CANCELLED);
  ASSERT_TRUE(second->WaitForOutput("job cancelled")) << second->output();
  second->Signal(SIGTERM);
  EXPECT_EQ(second->Wait(), 0) << second->output();
}

TEST_F(BusyTrainerTest, AKilledServerComesBackAndTheTrainerNeverStopped) {
  StartServer();
  const auto trainer = StartTrainer("w", {"--state-seconds", "0"});
  const std::string id = Endless();
  ASSERT_TRUE(trainer->WaitForOutput("state uploaded", 3)) << trainer->output();
  KillServer();
  ASSERT_TRUE(trainer->WaitForOutput("was not uploaded")) << trainer->output();
  StartServer();
  const v1::Job back = WatchUntil(id, [](const v1::Job& job) { return job.progress().step() > 0; });
  WatchUntil(id, [&](const v1::Job& job) { return job.progress().step() > back.progress().step() + 20; });
  EXPECT_EQ(GetJob(id).attempt(), 1);
  EXPECT_EQ(GetJob(id).worker(), "w");
  Cancel(id);
  EXPECT_TRUE(trainer->WaitForOutput("job cancelled")) << trainer->output();
}

TEST_F(BusyTrainerTest, AServerThatMovedIsFoundAgainByItsEndpointFile) {
  const std::string file = "file:" + store_.path("endpoint.json");
  // Not there yet: a batch system starts both when it likes.
  const auto trainer = StartTrainer("w", {"--state-seconds", "0", "--log-format", "json"}, file);
  ASSERT_TRUE(trainer->WaitForOutput("no server has published its address")) << trainer->output();
  StartServer();
  const std::string before = address_;
  const std::string id = Endless();
  ASSERT_TRUE(trainer->WaitForOutput("state uploaded", 2)) << trainer->output();
  KillServer();
  address_.clear();  // another port
  StartServer();
  ASSERT_NE(address_, before);
  const v1::Job back = WatchUntil(id, [](const v1::Job& job) { return job.progress().step() > 0; });
  WatchUntil(id, [&](const v1::Job& job) { return job.progress().step() > back.progress().step() + 20; });
  EXPECT_EQ(GetJob(id).attempt(), 1) << "it never stopped";
  EXPECT_EQ(Cancel(id).second.state(), v1::JOB_STATE_CANCELLED);
  EXPECT_TRUE(trainer->WaitForOutput("job cancelled")) << trainer->output();
}

TEST_F(TrainerTest, LogsAreObjectsAndLeadToTheRequestThatSubmittedTheJob) {
  StartServer({"--log-format", "json"});
  const std::string trace = "4bf92f3577b34da6a3ce929d0e0e4736";
  const auto trainer = StartTrainer("w", {"--log-format", "json"});
  ChildProcess retune("haarflow", {"--json", "retune", "test", "--set", "lambda=3", "--ess", "0.99999"},
                      {"HAARFLOW_SERVER=" + address_, "TRACEPARENT=00-" + trace + "-00f067aa0ba902b7-01"});
  EXPECT_EQ(retune.Wait(), 0) << retune.output();
  ASSERT_TRUE(trainer->WaitForOutput("\"training\"")) << trainer->output();
  trainer->Signal(SIGTERM);
  EXPECT_EQ(trainer->Wait(), 0);
  std::istringstream lines(trainer->output());
  int with_trace = 0;
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    ASSERT_TRUE(json.is_object() && json.contains("time") && json.contains("message")) << line;
    if (json.contains("job")) {
      EXPECT_EQ(json["trace_id"], trace) << line;
      ++with_trace;
    }
  }
  EXPECT_GE(with_trace, 2);
  EXPECT_THAT(server_->output(), HasSubstr(trace)) << "the server's line about the submission";
}

TEST_F(BusyTrainerTest, ToldToStopATrainerGivesItsJobBack) {
  StartServer();
  const auto trainer = StartTrainer("w");
  const std::string id = Endless();
  WatchUntil(id, [](const v1::Job& job) { return job.progress().step() > 10; });
  trainer->Signal(SIGTERM);
  EXPECT_EQ(trainer->Wait(), 0);
  EXPECT_THAT(trainer->output(), HasSubstr("state uploaded"));
  EXPECT_THAT(trainer->output(), HasSubstr("job given back"));
  const v1::Job job = GetJob(id);
  EXPECT_EQ(job.state(), v1::JOB_STATE_PENDING);
  EXPECT_GT(job.progress().step(), 10);
}

TEST_F(TrainerTest, TheCommandLineAsksWatchesListsAndCancels) {
  StartServer();
  const auto trainer = StartTrainer("w");
  const std::vector<std::string> environment = {"HAARFLOW_SERVER=" + address_};
  ChildProcess retune("haarflow", {"retune", "test", "--set", "lambda=2", "--ess", "0.8", "--budget", "60", "--watch"},
                      environment);
  EXPECT_EQ(retune.Wait(), 0) << retune.output();
  EXPECT_THAT(retune.output(), HasSubstr("phi4-4x4-m2-1-lambda2/1"));
  EXPECT_THAT(retune.output(), HasSubstr("published as champion"));
  ChildProcess failed("haarflow", {"retune", "test", "--ess", "0.99999", "--budget", "2", "--watch"}, environment);
  EXPECT_EQ(failed.Wait(), 8) << failed.output();
  ChildProcess asked("haarflow", {"--json", "retune", "test", "--set", "lambda=4", "--ess", "0.99999", "--key", "x"},
                     environment);
  ASSERT_EQ(asked.Wait(), 0) << asked.output();
  const std::string id = nlohmann::json::parse(asked.output())["job"].get<std::string>();
  ChildProcess cancel("haarflow", {"cancel", id}, environment);
  EXPECT_EQ(cancel.Wait(), 0) << cancel.output();
  ChildProcess jobs("haarflow", {"--json", "jobs"}, environment);
  EXPECT_EQ(jobs.Wait(), 0);
  const auto list = nlohmann::json::parse(jobs.output())["jobs"];
  ASSERT_EQ(list.size(), 3);
  EXPECT_EQ(list[0]["job"], id);
  EXPECT_EQ(list[0]["state"], "CANCELLED");
  EXPECT_EQ(list[2]["state"], "SUCCEEDED");
  ChildProcess unknown("haarflow", {"job", "job-none"}, environment);
  EXPECT_EQ(unknown.Wait(), 4) << unknown.output();
}

}  // namespace
}  // namespace haarflow::testing
