// How streams are admitted, cancelled, drained and failed.
#include <new>
#include <stdexcept>
#include <thread>

#include "server/sampling/retry.h"
#include "tests/service/sampling_fixture.h"

namespace haarflow::testing {
namespace {

using ::testing::ElementsAre;

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
    EXPECT_TRUE(reader.Read() == nullptr);
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
  options.limits.all.streams = 2;
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
  options.limits.all.bytes = task->reservation_bytes() * 3 / 2;
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
    EXPECT_EQ(reader.status().code(), absl::StatusCode::kUnavailable) << reader.status();
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

// Of two principals that want the device all the time, each gets half of it, however many streams he has; bulk work
// gets a quarter of what interactive work wants too.
TEST_F(SamplingTest, PrincipalsShareTheDeviceEquallyAndBulkGivesWay) {
  struct Client {
    const char* principal;
    bool bulk;
    std::vector<std::pair<uint64_t, const char*>> streams;  // seed, model
  };
  auto other = std::make_shared<FakeSampler>(std::vector<uint32_t>{4, 4}, FakeSampler::Normal(1.0));
  registry_.Add(Serve("other", other));
  const auto measure = [&](const std::vector<Client>& clients) {
    Gate gate;
    sampler_->BeforeDraw([&] {
      gate.Pass();  // until everybody is there
      return absl::OkStatus();
    });
    Scheduler scheduler(SmallBatches());
    std::vector<std::shared_ptr<PartitionTask>> tasks;
    std::vector<std::vector<std::shared_ptr<PartitionTask>>> of(clients.size());
    for (size_t c = 0; c < clients.size(); ++c) {
      for (const auto& [seed, model] : clients[c].streams) {
        v1::EstimatePartitionFunctionRequest request;
        request.set_model(model);
        request.set_seed(seed);
        request.set_samples(1'000'000'000);
        auto task = *MakePartitionTask(registry_, request, options_);
        task->SetOrigin({clients[c].bulk, clients[c].principal}, "test");
        EXPECT_TRUE(scheduler.Submit(task).ok());
        of[c].push_back(task);
        tasks.push_back(task);
      }
    }
    EXPECT_TRUE(gate.WaitForArrival());
    gate.Open();
    while (scheduler.proposals_drawn() < 300000) std::this_thread::yield();
    for (const auto& task : tasks) task->Cancel();
    std::vector<double> drawn(clients.size());
    double sum = 0;
    for (size_t c = 0; c < clients.size(); ++c) {
      for (const auto& task : of[c]) drawn[c] += static_cast<double>(*task->drawn());
      sum += drawn[c];
    }
    for (double& share : drawn) share /= sum;
    return drawn;
  };
  const auto together = measure({{"a", false, {{1, "fake"}}}, {"b", false, {{2, "fake"}, {3, "fake"}, {4, "fake"}}}});
  EXPECT_NEAR(together[0], 0.5, 0.05);
  // By device time: the two models are the same code, so that proposals tell.
  const auto apart = measure({{"a", false, {{1, "fake"}}}, {"b", false, {{2, "fake"}, {3, "other"}}}});
  EXPECT_NEAR(apart[0], 0.5, 0.1);
  const auto bulk = measure({{"a", false, {{1, "fake"}}}, {"b", true, {{2, "fake"}, {3, "fake"}}}});
  EXPECT_NEAR(bulk[0], 0.75, 0.05);
}

TEST_F(SamplingTest, OnePrincipalCannotTakeTheWholeServer) {
  Scheduler::Options options = SmallBatches();
  options.limits.principal.streams = 1;
  options.limits.all.samples = 3'000'000;
  Scheduler scheduler(options);
  const auto submit = [&](const char* principal, uint64_t count) {
    auto task = Make(Request(1, count));
    task->SetOrigin({false, principal}, "test");
    const absl::Status status = scheduler.Submit(task);
    return std::pair(status, status.ok() ? task : nullptr);
  };
  const auto first = submit("a", 1'000'000);
  EXPECT_TRUE(first.first.ok());
  const absl::Status second = submit("a", 10).first;
  EXPECT_EQ(second.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(RetryDelay(second).has_value());
  const auto other = submit("b", 1'000'000);
  EXPECT_TRUE(other.first.ok());
  EXPECT_EQ(submit("c", 2'000'000).first.code(), absl::StatusCode::kResourceExhausted) << "samples";
  EXPECT_EQ(submit("c", 4'000'000).first.code(), absl::StatusCode::kInvalidArgument) << "never fits";
  first.second->Cancel();
  other.second->Cancel();
}

TEST_F(SamplingTest, AnEndingSchedulerTellsItsStreams) {
  auto task = Make(Request(1, uint64_t{1} << 39));
  Reader reader(task);
  auto scheduler = std::make_unique<Scheduler>(SmallBatches());
  ASSERT_TRUE(scheduler->Submit(task).ok());
  ASSERT_TRUE(reader.Read() != nullptr);
  scheduler.reset();
  while (reader.Read() != nullptr) {
  }
  EXPECT_EQ(reader.status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace haarflow::testing
