// The job service with users, trainers, watchers and its own end at once: no job is lost, none is held twice, and
// everybody who waits is answered. Without gRPC, for ThreadSanitizer.
#include "server/jobs/job_service.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <random>
#include <set>
#include <thread>

#include "core/model/spec.h"
#include "tests/service/test_store.h"

namespace haarflow::testing {
namespace {

class JobServiceTest : public ::testing::Test {
 protected:
  JobServiceTest() {
    EXPECT_TRUE(store_.Open().Publish(spec_text_, TensorMap(), v1::ModelCard(), /*make_champion=*/true).ok());
  }
  void Open(std::chrono::milliseconds lease = std::chrono::seconds(30)) {
    JobService::Options options;
    options.directory = store_.path("jobs");
    options.lease = lease;
    options.on_published = [this](const std::string&, uint64_t, bool) { ++published_; };
    options.on_expired = [this](int leases) { expired_ += leases; };
    service_ = JobService::Open(options, store_.Open()).value();
  }
  v1::RetuneRequest Request(const std::string& key, double lambda) const {
    v1::RetuneRequest request;
    request.set_idempotency_key(key);
    request.set_model("free");
    *request.mutable_target() = ParseSpec(spec_text_)->target();
    EXPECT_TRUE(SetTheoryParameter("lambda", lambda, request.mutable_target()).ok());
    request.set_requested_ess(0.5);
    request.set_budget_seconds(60);
    return request;
  }
  // On a thread of the service, waited for.
  template <class F>
  auto Through(const F& work) {
    std::promise<decltype(work())> answer;
    EXPECT_TRUE(service_->Post([&] { answer.set_value(work()); }));
    return answer.get_future().get();
  }
  absl::StatusOr<v1::LeaseJobResponse> Lease(const std::string& worker, double wait_seconds) {
    v1::LeaseJobRequest request;
    request.set_worker(worker);
    request.set_wait_seconds(wait_seconds);
    std::promise<absl::StatusOr<v1::LeaseJobResponse>> answer;
    service_->LeaseJob(
        request, [] { return false; },
        [&answer](absl::StatusOr<v1::LeaseJobResponse> response) { answer.set_value(std::move(response)); });
    return answer.get_future().get();
  }
  // Leased, worked at and published, as a trainer does it.
  absl::Status Finish(const v1::LeaseJobResponse& leased) {
    v1::HeartbeatRequest alive;
    *alive.mutable_lease() = leased.lease();
    alive.mutable_progress()->set_step(1);
    const auto cancelled = Through([&] { return service_->queue().Heartbeat(alive); });
    if (!cancelled.ok()) return cancelled.status();
    const std::string state = "state of " + leased.lease().job_id();
    const auto stored = Through([&] { return service_->StoreState(leased.lease(), Sha256Of(state).Bytes(), state); });
    if (!stored.ok()) return stored.status();
    UploadedVersion version;
    google::protobuf::TextFormat::PrintToString(leased.spec(), &version.spec_text);
    version.weights = WriteSafetensors(TensorMap(), {});
    v1::ModelCard card;
    card.mutable_quality()->set_ess(0.9);
    card.mutable_quality()->set_ess_error(0.001);
    card.mutable_quality()->set_samples(8192);
    version.card = card.SerializeAsString();
    version.digest = ModelDigest(version.spec_text, version.weights).Bytes();
    return Through([&] { return service_->Publish(leased.lease(), version); }).status();
  }

