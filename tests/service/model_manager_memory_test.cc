// The model manager: what is in memory and for how long. On-demand loading, the memory budget, unloading, leases.
#include <filesystem>
#include <thread>

#include "server/sampling/request.h"
#include "server/sampling/scheduler.h"
#include "tests/service/model_manager_fixture.h"

namespace haarflow::testing {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

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
