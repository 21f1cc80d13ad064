// The model manager against real stores, in one process: swaps, refusals, on-demand loading, memory, leases, aliases.
#include "server/registry/model_manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <future>
#include <new>
#include <stdexcept>

#include "core/base/file.h"
#include "core/kernel/kernels.h"
#include "server/sampling/in_process.h"
#include "server/sampling/request.h"
#include "server/sampling/scheduler.h"
#include "tests/service/fake_sampler.h"
#include "tests/service/test_store.h"

namespace haarflow::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

// Remembers events, and waits for them.
class Events : public RegistryObserver {
 public:
  void OnModelEvent(const ModelEvent& event) override {
    {
      MutexLock lock(&mutex_);
      events_.push_back(event);
    }
    signal_.Notify();
  }
  int Count(ModelEvent::Kind kind) {
    MutexLock lock(&mutex_);
    return static_cast<int>(
        std::count_if(events_.begin(), events_.end(), [kind](const ModelEvent& e) { return e.kind == kind; }));
  }
  bool WaitFor(ModelEvent::Kind kind, int count = 1) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (std::chrono::steady_clock::now() < deadline) {
      const uint64_t seen = signal_.count();
      if (Count(kind) >= count) return true;
      signal_.WaitWhile(seen, std::chrono::seconds(1));
    }
    return false;
  }

 private:
  Mutex mutex_;
  std::vector<ModelEvent> events_ ABSL_GUARDED_BY(mutex_);
  WakeSignal signal_;
};

v1::ModelCard Promising(double ess) {
  v1::ModelCard card;
  card.mutable_quality()->set_samples(100000);
  card.mutable_quality()->set_ess(ess);
  card.mutable_quality()->set_ess_error(1e-3);
  return card;
}

class ModelManagerTest : public ::testing::Test {
 protected:
  ModelManagerTest() {
    options_.observer = &events_;
    options_.poll = std::chrono::hours(1);  // looks at the store when asked
  }
  void Start() {
    manager_ = std::make_unique<ModelManager>(store_.Open(), CpuKernels(), 0, &registry_, options_);
    ASSERT_TRUE(manager_->LoadAll().ok());
    manager_->Start();
  }
  ModelManager::SyncResult Sync() {
    std::promise<absl::StatusOr<ModelManager::SyncResult>> done;
    manager_->Sync([&](auto result) { done.set_value(std::move(result)); });
    const auto result = done.get_future().get();
    EXPECT_TRUE(result.ok()) << result.status();
    return result.value_or(ModelManager::SyncResult());
  }
  absl::Status Load(const NeededVersion& needed) {
    std::promise<absl::Status> done;
    manager_->Load(needed, [&](const absl::Status& status) {
      if (on_loaded_) on_loaded_();
      done.set_value(status);
    });
    return done.get_future().get();
  }
  absl::StatusOr<v1::ModelInfo> SetAlias(const std::string& model, const std::string& alias, uint64_t version) {
    std::promise<absl::StatusOr<v1::ModelInfo>> done;
    manager_->SetAlias(model, alias, version, [&](auto info) { done.set_value(std::move(info)); });
    return done.get_future().get();
  }
  absl::StatusOr<v1::ModelInfo> Rollback(const std::string& model) {
    std::promise<absl::StatusOr<v1::ModelInfo>> done;
    manager_->Rollback(model, [&](auto info) { done.set_value(std::move(info)); });
    return done.get_future().get();
  }
  v1::ModelInfo Info(const std::string& name) { return registry_.Describe(name)->info; }
  uint64_t Served(const std::string& name) {
    const auto current = registry_.Current(name);
    return current == nullptr ? 0 : current->manifest.version;
  }

  TestStore store_;
  Events events_;
  ModelRegistry registry_;
  ModelManager::Options options_;
  std::function<void()> on_loaded_;
  std::unique_ptr<ModelManager> manager_;
};

