// Bundled models re-tuned by request, by the real binaries, while a client streams: the long tier. Budgets are for two
// idle cores; HAARFLOW_BUDGET_FACTOR says how many times longer they are on a machine that does other things. Prints
// a row for each: ESS asked for, measured and served; training steps; seconds of the clock and of the trainer's
// processors; steps and the longest pause of the stream beside it; the load.
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <thread>

#include "tests/reference/tier.h"
#include "tests/service/jobs_fixture.h"

namespace haarflow::testing {
namespace {

using ::testing::HasSubstr;

double BudgetFactor() {
  const char* factor = std::getenv("HAARFLOW_BUDGET_FACTOR");
  return factor == nullptr ? 1 : std::atof(factor);
}

// Reads one stream, and notices when it ends, or stands still, before it is told to stop.
class Streaming {
 public:
  Streaming(const std::shared_ptr<grpc::Channel>& channel, const std::string& model) {
    v1::SampleRequest request;
    request.set_model(model);
    request.set_count(uint64_t{1} << 39);
    request.set_seed(1);
    stub_ = v1::SamplerService::NewStub(channel);
    reader_ = stub_->Sample(&context_, request);
    thread_ = std::thread([this] { Read(); });
  }
  ~Streaming() {
    stop_ = true;
    context_.TryCancel();
    thread_.join();
    reader_->Finish();
    EXPECT_FALSE(ended_) << "the stream was interrupted";
    EXPECT_EQ(digests_.size(), 1u) << "a stream is of one model";
  }
  uint64_t steps() const { return steps_; }
  double longest_pause() const { return longest_pause_; }

 private:
  void Read() {
    v1::SampleResponse message;
    auto last = std::chrono::steady_clock::now();
    while (reader_->Read(&message)) {
      const auto now = std::chrono::steady_clock::now();
      const double pause = std::chrono::duration<double>(now - last).count();
      if (pause > longest_pause_) longest_pause_ = pause;
      last = now;
      if (message.has_header()) digests_.insert(message.header().model_digest());
      for (const uint64_t n : message.chunk().multiplicity()) steps_ += n;
    }
    ended_ = !stop_;
  }
  grpc::ClientContext context_;
  std::unique_ptr<v1::SamplerService::Stub> stub_;
  std::unique_ptr<grpc::ClientReader<v1::SampleResponse>> reader_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> steps_{0};
  std::atomic<double> longest_pause_{0};
  std::set<std::string> digests_;  // the thread's, until it is joined
  bool ended_ = false;
  std::thread thread_;
};

class RetuneProcessTest : public JobsTest {
 protected:
  void SetUp() override {
    if (Length(true, false)) GTEST_SKIP() << "in the long tier";
    for (const char* model : {"su3-l16-b5", "phi4-l16", "u1-l16-b2"}) {
      std::filesystem::copy(std::string(HAARFLOW_MODELS) + "/" + model, store_.directory() + "/" + model,
                            std::filesystem::copy_options::recursive);
    }
    StartServer();
    trainer_ = std::make_unique<ChildProcess>(
        "haarflow-trainer", std::vector<std::string>{"work", "--server", address_, "--name", "w", "--threads", "2"});
  }
  v1::RetuneRequest Wish(const std::string& model, const std::string& parameter, double value, double ess,
                         double seconds) const {
    v1::RetuneRequest request;
    request.set_idempotency_key(absl::StrCat(model, parameter, value));
    request.set_model(model);
    *request.mutable_target() = store_.Open().LoadChampion(model)->spec.target();
    EXPECT_TRUE(SetTheoryParameter(parameter, value, request.mutable_target()).ok());
    request.set_requested_ess(ess);
    request.set_budget_seconds(seconds * BudgetFactor());
    return request;
  }
  // The job when it has ended, however long that takes.
  v1::Job Ended(const std::string& id) const {
    grpc::ClientContext context;
    v1::WatchJobRequest request;
    request.set_job_id(id);
    const auto reader = tuning_->WatchJob(&context, request);
    v1::Job job;
    while (reader->Read(&job)) {
    }
    EXPECT_TRUE(reader->Finish().ok());
    return job;
  }
  // Seconds of processor that the trainer has used.
  double TrainerSeconds() const {
    std::ifstream stat(absl::StrCat("/proc/", trainer_->pid(), "/stat"));
    std::stringstream text;
    text << stat.rdbuf();
    std::istringstream fields(text.str().substr(text.str().rfind(')') + 2));  // the third and following
    std::string skipped;
    for (int i = 0; i < 11; ++i) fields >> skipped;
    double user = 0, system = 0;
    fields >> user >> system;
    return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }
  static std::string LoadAverage() {
    std::string minute;
    std::ifstream("/proc/loadavg") >> minute;
    return minute;
  }
  // ESS of the version that the job published, from a stream of the server.
  double ServedEss(const v1::Job& job) const {
    const auto sampler = v1::SamplerService::NewStub(channel_);
    v1::SampleRequest request;
    request.set_model(job.published_model());
    request.set_mode(v1::SAMPLE_MODE_REWEIGHTED);
    request.set_count(4096);
    request.set_omit_fields(true);
    grpc::ClientContext context;
    const auto stream = sampler->Sample(&context, request);
    v1::SampleResponse message;
    double ess = 0;
    while (stream->Read(&message)) {
      if (message.has_summary()) ess = message.summary().statistics().quality().ess();
    }
    const grpc::Status status = stream->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return ess;
  }

