// The safetensors format (8-byte little-endian header length, JSON header, raw tensors): own bounded reader and writer.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace haarflow {

struct Tensor {
  enum class Type { kFloat32, kFloat64, kInt64, kUint8 };
  Type type = Type::kFloat32;
  std::vector<int64_t> shape;
  std::string bytes;  // little-endian, C order

  int64_t elements() const;
  // Conversion both ways, float types only. FromDoubles with another type, or with values that do not fill the shape,
  // is a bug of the caller and stops the program; ToDoubles of another type is INVALID_ARGUMENT.
  static Tensor FromDoubles(Type type, std::vector<int64_t> shape, const std::vector<double>& values);
  absl::StatusOr<std::vector<double>> ToDoubles() const;
};
using TensorMap = std::map<std::string, Tensor>;
using StringMap = std::map<std::string, std::string>;

// Deterministic: tensors in name order, header padded with spaces to 8 bytes. `metadata` goes to "__metadata__", which
// is therefore no tensor's name; it is left out when empty. Every tensor's bytes must fill its shape (a caller's bug
// stops the program).
std::string WriteSafetensors(const TensorMap& tensors, const StringMap& metadata);

// Refuses, with DATA_LOSS and the tensor named: truncated data, header over 16 MiB, shapes that overflow, offsets that
// overlap, leave gaps or exceed the file, unknown dtypes and fields, duplicate names, more than 65536 tensors or 8
// dimensions. Allocates in proportion to what the file holds, never to what it claims.
absl::StatusOr<TensorMap> ReadSafetensors(const std::string& bytes, StringMap* metadata = nullptr);

}  // namespace haarflow
