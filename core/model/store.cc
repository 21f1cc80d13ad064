#include "core/model/store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "core/base/failpoint.h"
#include "core/base/file.h"
#include "core/base/status.h"
#include "core/model/publish_lock.h"
#include "core/model/spec.h"

namespace haarflow {
namespace {
namespace fs = std::filesystem;

constexpr char kManifestFile[] = "manifest.json";
constexpr char kIndexFile[] = "index.json";
constexpr char kTemporaryPrefix[] = ".publish-";

std::string Quoted(const std::string& text) { return absl::StrCat("'", absl::CHexEscape(text.substr(0, 80)), "'"); }

// ----------------------------------------------------------------------------------------------------------- reading

absl::Status DataLoss(const absl::Status& status, const std::string& context) {
  return absl::DataLossError(absl::StrCat(context, ": ", status.message()));
}

// A file that may be absent: larger than it may be, or no file at all, is as corrupt as altered. No permission stays no
// permission.
absl::StatusOr<std::string> ReadBounded(const std::string& path, uint64_t max_bytes) {
  absl::StatusOr<std::string> content = ReadFile(path, max_bytes);
  const bool broken = absl::IsResourceExhausted(content.status()) || absl::IsInvalidArgument(content.status());
  if (broken) return absl::DataLossError(content.status().message());
  return content;
}

// A file that must be there, because an index or a manifest says so.
absl::StatusOr<std::string> ReadPromised(const std::string& path, uint64_t max_bytes) {
  absl::StatusOr<std::string> content = ReadBounded(path, max_bytes);
  if (absl::IsNotFound(content.status())) return absl::DataLossError(content.status().message());
  return content;
}

absl::StatusOr<std::string> ReadVerified(const std::string& path, uint64_t bytes, const Digest& digest) {
  ASSIGN_OR_RETURN(std::string content, ReadPromised(path, bytes));
  if (content.size() != bytes) {
    return absl::DataLossError(
        absl::StrCat(path, " has ", content.size(), " bytes, its manifest says ", bytes, "; restore or republish it"));
  }
  const Digest actual = Sha256Of(content);
  if (actual != digest) {
    return absl::DataLossError(absl::StrCat(path, " has the SHA-256 ", actual.Hex(), ", its manifest says ",
                                            digest.Hex(), "; restore or republish it"));
  }
  return content;
}

// The manifest must be the one that was asked for, not merely a good one.
absl::Status CheckIdentity(const Manifest& manifest, const std::string& model, uint64_t version, const Digest& digest) {
  if (manifest.model == model && manifest.version == version && manifest.digest == digest) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("it describes ", Quoted(manifest.model), "/", manifest.version,
                                          " with digest ", manifest.digest.Hex(), ", the index says ", model, "/",
                                          version, " with digest ", digest.Hex()));
}

// Parses what the digests have shown to be the stored bytes.
absl::Status Decode(const std::string& directory, const std::string& weights, StoredModel* stored) {
  absl::StatusOr<v1::ModelSpec> spec = ParseSpec(stored->spec_text);
  if (!spec.ok()) return DataLoss(spec.status(), absl::StrCat(directory, "/", kSpecFile));
  stored->spec = *std::move(spec);
  const Manifest& manifest = stored->manifest;
  const bool agrees = stored->spec.name() == manifest.model &&
                      CanonicalTarget(stored->spec.target()) == manifest.target &&
                      TargetDigest(stored->spec.target()) == manifest.target_digest;
  if (!agrees) {
    return absl::DataLossError(
        absl::StrCat(directory, "/", kManifestFile, " and ", kSpecFile, " disagree on the model's name or target"));
  }
  absl::StatusOr<TensorMap> tensors = ReadSafetensors(weights);
  if (!tensors.ok()) return DataLoss(tensors.status(), absl::StrCat(directory, "/", kWeightsFile));
  stored->weights = *std::move(tensors);
  return absl::OkStatus();
}

absl::StatusOr<StoredModel> LoadVersion(const std::string& directory, const std::string& model, uint64_t version,
                                        const Digest& digest) {
  StoredModel stored;
  const std::string manifest_path = absl::StrCat(directory, "/", kManifestFile);
  ASSIGN_OR_RETURN(stored.manifest_json, ReadPromised(manifest_path, kMaxManifestBytes));
  absl::StatusOr<Manifest> manifest = ParseManifest(stored.manifest_json);
  if (!manifest.ok()) return Annotate(manifest.status(), manifest_path);
  RETURN_IF_ERROR(Annotate(CheckIdentity(*manifest, model, version, digest), manifest_path));
  stored.manifest = *std::move(manifest);
  const Manifest& m = stored.manifest;
  ASSIGN_OR_RETURN(stored.spec_text,
                   ReadVerified(absl::StrCat(directory, "/", kSpecFile), m.spec_bytes, m.spec_digest));
  ASSIGN_OR_RETURN(const std::string weights,
                   ReadVerified(absl::StrCat(directory, "/", kWeightsFile), m.weights_bytes, m.weights_digest));
  const Digest actual = ModelDigest(stored.spec_text, weights);
  if (actual != digest) {
    return absl::DataLossError(
        absl::StrCat(directory, " has the model digest ", actual.Hex(), ", its manifest says ", digest.Hex()));
  }
  RETURN_IF_ERROR(Decode(directory, weights, &stored));
  return stored;
}

// -------------------------------------------------------------------------------------------------------- publishing

bool Exists(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 || errno != ENOENT;
}

absl::Status MakeDirectory(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("creating the directory ", path));
}

