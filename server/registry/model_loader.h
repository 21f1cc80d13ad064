// From a version in the store to a model that can serve: verified, laid out for the device, drawn from once.
//
// Thread-safety: thread-safe. Lifetime: kernels and reaper must outlive it; the models outlive it.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "core/kernel/kernels.h"
#include "core/model/store.h"
#include "server/registry/model_reaper.h"
#include "server/registry/served_model.h"

namespace haarflow {

class ModelLoader {
 public:
  ModelLoader(ModelStore store, const hf_kernels& kernels, int device, ModelReaper* reaper)
      : store_(std::move(store)), kernels_(kernels), device_(device), reaper_(reaper) {}

  const ModelStore& store() const { return store_; }
  // Reads and verifies. NOT_FOUND, or DATA_LOSS with file and digests.
  absl::StatusOr<StoredModel> Read(const std::string& model, uint64_t version) const;
  // Bytes that the memory budget counts for it: the weights as they are stored and as they are laid out.
  static int64_t MemoryBytes(const Manifest& manifest);
  static std::shared_ptr<const ModelFacts> FactsOf(StoredModel stored);
  // FAILED_PRECONDITION and others: why the model cannot draw on this device.
  absl::StatusOr<std::shared_ptr<const ServedModel>> Make(StoredModel stored) const;

 private:
  const ModelStore store_;
  const hf_kernels& kernels_;
  const int device_;
  ModelReaper* const reaper_;
};

}  // namespace haarflow
