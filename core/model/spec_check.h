// Checks of a spec's numbers and parts: internal to this folder. A path names a field:
// "layers[2].u1_coupling_stack.network".
#pragma once

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "core/lattice/lattice.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow::spec_check {

template <typename... Parts>
absl::Status Bad(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

inline std::string At(const std::string& path, const char* field, int i) {
  return absl::StrCat(path, ".", field, "[", i, "]");
}

inline absl::Status CheckRange(const std::string& path, uint64_t value, uint64_t low, uint64_t high,
                               const char* why = "") {
  if (value >= low && value <= high) return absl::OkStatus();
  return Bad(path, " is ", value, "; it must be ", low, "..", high, why);
}

inline absl::Status CheckCount(const std::string& path, int count, int low, int high) {
  if (count >= low && count <= high) return absl::OkStatus();
  return Bad(path, " has ", count, " entries; ", low, "..", high, " are supported");
}

inline absl::Status CheckFinite(const std::string& path, double value, bool in_range, const char* range) {
  if (std::isfinite(value) && in_range) return absl::OkStatus();
  return Bad(path, " is ", value, "; it must be ", range);
}

// Layers, prior and conditioning of a spec whose target is valid.
absl::Status CheckLayers(const v1::ModelSpec& spec, const Lattice& lattice);
absl::Status CheckPrior(const v1::ModelSpec& spec);
absl::Status CheckConditioning(const v1::ModelSpec& spec);

}  // namespace haarflow::spec_check
