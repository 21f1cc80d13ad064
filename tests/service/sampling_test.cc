// The engine with a fake sampler: what streams contain, how they share a device, how they end. No sleeps: notifications
// and deadlines.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>

#include "server/sampling/batching.h"
#include "server/sampling/in_process.h"
#include "server/sampling/request.h"
#include "server/sampling/retry.h"
#include "server/sampling/scheduler.h"
#include "tests/service/stream_util.h"

namespace haarflow::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Reader = BlockingReader<v1::SampleResponse>;

class SamplingTest : public ::testing::Test {
 protected:
  SamplingTest() {
    registry_.Add(Serve("fake", sampler_));
    options_.burn_in = 5;
  }
  v1::SampleRequest Request(uint64_t seed, uint64_t count) const {
    v1::SampleRequest request;
    request.set_model("fake");
    request.set_seed(seed);
    request.set_count(count);
    return request;
  }
  std::shared_ptr<SampleTask> Make(const v1::SampleRequest& request) {
    auto task = MakeSampleTask(registry_, request, options_);
    EXPECT_TRUE(task.ok()) << task.status();
    return task.ok() ? *task : nullptr;
  }
  absl::Status Refusal(const v1::SampleRequest& request) {
    return MakeSampleTask(registry_, request, options_).status();
  }
  // The whole stream.
  Collector Run(Scheduler* scheduler, const v1::SampleRequest& request) {
    Collector collected;
    auto task = Make(request);
    Reader reader(task);
    EXPECT_TRUE(scheduler->Submit(std::move(task)).ok());
    while (auto message = reader.Read()) collected.Add(*message);
    EXPECT_TRUE(reader.status().ok()) << reader.status();
    return collected;
  }
  // Reads until `chunks` chunks have come, then goes away.
  void RunUntil(Scheduler* scheduler, const v1::SampleRequest& request, int chunks, Collector* collected) {
    auto task = Make(request);
    Reader reader(task);
    ASSERT_TRUE(scheduler->Submit(std::move(task)).ok());
    const int end = collected->chunks + chunks;
    while (collected->chunks < end && !collected->summarised) {
      auto message = reader.Read();
      ASSERT_NE(message, nullptr) << reader.status();
      collected->Add(*message);
    }
    collected->DropPartial();
  }

  std::shared_ptr<FakeSampler> sampler_ =
      std::make_shared<FakeSampler>(std::vector<uint32_t>{4, 4}, FakeSampler::Normal(1.0));
  ModelRegistry registry_;
  RequestOptions options_;
};

Scheduler::Options SmallBatches(int threads = 1) {
  Scheduler::Options options;
  options.threads = threads;
  options.batch.maximum = 64;
  return options;
}

TEST_F(SamplingTest, ChainThroughATaskEqualsAPlainLoop) {
  Scheduler scheduler(SmallBatches());
  const Collector got = Run(&scheduler, Request(7, 3000));
  EXPECT_EQ(got.Expanded(), PlainChain(*sampler_, 7, 0, 5, 3000));
  EXPECT_TRUE(got.summary.complete());
  EXPECT_EQ(got.summary.statistics().steps(), 3000);
  EXPECT_EQ(got.header.seed(), 7);
  EXPECT_EQ(got.header.burn_in(), 5);
  EXPECT_EQ(got.header.numerics_class(), "fake-1");
  EXPECT_THAT(got.header.shape(), ElementsAre(2, 4, 4));
  EXPECT_EQ(got.header.configuration_bytes(), 2 * 16 * 8);
  EXPECT_EQ(got.header.model_digest(), Sha256Of("fake").Bytes());
}

TEST_F(SamplingTest, AChainMayBeginAnywhereAndBeOneStepLong) {
  Scheduler scheduler(SmallBatches());
  auto request = Request(3, 1);
  request.set_burn_in(0);
  request.set_first_index(123456789012345);
  EXPECT_EQ(Run(&scheduler, request).Expanded(), PlainChain(*sampler_, 3, 123456789012345, 0, 1));
}

