// The model store on disk. Layout and crash safety: core/model/README.md.
//
//   DIR/index.json                                              reserved for a later release
//   DIR/<model>/index.json                                      {generation, versions: {N: digest}, aliases: {champion:
//   N}} DIR/<model>/<version>/{spec.txtpb, weights.safetensors, manifest.json}
//
// Publishing: temporary directory on the same filesystem, every file fsynced, manifest last, rename, fsync of the
// parent; then the index is replaced by rename. Readers believe index and manifests, never a directory listing or an
// mtime; a version that does not verify (any digest or length differs, spec does not validate, weights do not parse) is
// refused with DATA_LOSS.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/model/manifest.h"
#include "core/model/safetensors.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

// Aliases that mean something to everybody. What is served is the pinned version, or else the champion.
constexpr char kChampionAlias[] = "champion";
constexpr char kPreviousAlias[] = "previous";  // the champion before this one: kept by the store itself
constexpr char kPinnedAlias[] = "pinned";

// A verified version, in memory.
struct StoredModel {
  Manifest manifest;
  std::string manifest_json;
  std::string spec_text;  // the stored bytes
  v1::ModelSpec spec;
  TensorMap weights;
};

// What a publication says beside the model itself.
struct Publication {
  std::vector<std::string> aliases;  // that name the new version ("champion", "candidate"), in the same index
  std::string job;                   // for the manifest; empty: made by hand
  uint64_t attempt = 0;
  uint64_t fence = 0;
};

// A directory of models. Holds no file open and no state but its path: cheap to copy. Safe from many threads and
// processes at once: readers never wait, publications of one model exclude each other.
class ModelStore {
 public:
  // The directory must exist, except for Create, which makes it.
  static absl::StatusOr<ModelStore> Open(const std::string& directory);
  static absl::StatusOr<ModelStore> Create(const std::string& directory);

  const std::string& directory() const { return directory_; }
  // Names of models that have an index, sorted.
  absl::StatusOr<std::vector<std::string>> ListModels() const;
  absl::StatusOr<ModelIndex> ReadIndex(const std::string& model) const;
  // Reads and verifies one version. NOT_FOUND, or DATA_LOSS with the file and both digests.
  absl::StatusOr<StoredModel> Load(const std::string& model, uint64_t version) const;
  // The version that alias `champion` names.
  absl::StatusOr<StoredModel> LoadChampion(const std::string& model) const;
  // "name" (champion) or "name/version".
  absl::StatusOr<StoredModel> LoadByReference(const std::string& reference) const;

  // Writes the next version of spec.name and makes it champion when asked. Verifies what it wrote before the index
  // names it. A left-over of an interrupted publication is never overwritten and never believed. INVALID_ARGUMENT for a
  // spec that does not validate, UNAVAILABLE when another publication of this model holds its lock file (or a crash
  // left it: the message says what to remove), DATA_LOSS when the present index does not verify. A failed call has
  // changed nothing that a reader sees, except when only the very last fsync failed: then the new index may already be
  // there. A lock whose holder is certainly gone (publish_lock.h) is taken over.
  absl::StatusOr<Manifest> Publish(const std::string& spec_text, const TensorMap& weights, const v1::ModelCard& card,
                                   bool make_champion);
  absl::StatusOr<Manifest> Publish(const std::string& spec_text, const TensorMap& weights, const v1::ModelCard& card,
                                   const Publication& publication);
  // Makes `alias` ("champion", "candidate", ...) name `version`, which is verified first. Errors as for Load and
  // Publish.
  absl::Status SetAlias(const std::string& model, const std::string& alias, uint64_t version);
  // INVALID_ARGUMENT for the champion. An alias that is not there is removed already.
  absl::Status RemoveAlias(const std::string& model, const std::string& alias);

 private:
  explicit ModelStore(std::string directory) : directory_(std::move(directory)) {}
  std::string directory_;
};

}  // namespace haarflow
