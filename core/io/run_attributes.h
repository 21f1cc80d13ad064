// What a finished file says about itself: one list, written alike as HDF5 attributes and as JSON.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "core/io/part_file.h"

namespace haarflow {

struct OpaqueBytes {
  std::string bytes;
};
struct Attribute {
  std::string name;
  std::variant<std::string, OpaqueBytes, double, uint64_t, bool, std::vector<std::string>, std::vector<uint64_t>> value;
};

// Those that the header alone says: whatever a file says beside its header message must agree with it. Requires a valid
// target.
std::vector<Attribute> HeaderAttributes(const v1::SampleHeader& header);
// The attributes of a run whose fields have this SHA-256. INVALID_ARGUMENT when its target makes no sense.
absl::StatusOr<std::vector<Attribute>> AttributesOf(const PartContents& run, const std::string& fields_sha256_hex);

// "haarflow 0.1.0"
std::string CreatorName();

// The name of the dataset of fields: "links" of a gauge theory, else "field".
std::string FieldName(const v1::Target& target);
// The axes of one configuration: "mu,y,x" of U(1) links, "mu,y,x,row,column" of SU(N) ones, "y,x" of a scalar,
// "component,y,x" of an O(2) field.
std::string AxisNames(const v1::Target& target);
// Fields of SU(N): the last axis of the header's shape is (real part, imaginary part), which files hold as one complex
// number.
bool IsComplex(const v1::Target& target);
// The shape of one configuration in files: of the header, without that axis.
std::vector<uint64_t> FileShape(const v1::SampleHeader& header);

}  // namespace haarflow
