#include "core/io/attribute_json.h"

#include <cmath>
#include <limits>
#include <type_traits>

#include "absl/strings/escaping.h"
#include "core/action/target.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

absl::Status WrongMember(const char* name) {
  return absl::DataLossError(absl::StrCat("the member ", name, " is missing, or not what it should be"));
}

absl::StatusOr<const Json*> Member(const Json& json, const char* name) {
  const auto found = json.find(name);
  if (found == json.end()) return WrongMember(name);
  return &*found;
}

Json ValueOf(const Attribute& attribute) {
  return std::visit(
      [](const auto& value) -> Json {
        if constexpr (std::is_same_v<std::decay_t<decltype(value)>, OpaqueBytes>) {
          return absl::BytesToHexString(value.bytes);
        } else {
          return value;
        }
      },
      attribute.value);
}

}  // namespace

Json JsonOf(const std::vector<Attribute>& attributes) {
  Json json;
  for (const Attribute& attribute : attributes) json[attribute.name] = ValueOf(attribute);
  return json;
}

std::string TextOf(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

absl::StatusOr<Json> ParseJsonObject(const std::string& text) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::DataLossError("is no JSON object");
  return json;
}

absl::StatusOr<std::string> JsonText(const Json& json, const char* name) {
  ASSIGN_OR_RETURN(const Json* member, Member(json, name));
  if (!member->is_string()) return WrongMember(name);
  return member->get<std::string>();
}

absl::StatusOr<std::string> JsonBytes(const Json& json, const char* name) {
  ASSIGN_OR_RETURN(const std::string hex, JsonText(json, name));
  if (hex.size() % 2 != 0 || hex.find_first_not_of("0123456789abcdef") != std::string::npos) return WrongMember(name);
  return absl::HexStringToBytes(hex);
}

absl::StatusOr<uint64_t> JsonUnsigned(const Json& json, const char* name) {
  ASSIGN_OR_RETURN(const Json* member, Member(json, name));
  if (!member->is_number_unsigned()) return WrongMember(name);
  return member->get<uint64_t>();
}

Json NumberJson(double value) {
  if (std::isfinite(value)) return value;
  if (std::isnan(value)) return "nan";
  return value > 0 ? "inf" : "-inf";
}

absl::StatusOr<double> JsonNumber(const Json& json, const char* name) {
  ASSIGN_OR_RETURN(const Json* member, Member(json, name));
  if (member->is_number()) return member->get<double>();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (*member == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (*member == "inf") return kInfinity;
  if (*member == "-inf") return -kInfinity;
  return WrongMember(name);
}

absl::StatusOr<StoredRun> StoredRunOf(const Json& json) {
  StoredRun run;
  ASSIGN_OR_RETURN(run.sha256, JsonText(json, "sha256"));
  ASSIGN_OR_RETURN(const std::string header, JsonBytes(json, "header_message"));
  if (!run.header.ParseFromString(header)) return WrongMember("header_message");
  RETURN_IF_ERROR(Annotate(ValidateTarget(run.header.target()), "header_message"));
  for (const Attribute& attribute : HeaderAttributes(run.header)) {
    const auto found = json.find(attribute.name);
    if (found != json.end() && *found != ValueOf(attribute)) {
      return absl::DataLossError(absl::StrCat("says ", attribute.name, " ", found->dump().substr(0, 100),
                                              ", but was written with ", ValueOf(attribute).dump().substr(0, 100),
                                              ": one of them was altered"));
    }
  }
  if (json.contains("statistics_message")) {
    ASSIGN_OR_RETURN(const std::string statistics, JsonBytes(json, "statistics_message"));
    if (!run.statistics.ParseFromString(statistics)) return WrongMember("statistics_message");
  }
  if (json.contains("resume_token")) {
    ASSIGN_OR_RETURN(run.resume_token, JsonBytes(json, "resume_token"));
  }
  return run;
}

}  // namespace haarflow
