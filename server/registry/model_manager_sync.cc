// The model manager's look at the store: what changed, and bringing it into service.
#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "server/registry/model_manager.h"

namespace haarflow {
namespace {

// A canary check must not repeat the draws of the one before.
uint64_t FreshSeed() {
  std::random_device device;
  return static_cast<uint64_t>(device()) << 32 | device();
}

}  // namespace

absl::Status ModelManager::LoadAll() { return SyncAll(/*retry=*/false).status(); }

absl::StatusOr<ModelManager::SyncResult> ModelManager::SyncAll(bool retry) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, loader_.store().ListModels());
  SyncResult result;
  for (const std::string& name : names) SyncModel(name, retry, &result);
  for (auto& [name, watched] : watched_) {
    if (std::binary_search(names.begin(), names.end(), name)) continue;
    registry_->Refuse(name, absl::NotFoundError("the store has no such model any more; what is in memory goes on"));
  }
  return result;
}

void ModelManager::SyncModel(const std::string& name, bool retry, SyncResult* result) {
  Watched& watched = watched_[name];
  const auto index = loader_.store().ReadIndex(name);
  if (!index.ok()) {
    const std::string error(index.status().message());
    registry_->Refuse(name, index.status());
    ++result->refusals;
    if (error != watched.store_error) Tell({.kind = ModelEvent::kStoreError, .model = name, .reason = error});
    watched.store_error = error;
    return;
  }
  watched.store_error.clear();
  result->generation = std::max(result->generation, index->generation);
  const bool changed = index->generation != watched.generation;
  if (changed) watched.retry_delay = std::chrono::milliseconds(0);
  watched.generation = index->generation;
  registry_->SetIndex(name, *index);
  const SwapSnapshot snapshot = registry_->Snapshot(name);
  const SwapAction action = NextSwap(snapshot, retry || changed || Clock::now() >= watched.retry_at);
  switch (action.kind) {
    case SwapAction::kNoChampion:
      registry_->Refuse(name, absl::NotFoundError("the index names no champion; promote a version"));
      return;
    case SwapAction::kNothing: {
      const Digest& wanted = index->versions.at(WantedVersion(*index));
      if (snapshot.has_current && snapshot.current == wanted) registry_->ClearReason(name);
      return;
    }
    case SwapAction::kLoad: {
      const Digest& wanted = index->versions.at(action.version);
      const absl::Status served = Serve(name, action.version, wanted, /*on_demand=*/false);
      ++(served.ok() ? result->swaps : result->refusals);
      return;
    }
  }
}

absl::Status ModelManager::Serve(const std::string& name, uint64_t version, const Digest& digest, bool on_demand) {
  const auto start = Clock::now();
  const bool replaces = registry_->Current(name) != nullptr;
  registry_->SetLoading(name, version);
  auto model =
      Prepare(name, version, digest, {.check = true, .may_unload = replaces || on_demand, .replaces = replaces});
  if (on_demand && absl::IsResourceExhausted(model.status())) {
    registry_->SetLoading(name, 0);  // nothing is wrong with it
    return model.status();
  }
  if (!model.ok()) {
    Refuse(name, version, digest, model.status());
    return model.status();
  }
  watched_[name].retry_at = Clock::time_point::max();
  watched_[name].retry_delay = std::chrono::milliseconds(0);
  if (*model == nullptr) return absl::OkStatus();  // no room: UNLOADED
  ModelPointer replaced = registry_->Add(*std::move(model));
  Retire(replaced);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  Tell({.kind = ModelEvent::kServing,
        .model = name,
        .version = version,
        .digest = digest.ShortHex(),
        .reason = replaced == nullptr ? "" : absl::StrCat("replaces version ", replaced->manifest.version),
        .seconds = seconds});
  return absl::OkStatus();
}

void ModelManager::Refuse(const std::string& name, uint64_t version, const Digest& digest, const absl::Status& reason) {
  registry_->RefuseVersion(name, version, digest, reason);
  Watched& watched = watched_[name];
  watched.retry_delay = std::clamp(2 * watched.retry_delay, options_.first_retry, options_.last_retry);
  watched.retry_at = Clock::now() + watched.retry_delay;
  Tell({.kind = ModelEvent::kRefused,
        .model = name,
        .version = version,
        .digest = digest.ShortHex(),
        .reason = std::string(reason.message())});
}

absl::StatusOr<ModelManager::ModelPointer> ModelManager::Prepare(const std::string& name, uint64_t version,
                                                                 const Digest& digest, const Preparation& how) {
  ModelPointer model = registry_->Loaded(name, digest);
  if (model == nullptr) {
    ASSIGN_OR_RETURN(StoredModel stored, loader_.Read(name, version));
    if (stored.manifest.digest != digest) {
      return absl::AbortedError(absl::StrCat("version ", version, " of model ", name, " changed while it was read"));
    }
    const absl::Status room = FindRoom(stored.manifest, how);
    if (absl::IsResourceExhausted(room) && !how.may_unload) {
      registry_->AddUnloaded(loader_.FactsOf(std::move(stored)), std::string(room.message()));
      return nullptr;
    }
    RETURN_IF_ERROR(room);
    ASSIGN_OR_RETURN(model, loader_.Make(std::move(stored)));
  }
  if (how.check) RETURN_IF_ERROR(Check(*model));
  return model;
}

absl::Status ModelManager::FindRoom(const Manifest& manifest, const Preparation& how) {
  const int64_t bytes = loader_.TotalBytes(manifest);
  std::vector<LoadedVersion> loaded = registry_->LoadedVersions();
  if (!how.may_unload) {
    for (LoadedVersion& version : loaded) version.in_use = true;
  }
  const RoomAction room = MakeRoom(loaded, bytes, options_.memory_budget, how.replaces ? manifest.model : "");
  if (!room.fits) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the memory budget of ", options_.memory_budget, " bytes has no room for the ", bytes,
                     " of version ", manifest.version,
                     how.may_unload ? ": what is loaded is in use; come back later, or raise --model-memory"
                                    : "; the next request that needs it makes room"));
  }
  for (const std::string& name : room.unload) {
    const ModelPointer current = registry_->Current(name);
    if (current == nullptr) continue;
    registry_->Unload(name, "unloaded to keep the memory budget; the next request loads it");
    Tell({.kind = ModelEvent::kUnloaded,
          .model = name,
          .version = current->manifest.version,
          .digest = current->digest().ShortHex(),
          .reason = absl::StrCat("makes room for ", manifest.model)});
  }
  return absl::OkStatus();
}

absl::Status ModelManager::Check(const ServedModel& model) {
  if (checked_.count(model.digest()) != 0) return absl::OkStatus();
  const CanaryOptions& canary = started_ ? options_.canary : options_.start_canary;
  RETURN_IF_ERROR(CanaryCheck(*model.sampler, model.manifest.card, FreshSeed(), canary));
  constexpr size_t kMostRemembered = 4096;
  if (checked_.size() >= kMostRemembered) checked_.clear();
  checked_.insert(model.digest());
  return absl::OkStatus();
}

absl::Status LoadStore(const ModelStore& store, const hf_kernels& kernels, int device, ModelRegistry* registry) {
  return ModelManager(store, kernels, {device}, registry, {}).LoadAll();
}

}  // namespace haarflow
