// Several devices draw the parts of streams at once; none of it changes a bit.
#include <thread>

#include "tests/service/sampling_fixture.h"

namespace haarflow::testing {
namespace {

using Clock = std::chrono::steady_clock;

Scheduler::Options Devices(int devices) {
  Scheduler::Options options = SmallBatches();
  options.devices = devices;
  return options;
}

// Draws that wait for each other: until `needed` are under way at once, or a minute has passed.
class Meeting {
 public:
  explicit Meeting(int needed) : needed_(needed) {}
  absl::Status Attend() {
    const auto deadline = Clock::now() + std::chrono::minutes(1);
    MutexLock lock(&mutex_);
    ++here_;
    changed_.NotifyAll();
    while (here_ < needed_ && !met_ && Clock::now() < deadline) changed_.WaitFor(&mutex_, std::chrono::seconds(1));
    met_ = met_ || here_ >= needed_;
    --here_;
    return absl::OkStatus();
  }
  bool met() {
    MutexLock lock(&mutex_);
    return met_;
  }

 private:
  const int needed_;
  Mutex mutex_;
  CondVar changed_;
  int here_ ABSL_GUARDED_BY(mutex_) = 0;
  bool met_ ABSL_GUARDED_BY(mutex_) = false;
};

TEST_F(SamplingTest, WhicheverDeviceDrawsTheBitsAreTheSame) {
  for (const int devices : {1, 2, 5}) {
    Scheduler scheduler(Devices(devices));
    std::vector<std::thread> clients;
    std::vector<Collector> collected(6);
    for (size_t s = 0; s < collected.size(); ++s) {
      clients.emplace_back([&, s] { collected[s] = Run(&scheduler, Request(s, 3000 + 100 * s)); });
    }
    for (std::thread& client : clients) client.join();
    for (size_t s = 0; s < collected.size(); ++s) {
      EXPECT_EQ(collected[s].Expanded(), PlainChain(*sampler_, s, 0, 5, 3000 + 100 * s))
          << "seed " << s << ", " << devices << " devices";
    }
  }
}

TEST_F(SamplingTest, OneStreamIsSpreadOverTheDevices) {
  Meeting meeting(2);
  sampler_->BeforeDraw([&] { return meeting.Attend(); });
  Scheduler scheduler(Devices(2));
  const Collector collected = Run(&scheduler, Request(1, 2000));
  EXPECT_TRUE(meeting.met()) << "no two devices drew at once";
  EXPECT_EQ(collected.Expanded(), PlainChain(*sampler_, 1, 0, 5, 2000));
}

TEST_F(SamplingTest, TwoModelsAreDrawnAtOnce) {
  Meeting meeting(2);
  auto other = std::make_shared<FakeSampler>(std::vector<uint32_t>{4, 4}, FakeSampler::Normal(0.5));
  registry_.Add(Serve("other", other));
  sampler_->BeforeDraw([&] { return meeting.Attend(); });
  other->BeforeDraw([&] { return meeting.Attend(); });
  Scheduler scheduler(Devices(2));
  v1::SampleRequest request = Request(2, 500);
  request.set_model("other");
  Collector second;
  std::thread client([&] { second = Run(&scheduler, request); });
  const Collector first = Run(&scheduler, Request(1, 500));
  client.join();
  EXPECT_TRUE(meeting.met());
  EXPECT_EQ(first.Expanded(), PlainChain(*sampler_, 1, 0, 5, 500));
  EXPECT_EQ(second.Expanded(), PlainChain(*other, 2, 0, 5, 500));
}

TEST_F(SamplingTest, APartThatIsDrawnEarlyWaitsForTheOneBefore) {
  // The first draw is held until the second device has drawn everything that it may.
  Gate gate;
  std::atomic<int> draws{0};
  std::atomic<bool> first_is_back{false};
  sampler_->BeforeDraw([&] {
    if (++draws != 1) return absl::OkStatus();
    gate.Pass();
    first_is_back = true;
    return absl::OkStatus();
  });
  Scheduler scheduler(Devices(2));
  auto task = Make(Request(1, 1000));
  Reader reader(task);
  ASSERT_TRUE(scheduler.Submit(task).ok());
  ASSERT_TRUE(gate.WaitForArrival());
  const auto deadline = Clock::now() + std::chrono::minutes(1);
  while (draws < 2 && Clock::now() < deadline) std::this_thread::yield();
  EXPECT_EQ(draws, 2);
  gate.Open();
  Collector collected;
  while (auto message = reader.Read()) {
    EXPECT_TRUE(!message->has_chunk() || first_is_back);
    collected.Add(*message);
  }
  EXPECT_EQ(collected.Expanded(), PlainChain(*sampler_, 1, 0, 5, 1000));
}

TEST_F(SamplingTest, AFailedPartFailsItsStreamOnceWhateverTheOtherDevicesDo) {
  std::atomic<int> draws{0};
  sampler_->BeforeDraw([&] { return ++draws == 3 ? absl::InternalError("wrong") : absl::OkStatus(); });
  Scheduler scheduler(Devices(3));
  auto task = Make(Request(1, 100000));
  Reader reader(task);
  ASSERT_TRUE(scheduler.Submit(task).ok());
  while (reader.Read() != nullptr) {
  }
  EXPECT_EQ(reader.status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(Run(&scheduler, Request(2, 500)).Expanded(), PlainChain(*sampler_, 2, 0, 5, 500));
}

TEST_F(SamplingTest, CancelledAndDrainedStreamsEndOnSeveralDevicesToo) {
  StreamCounter counter;
  Scheduler::Options options = Devices(3);
  options.observer = &counter;
  Scheduler scheduler(options);
  for (uint64_t s = 0; s < 20; ++s) {
    auto task = Make(Request(s, 1000000));
    Reader reader(task);
    ASSERT_TRUE(scheduler.Submit(task).ok());
    ASSERT_TRUE(reader.Read() != nullptr);
    if (s % 2 == 0) task->Cancel();
  }
  auto task = Make(Request(1, 1000000));
  Reader reader(task);
  ASSERT_TRUE(scheduler.Submit(task).ok());
  scheduler.Drain();
  Collector collected;
  while (auto message = reader.Read()) collected.Add(*message);
  EXPECT_EQ(reader.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(collected.summarised);
  const auto steps = collected.Expanded();
  EXPECT_EQ(steps, PlainChain(*sampler_, 1, 0, 5, steps.size()));
  task.reset();
}

// A stream whose chunk is full and unread, and another that wants less than a tile: the small batch waits for the first
// to be read, within the linger.
TEST_F(SamplingTest, ASmallBatchWaitsForStreamsThatMayJoinIt) {
  options_.max_chunk_bytes = 32 << 10;
  for (const bool long_linger : {true, false}) {
    Scheduler::Options options = SmallBatches();
    options.linger = long_linger ? std::chrono::minutes(5) : std::chrono::nanoseconds(1);
    Scheduler scheduler(options);
    auto large = Make(Request(1, 1000000));
    Reader large_reader(large);
    ASSERT_TRUE(scheduler.Submit(large).ok());
    ASSERT_TRUE(large_reader.Read()->has_header());
    // Until it has nothing to do.
    int64_t drawn = -1;
    const auto still = [&] {
      const int64_t now = sampler_->drawn(1);
      const bool same = now == drawn && now > 0;
      drawn = now;
      return same;
    };
    const auto deadline = Clock::now() + std::chrono::minutes(1);
    WakeSignal pause;
    while (!still() && Clock::now() < deadline) pause.WaitWhile(0, std::chrono::milliseconds(50));
    auto small = Make([&] {
      v1::SampleRequest request = Request(2, 2);
      request.set_burn_in(0);
      return request;
    }());
    Reader small_reader(small);
    ASSERT_TRUE(scheduler.Submit(small).ok());
    ASSERT_TRUE(small_reader.Read()->has_header());
    if (long_linger) {
      EXPECT_TRUE(small_reader.Read(std::chrono::milliseconds(100)) == nullptr) << "drawn alone";
      EXPECT_EQ(sampler_->drawn(2), 0);
      ASSERT_TRUE(large_reader.Read()->has_chunk());  // there is room again: it joins
    }
    while (small_reader.Read() != nullptr) {
    }
    EXPECT_TRUE(small_reader.status().ok()) << small_reader.status();
    EXPECT_EQ(sampler_->drawn(2), long_linger ? 2 : 4);
    large->Cancel();
  }
}

}  // namespace
}  // namespace haarflow::testing
