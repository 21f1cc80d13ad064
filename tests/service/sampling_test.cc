// The engine with a fake sampler: what streams contain, and how they share a device. No sleeps: notifications and
// deadlines.
#include <limits>

#include "server/sampling/batching.h"
#include "tests/service/sampling_fixture.h"

namespace haarflow::testing {
namespace {

using ::testing::ElementsAre;

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
  ASSERT_TRUE(slow_reader.Read() != nullptr);  // header
  const auto first = slow_reader.Read();       // the first chunk is on the wire, and stays there
  ASSERT_TRUE(first != nullptr);

  auto quick_request = Request(2, 20000);
  quick_request.set_model("flat");
  const Collector quick = Run(&scheduler, quick_request);
  EXPECT_EQ(quick.configurations.size(), 20000);

  const int64_t row = 2 * 16 * 8 + 44;
  const int64_t chunk_rows = options_.max_chunk_bytes / row;
  EXPECT_LE(flat->drawn(1), first->chunk().index_size() + chunk_rows + 1);
  const auto second = slow_reader.Read();  // was ready
  ASSERT_TRUE(second != nullptr);
  EXPECT_LE(second->chunk().ByteSizeLong(), static_cast<size_t>(options_.max_chunk_bytes) + 2048);
  EXPECT_EQ(second->chunk().index(0), first->chunk().index(first->chunk().index_size() - 1) + 1);
}

TEST_F(SamplingTest, TheFirstChunkLeavesAfterTheFirstBatch) {
  Gate gate;
  std::atomic<int> draws{0};
  sampler_->BeforeDraw([&] {
    if (++draws == 2) gate.Pass();  // the second batch does not come
    return absl::OkStatus();
  });
  Scheduler scheduler(SmallBatches());
  auto task = Make(Request(1, 1000000));
  Reader reader(task);
  ASSERT_TRUE(scheduler.Submit(task).ok());
  ASSERT_TRUE(reader.Read() != nullptr);
  EXPECT_TRUE(reader.Read(std::chrono::minutes(1)) != nullptr) << reader.status();
  gate.Open();
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