TEST_F(ModelManagerTest, ANewChampionIsServedAndTheOldOneDestroyedWhenNobodyHoldsIt) {
  store_.Publish("m", 4, 0.3);
  Start();
  EXPECT_EQ(Served("m"), 1);
  auto held = registry_.Resolve({.model = "m"});
  ASSERT_TRUE(held.ok());
  const Manifest second = store_.Publish("m", 4, 0.31);
  EXPECT_EQ(Served("m"), 1) << "nothing is watched faster than the poll";
  const auto result = Sync();
  EXPECT_EQ(result.swaps, 1);
  EXPECT_EQ(result.generation, 2);
  EXPECT_EQ(Served("m"), 2);
  EXPECT_EQ(registry_.Current("m")->digest(), second.digest);
  const v1::ModelInfo info = Info("m");
  ASSERT_EQ(info.versions_size(), 2);
  EXPECT_EQ(info.versions(0).state(), v1::MODEL_STATE_RETIRING);
  EXPECT_THAT(info.versions(0).aliases(), ElementsAre("previous"));
  EXPECT_EQ(info.versions(1).state(), v1::MODEL_STATE_READY);
  EXPECT_EQ(events_.Count(ModelEvent::kDestroyed), 0);
  held = absl::CancelledError();
  EXPECT_TRUE(events_.WaitFor(ModelEvent::kDestroyed));
  EXPECT_EQ(Info("m").versions(0).state(), v1::MODEL_STATE_UNLOADED);
  EXPECT_EQ(Sync().swaps, 0);
}

TEST_F(ModelManagerTest, ThePollFindsWhatNobodyAnnounced) {
  options_.poll = std::chrono::milliseconds(1);
  store_.Publish("m", 4, 0.3);
  Start();
  store_.Publish("m", 4, 0.31);
  EXPECT_TRUE(events_.WaitFor(ModelEvent::kServing, 2));
  EXPECT_EQ(Served("m"), 2);
  store_.Publish("new", 4, 0.3);
  EXPECT_TRUE(events_.WaitFor(ModelEvent::kServing, 3));
  EXPECT_EQ(Served("new"), 1);
}

