#include "server/registry/registry.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace haarflow {

v1::ModelState ModelRegistry::StateOf(const Entry& entry) {
  if (entry.current != nullptr) return v1::MODEL_STATE_READY;
  if (entry.unloaded != nullptr) return v1::MODEL_STATE_UNLOADED;
  return entry.loading != 0 ? v1::MODEL_STATE_LOADING : v1::MODEL_STATE_REFUSED;
}

v1::ModelState ModelRegistry::VersionState(const Entry& entry, uint64_t version, const Digest& digest,
                                           v1::ModelVersion* shown) {
  if (entry.current != nullptr && entry.current->digest() == digest) {
    shown->set_memory_bytes(static_cast<uint64_t>(entry.current->memory_bytes));
    return v1::MODEL_STATE_READY;
  }
  if (entry.loading == version) return v1::MODEL_STATE_LOADING;
  if (const auto old = entry.retiring.find(digest); old != entry.retiring.end()) {
    if (const auto model = old->second.lock()) {
      shown->set_memory_bytes(static_cast<uint64_t>(model->memory_bytes));
      return v1::MODEL_STATE_RETIRING;
    }
  }
  if (const auto refused = entry.refused.find(version);
      refused != entry.refused.end() && refused->second.digest == digest) {
    shown->set_state_reason(refused->second.reason);
    return v1::MODEL_STATE_REFUSED;
  }
  return v1::MODEL_STATE_UNLOADED;
}

v1::ModelInfo ModelRegistry::InfoOf(const std::string& name, const Entry& entry) {
  v1::ModelInfo info;
  info.set_name(name);
  info.set_state(StateOf(entry));
  info.set_state_reason(entry.reason);
  const ModelFacts* facts = entry.current != nullptr ? entry.current.get() : entry.unloaded.get();
  if (facts != nullptr) {
    info.set_version(facts->manifest.version);
    info.set_digest(facts->digest().Bytes());
    *info.mutable_target() = entry.current != nullptr ? entry.current->target() : facts->spec.target();
    info.set_target_digest(facts->target_digest().Bytes());
    *info.mutable_card() = facts->manifest.card;
    info.set_parameters(facts->parameters);
    *info.mutable_conditioning() = facts->spec.conditioning();
  }
  info.set_generation(entry.index.generation);
  for (const auto& [version, digest] : entry.index.versions) {
    v1::ModelVersion& shown = *info.add_versions();
    shown.set_version(version);
    shown.set_digest(digest.Bytes());
    for (const auto& [alias, named] : entry.index.aliases) {
      if (named == version) shown.add_aliases(alias);
    }
    shown.set_state(VersionState(entry, version, digest, &shown));
  }
  const auto pinned = entry.index.aliases.find(kPinnedAlias);
  if (pinned != entry.index.aliases.end()) info.set_pinned_version(pinned->second);
  return info;
}

absl::StatusOr<ModelRegistry::Description> ModelRegistry::Describe(const std::string& name) const {
  MutexLock lock(&mutex_);
  const auto it = entries_.find(name);
  if (it == entries_.end()) {
    return absl::NotFoundError(absl::StrCat("no model is named \"", name.substr(0, 64), "\"; see ListModels"));
  }
  Description description;
  description.info = InfoOf(name, it->second);
  description.facts = it->second.unloaded;
  if (it->second.current != nullptr) description.facts = it->second.current;
  return description;
}

std::vector<v1::ModelInfo> ModelRegistry::List() const {
  std::vector<v1::ModelInfo> list;
  MutexLock lock(&mutex_);
  for (const auto& [name, entry] : entries_) list.push_back(InfoOf(name, entry));
  return list;
}

std::vector<std::shared_ptr<const ServedModel>> ModelRegistry::Ready() const {
  std::vector<std::shared_ptr<const ServedModel>> ready;
  MutexLock lock(&mutex_);
  for (const auto& [name, entry] : entries_) {
    if (entry.current != nullptr) ready.push_back(entry.current);
  }
  return ready;
}

void ModelRegistry::Touch(const std::string& name) const {
  MutexLock lock(&mutex_);
  const auto it = entries_.find(name);
  if (it != entries_.end()) it->second.last_used = Clock::now();
}

void ModelRegistry::SetIndex(const std::string& name, const ModelIndex& index) {
  MutexLock lock(&mutex_);
  Entry& entry = entries_[name];
  entry.index = index;
  for (auto it = entry.retiring.begin(); it != entry.retiring.end();) {
    it = it->second.expired() ? entry.retiring.erase(it) : std::next(it);
  }
  for (auto it = entry.refused.begin(); it != entry.refused.end();) {
    const auto version = index.versions.find(it->first);
    const bool stands = version != index.versions.end() && version->second == it->second.digest;
    it = stands ? std::next(it) : entry.refused.erase(it);
  }
}

void ModelRegistry::SetLoading(const std::string& name, uint64_t version) {
  MutexLock lock(&mutex_);
  entries_[name].loading = version;
}

