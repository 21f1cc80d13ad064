#include "core/model/manifest.h"

#include <google/protobuf/util/field_comparator.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/message_differencer.h>

#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "core/base/status.h"
#include "core/model/spec.h"

namespace haarflow {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kFormat = 1;
constexpr size_t kMaxDepth = 8;

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

}  // namespace

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

}  // namespace haarflow