// A directory that is removed again unless it was renamed away.
class TemporaryDirectory {
 public:
  static absl::StatusOr<TemporaryDirectory> Make(const std::string& parent) {
    static std::atomic<uint64_t> counter{0};
    constexpr int kAttempts = 10000;  // left-overs of crashed processes that had the same pid
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      std::string path = absl::StrCat(parent, "/", kTemporaryPrefix, ::getpid(), "-", counter++);
      const absl::Status status = MakeDirectory(path);
      if (status.ok()) return TemporaryDirectory(std::move(path));
      if (!absl::IsAlreadyExists(status)) return status;
    }
    return absl::ResourceExhaustedError(absl::StrCat(parent, " is full of .publish-* left-overs; remove them"));
  }
  TemporaryDirectory(TemporaryDirectory&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  TemporaryDirectory& operator=(TemporaryDirectory&&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  absl::Status RenameTo(const std::string& target) {
    if (::rename(path_.c_str(), target.c_str()) != 0) {
      return ErrnoStatus(errno, absl::StrCat("renaming ", path_, " to ", target));
    }
    path_.clear();
    return absl::OkStatus();
  }

 private:
  explicit TemporaryDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// What publications that were killed have left: whoever holds the lock is the only one who writes here.
void RemoveLeftovers(const std::string& model_directory) {
  std::error_code ignored;
  std::vector<fs::path> left;
  for (const auto& entry : fs::directory_iterator(model_directory, ignored)) {
    const std::string name = entry.path().filename().string();
    if (absl::StartsWith(name, kTemporaryPrefix) || absl::StartsWith(name, absl::StrCat(kIndexFile, ".tmp."))) {
      left.push_back(entry.path());
    }
  }
  for (const fs::path& path : left) fs::remove_all(path, ignored);
}

absl::Status WriteVersion(const std::string& model_directory, const std::string& spec_text, const std::string& weights,
                          const std::string& manifest_json, uint64_t version) {
  ASSIGN_OR_RETURN(TemporaryDirectory temporary, TemporaryDirectory::Make(model_directory));
  RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(temporary.path(), "/", kSpecFile), spec_text));
  RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(temporary.path(), "/", kWeightsFile), weights));
  RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(temporary.path(), "/", kManifestFile), manifest_json));
  Failpoint("version files written");
  RETURN_IF_ERROR(temporary.RenameTo(absl::StrCat(model_directory, "/", version)));
  return SyncDirectory(model_directory);
}

// The first version after those of the index whose directory does not exist: a left-over of an interrupted publication
// keeps its number.
absl::StatusOr<uint64_t> FreeVersion(const std::string& model_directory, const ModelIndex& index) {
  for (uint64_t version = index.next_version(); version <= kMaxVersion; ++version) {
    if (!Exists(absl::StrCat(model_directory, "/", version))) return version;
  }
  return absl::ResourceExhaustedError(absl::StrCat(model_directory, " has no free version number below ", kMaxVersion));
}

