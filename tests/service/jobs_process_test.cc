// Jobs against the real server: leases and fences, uploads, the gate, cancelling, kills at every step. A trainer's
// calls are made by hand; tests/service/trainer_process_test.cc has the trainer itself.
#include "tests/service/jobs_fixture.h"

namespace haarflow::testing {
namespace {

using grpc::StatusCode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(JobsTest, AServerWithoutAJobTableSaysWhatIsMissing) {
  server_ = std::make_unique<ChildProcess>(
      "haarflow-server", std::vector<std::string>{"--store", store_.directory(), "--listen", "127.0.0.1:0", "--device",
                                                  "cpu:1", "--endpoint-file", store_.path("endpoint.json")});
  ASSERT_TRUE(server_->WaitForOutput("serving address="));
  address_ = nlohmann::json::parse(*ReadFile(store_.path("endpoint.json"), 4096))["address"].get<std::string>();
  const auto tuning = v1::TuningService::NewStub(grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
  const auto [status, job] = Call<v1::Job>(tuning.get(), &v1::TuningService::Stub::Retune, Request("k", 2, 0.5));
  EXPECT_EQ(status.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("--jobs"));
}

TEST_F(JobsTest, TheSameKeyIsTheSameJobAlsoAfterARestart) {
  StartServer();
  const v1::RetuneRequest request = Request("wish-1", 2, 0.5);
  const v1::Job job = Retune(request);
  EXPECT_EQ(job.state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(job.start_model(), "test");
  EXPECT_EQ(job.published_model(), "phi4-4x4-m2-1-lambda2");
  EXPECT_EQ(Retune(request).job_id(), job.job_id());
  KillServer();
  StartServer();
  EXPECT_EQ(Retune(request).job_id(), job.job_id());
  v1::RetuneRequest other = request;
  other.set_requested_ess(0.6);
  const auto refused = Call<v1::Job>(tuning_.get(), &v1::TuningService::Stub::Retune, other);
  EXPECT_EQ(refused.first.error_code(), StatusCode::ALREADY_EXISTS);
  EXPECT_THAT(refused.first.error_message(), HasSubstr(job.job_id()));
  EXPECT_NE(Retune(Request("wish-2", 2, 0.5)).job_id(), job.job_id());
  for (const auto& [what, bad] :
       std::vector<std::pair<std::string, v1::RetuneRequest>>{{"idempotency_key", Request("", 2, 0.5)},
                                                              {"requested_ess", Request("k", 2, 1)},
                                                              {"budget_seconds", Request("k", 2, 0.5, -1)},
                                                              {"target", Request("k", -2, 0.5)}}) {
    const auto answer = Call<v1::Job>(tuning_.get(), &v1::TuningService::Stub::Retune, bad);
    EXPECT_EQ(answer.first.error_code(), StatusCode::INVALID_ARGUMENT) << what;
    EXPECT_THAT(answer.first.error_message(), HasSubstr(what));
  }
}

TEST_F(JobsTest, JobsAreListedInPagesTheNewestFirst) {
  StartServer();
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) ids.insert(ids.begin(), Retune(Request(absl::StrCat("k", i), 2 + i, 0.5)).job_id());
  std::vector<std::string> listed;
  v1::ListJobsRequest request;
  request.set_page_size(2);
  int pages = 0;
  do {
    const auto [status, page] = Call<v1::ListJobsResponse>(tuning_.get(), &v1::TuningService::Stub::ListJobs, request);
    ASSERT_TRUE(status.ok()) << status.error_message();
    for (const v1::Job& job : page.jobs()) listed.push_back(job.job_id());
    request.set_page_token(page.next_page_token());
    ++pages;
  } while (!request.page_token().empty());
  EXPECT_EQ(listed, ids);
  EXPECT_EQ(pages, 3);
  request.set_page_token("nonsense");
  EXPECT_EQ(Call<v1::ListJobsResponse>(tuning_.get(), &v1::TuningService::Stub::ListJobs, request).first.error_code(),
            StatusCode::INVALID_ARGUMENT);
}

TEST_F(JobsTest, ALostTrainersJobGoesToTheNextAndItsFenceIsRefused) {
  StartServer({"--job-lease-seconds", "0.3"});
  const std::string id = Retune(Request("k", 2, 0.5)).job_id();
  const v1::LeaseJobResponse first = Lease("first");
  ASSERT_EQ(first.lease().job_id(), id);
  EXPECT_EQ(Heartbeat(first.lease()).first.error_code(), StatusCode::OK);
  ASSERT_TRUE(UploadState(first.lease(), "half a state").first.ok());
  // Silence. The next in the queue has waited for exactly this.
  const v1::LeaseJobResponse second = Lease("second");
  ASSERT_EQ(second.lease().job_id(), id);
  EXPECT_GT(second.lease().fence(), first.lease().fence());
  EXPECT_EQ(second.job().attempt(), 2);
  EXPECT_EQ(Heartbeat(first.lease()).first.error_code(), StatusCode::ABORTED);
  EXPECT_EQ(UploadState(first.lease(), "other").first.error_code(), StatusCode::ABORTED);
  EXPECT_EQ(Fetch(first.lease()).first.error_code(), StatusCode::ABORTED);
  std::string digest;
  const Files files = Version(first, 0.9, &digest);
  EXPECT_EQ(Upload(true, first.lease(), files, digest).first.error_code(), StatusCode::ABORTED);
  EXPECT_EQ(Heartbeat(second.lease()).first.error_code(), StatusCode::OK);
  std::vector<std::string> names;
  std::string state;
  EXPECT_TRUE(Fetch(second.lease(), &names, &state).first.ok());
  EXPECT_THAT(names, ElementsAre("spec.txtpb", "weights.safetensors", "state"));
  EXPECT_EQ(state, "half a state");
  v1::Lease forged = second.lease();
  forged.set_fence(forged.fence() + 1);
  EXPECT_EQ(Heartbeat(forged).first.error_code(), StatusCode::ABORTED);
  forged.set_job_id("job-0");
  EXPECT_EQ(Heartbeat(forged).first.error_code(), StatusCode::NOT_FOUND);
}

TEST_F(JobsTest, AJobThatLosesEveryTrainerFailsInTheEnd) {
  StartServer({"--job-lease-seconds", "0.1"});
  const std::string id = Retune(Request("k", 2, 0.5)).job_id();
  for (int attempt = 1; attempt <= 5; ++attempt) ASSERT_EQ(Lease("w").job().attempt(), attempt);
  const v1::Job job = WatchToTheEnd(id);
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(job.error(), HasSubstr("lost its trainer 5 times"));
}

TEST_F(JobsTest, CancellingReachesTheTrainerAndIsFinal) {
  StartServer();
  const std::string waiting = Retune(Request("a", 2, 0.5)).job_id();
  EXPECT_EQ(Cancel(waiting).second.state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(Cancel(waiting).second.state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(WatchToTheEnd(waiting).state(), v1::JOB_STATE_CANCELLED);
  const std::string held = Retune(Request("b", 2, 0.5)).job_id();
  const v1::LeaseJobResponse leased = Lease("w");
  ASSERT_EQ(leased.lease().job_id(), held);
  EXPECT_FALSE(Heartbeat(leased.lease()).second.cancel());
  EXPECT_EQ(Cancel(held).second.state(), v1::JOB_STATE_CANCELLED);
  EXPECT_TRUE(Heartbeat(leased.lease()).second.cancel());
  std::string digest;
  const Files files = Version(leased, 0.9, &digest);
  EXPECT_EQ(Upload(true, leased.lease(), files, digest).first.error_code(), StatusCode::ABORTED);
  EXPECT_FALSE(store_.Open().ReadIndex(GetJob(held).published_model()).ok());
  EXPECT_EQ(Cancel("job-none").first.error_code(), StatusCode::NOT_FOUND);
}

TEST_F(JobsTest, WhatIsDamagedOrNotWhatWasAskedForIsNeverPublished) {
  StartServer();
  const std::string id = Retune(Request("k", 2, 0.5)).job_id();
  const v1::LeaseJobResponse leased = Lease("w");
  std::string digest;
  const Files good = Version(leased, 0.9, &digest);
  const auto code = [&](const Files& files, const std::string& announced, const Spoil& spoil = nullptr) {
    const auto [status, response] = Upload(true, leased.lease(), files, announced, spoil);
    EXPECT_FALSE(status.ok());
    return status.error_code();
  };
  const auto with = [&](size_t file, const std::string& bytes) {
    Files files = good;
    files[file].second = bytes;
    return files;
  };
  const auto digest_of = [](const Files& files) { return ModelDigest(files[0].second, files[1].second).Bytes(); };
  // Damaged on the way.
  EXPECT_EQ(code(good, digest, [](v1::UploadRequest* r) { (*r->mutable_chunk()->mutable_payload())[0] ^= 1; }),
            StatusCode::DATA_LOSS);
  EXPECT_EQ(code(good, std::string(32, 'x')), StatusCode::DATA_LOSS);
  EXPECT_EQ(code(good, ""), StatusCode::DATA_LOSS);
  // Cut off, out of order, with gaps, or larger than it says.
  EXPECT_EQ(code({good[0], good[1]}, digest), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code({good[1], good[0], good[2]}, digest), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code({good[0], good[1], good[2], {"more", "x"}}, digest), StatusCode::INVALID_ARGUMENT);
  const auto if_weights = [](const std::function<void(v1::FileChunk*)>& change) {
    return [change](v1::UploadRequest* r) {
      if (r->chunk().file() == "weights.safetensors") change(r->mutable_chunk());
    };
  };
  EXPECT_EQ(code(good, digest, if_weights([](v1::FileChunk* c) { c->set_offset(c->offset() + 1); })),
            StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code(good, digest, if_weights([](v1::FileChunk* c) { c->set_total(uint64_t{1} << 50); })),
            StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code(good, digest, if_weights([](v1::FileChunk* c) { c->set_total(10); })), StatusCode::INVALID_ARGUMENT);
  // Whole, but another model.
  v1::ModelSpec other = leased.spec();
  other.mutable_target()->mutable_phi4()->mutable_mass()->set_lambda(3);
  std::string text;
  google::protobuf::TextFormat::PrintToString(other, &text);
  EXPECT_EQ(code(with(0, text), digest_of(with(0, text))), StatusCode::INVALID_ARGUMENT);
  other = leased.spec();
  other.set_name("elsewhere");
  google::protobuf::TextFormat::PrintToString(other, &text);
  EXPECT_EQ(code(with(0, text), digest_of(with(0, text))), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code(with(0, "nonsense"), digest_of(with(0, "nonsense"))), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code(with(1, "nonsense"), digest_of(with(1, "nonsense"))), StatusCode::DATA_LOSS);
  const std::string no_weights = WriteSafetensors({}, {});
  EXPECT_EQ(code(with(1, no_weights), digest_of(with(1, no_weights))), StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code(with(2, "\xff\xff"), digest), StatusCode::INVALID_ARGUMENT);
  v1::ModelCard boast;
  boast.mutable_quality()->set_ess(1.5);
  boast.mutable_quality()->set_samples(8192);
  EXPECT_EQ(code(with(2, boast.SerializeAsString()), digest), StatusCode::INVALID_ARGUMENT);
  // States are checked in the same way.
  EXPECT_EQ(Upload(false, leased.lease(), {{"state", "abc"}}, std::string(32, 'x')).first.error_code(),
            StatusCode::DATA_LOSS);
  EXPECT_EQ(Upload(false, leased.lease(), {{"other", "abc"}}, Sha256Of("abc").Bytes()).first.error_code(),
            StatusCode::INVALID_ARGUMENT);

  EXPECT_FALSE(store_.Open().ReadIndex(leased.spec().name()).ok());
  EXPECT_EQ(GetJob(id).state(), v1::JOB_STATE_RUNNING);
  const auto [status, response] = Upload(true, leased.lease(), good, digest);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(response.promoted());
  // Asked again, because the answer was lost: the same answer, not another version.
  const auto again = Upload(true, leased.lease(), good, digest);
  ASSERT_TRUE(again.first.ok()) << again.first.error_message();
  EXPECT_EQ(again.second.version(), response.version());
  EXPECT_EQ(store_.Open().ReadIndex(leased.spec().name())->versions.size(), 1);
  const StoredModel stored = store_.Open().LoadChampion(leased.spec().name()).value();
  EXPECT_EQ(stored.manifest.job, id);
  EXPECT_EQ(stored.manifest.fence, leased.lease().fence());
  EXPECT_EQ(GetJob(id).state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(GetJob(id).published_digest(), stored.manifest.digest.Bytes());
}

TEST_F(JobsTest, AGateThatFailsLeavesTheChampion) {
  StartServer();
  v1::RetuneRequest request = Request("k", 1.5, 0.95);  // the model's own target
  const std::string id = Retune(request).job_id();
  const v1::LeaseJobResponse leased = Lease("w");
  EXPECT_EQ(leased.spec().name(), "test");
  std::string digest;
  const Files files = Version(leased, 0.9, &digest);
  const auto [status, response] = Upload(true, leased.lease(), files, digest);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_FALSE(response.promoted());
  const v1::Job job = GetJob(id);
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(job.published_version(), 2);
  EXPECT_THAT(job.error(), HasSubstr("reached ESS 0.9000 +- 0.0010 of 0.9500 asked for"));
  const ModelIndex index = store_.Open().ReadIndex("test").value();
  EXPECT_EQ(index.aliases.at("champion"), 1);
  EXPECT_EQ(index.aliases.at("candidate"), 2);
}

// Every step at which a server may die: the job is known afterwards, nothing is published twice, and the work goes on.
TEST_F(JobsTest, KilledAtEveryStepNoJobIsLostAndNoneIsPublishedTwice) {
  const std::string marker = store_.path("reached");
  int round = 0;
  for (const std::string point : {"submitted", "leased", "uploading", "state written", "state recorded", "publishing",
                                  "version files written", "version written", "published", "recorded"}) {
    SCOPED_TRACE(point);
    std::error_code ignored;
    std::filesystem::remove(marker, ignored);
    StartServer({}, {absl::StrCat("HAARFLOW_FAILPOINT=", point, ":", marker)});
    const v1::RetuneRequest request = Request(absl::StrCat("k", round), 2 + 0.1 * round, 0.5);
    ++round;
    // As far as it comes.
    v1::LeaseJobResponse leased;
    std::string digest;
    Files files;
    if (Call<v1::Job>(tuning_.get(), &v1::TuningService::Stub::Retune, request).first.ok()) {
      v1::LeaseJobRequest lease;
      lease.set_worker("w");
      leased = Call<v1::LeaseJobResponse>(worker_.get(), &v1::WorkerService::Stub::LeaseJob, lease).second;
      if (leased.has_lease() && UploadState(leased.lease(), "state").first.ok()) {
        files = Version(leased, 0.9, &digest);
        Upload(true, leased.lease(), files, digest);
      }
    }
    EXPECT_EQ(server_->Wait(), -SIGKILL) << server_->output();
    EXPECT_TRUE(std::filesystem::exists(marker)) << "the failpoint was not reached";

    StartServer({"--job-lease-seconds", "0.3"});
    const v1::Job job = Retune(request);  // the user asks again with the same key
    v1::Job now = GetJob(job.job_id());
    if (now.state() != v1::JOB_STATE_SUCCEEDED) {
      // The trainer goes on where it was, or another one takes over.
      if (!leased.has_lease() || !Heartbeat(leased.lease()).first.ok()) leased = Lease("w2");
      ASSERT_EQ(leased.lease().job_id(), job.job_id());
      files = Version(leased, 0.9, &digest);
      const auto [status, response] = Upload(true, leased.lease(), files, digest);
      ASSERT_TRUE(status.ok()) << status.error_message();
      now = GetJob(job.job_id());
    }
    EXPECT_EQ(now.state(), v1::JOB_STATE_SUCCEEDED);
    EXPECT_TRUE(now.promoted());
    const ModelIndex index = store_.Open().ReadIndex(now.published_model()).value();
    EXPECT_EQ(index.versions.size(), 1);
    EXPECT_EQ(index.aliases.at("champion"), now.published_version());
    EXPECT_EQ(store_.Open().LoadChampion(now.published_model())->manifest.job, job.job_id());
    for (const auto& entry : std::filesystem::directory_iterator(store_.directory() + "/" + now.published_model())) {
      EXPECT_THAT(entry.path().filename().string(), Not(HasSubstr("publish-"))) << "left by the server that was killed";
    }
    KillServer();
  }
}

TEST_F(JobsTest, DrainingSendsThoseWhoWaitAway) {
  StartServer({"--metrics", "127.0.0.1:0"});
  const auto endpoint = nlohmann::json::parse(*ReadFile(store_.path("endpoint.json"), 4096));
  const std::string metrics = endpoint["metrics"].get<std::string>();
  const std::string id = Retune(Request("k", 2, 0.5)).job_id();
  Lease("w");
  grpc::ClientContext watching;
  v1::WatchJobRequest watch;
  watch.set_job_id(id);
  const auto reader = tuning_->WatchJob(&watching, watch);
  v1::Job job;
  ASSERT_TRUE(reader->Read(&job));
  std::thread waiting([&] {
    v1::LeaseJobRequest request;
    request.set_worker("w2");
    request.set_wait_seconds(60);
    const auto answer = Call<v1::LeaseJobResponse>(worker_.get(), &v1::WorkerService::Stub::LeaseJob, request);
    EXPECT_EQ(answer.first.error_code(), StatusCode::UNAVAILABLE);
  });
  testing::WaitForOpenCalls(metrics, 2);  // a call that comes later finds the door shut: CANCELLED, by gRPC
  server_->Signal(SIGTERM);
  while (reader->Read(&job)) {
  }
  const grpc::Status watched = reader->Finish();
  EXPECT_EQ(watched.error_code(), StatusCode::UNAVAILABLE) << watched.error_message();
  EXPECT_EQ(server_->Wait(), 0) << server_->output();
  waiting.join();
}

TEST_F(JobsTest, OneServerOwnsTheJobTable) {
  StartServer();
  ChildProcess second("haarflow-server", {"--store", store_.directory(), "--jobs", store_.path("jobs"), "--listen",
                                          "127.0.0.1:0", "--device", "cpu:1"});
  EXPECT_EQ(second.Wait(), 1);
  EXPECT_THAT(second.output(), HasSubstr("one server owns the job table"));
}

}  // namespace
}  // namespace haarflow::testing
