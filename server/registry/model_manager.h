// Keeps the registry true to the store: watches, verifies, loads, checks, swaps, unloads.
//
// All of it happens on one thread at low priority, off the serving path. A version that the index wants served is read
// and verified, laid out, drawn from, canary-checked; then one pointer moves. What does not pass is REFUSED with its
// reason, and what was served goes on. Replaced versions end with their last stream, or with their lease: on_lease_end
// then asks for their streams to be closed. A refused version is tried again when the index changes, when asked
// (Sync), and by itself after a minute, two, four, up to an hour: a file may have been mended.
//
// The store is looked at every `poll` and at Sync. Index and manifests are believed, never a listing's times.
//
// Callbacks run on the manager's thread, exactly once, and must not block; those of calls that it will not serve any
// more get UNAVAILABLE from the destructor, those beyond `max_waiting` RESOURCE_EXHAUSTED at once, on the caller's
// thread.
//
// Lifetime: registry, kernels and observer must outlive it. Thread-safety: thread-safe; LoadAll before Start.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "core/base/mutex.h"
#include "core/kernel/kernels.h"
#include "core/model/store.h"
#include "server/registry/canary.h"
#include "server/registry/model_loader.h"
#include "server/registry/model_reaper.h"
#include "server/registry/registry.h"
#include "server/registry/registry_observer.h"

namespace haarflow {

class ModelManager {
 public:
  struct Options {
    std::chrono::milliseconds poll{10000};
    // How long a replaced version may be held by its streams; 0: until they end.
    std::chrono::milliseconds lease{0};
    // Bytes of all models in memory (ModelLoader::MemoryBytes); 0: no bound. Models that nobody uses leave first, the
    // least recently used one before the others.
    int64_t memory_budget = 0;
    // False: this process must not write the store (role sampler).
    bool writable = true;
    size_t max_waiting = 256;
    CanaryOptions canary;
    // Of versions that are there when the server starts: they were checked before, and many models must not make a
    // start slow.
    CanaryOptions start_canary{.samples = 16, .batch = 16, .minimum = 16, .time = std::chrono::milliseconds(100)};
    std::chrono::milliseconds first_retry{60000};
    std::chrono::milliseconds last_retry{3600000};
    RegistryObserver* observer = nullptr;
    // A replaced version's lease has ended and streams still hold it.
    std::function<void(const ServedModel&)> on_lease_end;
  };
  struct SyncResult {
    uint64_t generation = 0;  // the largest of all models
    uint64_t swaps = 0;
    uint64_t refusals = 0;
  };
  using Done = std::function<void(const absl::Status&)>;
  template <class T>
  using DoneWith = std::function<void(absl::StatusOr<T>)>;

  // `devices`: of ModelLoader.
  ModelManager(ModelStore store, const hf_kernels& kernels, std::vector<int> devices, ModelRegistry* registry,
               Options options);
  ~ModelManager();
  ModelManager(const ModelManager&) = delete;
  ModelManager& operator=(const ModelManager&) = delete;

  // Brings every model of the store into the registry, on the calling thread. A model that cannot be served is there
  // as REFUSED; the error is that of the store as a whole.
  absl::Status LoadAll();
  // Begins to watch, and to serve the calls below.
  void Start();

  // Looks at the store now, refused versions included.
  void Sync(DoneWith<SyncResult> done);
  // Brings a version into memory, for a request that waits for it. When `done` is called with OK, Resolve finds it.
  void Load(const NeededVersion& needed, Done done);
  // Makes `alias` name `version` (0: removes it). A version that would be served by it is checked first, and refused
  // with FAILED_PRECONDITION before anything is written. Answers with what is served then.
  void SetAlias(const std::string& model, const std::string& alias, uint64_t version, DoneWith<v1::ModelInfo> done);
  // The champion before becomes champion again.
  void Rollback(const std::string& model, DoneWith<v1::ModelInfo> done);
  // Out of memory until a request needs it; streams keep it until they end.
  void Unload(const std::string& model, Done done);

  // Of all models in memory.
  int64_t loaded_bytes() const;
  int64_t memory_budget() const { return options_.memory_budget; }

 private:
  using Clock = std::chrono::steady_clock;
  using ModelPointer = std::shared_ptr<const ServedModel>;
  // Called with OK to do its work, or with the reason not to.
  using Job = std::function<void(const absl::Status& admitted)>;
  struct Lease {
    std::weak_ptr<const ServedModel> model;
    Clock::time_point end;
  };
  struct Watched {
    uint64_t generation = 0;
    Clock::time_point retry_at = Clock::time_point::max();
    std::chrono::milliseconds retry_delay{0};
    std::string store_error;  // the last one reported
  };

  void Enqueue(Job job);
  void Run();
  // Waits for a job until the next look at the store or the next end of a lease is due. False: stop.
  bool WaitForWork(Job* job);

  // On the thread, or in LoadAll.
  absl::StatusOr<SyncResult> SyncAll(bool retry);
  void SyncModel(const std::string& name, bool retry, SyncResult* result);
  absl::StatusOr<ModelPointer> LoadNow(const NeededVersion& needed);
  absl::StatusOr<v1::ModelInfo> SetAliasNow(const std::string& model, const std::string& alias, uint64_t version);
  absl::Status UnloadNow(const std::string& model);
  // Brings a version into service, or refuses it. A model that nobody asked for and that finds no room stays UNLOADED.
  absl::Status Serve(const std::string& name, uint64_t version, const Digest& digest, bool on_demand);
  struct Preparation {
    bool check = false;       // the canary check, unless the version has passed it before
    bool may_unload = false;  // others, to make room
    bool replaces = false;    // the present version of the model goes when this one comes
  };
  // In memory and drawn from. RESOURCE_EXHAUSTED: there is no room.
  absl::StatusOr<ModelPointer> Prepare(const std::string& name, uint64_t version, const Digest& digest,
                                       const Preparation& how);
  absl::Status FindRoom(const Manifest& manifest, const Preparation& how);
  absl::Status Check(const ServedModel& model);
  void Refuse(const std::string& name, uint64_t version, const Digest& digest, const absl::Status& reason);
  void Retire(const ModelPointer& replaced);
  void EndLeases();
  void Tell(ModelEvent event) const;

  const Options options_;
  ModelRegistry* const registry_;
  ModelReaper reaper_;
  const ModelLoader loader_;

  Mutex mutex_;
  CondVar changed_;
  std::deque<Job> jobs_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;

  // The thread's own.
  std::map<std::string, Watched> watched_;
  std::set<Digest> checked_;  // passed their canary check
  std::deque<Lease> leases_;
  Clock::time_point next_poll_;
  bool started_ = false;  // before the thread begins

  std::thread thread_;
};

// Brings the models of a store into a registry once, without watching it: for tests and benchmarks.
absl::Status LoadStore(const ModelStore& store, const hf_kernels& kernels, int device, ModelRegistry* registry);

}  // namespace haarflow
