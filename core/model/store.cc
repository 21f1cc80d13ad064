#include "core/model/store.h"

#include <fcntl.h>
#include <google/protobuf/util/field_comparator.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/message_differencer.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "core/base/file.h"
#include "core/base/status.h"
#include "core/model/spec.h"

namespace haarflow {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr char kSpecFile[] = "spec.txtpb";
constexpr char kWeightsFile[] = "weights.safetensors";
constexpr char kManifestFile[] = "manifest.json";
constexpr char kIndexFile[] = "index.json";
constexpr char kLockFile[] = ".lock";
constexpr char kChampion[] = "champion";
constexpr uint64_t kFormat = 1;
constexpr uint64_t kMaxManifestBytes = 1 << 20;
constexpr uint64_t kMaxIndexBytes = 16 << 20;
constexpr size_t kMaxDepth = 8;
constexpr uint64_t kMaxVersion = std::numeric_limits<uint32_t>::max();

std::string Quoted(const std::string& text) { return absl::StrCat("'", absl::CHexEscape(text.substr(0, 80)), "'"); }

// ----------------------------------------------------------------------------------------------------- sealed JSON
//
// A sealed file is a JSON object whose last member, "sha256", is the digest of the file's bytes with its own 64 digits
// replaced by zeros: any altered byte is noticed, also in members that nothing else confirms (a card's numbers, an
// alias).

std::string SealDigits(std::string text, size_t position) {
  return Sha256Of(text.replace(position, 64, std::string(64, '0'))).Hex();
}

constexpr size_t kSealTail = 64 + 4;  // digits, quote, newline, brace, newline

std::string Seal(Json object) {
  object["sha256"] = std::string(64, '0');
  std::string text = object.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  const size_t position = text.size() - kSealTail;
  return text.replace(position, 64, SealDigits(text, position));
}

// Refuses duplicate keys, which a DOM would merge silently, and depth, which costs stack when a DOM is printed.
class StrictCheck {
 public:
  bool start_object(size_t) {
    keys_.emplace_back();
    return keys_.size() + arrays_ <= kMaxDepth || Fail("it is nested too deeply");
  }
  bool end_object() {
    keys_.pop_back();
    return true;
  }
  bool start_array(size_t) { return keys_.size() + ++arrays_ <= kMaxDepth || Fail("it is nested too deeply"); }
  bool end_array() {
    --arrays_;
    return true;
  }
  bool key(std::string& key) {
    return keys_.back().insert(key).second || Fail(absl::StrCat("the key ", Quoted(key), " is there twice"));
  }
  bool null() { return true; }
  bool boolean(bool) { return true; }
  bool number_integer(int64_t) { return true; }
  bool number_unsigned(uint64_t) { return true; }
  bool number_float(double, const std::string&) { return true; }
  bool string(std::string&) { return true; }
  bool binary(Json::binary_t&) { return true; }
  bool parse_error(size_t position, const std::string&, const Json::exception&) {
    return Fail(absl::StrCat("it is not JSON at byte ", position));
  }
  const std::string& error() const { return error_; }

 private:
  bool Fail(std::string message) {
    error_ = std::move(message);
    return false;
  }
  std::vector<std::set<std::string>> keys_;
  size_t arrays_ = 0;
  std::string error_;
};

absl::StatusOr<Json> ParseJson(const std::string& text) {
  StrictCheck check;
  if (!Json::sax_parse(text, &check)) return absl::DataLossError(check.error());
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::DataLossError("it is not a JSON object");
  return json;
}

absl::StatusOr<Json> Unseal(const std::string& text) {
  if (text.size() < kSealTail + 1) return absl::DataLossError("it is truncated");
  const size_t position = text.size() - kSealTail;
  const std::string digits = SealDigits(text, position);
  if (text.compare(position, 64, digits) != 0) {
    return absl::DataLossError(absl::StrCat("its bytes were altered: their SHA-256 is ", digits, ", it says ",
                                            Quoted(text.substr(position, 64))));
  }
  ASSIGN_OR_RETURN(Json json, ParseJson(text));
  const auto seal = json.find("sha256");
  if (seal == json.end() || *seal != digits) return absl::DataLossError("its last member is not its sha256");
  return json;
}

// ------------------------------------------------------------------------------------------- typed members of an
// object

// Members of one JSON object, each checked for type and range, none left over.
class Members {
 public:
  Members(const Json& object, std::string path) : object_(object), path_(std::move(path)) {}