Manifest Describe(const v1::ModelSpec& spec, const std::string& spec_text, const std::string& weights,
                  const v1::ModelCard& card, const Publication& publication, uint64_t version) {
  Manifest manifest;
  manifest.model = spec.name();
  manifest.version = version;
  manifest.digest = ModelDigest(spec_text, weights);
  manifest.spec_digest = Sha256Of(spec_text);
  manifest.weights_digest = Sha256Of(weights);
  manifest.spec_bytes = spec_text.size();
  manifest.weights_bytes = weights.size();
  manifest.target = CanonicalTarget(spec.target());
  manifest.target_digest = TargetDigest(spec.target());
  manifest.card = card;
  manifest.job = publication.job;
  manifest.attempt = publication.attempt;
  manifest.fence = publication.fence;
  return manifest;
}

std::string ModelDirectory(const std::string& directory, const std::string& model) {
  return absl::StrCat(directory, "/", model);
}

// A new champion leaves the old one under `previous`: the way back.
void MoveAlias(ModelIndex* index, const std::string& alias, uint64_t version) {
  const auto now = index->aliases.find(alias);
  if (alias == kChampionAlias && now != index->aliases.end() && now->second != version) {
    index->aliases[kPreviousAlias] = now->second;
  }
  index->aliases[alias] = version;
}

absl::Status WriteIndex(const std::string& model_directory, const std::string& model, ModelIndex index) {
  ++index.generation;
  return WriteFileAtomically(absl::StrCat(model_directory, "/", kIndexFile), FormatIndex(index, model));
}

}  // namespace

absl::StatusOr<ModelStore> ModelStore::Open(const std::string& directory) {
  std::error_code error;
  if (fs::is_directory(directory, error)) return ModelStore(directory);
  return absl::NotFoundError(
      absl::StrCat("the model store ", Quoted(directory), " is not a directory; create it, or correct the path"));
}

absl::StatusOr<ModelStore> ModelStore::Create(const std::string& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("creating the model store ", directory));
  return Open(directory);
}

absl::StatusOr<std::vector<std::string>> ModelStore::ListModels() const {
  std::error_code error;
  std::vector<std::string> names;
  fs::directory_iterator entries(directory_, error);
  for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
    const std::string name = entries->path().filename().string();
    if (ValidateModelName(name).ok() && Exists(absl::StrCat(directory_, "/", name, "/", kIndexFile)))
      names.push_back(name);
  }
  if (error) return ErrnoStatus(error.value(), absl::StrCat("listing the model store ", directory_));
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<ModelIndex> ModelStore::ReadIndex(const std::string& model) const {
  RETURN_IF_ERROR(ValidateModelName(model));
  const std::string path = absl::StrCat(ModelDirectory(directory_, model), "/", kIndexFile);
  absl::StatusOr<std::string> text = ReadBounded(path, kMaxIndexBytes);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(
        absl::StrCat("no model ", Quoted(model), " in the store ", directory_, ": there is no ", path));
  }
  RETURN_IF_ERROR(text.status());
  absl::StatusOr<ModelIndex> index = ParseIndex(*text, model);
  if (!index.ok()) return Annotate(index.status(), path);
  return index;
}

absl::StatusOr<StoredModel> ModelStore::Load(const std::string& model, uint64_t version) const {
  ASSIGN_OR_RETURN(const ModelIndex index, ReadIndex(model));
  const auto found = index.versions.find(version);
  if (found == index.versions.end()) {
    return absl::NotFoundError(absl::StrCat(
        "model ", model, " has no version ", version, " in the store ", directory_,
        index.versions.empty() ? "; it has none" : absl::StrCat("; the newest is ", index.next_version() - 1)));
  }
  return LoadVersion(absl::StrCat(ModelDirectory(directory_, model), "/", version), model, version, found->second);
}

absl::StatusOr<StoredModel> ModelStore::LoadChampion(const std::string& model) const {
  ASSIGN_OR_RETURN(const ModelIndex index, ReadIndex(model));
  const auto champion = index.aliases.find(kChampionAlias);
  if (champion == index.aliases.end()) {
    return absl::NotFoundError(absl::StrCat("model ", model, " in the store ", directory_,
                                            " has no champion; name a version, or make one champion"));
  }
  const uint64_t version = champion->second;
  return LoadVersion(absl::StrCat(ModelDirectory(directory_, model), "/", version), model, version,
                     index.versions.at(version));
}

absl::StatusOr<StoredModel> ModelStore::LoadByReference(const std::string& reference) const {
  ASSIGN_OR_RETURN(const ModelReference parsed, ParseModelReference(reference));
  return parsed.version == 0 ? LoadChampion(parsed.name) : Load(parsed.name, parsed.version);
}

