// What is drawn next, on all devices of a process: tasks, whose turn it is, how batches are cut and given back.
//
// Tasks of the same model and target share batches; principals and priorities take turns (FairTurns). A batch is about
// 50 ms long, so that a new stream is soon served and a cancelled one soon dropped. One that would not fill a kernel's
// tile waits a moment for others (LingerFor).
//
// Several devices may draw consecutive parts of one task at once; the parts are consumed in the order of their indices:
// a device that is early waits for the one before. Batches are cut one after the other under one lock, so the earliest
// never waits, and none waits for ever. Which device drew a proposal changes no bit of it.
//
// Call sequence of a device: Take(&batch), draw, then Deliver or Fail; again until Take says false.
// Lifetime: must outlive its devices' threads; FailAll when they have ended. Thread-safety: thread-safe. While parts of
// a task are being drawn or consumed nobody else touches it. Ownership: shares the tasks with their readers.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "core/base/mutex.h"
#include "server/sampling/batching.h"
#include "server/sampling/draw_pool.h"
#include "server/sampling/fair_turns.h"
#include "server/sampling/task.h"

namespace haarflow {

class Dispatcher {
 public:
  struct Options {
    int devices = 1;
    int threads = 1;  // of each device: a batch is split over them
    BatchSizer::Options batch;
    // Fields of one batch, in bytes: bounds the memory of a device's thread on large lattices.
    int64_t max_batch_bytes = int64_t{64} << 20;
    // How long a batch that would not fill a tile per thread waits for others.
    std::chrono::nanoseconds linger{0};
    SamplingObserver* observer = nullptr;
    // Called on a device's thread with a finished task that needs its epilogue.
    std::function<void(std::shared_ptr<Task>)> run_epilogue;
  };

  // A task and what of its window has been cut.
  struct Slot {
    std::shared_ptr<Task> task;
    Task::Want window;       // what it wanted when nothing of it was being drawn
    int64_t cut = 0;         // of the window, in batches so far
    uint64_t parts_cut = 0;  // since the beginning
    uint64_t parts_done = 0;
    int64_t left() const { return window.n - cut; }
    bool busy() const { return parts_cut != parts_done; }
  };
  struct Part {
    std::shared_ptr<Slot> slot;
    uint64_t number = 0;  // of the task's parts
    int64_t n = 0;
  };
  struct Batch {
    std::vector<Part> parts;
    std::vector<uint64_t> seeds;  // of all parts, one after the other
    std::vector<uint64_t> indices;
    const ServedModel& model() const { return parts.front().slot->task->model(); }
    const v1::Target& target() const { return parts.front().slot->task->target(); }
  };

  explicit Dispatcher(Options options) : options_(std::move(options)) {}

  const std::shared_ptr<WakeSignal>& signal() const { return signal_; }
  // The task must be attached to signal().
  void Add(std::shared_ptr<Task> task);
  // Drains every task that is there, and those that come.
  void DrainAll();
  // Drains the tasks that a version of a model serves now.
  void DrainModel(const Digest& digest);

  // Waits for something to draw. False after Stop.
  bool Take(Batch* batch);
  // `pieces`: what was drawn, in order; `seconds`: how long the draw took.
  void Deliver(const Batch& batch, absl::Span<const DrawPool::Piece> pieces, double seconds);
  void Fail(const Batch& batch, const absl::Status& status);

  // Take says false from now on.
  void Stop();
  // What is left fails with UNAVAILABLE.
  void FailAll();

 private:
  using GroupKey = std::pair<const ServedModel*, Digest>;
  struct Group {
    std::vector<std::shared_ptr<Slot>> slots;  // that want something
    int64_t wanted = 0;
    int64_t quiet = 0;  // open tasks that want nothing now
  };
  using Groups = std::map<GroupKey, Group>;
  using Clock = std::chrono::steady_clock;

  void TakeInbox() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropFinished(std::vector<std::shared_ptr<Slot>>* gone) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Groups CollectWants() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Removes the groups that linger; the time until the first of them does no more.
  std::chrono::nanoseconds HoldBack(Groups* groups) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The group that is drawn next.
  Groups::iterator ChooseGroup(Groups* groups) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Cut(const Group& group, int64_t limit, Batch* batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  BatchSizer& SizerOf(const ServedModel* model) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  int64_t BatchLimit(const ServedModel& model) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Runs `work` when every earlier part of the task is done; the seconds that `work` took.
  double InTurn(const Part& part, const std::function<void(Task*)>& work);
  // log w, to the observer.
  void ReportWeights(const Batch& batch, absl::Span<const DrawPool::Piece> pieces);
  void EndBatch(const Batch& batch, double seconds);

  const Options options_;
  const std::shared_ptr<WakeSignal> signal_ = std::make_shared<WakeSignal>();

  // Of its own, so that whoever adds a task waits for nobody.
  Mutex inbox_mutex_;
  std::vector<std::shared_ptr<Slot>> inbox_ ABSL_GUARDED_BY(inbox_mutex_);
  bool drain_ ABSL_GUARDED_BY(inbox_mutex_) = false;
  std::vector<Digest> drain_models_ ABSL_GUARDED_BY(inbox_mutex_);
  bool stop_ ABSL_GUARDED_BY(inbox_mutex_) = false;

  Mutex mutex_;
  CondVar part_done_;
  std::vector<std::shared_ptr<Slot>> slots_ ABSL_GUARDED_BY(mutex_);
  std::map<const ServedModel*, BatchSizer> sizers_ ABSL_GUARDED_BY(mutex_);
  std::map<GroupKey, Clock::time_point> lingering_ ABSL_GUARDED_BY(mutex_);  // since when
  FairTurns turns_ ABSL_GUARDED_BY(mutex_);
  // Of each flow that waits: its groups take turns.
  std::map<Flow, GroupKey> last_group_ ABSL_GUARDED_BY(mutex_);
  uint64_t turn_ ABSL_GUARDED_BY(mutex_) = 0;
  int drawing_ ABSL_GUARDED_BY(mutex_) = 0;  // devices that have a batch
};

}  // namespace haarflow
