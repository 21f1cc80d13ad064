// The models that this server knows: which are served, which were refused and why.
//
// A model is READY (verified, laid out for the device, drawn from once) or REFUSED with its reason; a refused model is
// listed and never served. Lookups hand out shared_ptr<const ServedModel>: replacing a model never disturbs who holds
// the old one.
//
// Example: registry.LoadStore(store, kernels, device); auto found = registry.Resolve({.model = "u1-l16-b2"});
// Thread-safety: thread-safe. Ownership: owns its entries, shared with the streams.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/mutex.h"
#include "core/kernel/kernels.h"
#include "core/model/store.h"
#include "haarflow/v1/sampler.pb.h"
#include "server/registry/served_model.h"

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

class ModelRegistry {
 public:
  ModelRegistry() = default;
  ModelRegistry(const ModelRegistry&) = delete;
  ModelRegistry& operator=(const ModelRegistry&) = delete;

  // Loads the champion of every model of `store`. A model that does not verify is kept as REFUSED; the error is that of
  // the store as a whole.
  absl::Status LoadStore(const ModelStore& store, const hf_kernels& kernels, int device);
  // The same for one model.
  void LoadModel(const ModelStore& store, const std::string& name, const hf_kernels& kernels, int device);
  // Serves `model` under its name, replacing what was there.
  void Add(std::shared_ptr<const ServedModel> model);
  void Refuse(const std::string& name, const absl::Status& reason);

  // The model and the target of a request. A target alone is given to the best of the models made for it: one without a
  // known defect before one with, one made for this target alone before a conditional one, then by the ESS of the card.
  //
  // INVALID_ARGUMENT: neither model nor target; a target that is none, or of other fields than the model's; a digest of
  // wrong length. NOT_FOUND: no model of that name (the message names those there are). FAILED_PRECONDITION: refused
  // model; another digest than asked for; no model made for that target (the message names the nearest).
  absl::StatusOr<ResolvedModel> Resolve(const ModelQuery& query) const;
  // NOT_FOUND or FAILED_PRECONDITION as above.
  absl::StatusOr<std::shared_ptr<const ServedModel>> ByName(const std::string& name) const;

  // Everything known, by name.
  std::vector<v1::ModelInfo> List() const;
  // READY models.
  std::vector<std::shared_ptr<const ServedModel>> Ready() const;

 private:
  struct Entry {
    std::shared_ptr<const ServedModel> model;  // null when refused
    std::string reason;
  };
  absl::StatusOr<std::shared_ptr<const ServedModel>> ByTarget(const v1::Target& target) const;
  absl::Status NoModelFor(const v1::Target& target) const;

  mutable Mutex mutex_;
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);
};

v1::ModelInfo InfoOf(const ServedModel& model);

}  // namespace haarflow
