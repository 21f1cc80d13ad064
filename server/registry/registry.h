// The models that this server knows: which are served, which are not and why.
//
// A model is READY (one of its versions answers), LOADING (its first version is on the way), REFUSED (none passed) or
// UNLOADED (out of memory, the next request that needs it brings it back). server/README.md has the transitions.
// Lookups hand out shared_ptr<const ServedModel>: replacing a model never disturbs who holds the old one, and a
// replaced version is found again by its digest for as long as anybody holds it.
//
// Two sides. Requests ask (Resolve, Describe, List): microseconds, no file is touched. The model manager tells (Add,
// RefuseVersion, Unload, ...): it alone changes the table.
//
// Example: auto found = registry.Resolve({.model = "u1-l16-b2"});
// Thread-safety: thread-safe. Ownership: owns its entries, shared with the streams.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/mutex.h"
#include "core/model/store.h"
#include "haarflow/v1/sampler.pb.h"
#include "server/registry/served_model.h"
#include "server/registry/swap_policy.h"

namespace haarflow {

// What a request asks for. Empty or null members are "not given".
struct ModelQuery {
  std::string model;
  std::string model_digest;            // 32 bytes
  const v1::Target* target = nullptr;  // what to be exact for
};

// What serves it.
struct ResolvedModel {
  std::shared_ptr<const ServedModel> model;
  v1::Target target;
  Digest target_digest;
};

// A version that has to be brought into memory before a request can be answered.
struct NeededVersion {
  std::string model;
  uint64_t version = 0;
};
// Of the status of a Resolve that failed for want of it alone; nothing for any other status.
std::optional<NeededVersion> LoadNeeded(const absl::Status& status);

class ModelRegistry {
 public:
  ModelRegistry() = default;
  ModelRegistry(const ModelRegistry&) = delete;
  ModelRegistry& operator=(const ModelRegistry&) = delete;

  // ------------------------------------------------------------------------------------------- what requests ask

  // The model and the target of a request. A target alone is given to the best of the models made for it: one without a
  // known defect before one with, one made for this target alone before a conditional one, then by the ESS of the card.
  // A digest names a version: the one that is served, an older one that streams still hold, or one of the store.
  //
  // INVALID_ARGUMENT: neither model nor target; a target that is none, or of other fields than the model's; a digest of
  // wrong length. NOT_FOUND: no model of that name (the message names those there are). FAILED_PRECONDITION: refused
  // model; a digest that the store does not have; no model made for that target (the message names the nearest).
  // UNAVAILABLE: still loading, or LoadNeeded().
  absl::StatusOr<ResolvedModel> Resolve(const ModelQuery& query) const;

  struct Description {
    v1::ModelInfo info;
    std::shared_ptr<const ModelFacts> facts;  // null when no version was ever loaded
  };
  // NOT_FOUND.
  absl::StatusOr<Description> Describe(const std::string& name) const;
  // Everything known, by name.
  std::vector<v1::ModelInfo> List() const;
  // READY models.
  std::vector<std::shared_ptr<const ServedModel>> Ready() const;

  // ------------------------------------------------------------------------------------------ what the manager tells

  // What the index of `name` says.
  void SetIndex(const std::string& name, const ModelIndex& index);
  // A version that is being loaded to be served: shown, and the state of a model that has none yet.
  void SetLoading(const std::string& name, uint64_t version);
  // Serves `model` under its name from now on. The version it replaces lives on with its streams; it is returned.
  std::shared_ptr<const ServedModel> Add(std::shared_ptr<const ServedModel> model);
  // Keeps a version that streams will name by its digest, for as long as they hold it.
  void AddRetiring(const std::shared_ptr<const ServedModel>& model);
  // A version that must not be served. The one that is served goes on.
  void RefuseVersion(const std::string& name, uint64_t version, const Digest& digest, const absl::Status& reason);
  // Nothing new can be learned about the model: an index that does not verify, no champion. What is served goes on.
  void Refuse(const std::string& name, const absl::Status& reason);
  // Out of memory: what is known stays.
  void Unload(const std::string& name, const std::string& reason);
  // Known, verified and not in memory.
  void AddUnloaded(std::shared_ptr<const ModelFacts> facts, const std::string& reason);
  // Nothing stands against the present version any more: drops the reason that Refuse left.
  void ClearReason(const std::string& name);

  // A version in memory, whoever holds it; null when there is none.
  std::shared_ptr<const ServedModel> Loaded(const std::string& name, const Digest& digest) const;
  std::shared_ptr<const ServedModel> Current(const std::string& name) const;
  // For the policies. The index is not in the first.
  SwapSnapshot Snapshot(const std::string& name) const;
  std::vector<LoadedVersion> LoadedVersions() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Refusal {
    Digest digest;
    std::string reason;
  };
  struct Entry {
    std::shared_ptr<const ServedModel> current;  // null unless READY
    std::shared_ptr<const ModelFacts> unloaded;  // of the version that a request would bring back
    std::string reason;                          // why not READY, or what stands against a newer version
    uint64_t loading = 0;                        // version, 0: none
    ModelIndex index;
    std::map<uint64_t, Refusal> refused;  // by version
    std::map<Digest, std::weak_ptr<const ServedModel>> retiring;
    mutable Clock::time_point last_used;
  };
  // The answer of one entry to a query, or null: there is no such entry.
  struct Candidate {
    std::shared_ptr<const ServedModel> model;
    std::shared_ptr<const ModelFacts> facts;  // never null; the model's own when it is loaded
    const v1::Target& target() const { return model != nullptr ? model->target() : facts->spec.target(); }
    bool Serves(const v1::Target& target) const;
  };
  std::vector<Candidate> Candidates() const;
  absl::StatusOr<Candidate> ByName(const std::string& name) const;
  absl::StatusOr<Candidate> ByTarget(const v1::Target& target) const;
  // Version `digest` of the candidate's model.
  absl::StatusOr<Candidate> ByDigest(const Candidate& champion, const std::string& name, const Digest& digest) const;
  absl::Status NoModelFor(const v1::Target& target) const;
  void Touch(const std::string& name) const;
  static v1::ModelState StateOf(const Entry& entry);
  static v1::ModelState VersionState(const Entry& entry, uint64_t version, const Digest& digest,
                                     v1::ModelVersion* shown);
  static v1::ModelInfo InfoOf(const std::string& name, const Entry& entry);

  mutable Mutex mutex_;
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace haarflow
