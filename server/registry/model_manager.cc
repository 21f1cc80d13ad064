#include "server/registry/model_manager.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/guarded.h"
#include "core/base/status.h"
#include "server/log/log.h"

namespace haarflow {
namespace {

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

ModelManager::ModelManager(ModelStore store, const hf_kernels& kernels, std::vector<int> devices,
                           ModelRegistry* registry, Options options)
    : options_(std::move(options)),
      registry_(registry),
      reaper_([observer = options_.observer](const std::string& model, uint64_t version) {
        if (observer == nullptr) return;
        observer->OnModelEvent({.kind = ModelEvent::kDestroyed, .model = model, .version = version});
      }),
      loader_(std::move(store), kernels, std::move(devices), &reaper_),
      next_poll_(Clock::now() + options_.poll) {}

ModelManager::~ModelManager() {
  std::deque<Job> left;
  {
    MutexLock lock(&mutex_);
    stop_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
  {
    MutexLock lock(&mutex_);
    left.swap(jobs_);
  }
  for (const Job& job : left) job(absl::UnavailableError("the server is shutting down"));
}

void ModelManager::Tell(ModelEvent event) const {
  if (options_.observer != nullptr) options_.observer->OnModelEvent(event);
}

// -------------------------------------------------------------------------------------------------------- the thread

void ModelManager::Start() {
  started_ = true;
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "hf-models");
    // Loading must not take the processor from streams; Linux has a nice value for every thread.
    setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), 10);
    Run();
  });
}

void ModelManager::Enqueue(Job job) {
  absl::Status refused;
  {
    MutexLock lock(&mutex_);
    if (stop_) {
      refused = absl::UnavailableError("the server is shutting down");
    } else if (jobs_.size() >= options_.max_waiting) {
      refused = absl::ResourceExhaustedError(
          absl::StrCat(jobs_.size(), " requests already wait for models; come back later"));
    } else {
      // What is asked for is part of a request: its lines carry the request's trace.
      jobs_.push_back([fields = LogScope::Current(), job = std::move(job)](const absl::Status& admitted) {
        const LogScope scope(fields);
        job(admitted);
      });
      changed_.NotifyAll();
      return;
    }
  }
  job(refused);
}

bool ModelManager::WaitForWork(Job* job) {
  MutexLock lock(&mutex_);
  while (!stop_ && jobs_.empty()) {
    Clock::time_point due = next_poll_;
    if (!leases_.empty()) due = std::min(due, leases_.front().end);
    const auto now = Clock::now();
    if (now >= due) return true;
    changed_.WaitFor(&mutex_, due - now);
  }
  if (stop_) return false;
  *job = std::move(jobs_.front());
  jobs_.pop_front();
  return true;
}

void ModelManager::Run() {
  for (Job job; WaitForWork(&job); job = nullptr) {
    if (job) job(absl::OkStatus());
    EndLeases();
    if (Clock::now() < next_poll_) continue;
    const auto synced = Guarded("looking at the store", [this] { return SyncAll(/*retry=*/false); });
    if (!synced.ok()) Tell({.kind = ModelEvent::kStoreError, .reason = std::string(synced.status().message())});
    next_poll_ = Clock::now() + options_.poll;
  }
}

void ModelManager::EndLeases() {
  while (!leases_.empty() && leases_.front().end <= Clock::now()) {
    const ModelPointer model = leases_.front().model.lock();
    leases_.pop_front();
    if (model == nullptr || registry_->Current(model->name()) == model) continue;
    Tell({.kind = ModelEvent::kLeaseEnded,
          .model = model->name(),
          .version = model->manifest.version,
          .digest = model->digest().ShortHex()});
    if (options_.on_lease_end) options_.on_lease_end(*model);
    Retire(model);  // streams that came meanwhile have a lease too
  }
}

void ModelManager::Retire(const ModelPointer& replaced) {
  if (replaced != nullptr && options_.lease.count() > 0) leases_.push_back({replaced, Clock::now() + options_.lease});
}

int64_t ModelManager::loaded_bytes() const {
  int64_t bytes = 0;
  for (const LoadedVersion& version : registry_->LoadedVersions()) bytes += version.bytes;
  return bytes;
}

// ----------------------------------------------------------------------------------------------------- what it is
// asked

void ModelManager::Sync(DoneWith<SyncResult> done) {
  Enqueue([this, done = std::move(done)](const absl::Status& admitted) {
    if (!admitted.ok()) return done(admitted);
    done(SyncAll(/*retry=*/true));
  });
}

void ModelManager::Load(const NeededVersion& needed, Done done) {
  Enqueue([this, needed, done = std::move(done)](const absl::Status& admitted) {
    if (!admitted.ok()) return done(admitted);
    // Held until `done` has had its look: an old version is held by its streams, and by nobody else.
    const absl::StatusOr<ModelPointer> held = LoadNow(needed);
    done(held.status());
  });
}

