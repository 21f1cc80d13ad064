// What a full disk and a kill leave behind: of streams, of promotions, and at random times of everything at once.
#include <sys/resource.h>

#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>

#include "client/client.h"
#include "haarflow/v1/admin.grpc.pb.h"
#include "tests/reference/tier.h"
#include "tests/service/jobs_fixture.h"
#include "tests/service/stream_util.h"

namespace haarflow::testing {
namespace {

using grpc::StatusCode;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class KillTest : public JobsTest {
 protected:
  std::unique_ptr<Client> Connect() const { return Client::Connect(address_, {}).value(); }
  static v1::SampleRequest Chain(uint64_t seed, uint64_t count) {
    v1::SampleRequest request;
    request.set_model("test");
    request.set_seed(seed);
    request.set_count(count);
    return request;
  }
  // The expanded chain, however often the server went away.
  static std::vector<Configuration> Steps(const Client& client, const v1::SampleRequest& request) {
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(2);
    absl::Status status;
    do {  // until a server is there to begin with
      Collector collected;
      status = client.Sample(request, {}, [&](const v1::SampleResponse& message) {
        if (message.has_header()) collected.DropPartial();
        collected.Add(message);
        return true;
      });
      if (status.ok()) return collected.Expanded();
    } while (absl::IsUnavailable(status) && std::chrono::steady_clock::now() < give_up);
    ADD_FAILURE() << status;
    return {};
  }
  std::pair<grpc::Status, v1::SetAliasResponse> Promote(uint64_t version) const {
    v1::SetAliasRequest request;
    request.set_model("test");
    request.set_alias("champion");
    request.set_version(version);
    return Call<v1::SetAliasResponse>(v1::AdminService::NewStub(channel_).get(), &v1::AdminService::Stub::SetAlias,
                                      request);
  }
  void StartToDieAt(const std::string& point) {
    std::error_code ignored;
    std::filesystem::remove(store_.path("reached"), ignored);
    StartServer({}, {absl::StrCat("HAARFLOW_FAILPOINT=", point, ":", store_.path("reached"))});
  }
  void ExpectDied() {
    EXPECT_EQ(server_->Wait(), -SIGKILL) << server_->output();
    EXPECT_TRUE(std::filesystem::exists(store_.path("reached"))) << "the failpoint was not reached";
  }
  // No file of the server may grow beyond `bytes`.
  void LimitFiles(rlim_t bytes) const {
    rlimit limit{};
    ASSERT_EQ(::prlimit(server_->pid(), RLIMIT_FSIZE, nullptr, &limit), 0);
    limit.rlim_cur = std::min(bytes, limit.rlim_max);
    ASSERT_EQ(::prlimit(server_->pid(), RLIMIT_FSIZE, &limit, nullptr), 0);
  }
};

TEST_F(KillTest, AServerKilledAtAnyStepOfAStreamBreaksNoChain) {
  StartServer();
  const v1::SampleRequest request = Chain(5, 20000);
  const std::vector<Configuration> unbroken = Steps(*Connect(), request);
  ASSERT_EQ(unbroken.size(), 20000u);
  KillServer();
  for (const std::string point : {"stream admitted", "chunk sent", "stream ended"}) {
    SCOPED_TRACE(point);
    StartToDieAt(point);
    const auto client = Connect();
    std::vector<Configuration> steps;
    std::thread reader([&] { steps = Steps(*client, request); });
    ExpectDied();
    StartServer();
    reader.join();
    EXPECT_TRUE(steps == unbroken);
    KillServer();
  }
}

TEST_F(KillTest, APromotionThatIsKilledHappenedOrDidNot) {
  v1::ModelCard card;
  card.mutable_quality()->set_ess(0.01);
  card.mutable_quality()->set_samples(8192);
  for (const char bit : {1, 2}) {
    TensorMap weights = weights_;  // another digest
    for (auto& [name, tensor] : weights) {
      if (name != "steps") tensor.bytes[0] ^= bit;  // of the last digits of a number
    }
    ASSERT_TRUE(store_.Open().Publish(spec_text_, weights, card, /*make_champion=*/false).ok());
  }
  uint64_t champion = 1;
  for (const std::string point : {"alias moving", "alias moved"}) {
    SCOPED_TRACE(point);
    const uint64_t other = champion + 1;
    StartToDieAt(point);
    const grpc::Status cut = Promote(other).first;
    EXPECT_EQ(cut.error_code(), StatusCode::UNAVAILABLE) << cut.error_message();
    ExpectDied();
    const uint64_t expected = point == "alias moved" ? other : champion;
    EXPECT_EQ(store_.Open().ReadIndex("test")->aliases.at("champion"), expected);
    StartServer();
    const auto again = Promote(other);
    EXPECT_TRUE(again.first.ok()) << again.first.error_message();
    EXPECT_EQ(again.second.model().version(), other);
    EXPECT_EQ(store_.Open().ReadIndex("test")->aliases.at("previous"), champion);
    champion = other;
    KillServer();
  }
}

TEST_F(KillTest, AFullDiskRefusesWhatItCannotKeepAndLosesNothing) {
  StartServer();
  const v1::Job before = Retune(Request("before", 2, 0.5));
  const v1::LeaseJobResponse leased = Lease("w");
  ASSERT_TRUE(UploadState(leased.lease(), "first").first.ok());
  std::string digest;
  const Files files = Version(leased, 0.9, &digest);

  LimitFiles(0);
  const auto expect_refused = [](const grpc::Status& status) {
    EXPECT_TRUE(status.error_code() == StatusCode::RESOURCE_EXHAUSTED || status.error_code() == StatusCode::UNAVAILABLE)
        << status.error_code() << " " << status.error_message();
    EXPECT_THAT(status.error_message(), Not(IsEmpty()));
  };
  const v1::RetuneRequest during = Request("during", 3, 0.5);
  expect_refused(Call<v1::Job>(tuning_.get(), &v1::TuningService::Stub::Retune, during).first);
  expect_refused(UploadState(leased.lease(), "second").first);
  expect_refused(Upload(true, leased.lease(), files, digest).first);
  expect_refused(Promote(1).first);
  EXPECT_EQ(GetJob(before.job_id()).state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(Steps(*Connect(), Chain(1, 500)).size(), 500u) << "what is served goes on being served";
  EXPECT_FALSE(store_.Open().ReadIndex(before.published_model()).ok());

  LimitFiles(RLIM_INFINITY);
  std::string state;
  EXPECT_TRUE(Fetch(leased.lease(), nullptr, &state).first.ok());
  EXPECT_EQ(state, "first");
  const v1::Job after = Retune(during);
  EXPECT_NE(after.job_id(), before.job_id());
  const auto published = Upload(true, leased.lease(), files, digest);
  ASSERT_TRUE(published.first.ok()) << published.first.error_message();
  EXPECT_TRUE(published.second.promoted());
  EXPECT_TRUE(Promote(1).first.ok());
  KillServer();
  StartServer();
  EXPECT_EQ(GetJob(before.job_id()).state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(GetJob(after.job_id()).state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(store_.Open().ReadIndex(before.published_model())->versions.size(), 1u);
}

TEST_F(KillTest, AtRandomTimesNoJobIsLostNoneIsDoneTwiceAndNoChainBreaks) {
  const char* given = std::getenv("HAARFLOW_KILL_SEED");
  const uint64_t seed = given != nullptr ? std::stoull(given) : 1;
  std::mt19937_64 random(seed);
  const int kills = Length(6, 150);
  const int jobs = Length(2, 30);
  const std::vector<std::string> settings = {"--job-lease-seconds", "1"};
  StartServer(settings);
  auto trainer = StartTrainer("w", {"--state-seconds", "0"});
  std::atomic<bool> stop{false};

  std::vector<std::string> acknowledged;
  std::thread submitter([&, client = Connect()] {
    for (int i = 0; i < jobs && !stop; ++i) {
      const v1::RetuneRequest request = Request(absl::StrCat("k", i), 2 + 0.05 * i, 0.4);
      absl::StatusOr<v1::Job> job = client->Retune(request);
      while (!job.ok() && (absl::IsUnavailable(job.status()) || absl::IsDeadlineExceeded(job.status()))) {
        job = client->Retune(request);
      }
      ASSERT_TRUE(job.ok()) << job.status();
      acknowledged.push_back(job->job_id());
    }
  });
  std::vector<std::pair<v1::SampleRequest, std::vector<Configuration>>> chains;
  std::thread reader([&, client = Connect()] {
    for (uint64_t s = 0; !stop; ++s) {
      const v1::SampleRequest request = Chain(s, 5000);
      chains.push_back({request, Steps(*client, request)});
    }
  });

  for (int k = 0; k < kills; ++k) {
    // A random time, not a wait for something.
    std::mutex mutex;
    std::condition_variable never;
    std::unique_lock<std::mutex> lock(mutex);
    never.wait_for(lock, std::chrono::milliseconds(random() % 1500), [] { return false; });
    if (random() % 3 != 0) {
      KillServer();
      StartServer(settings);  // which checks the job table
    } else {
      trainer->Signal(SIGKILL);
      EXPECT_EQ(trainer->Wait(), -SIGKILL);
      trainer = StartTrainer("w", {"--state-seconds", "0"});
    }
    ASSERT_FALSE(HasFatalFailure());
  }
  submitter.join();
  stop = true;
  reader.join();

  int finished = 0;
  for (const std::string& id : acknowledged) {
    const v1::Job job = WatchToTheEnd(id);
    if (job.state() != v1::JOB_STATE_SUCCEEDED) {  // five trainers in a row were killed before a state
      EXPECT_THAT(job.error(), HasSubstr("lost its trainer")) << "seed " << seed;
      continue;
    }
    ++finished;
    const ModelIndex index = store_.Open().ReadIndex(job.published_model()).value();
    EXPECT_EQ(index.versions.size(), 1u) << "seed " << seed << ": " << id << " was published more than once";
    EXPECT_EQ(store_.Open().LoadChampion(job.published_model())->manifest.job, id);
  }
  EXPECT_EQ(acknowledged.size(), static_cast<size_t>(jobs));
  EXPECT_GT(finished, 0);
  EXPECT_FALSE(chains.empty());
  const auto client = Connect();
  for (const auto& [request, steps] : chains) {
    EXPECT_TRUE(steps == Steps(*client, request)) << "chain " << request.seed() << ", seed " << seed;
  }
  std::cout << kills << " kills, " << finished << " of " << jobs << " jobs published, " << chains.size()
            << " chains unbroken, seed " << seed << "\n";
}

}  // namespace
}  // namespace haarflow::testing