TEST_F(SamplingTest, InvalidWeightsAreNeverAcceptedAndZeroWeightsMakeSteps) {
  auto odd = std::make_shared<FakeSampler>(std::vector<uint32_t>{2, 2}, [](uint64_t seed, uint64_t index) {
    if (index < 3 || index % 7 == 0) return std::numeric_limits<double>::quiet_NaN();
    if (index % 5 == 0) return -std::numeric_limits<double>::infinity();
    return NormalNoise(seed, NoisePurpose::kTraining, index, 0);
  });
  registry_.Add(Serve("odd", odd));
  Scheduler scheduler(SmallBatches());
  auto request = Request(9, 500);
  request.set_model("odd");
  const Collector chain = Run(&scheduler, request);
  EXPECT_EQ(chain.Expanded(), PlainChain(*odd, 9, 0, 5, 500));
  EXPECT_GT(chain.summary.statistics().quality().invalid_weights(), 0);
  EXPECT_FALSE(chain.summary.statistics().quality().reliable());

  request.set_mode(v1::SAMPLE_MODE_REWEIGHTED);
  const Collector weighted = Run(&scheduler, request);
  const auto& quality = weighted.summary.statistics().quality();
  EXPECT_EQ(weighted.configurations.size() + quality.invalid_weights(), 500);
  EXPECT_EQ(weighted.summary.statistics().proposals(), 500);
  for (const Configuration& c : weighted.configurations) EXPECT_FALSE(std::isnan(c.log_weight));
}