  const std::string spec_text_ =
      "name: \"free\" spec_version: 1 target { lattice { shape: 4 shape: 4 } phi4 { mass { m2: 1 lambda: 0.5 } } } "
      "prior { free_field { m2: 1 } } training { seed: 1 evaluation_samples: 8192 phases { steps: 10 batch: 16 "
      "learning_rate: 0.01 estimator: GRADIENT_ESTIMATOR_PATH } }";
  TestStore store_;
  std::atomic<int> published_{0}, expired_{0};
  std::unique_ptr<JobService> service_;
};

TEST_F(JobServiceTest, UsersTrainersAndWatchersAtOnceLoseNoJobAndPublishNoneTwice) {
  Open();
  constexpr int kUsers = 3, kJobs = 4, kTrainers = 3;
  std::vector<std::thread> threads;
  Mutex mutex;
  std::set<std::string> submitted, finished;
  std::vector<std::shared_ptr<JobWatch>> watches;
  for (int user = 0; user < kUsers; ++user) {
    threads.emplace_back([&, user] {
      for (int i = 0; i < kJobs; ++i) {
        const auto request = Request(absl::StrCat("key", i), 1 + i);  // the users' wishes are the same ones
        const auto job = Through([&] { return service_->Retune(request); });
        ASSERT_TRUE(job.ok()) << job.status();
        auto watch = std::make_shared<JobWatch>();
        watch->SetNotification([] {});
        ASSERT_TRUE(service_->Watch(job->job_id(), watch).ok());
        MutexLock lock(&mutex);
        submitted.insert(job->job_id());
        watches.push_back(watch);
      }
    });
  }
  for (int trainer = 0; trainer < kTrainers; ++trainer) {
    threads.emplace_back([&, trainer] {
      while (true) {
        {
          MutexLock lock(&mutex);
          if (finished.size() == kJobs) return;
        }
        const auto leased = Lease(absl::StrCat("trainer", trainer), 0.05);
        ASSERT_TRUE(leased.ok()) << leased.status();
        if (!leased->has_lease()) continue;
        const absl::Status done = Finish(*leased);
        ASSERT_TRUE(done.ok()) << done;
        MutexLock lock(&mutex);
        EXPECT_TRUE(finished.insert(leased->lease().job_id()).second) << "held twice";
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(submitted, finished);
  EXPECT_EQ(submitted.size(), static_cast<size_t>(kJobs)) << "the same key is the same job";
  EXPECT_EQ(published_, kJobs);
  EXPECT_EQ(expired_, 0);
  service_.reset();  // what watchers are owed comes first
  for (const auto& watch : watches) {
    std::unique_ptr<v1::Job> last, message;
    absl::Status end;
    while (watch->Poll(&message, &end) == Polled::kMessage) last = std::move(message);
    ASSERT_TRUE(last != nullptr);
    EXPECT_EQ(last->state(), v1::JOB_STATE_SUCCEEDED);
  }
}

// Leases run out while their trainers go on, users cancel, and trainers come too late: whatever the order, every job
// ends once.
TEST_F(JobServiceTest, ExpiryCancellingAndPublishingMeet) {
  Open(std::chrono::milliseconds(20));
  constexpr int kJobs = 6;
  std::vector<std::string> ids;
  for (int i = 0; i < kJobs; ++i) {
    const auto job = Through([&] { return service_->Retune(Request(absl::StrCat("key", i), 1 + i)); });
    ASSERT_TRUE(job.ok()) << job.status();
    ids.push_back(job->job_id());
  }
  const auto open = [&] {
    int n = 0;
    for (const std::string& id : ids) n += IsTerminal(service_->queue().Get(id, false)->state()) ? 0 : 1;
    return n;
  };
  std::vector<std::thread> threads;
  for (int trainer = 0; trainer < 3; ++trainer) {
    threads.emplace_back([&, trainer] {
      while (open() > 0) {
        const auto leased = Lease(absl::StrCat("trainer", trainer), 0.02);
        if (!leased.ok() || !leased->has_lease()) continue;
        const absl::Status done = Finish(*leased);
        EXPECT_TRUE(done.ok() || absl::IsAborted(done)) << done;
      }
    });
  }
  threads.emplace_back([&] {
    for (const int i : {1, 4}) {
      const auto cancelled = Through([&] { return service_->queue().Cancel(ids[static_cast<size_t>(i)]); });
      EXPECT_TRUE(cancelled.ok() || absl::IsFailedPrecondition(cancelled.status())) << cancelled.status();
    }
  });
  for (std::thread& thread : threads) thread.join();
  int succeeded = 0;
  for (const std::string& id : ids) {
    const v1::Job job = service_->queue().Get(id, false).value();
    EXPECT_TRUE(IsTerminal(job.state()));
    succeeded += job.state() == v1::JOB_STATE_SUCCEEDED ? 1 : 0;
  }
  EXPECT_EQ(published_, succeeded);
}

TEST_F(JobServiceTest, ADrainAnswersEverybodyWhoWaits) {
  for (int round = 0; round < 5; ++round) {
    Open();
    std::atomic<int> sent_away{0};
    std::vector<std::thread> waiting;
    for (int i = 0; i < 4; ++i) {
      waiting.emplace_back([&, i] {
        const auto answer = Lease(absl::StrCat("trainer", i), 60);
        EXPECT_TRUE(absl::IsUnavailable(answer.status())) << answer.status();
        ++sent_away;
      });
    }
    std::thread drain([&] { service_->Drain(); });
    drain.join();
    for (std::thread& thread : waiting) thread.join();
    EXPECT_EQ(sent_away, 4);
    service_.reset();
  }
}

}  // namespace
}  // namespace haarflow::testing
