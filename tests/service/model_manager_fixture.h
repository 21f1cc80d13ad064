// What the tests of the model manager share: a real store, a registry, and a manager that looks when it is asked.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/base/mutex.h"
#include "core/kernel/kernels.h"
#include "server/registry/model_manager.h"
#include "server/sampling/in_process.h"
#include "tests/service/test_store.h"

namespace haarflow::testing {

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

inline v1::ModelCard Promising(double ess) {
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
    manager_ = std::make_unique<ModelManager>(store_.Open(), *kernels_, devices_, &registry_, options_);
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
  const hf_kernels* kernels_ = &CpuKernels();
  std::vector<int> devices_ = {0};  // a worker each
  ModelManager::Options options_;
  std::function<void()> on_loaded_;
  std::unique_ptr<ModelManager> manager_;
};

}  // namespace haarflow::testing
