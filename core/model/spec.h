// Specs and targets: parsed strictly, checked completely, named by their bytes.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "core/base/digest.h"
#include "core/lattice/lattice.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

constexpr uint64_t kMaxSpecBytes = 4 << 20;

// Text format -> ModelSpec. INVALID_ARGUMENT with line and column for what does not parse (unknown fields too), and
// with the field named for what does not make sense (ValidateSpec).
absl::StatusOr<v1::ModelSpec> ParseSpec(const std::string& text);
absl::Status ValidateSpec(const v1::ModelSpec& spec);
// INVALID_ARGUMENT with the field's path, for example "target.lattice.shape[0] is 1; ...". Fields that this build does
// not know (a newer client's) are refused: they might change what the target is.
absl::Status ValidateTarget(const v1::Target& target);
// INVALID_ARGUMENT unless [a-z0-9][a-z0-9._-]{0,63} (and not "index.json", which the store uses): safe as a path
// component.
absl::Status ValidateModelName(const std::string& name);

// "name" (version 0: the champion) or "name/version". INVALID_ARGUMENT otherwise.
struct ModelReference {
  std::string name;
  uint64_t version = 0;
};
absl::StatusOr<ModelReference> ParseModelReference(const std::string& reference);

absl::StatusOr<Lattice> LatticeOf(const v1::Target& target);

// The one text of a target: what its digest is taken over and what manifests and files store, for example
// "haarflow target 1\nu1_wilson beta=2\nlattice 16x16 periodic\n". Numbers have 17 significant digits at most, shortest
// form that reads back exactly; -0 is 0. Requires a valid target. Two targets have the same text exactly when they are
// the same density.
std::string CanonicalTarget(const v1::Target& target);
Digest TargetDigest(const v1::Target& target);
// "U(1) Wilson, beta = 2, 16x16": for people.
std::string DescribeTarget(const v1::Target& target);

}  // namespace haarflow