absl::StatusOr<Manifest> ModelStore::Publish(const std::string& spec_text, const TensorMap& weights,
                                             const v1::ModelCard& card, bool make_champion) {
  Publication publication;
  if (make_champion) publication.aliases.push_back(kChampionAlias);
  return Publish(spec_text, weights, card, publication);
}

absl::StatusOr<Manifest> ModelStore::Publish(const std::string& spec_text, const TensorMap& weights,
                                             const v1::ModelCard& card, const Publication& publication) {
  ASSIGN_OR_RETURN(const v1::ModelSpec spec, ParseSpec(spec_text));
  for (const std::string& alias : publication.aliases) RETURN_IF_ERROR(Annotate(ValidateModelName(alias), "alias"));
  const std::string weights_bytes = WriteSafetensors(weights, {});
  if (weights_bytes.size() > kMaxWeightsBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the weights of ", spec.name(), " take ", weights_bytes.size(),
                                                   " bytes, more than the limit of ", kMaxWeightsBytes));
  }
  const std::string model_directory = ModelDirectory(directory_, spec.name());
  if (const absl::Status made = MakeDirectory(model_directory); !made.ok() && !absl::IsAlreadyExists(made)) return made;
  RETURN_IF_ERROR(SyncDirectory(directory_));
  ASSIGN_OR_RETURN(const PublishLock lock, PublishLock::Take(absl::StrCat(model_directory, "/.lock")));
  RemoveLeftovers(model_directory);

  absl::StatusOr<ModelIndex> index = ReadIndex(spec.name());
  if (absl::IsNotFound(index.status())) index = ModelIndex{};
  RETURN_IF_ERROR(index.status());
  ASSIGN_OR_RETURN(const uint64_t version, FreeVersion(model_directory, *index));
  const Manifest manifest = Describe(spec, spec_text, weights_bytes, card, publication, version);
  ASSIGN_OR_RETURN(const std::string manifest_json, FormatManifest(manifest));
  RETURN_IF_ERROR(WriteVersion(model_directory, spec_text, weights_bytes, manifest_json, version));
  ASSIGN_OR_RETURN(StoredModel stored,
                   LoadVersion(absl::StrCat(model_directory, "/", version), spec.name(), version, manifest.digest));

  Failpoint("version written");
  index->versions[version] = manifest.digest;
  for (const std::string& alias : publication.aliases) MoveAlias(&*index, alias, version);
  RETURN_IF_ERROR(WriteIndex(model_directory, spec.name(), *std::move(index)));
  return std::move(stored.manifest);
}

absl::Status ModelStore::SetAlias(const std::string& model, const std::string& alias, uint64_t version) {
  RETURN_IF_ERROR(ValidateModelName(model));
  RETURN_IF_ERROR(Annotate(ValidateModelName(alias), "alias"));
  RETURN_IF_ERROR(ReadIndex(model).status());  // NOT_FOUND before a lock is tried in a directory that does not exist
  const std::string model_directory = ModelDirectory(directory_, model);
  ASSIGN_OR_RETURN(const PublishLock lock, PublishLock::Take(absl::StrCat(model_directory, "/.lock")));
  RETURN_IF_ERROR(Load(model, version).status());
  ASSIGN_OR_RETURN(ModelIndex index, ReadIndex(model));
  MoveAlias(&index, alias, version);
  Failpoint("alias moving");
  RETURN_IF_ERROR(WriteIndex(model_directory, model, std::move(index)));
  Failpoint("alias moved");
  return absl::OkStatus();
}

absl::Status ModelStore::RemoveAlias(const std::string& model, const std::string& alias) {
  RETURN_IF_ERROR(ReadIndex(model).status());
  if (alias == kChampionAlias) {
    return absl::InvalidArgumentError(
        absl::StrCat("the champion of ", model, " cannot be removed; make another version champion"));
  }
  const std::string model_directory = ModelDirectory(directory_, model);
  ASSIGN_OR_RETURN(const PublishLock lock, PublishLock::Take(absl::StrCat(model_directory, "/.lock")));
  ASSIGN_OR_RETURN(ModelIndex index, ReadIndex(model));
  if (index.aliases.erase(alias) == 0) return absl::OkStatus();
  return WriteIndex(model_directory, model, std::move(index));
}

}  // namespace haarflow
