// One thread that owns one device and fills batches from all open tasks.
//
// Tasks of the same model and target share batches; principals and priorities take turns (FairTurns). A batch is about
// 50 ms long, so that a new stream is soon served and a cancelled one soon dropped. A draw that fails fails the tasks
// in it, and nobody else; a device that is UNAVAILABLE is reported once.
//
// Lifetime: the thread starts in the constructor and is joined in the destructor, after failing what is left with
// UNAVAILABLE. Thread-safety: thread-safe. Ownership: shares the tasks with their readers.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/mutex.h"
#include "server/sampling/batching.h"
#include "server/sampling/draw_pool.h"
#include "server/sampling/fair_turns.h"
#include "server/sampling/task.h"

namespace haarflow {

class DeviceWorker {
 public:
  struct Options {
    std::string name = "hf-device";
    int threads = 1;  // cpu:N: a batch is split over N threads
    BatchSizer::Options batch;
    // Fields of one batch, in bytes: bounds the memory of the device thread on large lattices.
    int64_t max_batch_bytes = int64_t{64} << 20;
    SamplingObserver* observer = nullptr;
    // Called on the worker's thread when a draw says UNAVAILABLE.
    std::function<void(const absl::Status&)> on_device_failure;
    // Called on the worker's thread with a finished task that needs its epilogue.
    std::function<void(std::shared_ptr<Task>)> run_epilogue;
  };
  explicit DeviceWorker(Options options);
  ~DeviceWorker();
  DeviceWorker(const DeviceWorker&) = delete;
  DeviceWorker& operator=(const DeviceWorker&) = delete;

  const std::shared_ptr<WakeSignal>& signal() const { return signal_; }
  // The task must be attached to signal().
  void Add(std::shared_ptr<Task> task);
  // Drains every task that is there, and those that come.
  void DrainAll();
  // Drains the tasks that a version of a model serves now.
  void DrainModel(const Digest& digest);

 private:
  using GroupKey = std::pair<const ServedModel*, Digest>;
  struct Member {
    Task* task;
    Task::Want want;
  };
  using Groups = std::map<GroupKey, std::vector<Member>>;

  void Run();
  bool TakeInbox();
  void DropFinished();
  Groups CollectWants();
  // The group that the device works for next.
  Groups::iterator ChooseGroup(Groups* groups);
  std::vector<int64_t> Shares(const std::vector<Member>& group);
  void RunBatch(const std::vector<Member>& group);
  void Charge(const std::vector<Member>& group, const std::vector<int64_t>& shares, double seconds);
  void Deliver(const std::vector<Member>& group, const std::vector<int64_t>& shares);
  // To the observer: how long new tasks have waited; the weights of the batch that the pool holds.
  void ReportWaits(const std::vector<Member>& group, const std::vector<int64_t>& shares,
                   std::chrono::steady_clock::time_point now);
  void ReportWeights(const Task& task);
  BatchSizer& SizerOf(const ServedModel* model);
  int64_t BatchLimit(const ServedModel& model);

  Options options_;
  const std::shared_ptr<WakeSignal> signal_ = std::make_shared<WakeSignal>();

  Mutex mutex_;
  std::vector<std::shared_ptr<Task>> inbox_ ABSL_GUARDED_BY(mutex_);
  bool drain_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<Digest> drain_models_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;

  // The thread's own.
  DrawPool pool_;
  std::vector<std::shared_ptr<Task>> tasks_;
  std::map<const ServedModel*, BatchSizer> sizers_;
  FairTurns turns_;
  std::map<Flow, GroupKey> last_group_;  // of each flow that waits: its groups take turns
  uint64_t turn_ = 0;
  std::vector<uint64_t> seeds_;
  std::vector<uint64_t> indices_;
  std::vector<double> log_weights_;

  std::thread thread_;
};

}  // namespace haarflow