  absl::StatusOr<uint64_t> Uint(const char* key, uint64_t low, uint64_t high) const {
    ASSIGN_OR_RETURN(const Json* value, Find(key));
    if (!value->is_number_unsigned()) return Bad(key, "is not an unsigned integer");
    const auto number = value->get<uint64_t>();
    if (number < low || number > high) return Bad(key, absl::StrCat("is ", number, "; it must be ", low, "..", high));
    return number;
  }
  absl::StatusOr<std::string> String(const char* key) const {
    ASSIGN_OR_RETURN(const Json* value, Find(key));
    if (!value->is_string()) return Bad(key, "is not a string");
    return value->get<std::string>();
  }
  absl::StatusOr<Digest> Hash(const char* key) const {
    ASSIGN_OR_RETURN(const std::string hex, String(key));
    absl::StatusOr<Digest> digest = Digest::FromHex(hex);
    if (!digest.ok()) return Bad(key, "is not a SHA-256 in hexadecimal");
    return digest;
  }
  absl::StatusOr<const Json*> Object(const char* key) const {
    ASSIGN_OR_RETURN(const Json* value, Find(key));
    if (!value->is_object()) return Bad(key, "is not an object");
    return value;
  }
  absl::Status Only(std::initializer_list<const char*> keys) const {
    for (const auto& item : object_.items()) {
      if (std::find(keys.begin(), keys.end(), item.key()) == keys.end()) {
        return absl::DataLossError(absl::StrCat(path_, " has the unknown member ", Quoted(item.key()),
                                                "; it was written by a newer haarflow or damaged"));
      }
    }
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<const Json*> Find(const char* key) const {
    const auto found = object_.find(key);
    if (found == object_.end()) return Bad(key, "is missing");
    return &*found;
  }
  absl::Status Bad(const char* key, const std::string& what) const {
    return absl::DataLossError(absl::StrCat(path_.empty() ? "" : path_ + ".", key, " ", what));
  }

  const Json& object_;
  std::string path_;
};

// "7": digits without sign or leading zero, 1..kMaxVersion. 0 for anything else.
uint64_t ParseVersion(const std::string& text) {
  uint64_t version = 0;
  const bool plain = !text.empty() && text[0] != '0' && text.find_first_not_of("0123456789") == std::string::npos;
  return plain && absl::SimpleAtoi(text, &version) && version <= kMaxVersion ? version : 0;
}

// ---------------------------------------------------------------------------------------------------------- manifest

absl::StatusOr<v1::ModelCard> ParseCard(const Json& json) {
  v1::ModelCard card;
  const std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  const auto status = google::protobuf::util::JsonStringToMessage(text, &card);  // unknown fields are errors
  if (!status.ok()) return absl::DataLossError(absl::StrCat("card: ", status.ToString().substr(0, 200)));
  return card;
}

absl::StatusOr<Json> CardJson(const v1::ModelCard& card) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(card, &text, options);
  Json json = status.ok() ? Json::parse(text, nullptr, false) : Json(Json::value_t::discarded);
  // Protobuf's writer drops what JSON cannot hold (bytes that are not UTF-8, unknown fields): only a card that reads
  // back the same is the card that was given.
  google::protobuf::util::DefaultFieldComparator numbers;
  numbers.set_treat_nan_as_equal(true);
  google::protobuf::util::MessageDifferencer differencer;
  differencer.set_field_comparator(&numbers);
  const auto back = json.is_object() ? ParseCard(json) : absl::InternalError("");
  if (!back.ok() || !differencer.Compare(card, *back)) {
    return absl::InvalidArgumentError(
        "the model card cannot be kept as JSON: its strings must be UTF-8, its fields known");
  }
  return json;
}

Json FileJson(uint64_t bytes, const Digest& digest) { return Json{{"bytes", bytes}, {"sha256", digest.Hex()}}; }

absl::Status ParseFile(const Json& files, const char* name, uint64_t max_bytes, uint64_t* bytes, Digest* digest) {
  ASSIGN_OR_RETURN(const Json* file, Members(files, "files").Object(name));
  const Members members(*file, absl::StrCat("files.", name));
  RETURN_IF_ERROR(members.Only({"bytes", "sha256"}));
  ASSIGN_OR_RETURN(*bytes, members.Uint("bytes", 0, max_bytes));
  ASSIGN_OR_RETURN(*digest, members.Hash("sha256"));
  return absl::OkStatus();
}

absl::StatusOr<Manifest> ManifestOf(const Json& json) {
  const Members members(json, "");
  RETURN_IF_ERROR(members.Uint("format", kFormat, kFormat).status());
  RETURN_IF_ERROR(members.Only({"format", "model", "version", "digest", "files", "target", "target_digest", "job",
                                "attempt", "fence", "card", "sha256"}));
  constexpr uint64_t kAny = std::numeric_limits<uint64_t>::max();
  Manifest manifest;
  ASSIGN_OR_RETURN(manifest.model, members.String("model"));
  ASSIGN_OR_RETURN(manifest.version, members.Uint("version", 1, kMaxVersion));
  ASSIGN_OR_RETURN(manifest.digest, members.Hash("digest"));
  ASSIGN_OR_RETURN(const Json* files, members.Object("files"));
  RETURN_IF_ERROR(Members(*files, "files").Only({kSpecFile, kWeightsFile}));
  RETURN_IF_ERROR(ParseFile(*files, kSpecFile, kMaxSpecBytes, &manifest.spec_bytes, &manifest.spec_digest));
  RETURN_IF_ERROR(ParseFile(*files, kWeightsFile, kMaxWeightsBytes, &manifest.weights_bytes, &manifest.weights_digest));
  ASSIGN_OR_RETURN(manifest.target, members.String("target"));
  ASSIGN_OR_RETURN(manifest.target_digest, members.Hash("target_digest"));
  ASSIGN_OR_RETURN(manifest.job, members.String("job"));
  ASSIGN_OR_RETURN(manifest.attempt, members.Uint("attempt", 0, kAny));
  ASSIGN_OR_RETURN(manifest.fence, members.Uint("fence", 0, kAny));
  ASSIGN_OR_RETURN(const Json* card, members.Object("card"));
  ASSIGN_OR_RETURN(manifest.card, ParseCard(*card));
  return manifest;
}

// ------------------------------------------------------------------------------------------------------------- index

absl::Status ParseVersions(const Json& json, ModelIndex* index) {
  const Members members(json, "versions");
  for (const auto& item : json.items()) {
    const uint64_t version = ParseVersion(item.key());
    if (version == 0)
      return absl::DataLossError(absl::StrCat("versions has the key ", Quoted(item.key()), ", not a version"));
    ASSIGN_OR_RETURN(index->versions[version], members.Hash(item.key().c_str()));
  }
  return absl::OkStatus();
}

absl::Status ParseAliases(const Json& json, ModelIndex* index) {
  const Members members(json, "aliases");
  for (const auto& item : json.items()) {
    if (!ValidateModelName(item.key()).ok()) {
      return absl::DataLossError(absl::StrCat("aliases has the key ", Quoted(item.key()), ", not an alias"));
    }
    ASSIGN_OR_RETURN(const uint64_t version, members.Uint(item.key().c_str(), 1, kMaxVersion));
    if (!index->versions.contains(version)) {
      return absl::DataLossError(
          absl::StrCat("aliases.", item.key(), " is ", version, ", which is not one of the versions"));
    }
    index->aliases[item.key()] = version;
  }
  return absl::OkStatus();
}

absl::StatusOr<ModelIndex> IndexOf(const Json& json, const std::string& model) {
  const Members members(json, "");
  RETURN_IF_ERROR(members.Uint("format", kFormat, kFormat).status());
  RETURN_IF_ERROR(members.Only({"format", "model", "generation", "versions", "aliases", "sha256"}));
  ASSIGN_OR_RETURN(const std::string name, members.String("model"));
  if (name != model) return absl::DataLossError(absl::StrCat("it is the index of ", Quoted(name)));
  ModelIndex index;
  ASSIGN_OR_RETURN(index.generation, members.Uint("generation", 0, std::numeric_limits<uint64_t>::max() - 1));
  ASSIGN_OR_RETURN(const Json* versions, members.Object("versions"));
  RETURN_IF_ERROR(ParseVersions(*versions, &index));
  ASSIGN_OR_RETURN(const Json* aliases, members.Object("aliases"));
  RETURN_IF_ERROR(ParseAliases(*aliases, &index));
  return index;
}

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

std::string HostName() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "unknown-host";
}