  std::unique_ptr<ChildProcess> trainer_;
};

struct Row {
  const char* model;
  const char* parameter;
  double value, ess, seconds;
};
class NeighbourTest : public RetuneProcessTest, public ::testing::WithParamInterface<Row> {};

TEST_P(NeighbourTest, IsReachedWhileAClientStreams) {
  const Row row = GetParam();
  Streaming streaming(channel_, "u1-l16-b2");
  const auto start = std::chrono::steady_clock::now();
  const double before = TrainerSeconds();
  const v1::RetuneRequest request = Wish(row.model, row.parameter, row.value, row.ess, row.seconds);
  const v1::Job job = Ended(Retune(request).job_id());
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.error() << "\n" << trainer_->output();
  EXPECT_TRUE(job.promoted());
  EXPECT_GE(job.ess(), row.ess);
  const StoredModel stored = store_.Open().LoadChampion(job.published_model()).value();
  const double served = ServedEss(job);
  std::printf("| %s -> %g | %.2f | %.4f | %.4f | %llu | %.0f s | %.0f s | %llu, %.2f s | %s |\n", row.model, row.value,
              row.ess, job.ess(), served, static_cast<unsigned long long>(stored.manifest.card.training_steps()),
              seconds, TrainerSeconds() - before, static_cast<unsigned long long>(streaming.steps()),
              streaming.longest_pause(), LoadAverage().c_str());
  std::fflush(stdout);
  // ESS of 4096 proposals scatters by a few percent.
  EXPECT_GT(served, row.ess - 0.1);
  EXPECT_GT(streaming.steps(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Bundled, NeighbourTest,
                         ::testing::Values(Row{"su3-l16-b5", "beta", 5.5, 0.7, 180},
                                           Row{"su3-l16-b5", "beta", 6, 0.5, 180},
                                           Row{"phi4-l16", "lambda", 5.2, 0.95, 180},
                                           Row{"u1-l16-b2", "beta", 2.5, 0.9, 600}));

TEST_F(RetuneProcessTest, AnImpossibleWishEndsAsAReportAndTheBestIsKeptAsCandidate) {
  Streaming streaming(channel_, "u1-l16-b2");
  const v1::Job job = Ended(Retune(Wish("su3-l16-b5", "beta", 12, 0.99, 60)).job_id());
  std::printf("su3-l16-b5 -> beta = 12, ESS 0.99, a minute: %s\n", job.error().c_str());
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_FALSE(job.promoted());
  EXPECT_THAT(job.error(), HasSubstr("of 0.9900 asked for"));
  EXPECT_GT(job.ess(), 0);
  const ModelIndex index = store_.Open().ReadIndex(job.published_model()).value();
  EXPECT_EQ(index.aliases.count("champion"), 0u);
  EXPECT_EQ(index.aliases.at("candidate"), job.published_version());
  EXPECT_GT(streaming.steps(), 0u);
}

}  // namespace
}  // namespace haarflow::testing