std::shared_ptr<const ServedModel> ModelRegistry::Add(std::shared_ptr<const ServedModel> model) {
  const std::string name = model->name();
  MutexLock lock(&mutex_);
  Entry& entry = entries_[name];
  entry.loading = 0;
  entry.reason.clear();
  entry.refused.erase(model->manifest.version);
  entry.retiring.erase(model->digest());
  entry.unloaded.reset();
  entry.last_used = Clock::now();
  std::swap(entry.current, model);
  if (model != nullptr && model->digest() != entry.current->digest()) entry.retiring[model->digest()] = model;
  return model;  // the caller lets go of it, without the lock
}

void ModelRegistry::AddRetiring(const std::shared_ptr<const ServedModel>& model) {
  MutexLock lock(&mutex_);
  Entry& entry = entries_[model->name()];
  entry.loading = 0;
  if (entry.current != nullptr && entry.current->digest() == model->digest()) return;
  entry.retiring[model->digest()] = model;
}

void ModelRegistry::RefuseVersion(const std::string& name, uint64_t version, const Digest& digest,
                                  const absl::Status& reason) {
  MutexLock lock(&mutex_);
  Entry& entry = entries_[name];
  entry.loading = 0;
  entry.refused[version] = {digest, std::string(reason.message())};
  const auto serving = entry.current != nullptr ? entry.current->manifest.version : 0;
  entry.reason = absl::StrCat("version ", version, ": ", std::string(reason.message()));
  if (serving != 0) absl::StrAppend(&entry.reason, "; version ", serving, " goes on");
}

void ModelRegistry::Refuse(const std::string& name, const absl::Status& reason) {
  MutexLock lock(&mutex_);
  Entry& entry = entries_[name];
  entry.loading = 0;
  entry.reason = std::string(reason.message());
}

void ModelRegistry::ClearReason(const std::string& name) {
  MutexLock lock(&mutex_);
  Entry& entry = entries_[name];
  entry.loading = 0;
  if (entry.current != nullptr) entry.reason.clear();
}

void ModelRegistry::Unload(const std::string& name, const std::string& reason) {
  std::shared_ptr<const ServedModel> gone;  // let go of without the lock
  MutexLock lock(&mutex_);
  const auto it = entries_.find(name);
  if (it == entries_.end() || it->second.current == nullptr) return;
  Entry& entry = it->second;
  gone = std::move(entry.current);
  entry.current.reset();
  entry.unloaded = std::make_shared<ModelFacts>(static_cast<const ModelFacts&>(*gone));
  entry.retiring[gone->digest()] = gone;
  entry.reason = reason;
}

void ModelRegistry::AddUnloaded(std::shared_ptr<const ModelFacts> facts, const std::string& reason) {
  const std::string name = facts->name();
  std::shared_ptr<const ServedModel> gone;
  MutexLock lock(&mutex_);
  Entry& entry = entries_[name];
  entry.loading = 0;
  entry.unloaded = std::move(facts);
  gone = std::move(entry.current);
  entry.current.reset();
  if (gone != nullptr) entry.retiring[gone->digest()] = gone;
  entry.reason = reason;
}

std::shared_ptr<const ServedModel> ModelRegistry::Loaded(const std::string& name, const Digest& digest) const {
  MutexLock lock(&mutex_);
  const auto it = entries_.find(name);
  if (it == entries_.end()) return nullptr;
  const Entry& entry = it->second;
  if (entry.current != nullptr && entry.current->digest() == digest) return entry.current;
  const auto old = entry.retiring.find(digest);
  return old == entry.retiring.end() ? nullptr : old->second.lock();
}

std::shared_ptr<const ServedModel> ModelRegistry::Current(const std::string& name) const {
  MutexLock lock(&mutex_);
  const auto it = entries_.find(name);
  return it == entries_.end() ? nullptr : it->second.current;
}

SwapSnapshot ModelRegistry::Snapshot(const std::string& name) const {
  SwapSnapshot snapshot;
  MutexLock lock(&mutex_);
  const auto it = entries_.find(name);
  if (it == entries_.end()) return snapshot;
  const Entry& entry = it->second;
  snapshot.index = entry.index;
  snapshot.has_current = entry.current != nullptr;
  if (snapshot.has_current) snapshot.current = entry.current->digest();
  snapshot.has_unloaded = entry.unloaded != nullptr;
  if (snapshot.has_unloaded) snapshot.unloaded = entry.unloaded->digest();
  for (const auto& [version, refusal] : entry.refused) snapshot.refused.push_back(refusal.digest);
  return snapshot;
}

std::vector<LoadedVersion> ModelRegistry::LoadedVersions() const {
  std::vector<LoadedVersion> loaded;
  MutexLock lock(&mutex_);
  for (const auto& [name, entry] : entries_) {
    if (entry.current != nullptr) {
      const ServedModel& model = *entry.current;
      loaded.push_back({.model = name,
                        .digest = model.digest(),
                        .bytes = model.memory_bytes,
                        .current = true,
                        .in_use = entry.current.use_count() > 1,
                        .last_used = entry.last_used});
    }
    for (const auto& [digest, weak] : entry.retiring) {
      const auto model = weak.lock();
      if (model == nullptr) continue;
      loaded.push_back({.model = name, .digest = digest, .bytes = model->memory_bytes, .in_use = true});
    }
  }
  return loaded;
}

}  // namespace haarflow