// DIR/<model>/.lock, created exclusively: holds on network file systems where flock does not. A crash leaves it behind;
// it is never broken automatically, because who looks cannot know that its holder, perhaps on another host, is gone.
class PublishLock {
 public:
  static absl::StatusOr<PublishLock> Take(const std::string& model_directory) {
    const std::string path = absl::StrCat(model_directory, "/", kLockFile);
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0 && errno == EEXIST) return Held(path);
    if (fd < 0) return ErrnoStatus(errno, absl::StrCat("creating ", path));
    const std::string text = absl::StrCat("pid ", ::getpid(), " on ", HostName(), "\n");
    const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    const int error = errno;
    ::close(fd);
    PublishLock lock(path);  // from here on removed whatever happens
    if (!written) return ErrnoStatus(error, absl::StrCat("writing ", path));
    return lock;
  }
  PublishLock(PublishLock&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  PublishLock& operator=(PublishLock&&) = delete;
  ~PublishLock() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }

 private:
  explicit PublishLock(std::string path) : path_(std::move(path)) {}
  static absl::Status Held(const std::string& path) {
    const absl::StatusOr<std::string> holder = ReadFile(path, 4096);
    std::string who = holder.ok() ? absl::CHexEscape(holder->substr(0, holder->find('\n'))) : "an unknown process";
    return absl::UnavailableError(
        absl::StrCat(path, " is held by ", who,
                     ": another publication is under way, retry; if no such process runs, a crash "
                     "left the file behind: remove it"));
  }
  std::string path_;
};

