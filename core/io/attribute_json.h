// Attributes of runs as JSON: what stands beside npy and NERSC files and inside ILDG files. Private to core/io.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/io/run_attributes.h"

namespace haarflow {

using Json = nlohmann::ordered_json;

constexpr uint64_t kMaxJsonBytes = 64 << 20;

// Bytes as hexadecimal digits.
Json JsonOf(const std::vector<Attribute>& attributes);
std::string TextOf(const Json& json);

// An object; DATA_LOSS otherwise.
absl::StatusOr<Json> ParseJsonObject(const std::string& text);
// Members of an object; DATA_LOSS, naming the member, where it is absent or of another type.
absl::StatusOr<std::string> JsonText(const Json& json, const char* name);
absl::StatusOr<std::string> JsonBytes(const Json& json, const char* name);  // hexadecimal digits
absl::StatusOr<uint64_t> JsonUnsigned(const Json& json, const char* name);
// Numbers that JSON does not have are the texts "nan", "inf" and "-inf".
Json NumberJson(double value);
absl::StatusOr<double> JsonNumber(const Json& json, const char* name);

// What a stored run says of itself beside its rows.
struct StoredRun {
  v1::SampleHeader header;
  v1::ChainStatistics statistics;
  std::string resume_token;  // empty: a part of a run, or foreign
  std::string sha256;        // of the fields
};
// From the messages in an object, with everything else in it that follows from the header compared: an altered seed or
// digest is DATA_LOSS. The header's own sizes are to be checked by a SampleAssembler.
absl::StatusOr<StoredRun> StoredRunOf(const Json& json);

}  // namespace haarflow