TEST_F(SamplingTest, AModelWithoutFiniteWeightsFailsInsteadOfDrawingForEver) {
  auto dead = std::make_shared<FakeSampler>(
      std::vector<uint32_t>{2, 2}, [](uint64_t, uint64_t) { return -std::numeric_limits<double>::infinity(); });
  registry_.Add(Serve("dead", dead));
  Scheduler scheduler{Scheduler::Options()};
  auto request = Request(1, 10);
  request.set_model("dead");
  auto task = Make(request);
  Reader reader(task);
  ASSERT_TRUE(scheduler.Submit(task).ok());
  while (reader.Read() != nullptr) {
  }
  EXPECT_EQ(reader.status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(SamplingTest, BatchingAcrossTasksAndThreadsChangesNothing) {
  Scheduler scheduler(SmallBatches(/*threads=*/3));
  std::vector<std::unique_ptr<Reader>> readers;
  std::vector<Collector> collected(6);
  for (uint64_t seed = 0; seed < collected.size(); ++seed) {
    auto request = Request(seed, 700 + 10 * seed);
    if (seed == 5) *request.mutable_target() = MakeTarget({4, 4}, 2.5);  // another group
    auto task = Make(request);
    readers.push_back(std::make_unique<Reader>(task));
    ASSERT_TRUE(scheduler.Submit(task).ok());
  }
  for (size_t i = 0; i < readers.size(); ++i) {
    while (auto message = readers[i]->Read()) collected[i].Add(*message);
    ASSERT_TRUE(readers[i]->status().ok()) << readers[i]->status();
  }
  for (uint64_t seed = 0; seed < 5; ++seed) {
    EXPECT_EQ(collected[seed].Expanded(), PlainChain(*sampler_, seed, 0, 5, 700 + 10 * seed)) << seed;
  }
  EXPECT_EQ(collected[5].configurations.front().action, 2.5);
}

TEST_F(SamplingTest, CutAtEveryChunkAndResumedEqualsUnbroken) {
  options_.max_chunk_bytes = 4096;  // about ten configurations
  for (const v1::SampleMode mode : {v1::SAMPLE_MODE_METROPOLIS, v1::SAMPLE_MODE_REWEIGHTED}) {
    auto request = Request(11, 400);
    request.set_mode(mode);
    Collector unbroken;
    {
      Scheduler scheduler(SmallBatches());
      unbroken = Run(&scheduler, request);
    }
    Collector parts;
    uint64_t done = 0;
    int cuts = 0;
    while (!parts.summarised) {
      Scheduler scheduler(SmallBatches());  // a server restart
      v1::SampleRequest part = request;
      if (cuts++ > 0) {
        part = v1::SampleRequest();
        part.set_resume_token(parts.token);
        part.set_count(400 - done);
      }
      RunUntil(&scheduler, part, 1, &parts);
      done = ParseToken(parts.token)->steps();
      if (done == 400) break;
    }
    EXPECT_GT(cuts, 10);
    if (mode == v1::SAMPLE_MODE_METROPOLIS) {
      EXPECT_EQ(parts.Expanded(), unbroken.Expanded());
    } else {
      EXPECT_EQ(parts.configurations, unbroken.configurations);
    }
    EXPECT_EQ(ParseToken(parts.token)->proposals(), ParseToken(unbroken.summary.resume_token())->proposals());
  }
}

TEST_F(SamplingTest, AFinishedChainGoesOnFromItsSummary) {
  Scheduler scheduler(SmallBatches());
  Collector both = Run(&scheduler, Request(5, 321));
  v1::SampleRequest more;
  more.set_resume_token(both.summary.resume_token());
  more.set_count(179);
  const Collector second = Run(&scheduler, more);
  EXPECT_EQ(second.summary.statistics().steps(), 500);
  auto steps = both.Expanded();
  const auto tail = second.Expanded();
  steps.insert(steps.end(), tail.begin(), tail.end());
  EXPECT_EQ(steps, PlainChain(*sampler_, 5, 0, 5, 500));
}

TEST_F(SamplingTest, ConfigurationsLargerThanAChunkComeInParts) {
  auto large = std::make_shared<FakeSampler>(std::vector<uint32_t>{32, 32}, FakeSampler::Normal(1.0));
  registry_.Add(Serve("large", large));
  options_.max_chunk_bytes = 4096;  // a quarter of a configuration
  auto request = Request(2, 60);
  request.set_model("large");
  Collector unbroken;
  {
    Scheduler scheduler(SmallBatches());
    unbroken = Run(&scheduler, request);
  }
  EXPECT_EQ(unbroken.Expanded(), PlainChain(*large, 2, 0, 5, 60));
  EXPECT_EQ(unbroken.chunks, 4 * static_cast<int>(unbroken.configurations.size()));
  EXPECT_LE(unbroken.largest_payload, 4096);

  Collector parts;  // cut after 1, 2, 3, ... chunks: mostly in the middle of a configuration
  Scheduler scheduler(SmallBatches());
  for (int cut = 1; !parts.summarised && cut < 100; ++cut) {
    v1::SampleRequest part = request;
    if (cut > 1) {
      const auto token = ParseToken(parts.token);
      if (token->steps() == 60) break;
      part = v1::SampleRequest();
      part.set_resume_token(parts.token);
      part.set_count(60 - token->steps());
    }
    RunUntil(&scheduler, part, cut, &parts);
  }
  EXPECT_EQ(parts.Expanded(), unbroken.Expanded());
}

TEST_F(SamplingTest, Float32IsRoundedAndOmittedFieldsLeaveColumns) {
  Scheduler scheduler(SmallBatches());
  auto request = Request(8, 200);
  const Collector full = Run(&scheduler, request);
  request.set_precision(v1::FIELD_PRECISION_FLOAT32);
  const Collector rounded = Run(&scheduler, request);
  request.set_omit_fields(true);
  request.add_observables("plaquette");
  request.add_observables("action");
  const Collector columns = Run(&scheduler, request);
  ASSERT_EQ(rounded.configurations.size(), full.configurations.size());
  ASSERT_EQ(columns.configurations.size(), full.configurations.size());
  EXPECT_EQ(columns.header.configuration_bytes(), 0);
  EXPECT_THAT(columns.header.observables(), ElementsAre("plaquette", "action"));
  for (size_t i = 0; i < full.configurations.size(); ++i) {
    double exact = 0;
    float close = 0;
    std::memcpy(&exact, full.configurations[i].field.data() + 8 * 5, sizeof exact);
    std::memcpy(&close, rounded.configurations[i].field.data() + 4 * 5, sizeof close);
    EXPECT_EQ(close, static_cast<float>(exact));
    EXPECT_EQ(columns.configurations[i].log_weight, full.configurations[i].log_weight);
    EXPECT_EQ(columns.configurations[i].observables.size(), 2);
    EXPECT_TRUE(columns.configurations[i].field.empty());
  }
}

TEST_F(SamplingTest, ASlowReaderHasOneReadyChunkAndHoldsNobody) {
  auto flat = std::make_shared<FakeSampler>(std::vector<uint32_t>{4, 4}, [](uint64_t, uint64_t) { return 0.0; });
  registry_.Add(Serve("flat", flat));  // every proposal is accepted: each look closes a configuration
  options_.max_chunk_bytes = 16 << 10;
  options_.burn_in = 0;
  Scheduler scheduler(SmallBatches());
  auto slow_request = Request(1, 1000000);
  slow_request.set_model("flat");
  auto slow = Make(slow_request);
  Reader slow_reader(slow);
  ASSERT_TRUE(scheduler.Submit(slow).ok());
  ASSERT_NE(slow_reader.Read(), nullptr);  // header
  const auto first = slow_reader.Read();   // the first chunk is on the wire, and stays there
  ASSERT_NE(first, nullptr);

  auto quick_request = Request(2, 20000);
  quick_request.set_model("flat");
  const Collector quick = Run(&scheduler, quick_request);
  EXPECT_EQ(quick.configurations.size(), 20000);

  const int64_t row = 2 * 16 * 8 + 44;
  const int64_t chunk_rows = options_.max_chunk_bytes / row;
  EXPECT_LE(flat->drawn(1), first->chunk().index_size() + chunk_rows + 1);
  const auto second = slow_reader.Read();  // was ready
  ASSERT_NE(second, nullptr);
  EXPECT_LE(second->chunk().ByteSizeLong(), static_cast<size_t>(options_.max_chunk_bytes) + 2048);
  EXPECT_EQ(second->chunk().index(0), first->chunk().index(first->chunk().index_size() - 1) + 1);
}

TEST_F(SamplingTest, TheFirstChunkLeavesAfterTheFirstBatch) {
  Scheduler scheduler(SmallBatches());
  auto task = Make(Request(1, 1000000));
  Reader reader(task);
  ASSERT_TRUE(scheduler.Submit(task).ok());
  ASSERT_NE(reader.Read(), nullptr);
  const auto first = reader.Read();
  ASSERT_NE(first, nullptr);
  EXPECT_LE(first->chunk().index_size(), 64);  // not the thousands that fill a chunk
}

// Tells when streams have gone.
class StreamCounter : public SamplingObserver {
 public:
  void OnStreams(int change) override {
    active_ += change;
    signal_.Notify();
  }
  bool WaitForNone() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (std::chrono::steady_clock::now() < deadline) {
      const uint64_t seen = signal_.count();
      if (active_ == 0) return true;
      signal_.WaitWhile(seen, std::chrono::seconds(1));
    }
    return false;
  }
  void OnRejected(const char* reason) override { rejected.push_back(reason); }
  std::vector<std::string> rejected;

 private:
  std::atomic<int> active_{0};
  WakeSignal signal_;
};

TEST_F(SamplingTest, ACancelledStreamStopsAtTheNextBatchAndGivesItsReservationBack) {
  StreamCounter counter;
  Gate gate;
  sampler_->BeforeDraw([&] {
    gate.Pass();
    return absl::OkStatus();
  });
  Scheduler::Options options = SmallBatches();
  options.observer = &counter;
  Scheduler scheduler(options);
  auto task = Make(Request(1, 1000000));
  {
    Reader reader(task);
    ASSERT_TRUE(scheduler.Submit(task).ok());
    ASSERT_TRUE(gate.WaitForArrival());
    EXPECT_GT(scheduler.reserved_bytes(), 0);
    task->Cancel();
    gate.Open();
    EXPECT_EQ(reader.Read(), nullptr);
    EXPECT_EQ(reader.status().code(), absl::StatusCode::kCancelled);
  }
  task.reset();
  ASSERT_TRUE(counter.WaitForNone());
  EXPECT_EQ(scheduler.reserved_bytes(), 0);
  EXPECT_LE(sampler_->drawn(1), 64);
}

TEST_F(SamplingTest, AFullServerRefusesAtOnceAndSaysWhenToComeBack) {
  StreamCounter counter;
  Scheduler::Options options = SmallBatches();
  options.observer = &counter;
  options.max_streams = 2;
  Scheduler scheduler(options);
  auto first = Make(Request(1, 1000000));
  auto second = Make(Request(2, 1000000));
  ASSERT_TRUE(scheduler.Submit(first).ok());
  ASSERT_TRUE(scheduler.Submit(second).ok());
  const absl::Status refused = scheduler.Submit(Make(Request(3, 10)));
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(RetryDelay(refused), std::chrono::milliseconds(1000));
  EXPECT_THAT(counter.rejected, ElementsAre("streams"));
  first->Cancel();
  second->Cancel();
  first.reset();
  second.reset();
  ASSERT_TRUE(counter.WaitForNone());
  EXPECT_TRUE(Run(&scheduler, Request(3, 10)).summary.complete());
}

TEST_F(SamplingTest, TheByteBudgetBoundsWhatStreamsReserve) {
  Scheduler::Options options = SmallBatches();
  auto task = Make(Request(1, 1000000));
  options.byte_budget = task->reservation_bytes() * 3 / 2;
  Scheduler scheduler(options);
  ASSERT_TRUE(scheduler.Submit(task).ok());
  const absl::Status refused = scheduler.Submit(Make(Request(2, 1000000)));
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(RetryDelay(refused).has_value());
  EXPECT_TRUE(Run(&scheduler, Request(2, 20)).summary.complete()) << "a small stream reserves little";
  options_.max_chunk_bytes = 3 << 20;
  EXPECT_EQ(scheduler.Submit(Make(Request(2, 1000000))).code(), absl::StatusCode::kInvalidArgument)
      << "what can never fit is no matter of coming back";
  task->Cancel();
}

TEST_F(SamplingTest, AFailedDrawFailsItsStreamsAndNoOthers) {
  auto broken = std::make_shared<FakeSampler>(std::vector<uint32_t>{4, 4}, FakeSampler::Normal(1.0));
  registry_.Add(Serve("broken", broken));
  Scheduler scheduler(SmallBatches());
  auto good_task = Make(Request(1, 2000));
  Reader good(good_task);
  ASSERT_TRUE(scheduler.Submit(good_task).ok());
  const std::vector<std::pair<std::function<absl::Status()>, absl::StatusCode>> cases = {
      {[]() -> absl::Status { throw std::runtime_error("kernel"); }, absl::StatusCode::kInternal},
      {[]() -> absl::Status { throw std::bad_alloc(); }, absl::StatusCode::kResourceExhausted},
      {[] { return absl::InternalError("wrong"); }, absl::StatusCode::kInternal},
  };
  for (const auto& [hook, code] : cases) {
    broken->BeforeDraw(hook);
    auto request = Request(1, 2000);
    request.set_model("broken");
    auto task = Make(request);
    Reader reader(task);
    ASSERT_TRUE(scheduler.Submit(task).ok());
    while (reader.Read() != nullptr) {
    }
    EXPECT_EQ(reader.status().code(), code) << reader.status();
  }
  Collector collected;
  while (auto message = good.Read()) collected.Add(*message);
  EXPECT_TRUE(good.status().ok());
  EXPECT_EQ(collected.Expanded(), PlainChain(*sampler_, 1, 0, 5, 2000));
}

TEST_F(SamplingTest, ADeviceThatIsGoneIsReportedOnceAndRefusesNewStreams) {
  std::atomic<int> reports{0};
  Scheduler::Options options = SmallBatches();
  options.on_device_failure = [&](const absl::Status&) { ++reports; };
  Scheduler scheduler(options);
  sampler_->BeforeDraw([] { return absl::UnavailableError("device lost"); });
  auto task = Make(Request(1, 2000));
  Reader reader(task);
  ASSERT_TRUE(scheduler.Submit(task).ok());
  while (reader.Read() != nullptr) {
  }
  EXPECT_EQ(reader.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(scheduler.Submit(Make(Request(3, 10))).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(reports, 1);
}

TEST_F(SamplingTest, DrainEndsAStreamAtAConfigurationWithATokenThatContinuesIt) {
  for (const v1::SampleMode mode : {v1::SAMPLE_MODE_METROPOLIS, v1::SAMPLE_MODE_REWEIGHTED}) {
    auto request = Request(4, 1000000);
    request.set_mode(mode);
    Collector parts;
    Scheduler draining(SmallBatches());
    auto task = Make(request);
    Reader reader(task);
    ASSERT_TRUE(draining.Submit(task).ok());
    for (int i = 0; i < 4; ++i) parts.Add(*reader.Read());
    draining.Drain();
    while (auto message = reader.Read()) parts.Add(*message);
    EXPECT_TRUE(reader.status().ok());
    ASSERT_TRUE(parts.summarised);
    EXPECT_FALSE(parts.summary.complete());
    EXPECT_EQ(draining.Submit(Make(request)).code(), absl::StatusCode::kUnavailable);

    const uint64_t before = parts.configurations.size();
    const uint64_t steps = parts.summary.statistics().steps();
    Scheduler other(SmallBatches());
    v1::SampleRequest rest;
    rest.set_resume_token(parts.summary.resume_token());
    rest.set_count(100);
    parts.summarised = false;
    const Collector tail = Run(&other, rest);
    EXPECT_GT(before, 0);
    if (mode == v1::SAMPLE_MODE_METROPOLIS) {
      auto all = parts.Expanded();
      const auto more = tail.Expanded();
      all.insert(all.end(), more.begin(), more.end());
      EXPECT_EQ(all, PlainChain(*sampler_, 4, 0, 5, steps + 100));
    } else {
      EXPECT_EQ(tail.configurations.front().index, parts.configurations.back().index + 1);
    }
  }
}

TEST_F(SamplingTest, AnEndingSchedulerTellsItsStreams) {
  auto task = Make(Request(1, uint64_t{1} << 39));
  Reader reader(task);
  auto scheduler = std::make_unique<Scheduler>(SmallBatches());
  ASSERT_TRUE(scheduler->Submit(task).ok());
  ASSERT_NE(reader.Read(), nullptr);
  scheduler.reset();
  while (reader.Read() != nullptr) {
  }
  EXPECT_EQ(reader.status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(SamplingTest, BadRequestsAreRefusedWithTheBoundNamed) {
  using Change = std::function<void(v1::SampleRequest*)>;
  const std::vector<std::tuple<Change, absl::StatusCode, std::string>> cases = {
      {[](auto* r) { r->set_count(0); }, absl::StatusCode::kInvalidArgument, "count is 0"},
      {[](auto* r) { r->set_count(uint64_t{1} << 60); }, absl::StatusCode::kInvalidArgument, "1000000000000"},
      {[](auto* r) { r->set_first_index(uint64_t{1} << 56); }, absl::StatusCode::kInvalidArgument, "2^56"},
      {[](auto* r) { r->set_first_index((uint64_t{1} << 56) - 10); }, absl::StatusCode::kInvalidArgument, "no room"},
      {[](auto* r) { r->set_burn_in(uint64_t{1} << 63); }, absl::StatusCode::kInvalidArgument, "burn_in"},
      {[](auto* r) { r->set_model("nobody"); }, absl::StatusCode::kNotFound, "fake"},
      {[](auto* r) { r->clear_model(); }, absl::StatusCode::kInvalidArgument, "neither"},
      {[](auto* r) { r->set_model_digest("short"); }, absl::StatusCode::kInvalidArgument, ""},
      {[](auto* r) { r->set_model_digest(std::string(32, 'x')); }, absl::StatusCode::kFailedPrecondition, "digest"},
      {[](auto* r) {
         *r->mutable_target() = MakeTarget({8, 8}, 1);
       },
       absl::StatusCode::kInvalidArgument, "other fields"},
      {[](auto* r) { *r->mutable_target() = MakeTarget({8}, 1); }, absl::StatusCode::kInvalidArgument, "target"},
      {[](auto* r) { r->mutable_target(); }, absl::StatusCode::kInvalidArgument, "target"},
      {[](auto* r) {
         r->clear_model();
         *r->mutable_target() = MakeTarget({4, 4}, 1.5);
       },
       absl::StatusCode::kFailedPrecondition, "haarflow tune"},
      {[](auto* r) { r->add_observables("temperature"); }, absl::StatusCode::kInvalidArgument, "temperature"},
      {[](auto* r) { r->set_mode(static_cast<v1::SampleMode>(77)); }, absl::StatusCode::kInvalidArgument, "77"},
      {[](auto* r) { r->set_precision(static_cast<v1::FieldPrecision>(9)); }, absl::StatusCode::kInvalidArgument, "9"},
      {[](auto* r) {
         r->set_mode(v1::SAMPLE_MODE_REWEIGHTED);
         r->set_burn_in(3);
       },
       absl::StatusCode::kInvalidArgument, "burn_in"},
      {[](auto* r) { r->set_resume_token("nonsense"); }, absl::StatusCode::kInvalidArgument, ""},
      {[](auto* r) { r->set_resume_token(std::string(100000, 'H')); }, absl::StatusCode::kInvalidArgument, ""},
  };
  for (const auto& [change, code, text] : cases) {
    auto request = Request(1, 100);
    change(&request);
    const absl::Status status = Refusal(request);
    EXPECT_EQ(status.code(), code) << request.ShortDebugString().substr(0, 200) << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }
}

TEST_F(SamplingTest, TokensAreCheckedAgainstBytesModelsAndTheRequest) {
  Scheduler scheduler(SmallBatches());
  const std::string token = Run(&scheduler, Request(1, 50)).summary.resume_token();
  v1::SampleRequest request;
  request.set_count(10);
  request.set_resume_token(token);
  EXPECT_TRUE(Refusal(request).ok());
  const auto with = [&](auto&& change) {
    v1::SampleRequest changed = request;
    change(&changed);
    return Refusal(changed).code();
  };
  EXPECT_EQ(with([](auto* r) { r->set_model("other"); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(with([](auto* r) { r->set_seed(2); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(with([](auto* r) { r->set_seed(1); }), absl::StatusCode::kOk);
  EXPECT_EQ(with([](auto* r) { r->set_first_index(7); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(with([](auto* r) { r->set_mode(v1::SAMPLE_MODE_REWEIGHTED); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(with([](auto* r) { r->set_burn_in(9); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(with([](auto* r) { *r->mutable_target() = MakeTarget({4, 4}, 3); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(with([](auto* r) { r->set_count(0); }), absl::StatusCode::kInvalidArgument);
  for (const size_t at : {size_t{25}, token.size() / 2, token.size() - 1}) {
    EXPECT_EQ(with([&](auto* r) { (*r->mutable_resume_token())[at] ^= 1; }), absl::StatusCode::kDataLoss) << at;
  }
  EXPECT_EQ(with([&](auto* r) { r->mutable_resume_token()->resize(token.size() - 3); }), absl::StatusCode::kDataLoss);

  registry_.Add(Serve("fake", sampler_, "other weights"));
  EXPECT_EQ(Refusal(request).code(), absl::StatusCode::kFailedPrecondition);
  ModelRegistry empty;
  EXPECT_EQ(MakeSampleTask(empty, request, options_).status().code(), absl::StatusCode::kNotFound);
  empty.Refuse("fake", absl::DataLossError("weights.safetensors has another digest"));
  const absl::Status refused = MakeSampleTask(empty, request, options_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("weights.safetensors"));
}

TEST_F(SamplingTest, MeasureGivesTheEstimatesOfTheSameChain) {
  Scheduler scheduler(SmallBatches(2));
  for (const v1::SampleMode mode : {v1::SAMPLE_MODE_METROPOLIS, v1::SAMPLE_MODE_REWEIGHTED}) {
    auto sample = Request(6, 2000);
    sample.set_mode(mode);
    sample.add_observables("plaquette");
    const Collector chain = Run(&scheduler, sample);
    std::vector<double> values;
    std::vector<double> log_weights;
    std::vector<uint64_t> multiplicities;
    for (const Configuration& c : chain.configurations) {
      values.push_back(c.observables[0]);
      log_weights.push_back(c.log_weight);
      multiplicities.push_back(c.multiplicity);
    }
    v1::MeasureRequest request;
    request.set_model("fake");
    request.set_seed(6);
    request.set_count(2000);
    request.set_mode(mode);
    request.add_observables("plaquette");
    auto task = MakeMeasureTask(registry_, request, options_);
    ASSERT_TRUE(task.ok()) << task.status();
    BlockingReader<v1::MeasureResponse> reader(*task);
    ASSERT_TRUE(scheduler.Submit(*task).ok());
    v1::MeasureResponse first = *reader.Read();
    EXPECT_TRUE(first.has_header());
    v1::MeasureResponse last;
    while (auto message = reader.Read()) last = *message;
    ASSERT_TRUE(reader.status().ok()) << reader.status();
    ASSERT_EQ(last.estimates_size(), 1);
    EXPECT_EQ(last.done(), 2000);
    EXPECT_EQ(last.estimates(0).observable(), "plaquette");
    EXPECT_TRUE(last.estimates(0).has_exact());
    if (mode == v1::SAMPLE_MODE_METROPOLIS) {
      const auto expected = GammaMethod(ExpandChain(values, multiplicities));
      EXPECT_EQ(last.estimates(0).value(), expected->mean);
      EXPECT_EQ(last.estimates(0).error(), expected->error);
      EXPECT_EQ(last.estimates(0).tau_int(), expected->tau_int);
    } else {
      const auto expected = WeightedMean(values, log_weights);
      EXPECT_EQ(last.estimates(0).value(), expected->mean);
      EXPECT_EQ(last.estimates(0).error(), expected->error);
    }
  }
}

TEST_F(SamplingTest, MeasureRefusesWhatItCannotKeepOrEstimate) {
  v1::MeasureRequest request;
  request.set_model("fake");
  request.set_count(100);
  EXPECT_EQ(MakeMeasureTask(registry_, request, options_).status().code(), absl::StatusCode::kInvalidArgument);
  request.add_observables("plaquette");
  for (const uint64_t count : {uint64_t{0}, uint64_t{7}, kMaxMeasuredValues + 1}) {
    request.set_count(count);
    EXPECT_EQ(MakeMeasureTask(registry_, request, options_).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

v1::EstimatePartitionFunctionResponse Estimate(Scheduler* scheduler, const ModelRegistry& registry,
                                               const v1::EstimatePartitionFunctionRequest& request) {
  auto task = MakePartitionTask(registry, request, RequestOptions());
  EXPECT_TRUE(task.ok()) << task.status();
  BlockingReader<v1::EstimatePartitionFunctionResponse> reader(*task);
  EXPECT_TRUE(scheduler->Submit(*task).ok());
  EXPECT_TRUE(reader.Read()->has_header());
  v1::EstimatePartitionFunctionResponse last;
  while (auto message = reader.Read()) last = *message;
  EXPECT_TRUE(reader.status().ok()) << reader.status();
  EXPECT_TRUE(last.final());
  return last;
}

TEST_F(SamplingTest, PartitionFunctionStopsAtDoublingsOrAtTheNumberAskedFor) {
  Scheduler scheduler(SmallBatches());
  v1::EstimatePartitionFunctionRequest request;
  request.set_model("fake");
  request.set_seed(1);
  request.set_samples(5000);
  const auto fixed = Estimate(&scheduler, registry_, request);
  EXPECT_EQ(fixed.done(), 5000);
  EXPECT_FALSE(fixed.error_reached());
  PartitionEstimator expected;
  for (uint64_t i = 0; i < 5000; ++i) expected.Add(FakeConfiguration(*sampler_, 1, i).log_weight);
  EXPECT_EQ(fixed.log_z(), expected.LogZ());
  EXPECT_EQ(fixed.log_z_error(), expected.LogZError());
  EXPECT_TRUE(fixed.has_exact());

  request.set_samples(0);
  request.set_error(0.01);  // (e - 1) / n = 1e-4: n = 17183, the next doubling of 4096 is 32768
  const auto stopped = Estimate(&scheduler, registry_, request);
  EXPECT_TRUE(stopped.error_reached());
  EXPECT_LE(stopped.log_z_error(), 0.01);
  EXPECT_TRUE(stopped.done() == 16384 || stopped.done() == 32768) << stopped.done();

  for (const auto& [error, samples] : std::vector<std::pair<double, uint64_t>>{
           {0, 0}, {-1, 10}, {std::nan(""), 10}, {std::numeric_limits<double>::infinity(), 0}, {0, kMaxCount + 1}}) {
    request.set_error(error);
    request.set_samples(samples);
    EXPECT_EQ(MakePartitionTask(registry_, request, RequestOptions()).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(Registry, AConditionLessTargetFindsItsModelAndANamedModelServesOtherParameters) {
  ModelRegistry registry;
  registry.Add(Serve("a", std::make_shared<FakeSampler>(std::vector<uint32_t>{4, 4}, FakeSampler::Normal(1))));
  registry.Add(Serve("b", std::make_shared<FakeSampler>(std::vector<uint32_t>{8, 8}, FakeSampler::Normal(1))));
  const v1::Target own = MakeTarget({8, 8}, 1.0);
  const v1::Target other = MakeTarget({8, 8}, 1.25);
  EXPECT_EQ(registry.Resolve({"", "", &own})->model->name(), "b");
  const auto reweighted = registry.Resolve({"b", "", &other});
  ASSERT_TRUE(reweighted.ok()) << reweighted.status();
  EXPECT_EQ(reweighted->target_digest, TargetDigest(other));
  const auto none = registry.Resolve({"", "", &other});
  EXPECT_EQ(none.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("b ("));
  EXPECT_EQ(registry.List().size(), 2);
}

TEST(Batching, SharesAreFairAndComplete) {
  EXPECT_THAT(FairShares({100, 100}, 64, 0), ElementsAre(32, 32));
  EXPECT_THAT(FairShares({10, 100, 100}, 64, 0), ElementsAre(10, 27, 27));
  EXPECT_THAT(FairShares({5, 7}, 64, 3), ElementsAre(5, 7));
  EXPECT_THAT(FairShares({0, 9}, 4, 0), ElementsAre(0, 4));
  EXPECT_THAT(FairShares({9, 9, 9}, 1, 1), ElementsAre(0, 1, 0));
  EXPECT_THAT(FairShares({}, 4, 0), ElementsAre());
  EXPECT_THAT(FairShares({9}, 0, 0), ElementsAre(0));
}

TEST(Batching, SizesFollowTheRateAndGrowFourfoldAtMost) {
  BatchSizer sizer({.goal_seconds = 0.05, .minimum = 16, .maximum = 16384}, 16);
  EXPECT_EQ(sizer.size(), 16);
  sizer.Measured(16, 1e-9);
  EXPECT_EQ(sizer.size(), 64);
  for (int i = 0; i < 50; ++i) sizer.Measured(sizer.size(), static_cast<double>(sizer.size()) / 20000);
  EXPECT_NEAR(static_cast<double>(sizer.size()), 1000, 60);
  for (int i = 0; i < 50; ++i) sizer.Measured(sizer.size(), 100);
  EXPECT_EQ(sizer.size(), 16);
}

}  // namespace
}  // namespace haarflow::testing