// A directory that is removed again unless it was renamed away.
class TemporaryDirectory {
 public:
  static absl::StatusOr<TemporaryDirectory> Make(const std::string& parent) {
    static std::atomic<uint64_t> counter{0};
    constexpr int kAttempts = 10000;  // left-overs of crashed processes that had the same pid
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      std::string path = absl::StrCat(parent, "/.publish-", ::getpid(), "-", counter++);
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

absl::Status WriteVersion(const std::string& model_directory, const std::string& spec_text, const std::string& weights,
                          const std::string& manifest_json, uint64_t version) {
  ASSIGN_OR_RETURN(TemporaryDirectory temporary, TemporaryDirectory::Make(model_directory));
  RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(temporary.path(), "/", kSpecFile), spec_text));
  RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(temporary.path(), "/", kWeightsFile), weights));
  RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(temporary.path(), "/", kManifestFile), manifest_json));
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
                  const v1::ModelCard& card, uint64_t version) {
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
  return manifest;
}

std::string ModelDirectory(const std::string& directory, const std::string& model) {
  return absl::StrCat(directory, "/", model);
}

absl::Status WriteIndex(const std::string& model_directory, const std::string& model, ModelIndex index) {
  ++index.generation;
  return WriteFileAtomically(absl::StrCat(model_directory, "/", kIndexFile), FormatIndex(index, model));
}

}  // namespace

// ------------------------------------------------------------------------------------------------------- pure
// functions

Digest ModelDigest(const std::string& spec_text, const std::string& weights) {
  Sha256 sha;
  for (const std::string* file : {&spec_text, &weights}) {
    uint8_t length[8];
    for (int i = 0; i < 8; ++i) length[i] = static_cast<uint8_t>(uint64_t{file->size()} >> (8 * i));
    sha.Update(length, sizeof length).Update(*file);
  }
  return sha.Finish();
}

