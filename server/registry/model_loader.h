// From a version in the store to a model that can serve: verified, laid out for every device, drawn from once on each.
//
// Thread-safety: thread-safe. Lifetime: kernels and reaper must outlive it; the models outlive it.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "core/kernel/kernels.h"
#include "core/model/store.h"
#include "server/registry/model_reaper.h"
#include "server/registry/served_model.h"

namespace haarflow {

class ModelLoader {
 public:
  // `devices`: the number of each worker's device, at least one; a model is laid out once for each different number.
  ModelLoader(ModelStore store, const hf_kernels& kernels, std::vector<int> devices, ModelReaper* reaper);

  const ModelStore& store() const { return store_; }
  // Reads and verifies. NOT_FOUND, or DATA_LOSS with file and digests.
  absl::StatusOr<StoredModel> Read(const std::string& model, uint64_t version) const;
  // Bytes that the memory budget counts for it on one device: the weights as they are stored and as they are laid out.
  static int64_t MemoryBytes(const Manifest& manifest);
  // The same on all devices.
  int64_t TotalBytes(const Manifest& manifest) const { return copies_ * MemoryBytes(manifest); }
  std::shared_ptr<const ModelFacts> FactsOf(StoredModel stored) const;
  // FAILED_PRECONDITION and others: why the model cannot draw on a device. INTERNAL: devices draw different bits.
  absl::StatusOr<std::shared_ptr<const ServedModel>> Make(StoredModel stored) const;

 private:
  void Keep(StoredModel stored, ModelFacts* facts) const;

  const ModelStore store_;
  const hf_kernels& kernels_;
  const std::vector<int> devices_;
  const int64_t copies_;  // different numbers among them
  ModelReaper* const reaper_;
};

}  // namespace haarflow