void ModelManager::SetAlias(const std::string& model, const std::string& alias, uint64_t version,
                            DoneWith<v1::ModelInfo> done) {
  Enqueue([this, model, alias, version, done = std::move(done)](const absl::Status& admitted) {
    if (!admitted.ok()) return done(admitted);
    done(SetAliasNow(model, alias, version));
  });
}

void ModelManager::Rollback(const std::string& model, DoneWith<v1::ModelInfo> done) {
  Enqueue([this, model, done = std::move(done)](const absl::Status& admitted) {
    if (!admitted.ok()) return done(admitted);
    const auto index = loader_.store().ReadIndex(model);
    if (!index.ok()) return done(index.status());
    const auto previous = index->aliases.find(kPreviousAlias);
    if (previous == index->aliases.end()) {
      return done(absl::FailedPreconditionError(
          absl::StrCat("model ", model, " has had one champion only; promote the version that you want")));
    }
    done(SetAliasNow(model, kChampionAlias, previous->second));
  });
}

void ModelManager::Unload(const std::string& model, Done done) {
  Enqueue([this, model, done = std::move(done)](const absl::Status& admitted) {
    done(admitted.ok() ? UnloadNow(model) : admitted);
  });
}

absl::StatusOr<v1::ModelInfo> ModelManager::SetAliasNow(const std::string& model, const std::string& alias,
                                                        uint64_t version) {
  if (!options_.writable) {
    return absl::FailedPreconditionError("this server is a sampler and writes no store; ask the coordinator");
  }
  ModelStore store = loader_.store();
  ASSIGN_OR_RETURN(const ModelIndex index, store.ReadIndex(model));
  ModelPointer prepared;  // held until the swap below has found it
  if (version == 0) {
    RETURN_IF_ERROR(store.RemoveAlias(model, alias));
  } else {
    const auto found = index.versions.find(version);
    if (found == index.versions.end()) {
      return absl::NotFoundError(
          absl::StrCat("model ", model, " has no version ", version, "; its newest is ", index.next_version() - 1));
    }
    if (alias == kChampionAlias || alias == kPinnedAlias) {
      auto checked = Prepare(model, version, found->second, {.check = true, .may_unload = true, .replaces = true});
      if (absl::IsResourceExhausted(checked.status())) return checked.status();
      if (!checked.ok()) {
        registry_->RefuseVersion(model, version, found->second, checked.status());
        return absl::FailedPreconditionError(
            absl::StrCat("version ", version, " of model ", model, " is refused: ", checked.status().message()));
      }
      prepared = *std::move(checked);
      registry_->AddRetiring(prepared);
    }
    RETURN_IF_ERROR(store.SetAlias(model, alias, version));
  }
  SyncResult ignored;
  SyncModel(model, /*retry=*/true, &ignored);
  ASSIGN_OR_RETURN(ModelRegistry::Description described, registry_->Describe(model));
  return std::move(described.info);
}

absl::Status ModelManager::UnloadNow(const std::string& model) {
  RETURN_IF_ERROR(registry_->Describe(model).status());
  const ModelPointer current = registry_->Current(model);
  if (current == nullptr) return absl::OkStatus();
  registry_->Unload(model, "unloaded by an administrator; the next request loads it");
  Retire(current);
  Tell({.kind = ModelEvent::kUnloaded,
        .model = model,
        .version = current->manifest.version,
        .digest = current->digest().ShortHex(),
        .reason = "asked for"});
  return absl::OkStatus();
}

absl::StatusOr<ModelManager::ModelPointer> ModelManager::LoadNow(const NeededVersion& needed) {
  const SwapSnapshot snapshot = registry_->Snapshot(needed.model);
  const auto found = snapshot.index.versions.find(needed.version);
  if (found == snapshot.index.versions.end()) {
    return absl::NotFoundError(
        absl::StrCat("model ", needed.model, " has no version ", needed.version, " in the store"));
  }
  const Digest& digest = found->second;
  if (WantedVersion(snapshot.index) == needed.version) {
    // A look at the store may have brought it back meanwhile.
    if (!snapshot.has_current || snapshot.current != digest) {
      RETURN_IF_ERROR(Serve(needed.model, needed.version, digest, /*on_demand=*/true));
    }
    return registry_->Current(needed.model);
  }
  if (ModelPointer loaded = registry_->Loaded(needed.model, digest)) return loaded;
  const auto start = Clock::now();
  ASSIGN_OR_RETURN(ModelPointer model, Prepare(needed.model, needed.version, digest, {.may_unload = true}));
  registry_->AddRetiring(model);
  Retire(model);
  Tell({.kind = ModelEvent::kLoaded,
        .model = needed.model,
        .version = needed.version,
        .digest = digest.ShortHex(),
        .seconds = SecondsSince(start)});
  return model;
}

}  // namespace haarflow