absl::StatusOr<std::string> FormatManifest(const Manifest& manifest) {
  ASSIGN_OR_RETURN(Json card, CardJson(manifest.card));
  Json json;
  json["format"] = kFormat;
  json["model"] = manifest.model;
  json["version"] = manifest.version;
  json["digest"] = manifest.digest.Hex();
  json["files"][kSpecFile] = FileJson(manifest.spec_bytes, manifest.spec_digest);
  json["files"][kWeightsFile] = FileJson(manifest.weights_bytes, manifest.weights_digest);
  json["target"] = manifest.target;
  json["target_digest"] = manifest.target_digest.Hex();
  json["job"] = manifest.job;
  json["attempt"] = manifest.attempt;
  json["fence"] = manifest.fence;
  json["card"] = std::move(card);
  return Seal(std::move(json));
}

absl::StatusOr<Manifest> ParseManifest(const std::string& text) {
  if (text.size() > kMaxManifestBytes) return absl::DataLossError("it is larger than a manifest may be");
  ASSIGN_OR_RETURN(const Json json, Unseal(text));
  return ManifestOf(json);
}

std::string FormatIndex(const ModelIndex& index, const std::string& model) {
  Json json;
  json["format"] = kFormat;
  json["model"] = model;
  json["generation"] = index.generation;
  json["versions"] = Json::object();
  for (const auto& [version, digest] : index.versions) json["versions"][absl::StrCat(version)] = digest.Hex();
  json["aliases"] = Json::object();
  for (const auto& [alias, version] : index.aliases) json["aliases"][alias] = version;
  return Seal(std::move(json));
}

absl::StatusOr<ModelIndex> ParseIndex(const std::string& text, const std::string& model) {
  if (text.size() > kMaxIndexBytes) return absl::DataLossError("it is larger than an index may be");
  ASSIGN_OR_RETURN(const Json json, Unseal(text));
  return IndexOf(json, model);
}

// -------------------------------------------------------------------------------------------------------------- store

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
  const auto champion = index.aliases.find(kChampion);
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
  ASSIGN_OR_RETURN(const v1::ModelSpec spec, ParseSpec(spec_text));
  const std::string weights_bytes = WriteSafetensors(weights, {});
  if (weights_bytes.size() > kMaxWeightsBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the weights of ", spec.name(), " take ", weights_bytes.size(),
                                                   " bytes, more than the limit of ", kMaxWeightsBytes));
  }
  const std::string model_directory = ModelDirectory(directory_, spec.name());
  if (const absl::Status made = MakeDirectory(model_directory); !made.ok() && !absl::IsAlreadyExists(made)) return made;
  RETURN_IF_ERROR(SyncDirectory(directory_));
  ASSIGN_OR_RETURN(const PublishLock lock, PublishLock::Take(model_directory));

  absl::StatusOr<ModelIndex> index = ReadIndex(spec.name());
  if (absl::IsNotFound(index.status())) index = ModelIndex{};
  RETURN_IF_ERROR(index.status());
  ASSIGN_OR_RETURN(const uint64_t version, FreeVersion(model_directory, *index));
  const Manifest manifest = Describe(spec, spec_text, weights_bytes, card, version);
  ASSIGN_OR_RETURN(const std::string manifest_json, FormatManifest(manifest));
  RETURN_IF_ERROR(WriteVersion(model_directory, spec_text, weights_bytes, manifest_json, version));
  ASSIGN_OR_RETURN(StoredModel stored,
                   LoadVersion(absl::StrCat(model_directory, "/", version), spec.name(), version, manifest.digest));

  index->versions[version] = manifest.digest;
  if (make_champion) index->aliases[kChampion] = version;
  RETURN_IF_ERROR(WriteIndex(model_directory, spec.name(), *std::move(index)));
  return std::move(stored.manifest);
}

absl::Status ModelStore::SetAlias(const std::string& model, const std::string& alias, uint64_t version) {
  RETURN_IF_ERROR(ValidateModelName(model));
  RETURN_IF_ERROR(Annotate(ValidateModelName(alias), "alias"));
  RETURN_IF_ERROR(ReadIndex(model).status());  // NOT_FOUND before a lock is tried in a directory that does not exist
  const std::string model_directory = ModelDirectory(directory_, model);
  ASSIGN_OR_RETURN(const PublishLock lock, PublishLock::Take(model_directory));
  RETURN_IF_ERROR(Load(model, version).status());
  ASSIGN_OR_RETURN(ModelIndex index, ReadIndex(model));
  index.aliases[alias] = version;
  return WriteIndex(model_directory, model, std::move(index));
}

}  // namespace haarflow
