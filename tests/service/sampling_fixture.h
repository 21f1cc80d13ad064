// What the tests of the engine share: a registry with a fake model, and readers that take streams apart.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "server/sampling/in_process.h"
#include "server/sampling/request.h"
#include "server/sampling/scheduler.h"
#include "tests/service/stream_util.h"

namespace haarflow::testing {

using Reader = BlockingReader<v1::SampleResponse>;

// The whole stream.
inline Collector Collect(Scheduler* scheduler, std::shared_ptr<SampleTask> task) {
  Collector collected;
  Reader reader(task);
  EXPECT_TRUE(scheduler->Submit(std::move(task)).ok());
  while (auto message = reader.Read()) collected.Add(*message);
  EXPECT_TRUE(reader.status().ok()) << reader.status();
  return collected;
}

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
  Collector Run(Scheduler* scheduler, const v1::SampleRequest& request) { return Collect(scheduler, Make(request)); }
  // Reads until `chunks` chunks have come, then goes away.
  void RunUntil(Scheduler* scheduler, const v1::SampleRequest& request, int chunks, Collector* collected) {
    auto task = Make(request);
    Reader reader(task);
    ASSERT_TRUE(scheduler->Submit(std::move(task)).ok());
    const int end = collected->chunks + chunks;
    while (collected->chunks < end && !collected->summarised) {
      auto message = reader.Read();
      ASSERT_TRUE(message != nullptr) << reader.status();
      collected->Add(*message);
    }
    collected->DropPartial();
  }

  std::shared_ptr<FakeSampler> sampler_ =
      std::make_shared<FakeSampler>(std::vector<uint32_t>{4, 4}, FakeSampler::Normal(1.0));
  ModelRegistry registry_;
  RequestOptions options_;
};

inline Scheduler::Options SmallBatches(int threads = 1) {
  Scheduler::Options options;
  options.threads = threads;
  options.batch.maximum = 64;
  return options;
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

}  // namespace haarflow::testing