TEST_F(ModelManagerTest, BrokenPublicationsAreNeverServedAndTheOldVersionGoesOn) {
  store_.Publish("m", 4, 0.3);
  Start();
  const std::string model = store_.directory() + "/m/";
  const auto flip = [](const std::string& file) {
    std::string bytes = *ReadFile(file, 1 << 20);
    bytes[bytes.size() / 2] ^= 1;
    std::ofstream(file, std::ios::binary) << bytes;
  };
  const std::vector<std::pair<std::string, std::function<void(const std::string&)>>> faults = {
      {"bit flip in the weights", [&](const std::string& v) { flip(v + "weights.safetensors"); }},
      {"bit flip in the spec", [&](const std::string& v) { flip(v + "spec.txtpb"); }},
      {"bit flip in the manifest", [&](const std::string& v) { flip(v + "manifest.json"); }},
      {"truncated weights", [&](const std::string& v) { fs::resize_file(v + "weights.safetensors", 5); }},
      {"truncated manifest", [&](const std::string& v) { fs::resize_file(v + "manifest.json", 40); }},
      {"weights not there yet", [&](const std::string& v) { fs::remove(v + "weights.safetensors"); }},
      {"nothing there yet", [&](const std::string& v) { fs::remove_all(v); }},
      {"another version's files", [&](const std::string& v) {
         fs::copy(model + "1", v, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
       }}};
  uint64_t version = 1;
  for (const auto& [what, inflict] : faults) {
    store_.Publish("m", 4, 0.3 + 0.001 * static_cast<double>(++version));
    inflict(model + std::to_string(version) + "/");
    EXPECT_EQ(Sync().refusals, 1) << what;
    EXPECT_EQ(Served("m"), 1) << what;
    const v1::ModelInfo info = Info("m");
    EXPECT_EQ(info.state(), v1::MODEL_STATE_READY);
    EXPECT_THAT(info.state_reason(), HasSubstr("version 1 goes on")) << what;
    const v1::ModelVersion& shown = info.versions(static_cast<int>(version) - 1);
    EXPECT_EQ(shown.state(), v1::MODEL_STATE_REFUSED) << what;
    EXPECT_FALSE(shown.state_reason().empty());
    EXPECT_TRUE(registry_.Resolve({.model = "m"}).ok());
  }
  // An index that is damaged or half-written.
  const std::string index = model + "index.json";
  const std::string whole = *ReadFile(index, 1 << 20);
  for (const std::string& bytes : {whole.substr(0, whole.size() / 2), std::string(), whole + "x"}) {
    std::ofstream(index, std::ios::binary) << bytes;
    EXPECT_EQ(Sync().refusals, 1);
    EXPECT_EQ(Served("m"), 1);
    EXPECT_THAT(Info("m").state_reason(), HasSubstr("index.json"));
  }
  std::ofstream(index, std::ios::binary) << whole;
  // A whole one ends the trouble.
  store_.Publish("m", 4, 0.4);
  EXPECT_EQ(Sync().swaps, 1);
  EXPECT_EQ(Served("m"), version + 1);
  EXPECT_EQ(Info("m").state_reason(), "");
}

TEST_F(ModelManagerTest, ARefusedVersionIsTriedAgainWhenAskedAndWhenItsTimeComes) {
  store_.Publish("m", 4, 0.3);
  options_.first_retry = options_.last_retry = std::chrono::milliseconds(1);
  Start();
  store_.Publish("m", 4, 0.31);
  const std::string file = store_.directory() + "/m/2/weights.safetensors";
  const std::string whole = *ReadFile(file, 1 << 20);
  store_.Alter("m/2/weights.safetensors");
  EXPECT_EQ(Sync().refusals, 1);
  EXPECT_EQ(Sync().refusals, 1);
  std::ofstream(file, std::ios::binary) << whole;
  EXPECT_EQ(Sync().swaps, 1);
  EXPECT_EQ(Served("m"), 2);
}

TEST_F(ModelManagerTest, TheCanaryRefusesAModelThatIsWorseThanItsCard) {
  store_.Publish("m", 4, 1.0);
  Start();
  // A uniform prior at this coupling has an ESS of about 0.13, and says so, or does not.
  store_.Publish("m", 4, 0.9, Promising(0.9));
  EXPECT_EQ(Sync().refusals, 1);
  EXPECT_EQ(Served("m"), 1);
  EXPECT_THAT(Info("m").versions(1).state_reason(), HasSubstr("sigma below"));
  store_.Publish("m", 4, 0.3, Promising(0.45));
  EXPECT_EQ(Sync().swaps, 1) << Info("m").state_reason();
  EXPECT_EQ(Served("m"), 3);
}

TEST(Canary, AnExceptionOfTheSamplerIsAFailedCheckWithItsReason) {
  FakeSampler sampler({2, 2}, FakeSampler::Normal(0.1));
  EXPECT_TRUE(CanaryCheck(sampler, v1::ModelCard(), 1, CanaryOptions()).ok());
  sampler.BeforeDraw([]() -> absl::Status { throw std::runtime_error("the kernel module is gone"); });
  absl::Status checked = CanaryCheck(sampler, v1::ModelCard(), 1, CanaryOptions());
  EXPECT_EQ(checked.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(checked.message()),
              ::testing::HasSubstr("the canary check failed: the kernel module is gone"));
  sampler.BeforeDraw([]() -> absl::Status { throw std::bad_alloc(); });
  checked = CanaryCheck(sampler, v1::ModelCard(), 1, CanaryOptions());
  EXPECT_EQ(checked.code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(ModelManagerTest, PromotionIsCheckedBeforeTheIndexIsWritten) {
  store_.Publish("m", 4, 0.3);
  store_.Publish("m", 4, 0.31, {}, /*make_champion=*/false);
  store_.Publish("m", 4, 0.9, Promising(0.9), /*make_champion=*/false);
  Start();
  EXPECT_EQ(Served("m"), 1);
  EXPECT_EQ(SetAlias("m", "champion", 3).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_.Open().ReadIndex("m")->aliases.at("champion"), 1);
  EXPECT_EQ(Served("m"), 1);
  const auto promoted = SetAlias("m", "champion", 2);
  ASSERT_TRUE(promoted.ok()) << promoted.status();
  EXPECT_EQ(promoted->version(), 2);
  EXPECT_EQ(Served("m"), 2);
  EXPECT_EQ(Rollback("m")->version(), 1);
  EXPECT_EQ(Rollback("m")->version(), 2) << "a second rollback undoes the first";
  EXPECT_EQ(SetAlias("m", "candidate", 3)->version(), 2) << "a candidate serves nobody";
  EXPECT_EQ(SetAlias("m", "pinned", 1)->version(), 1);
  EXPECT_EQ(Info("m").pinned_version(), 1);
  EXPECT_EQ(SetAlias("m", "champion", 1)->version(), 1);
  EXPECT_EQ(SetAlias("m", "champion", 2)->version(), 1) << "pinned";
  EXPECT_EQ(SetAlias("m", "pinned", 0)->version(), 2);
  EXPECT_EQ(SetAlias("m", "champion", 0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SetAlias("m", "champion", 9).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(SetAlias("nobody", "champion", 1).status().code(), absl::StatusCode::kNotFound);
  store_.Publish("once", 4, 0.3);
  Sync();
  EXPECT_EQ(Rollback("once").status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(ModelManagerTest, ASamplerWritesNothing) {
  store_.Publish("m", 4, 0.3);
  store_.Publish("m", 4, 0.31);
  options_.writable = false;
  Start();
  EXPECT_EQ(SetAlias("m", "champion", 1).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Rollback("m").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_.Open().ReadIndex("m")->generation, 2);
  ASSERT_TRUE(store_.Open().SetAlias("m", "champion", 1).ok());
  EXPECT_EQ(Sync().swaps, 1) << "it follows who writes";
  EXPECT_EQ(Served("m"), 1);
}

TEST_F(ModelManagerTest, ADigestBringsItsVersionBack) {
  const Manifest first = store_.Publish("m", 4, 0.3);
  store_.Publish("m", 4, 0.31);
  Start();
  const ModelQuery query = {.model = "m", .model_digest = first.digest.Bytes()};
  const auto needed = LoadNeeded(registry_.Resolve(query).status());
  ASSERT_TRUE(needed.has_value());
  EXPECT_EQ(needed->version, 1);
  absl::StatusOr<ResolvedModel> found = absl::UnknownError("not asked");
  on_loaded_ = [&] { found = registry_.Resolve(query); };
  ASSERT_TRUE(Load(*needed).ok());
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->model->digest(), first.digest);
  EXPECT_EQ(Served("m"), 2) << "the champion stays";
  EXPECT_EQ(Info("m").versions(0).state(), v1::MODEL_STATE_RETIRING);
  found = absl::CancelledError();
  EXPECT_TRUE(events_.WaitFor(ModelEvent::kDestroyed));
  EXPECT_EQ(registry_.Resolve({.model = "m", .model_digest = std::string(32, 'x')}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Load({"m", 7}).code(), absl::StatusCode::kNotFound);
  fs::remove(store_.directory() + "/m/1/spec.txtpb");
  EXPECT_EQ(Load(*needed).code(), absl::StatusCode::kDataLoss);
}

TEST_F(ModelManagerTest, TheMemoryBudgetUnloadsWhatWasUsedLongestAgo) {
  const Manifest a = store_.Publish("a", 4, 0.3);
  store_.Publish("b", 4, 0.3);
  store_.Publish("c", 4, 0.3);
  options_.memory_budget = 5 * ModelLoader::MemoryBytes(a) / 2;  // two of three
  Start();
  EXPECT_EQ(Served("a"), 1);
  EXPECT_EQ(Served("b"), 1);
  EXPECT_EQ(Info("c").state(), v1::MODEL_STATE_UNLOADED) << "nobody asked for it, so nobody makes room";
  EXPECT_EQ(registry_.Resolve({.model = "a"})->model->name(), "a");  // b was used longer ago
  const auto needed = LoadNeeded(registry_.Resolve({.model = "c"}).status());
  ASSERT_TRUE(needed.has_value());
  ASSERT_TRUE(Load(*needed).ok());
  EXPECT_EQ(Info("b").state(), v1::MODEL_STATE_UNLOADED);
  EXPECT_THAT(Info("b").state_reason(), HasSubstr("memory budget"));
  EXPECT_EQ(Served("a"), 1);
  EXPECT_EQ(Served("c"), 1);
  // In use: nobody leaves.
  const auto held_a = registry_.Resolve({.model = "a"});
  const auto held_c = registry_.Resolve({.model = "c"});
  EXPECT_EQ(Load({"b", 1}).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Info("b").state(), v1::MODEL_STATE_UNLOADED) << "nothing is wrong with it";
  EXPECT_LE(manager_->loaded_bytes(), options_.memory_budget);
  // A swap within the budget: the old version makes room for the new one.
  store_.Publish("a", 4, 0.31);
  EXPECT_EQ(Sync().swaps, 1) << Info("a").state_reason();
  EXPECT_EQ(Served("a"), 2);
}

TEST_F(ModelManagerTest, UnloadedModelsAreFoundByTargetAndComeBack) {
  store_.Publish("m", 4, 0.3);
  Start();
  std::promise<absl::Status> done;
  manager_->Unload("m", [&](const absl::Status& status) { done.set_value(status); });
  ASSERT_TRUE(done.get_future().get().ok());
  EXPECT_TRUE(events_.WaitFor(ModelEvent::kDestroyed));
  EXPECT_EQ(Info("m").state(), v1::MODEL_STATE_UNLOADED);
  EXPECT_EQ(Sync().swaps, 0) << "it stays unloaded until it is needed";
  const v1::Target target = Info("m").target();
  const auto needed = LoadNeeded(registry_.Resolve({.target = &target}).status());
  ASSERT_TRUE(needed.has_value());
  ASSERT_TRUE(Load(*needed).ok());
  EXPECT_EQ(Served("m"), 1);
  std::promise<absl::Status> unknown;
  manager_->Unload("nobody", [&](const absl::Status& status) { unknown.set_value(status); });
  EXPECT_EQ(unknown.get_future().get().code(), absl::StatusCode::kNotFound);
}

TEST_F(ModelManagerTest, ALeaseEndsTheStreamsOfAReplacedVersionWithATokenThatContinuesThem) {
  store_.Publish("m", 4, 0.3);
  Scheduler scheduler{Scheduler::Options()};
  options_.lease = std::chrono::milliseconds(1);
  options_.on_lease_end = [&](const ServedModel& model) { scheduler.DrainModel(model.digest()); };
  Start();
  v1::SampleRequest request;
  request.set_model("m");
  request.set_seed(1);
  request.set_count(uint64_t{1} << 39);
  auto task = *MakeSampleTask(registry_, request, RequestOptions());
  BlockingReader<v1::SampleResponse> reader(task);
  ASSERT_TRUE(scheduler.Submit(task).ok());
  ASSERT_TRUE(reader.Read() != nullptr);
  store_.Publish("m", 4, 0.31);
  ASSERT_EQ(Sync().swaps, 1);
  ASSERT_TRUE(events_.WaitFor(ModelEvent::kLeaseEnded));
  std::string token;
  while (auto message = reader.Read()) {
    if (message->has_summary()) token = message->summary().resume_token();
  }
  EXPECT_EQ(reader.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(reader.status().message()), HasSubstr("lease"));
  ASSERT_FALSE(token.empty());
  v1::SampleRequest rest;
  rest.set_resume_token(token);
  rest.set_count(10);
  const auto again = MakeSampleTask(registry_, rest, RequestOptions());
  EXPECT_TRUE(again.ok() || LoadNeeded(again.status()).has_value()) << again.status();
  manager_.reset();
}

TEST_F(ModelManagerTest, WhatItCannotServeAnyMoreIsTold) {
  store_.Publish("m", 4, 0.3);
  options_.max_waiting = 1;
  Start();
  // The first occupies the thread, the second waits, the third is too many.
  std::promise<void> entered, leave;
  manager_->Unload("m", [&](const absl::Status&) {
    entered.set_value();
    leave.get_future().wait();
  });
  entered.get_future().wait();
  std::promise<absl::Status> second, third;
  manager_->Unload("m", [&](const absl::Status& status) { second.set_value(status); });
  manager_->Unload("m", [&](const absl::Status& status) { third.set_value(status); });
  EXPECT_EQ(third.get_future().get().code(), absl::StatusCode::kResourceExhausted);
  std::thread end([&] { manager_.reset(); });
  leave.set_value();
  end.join();
  const absl::Status status = second.get_future().get();
  EXPECT_TRUE(status.ok() || absl::IsUnavailable(status)) << status;
}

}  // namespace
}  // namespace haarflow::testing
