// Specs: parsed strictly, checked completely.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "core/action/target.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

constexpr uint64_t kMaxSpecBytes = 4 << 20;

// Text format -> ModelSpec. INVALID_ARGUMENT with line and column for what does not parse (unknown fields too), and
// with the field named for what does not make sense (ValidateSpec).
absl::StatusOr<v1::ModelSpec> ParseSpec(const std::string& text);
absl::Status ValidateSpec(const v1::ModelSpec& spec);
// INVALID_ARGUMENT unless [a-z0-9][a-z0-9._-]{0,63} (and not "index.json", which the store uses): safe as a path
// component.
absl::Status ValidateModelName(const std::string& name);

// "name" (version 0: the champion) or "name/version". INVALID_ARGUMENT otherwise.
struct ModelReference {
  std::string name;
  uint64_t version = 0;
};
absl::StatusOr<ModelReference> ParseModelReference(const std::string& reference);

// Whether the model answers for `target` as its own: the same density, or one within the intervals of its conditioning.
bool ServesTarget(const v1::ModelSpec& spec, const v1::Target& target);

}  // namespace haarflow
