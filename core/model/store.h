// The model store on disk. Layout and crash safety: core/model/README.md.
//
//   DIR/index.json                                              reserved for a later release
//   DIR/<model>/index.json                                      {generation, versions: {N: digest}, aliases: {champion: N}}
//   DIR/<model>/<version>/{spec.txtpb, weights.safetensors, manifest.json}
//
// Publishing: temporary directory on the same filesystem, every file fsynced, manifest last, rename, fsync of the parent; then the
// index is replaced by rename. Readers believe index and manifests, never a directory listing or an mtime; a version that does not
// verify (any digest or length differs, spec does not validate, weights do not parse) is refused with DATA_LOSS.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/digest.h"
#include "core/model/safetensors.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

// What `manifest.json` says.
struct Manifest {
  std::string model;
  uint64_t version = 0;
  Digest digest;         // SHA-256 over the stored bytes: spec.txtpb, then weights.safetensors, each preceded by its length (8 bytes LE)
  Digest spec_digest;
  Digest weights_digest;
  uint64_t spec_bytes = 0;
  uint64_t weights_bytes = 0;
  std::string target;    // CanonicalTarget
  Digest target_digest;
  v1::ModelCard card;
  std::string job;       // the job, attempt and fence that made it; empty for a trainer run by hand
  uint64_t attempt = 0;
  uint64_t fence = 0;
};

struct ModelIndex {
  uint64_t generation = 0;
  std::map<uint64_t, Digest> versions;
  std::map<std::string, uint64_t> aliases;
  uint64_t next_version() const { return versions.empty() ? 1 : versions.rbegin()->first + 1; }
};

// A verified version, in memory.
struct StoredModel {
  Manifest manifest;
  std::string manifest_json;
  std::string spec_text;  // the stored bytes
  v1::ModelSpec spec;
  TensorMap weights;
};

constexpr uint64_t kMaxWeightsBytes = uint64_t{4} << 30;

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

  // Writes the next version of spec.name and makes it champion when asked. Verifies what it wrote before the index names it. A left-over
  // of an interrupted publication is never overwritten and never believed.
  absl::StatusOr<Manifest> Publish(const std::string& spec_text, const TensorMap& weights, const v1::ModelCard& card,
                                   bool make_champion);

 private:
  explicit ModelStore(std::string directory) : directory_(std::move(directory)) {}
  std::string directory_;
};

}  // namespace haarflow
