// The reactors between the engine and the transport, with every thread of a server at work and none of gRPC: what
// clients get is whole, whatever the others do; what ends, ends once, and frees everything. For ThreadSanitizer above
// all, which cannot see into the distribution's gRPC.
#include <random>
#include <thread>
#include <vector>

#include "tests/service/model_manager_fixture.h"
#include "tests/service/reactor_fixture.h"

namespace haarflow::testing {
namespace {

using SampleClient = ReactorClient<v1::SampleResponse>;

TEST_F(ReactorTest, StreamsOfManyClientsOnTwoDevicesAreTheirPlainChains) {
  StartScheduler({.devices = 2, .threads = 2});
  constexpr int kClients = 8;
  std::vector<Collector> collected(kClients);
  std::vector<std::unique_ptr<SampleClient>> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.push_back(std::make_unique<SampleClient>([&to = collected[i]](const v1::SampleResponse& message) {
      to.Add(message);
      return true;
    }));
    Sample(clients.back().get(), Request(100 + i, 400), i % 2 == 0 ? "one" : "two");
  }
  for (int i = 0; i < kClients; ++i) {
    const grpc::Status status = clients[i]->Wait();
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(collected[i].Expanded(), PlainChain(*sampler_, 100 + i, 0, 5, 400));
    EXPECT_TRUE(collected[i].summary.complete());
  }
}

// Clients that leave before the first message, between any two, or break the connection; from a thread of their own, so
// that leaving meets writing, drawing and the end.
TEST_F(ReactorTest, WhoeverLeavesWheneverFreesWhatWasHeldForHim) {
  StartScheduler({.devices = 2});
  std::mt19937 random(1);
  for (int round = 0; round < 25; ++round) {
    std::vector<std::unique_ptr<SampleClient>> clients;
    std::vector<std::unique_ptr<std::atomic<int>>> seen;
    std::vector<int> leave, breaks;
    for (int i = 0; i < 6; ++i) {
      seen.push_back(std::make_unique<std::atomic<int>>(0));
      leave.push_back(static_cast<int>(random() % 6));
      breaks.push_back(static_cast<int>(random() % 8));
      clients.push_back(std::make_unique<SampleClient>(
          [n = seen.back().get(), end = breaks.back()](const auto&) { return ++*n != 1 + end; }));
      // Some are short: they may end by themselves first.
      Sample(clients.back().get(), Request(random(), i % 3 == 0 ? 50 : uint64_t{1} << 39));
    }
    std::thread leaver([&] {
      for (size_t i = 0; i < clients.size(); ++i) {
        if (i % 3 == 0 && leave[i] >= 3) continue;
        while (i % 3 != 0 && seen[i]->load() < std::min(leave[i], breaks[i] + 1)) std::this_thread::yield();
        clients[i]->Cancel();
      }
    });
    leaver.join();
    for (auto& client : clients) {
      const grpc::Status status = client->Wait();
      EXPECT_TRUE(status.ok() || status.error_code() == grpc::CANCELLED) << status.error_message();
    }
  }
}

// A stopped client holds its own stream only; when the server drains, it is the one that has not ended.
TEST_F(ReactorTest, AStoppedClientHoldsNobodyAndADrainEndsTheOthersWithTokens) {
  StartScheduler({.devices = 2});
  Gate gate;
  SampleClient stopped([&gate](const v1::SampleResponse&) {
    gate.Pass();
    return true;
  });
  Sample(&stopped, Request(1, uint64_t{1} << 39));
  ASSERT_TRUE(gate.WaitForArrival());
  Collector running;
  std::promise<void> going;
  SampleClient other([&](const v1::SampleResponse& message) {
    running.Add(message);
    if (message.has_chunk() && running.chunks == 3) going.set_value();
    return true;
  });
  Sample(&other, Request(2, uint64_t{1} << 39));
  going.get_future().wait();
  state_->StartDraining();
  scheduler_->Drain();
  EXPECT_EQ(other.Wait().error_code(), grpc::UNAVAILABLE);
  ASSERT_TRUE(running.summarised);
  EXPECT_FALSE(running.summary.resume_token().empty());
  const std::vector<Configuration> steps = running.Expanded();
  EXPECT_EQ(steps, PlainChain(*sampler_, 2, 0, 5, steps.size()));
  EXPECT_FALSE(state_->WaitForStreams(std::chrono::milliseconds(1))) << "the stopped one";
  stopped.Cancel();
  gate.Open();
  EXPECT_EQ(stopped.Wait().error_code(), grpc::CANCELLED);
}

TEST_F(ReactorTest, RefusalsBeyondTheBoundComeAtOnceWithAHint) {
  Scheduler::Options options;
  options.limits.all.streams = 1;
  StartScheduler(options);
  Gate gate;
  SampleClient first([&gate](const v1::SampleResponse&) {
    gate.Pass();
    return false;
  });
  Sample(&first, Request(1, uint64_t{1} << 39));
  ASSERT_TRUE(gate.WaitForArrival());
  SampleClient second;
  Sample(&second, Request(2, 10));
  const grpc::Status refused = second.Wait();
  EXPECT_EQ(refused.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_NE(refused.error_details().find("RetryInfo"), std::string::npos);
  gate.Open();
  EXPECT_EQ(first.Wait().error_code(), grpc::CANCELLED);
}

// Versions come and go while clients ask for them, wait for them and leave.
TEST_F(ReactorTest, StreamsWaitForTheirModelsWhileVersionsAreSwappedAndUnloaded) {
  StartScheduler({.devices = 2});
  TestStore store;
  store.Publish("m", 4, 0.3);
  ModelManager::Options managing;
  managing.poll = std::chrono::hours(1);
  managing.lease = std::chrono::milliseconds(5);
  managing.on_lease_end = [this](const ServedModel& model) { scheduler_->DrainModel(model.digest()); };
  auto manager = std::make_unique<ModelManager>(store.Open(), CpuKernels(), std::vector<int>{0}, &registry_, managing);
  ASSERT_TRUE(manager->LoadAll().ok());
  manager->Start();
  std::atomic<bool> stop{false};
  std::thread operators([&] {
    for (int version = 2; version <= 9; ++version) {
      store.Publish("m", 4, 0.3 + 0.01 * version);
      std::promise<void> synced, unloaded;
      manager->Sync([&](auto result) {
        EXPECT_TRUE(result.ok());
        synced.set_value();
      });
      synced.get_future().wait();
      manager->Unload("m", [&](const absl::Status&) { unloaded.set_value(); });
      unloaded.get_future().wait();
    }
    stop = true;
  });
  std::atomic<int> whole{0};
  std::vector<std::thread> users;
  for (int user = 0; user < 3; ++user) {
    users.emplace_back([&, user] {
      for (int i = 0; !stop || whole == 0; ++i) {
        uint64_t steps = 0;
        SampleClient client([&steps](const v1::SampleResponse& message) {
          for (const uint64_t n : message.chunk().multiplicity()) steps += n;
          return true;
        });
        Sample(&client, Request(i, 200, "m"), std::to_string(user), manager.get());
        if (i % 4 == 3) client.Cancel();
        const grpc::Status status = client.Wait();
        if (status.ok()) {
          EXPECT_EQ(steps, 200u);
          ++whole;
        } else {  // a lease ended, or a version was unloaded again before it was used
          EXPECT_TRUE(status.error_code() == grpc::CANCELLED || status.error_code() == grpc::UNAVAILABLE)
              << status.error_message();
        }
      }
    });
  }
  operators.join();
  for (std::thread& user : users) user.join();
  EXPECT_GT(whole, 0);
  manager.reset();
}

// A job's watchers see its states in order, never an older one after a newer one, and the last one before the end.
TEST_F(ReactorTest, WatchersSeeAJobsStatesInOrderAndTheLastOne) {
  for (int round = 0; round < 50; ++round) {
    const auto watch = std::make_shared<JobWatch>();
    std::vector<uint64_t> steps;
    ReactorClient<v1::Job> client([&steps](const v1::Job& job) {
      steps.push_back(job.progress().step());
      return true;
    });
    client.Start(&transport_, [&](grpc::CallbackServerContext* context) {
      return new SourceReactor<v1::Job, JobWatch>(RpcCall(state_.get(), "WatchJob", context),
                                                  absl::StatusOr<std::shared_ptr<JobWatch>>(watch),
                                                  [](const auto&) { return absl::OkStatus(); });
    });
    // Two threads take snapshots and get here in any order.
    std::atomic<uint64_t> order{0};
    std::vector<std::thread> writers;
    for (int t = 0; t < 2; ++t) {
      writers.emplace_back([&] {
        for (int i = 0; i < 20; ++i) {
          JobSnapshot snapshot;
          snapshot.order = ++order;
          snapshot.job.mutable_progress()->set_step(snapshot.order);
          watch->Push(snapshot);
        }
      });
    }
    std::thread leaver([&] {
      if (round % 5 == 4) client.Cancel();
    });
    for (std::thread& writer : writers) writer.join();
    leaver.join();
    watch->End(absl::OkStatus());
    const grpc::Status status = client.Wait();
    for (size_t i = 1; i < steps.size(); ++i) EXPECT_LT(steps[i - 1], steps[i]);
    if (round % 5 == 4) {
      EXPECT_TRUE(status.ok() || status.error_code() == grpc::CANCELLED);
    } else {
      EXPECT_TRUE(status.ok()) << status.error_message();
      EXPECT_EQ(steps.empty() ? 0 : steps.back(), 40u);
    }
  }
}

}  // namespace
}  // namespace haarflow::testing
