// What a store says about itself: the manifest of a version and the index of a model, as structures and as JSON.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "core/base/digest.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

constexpr char kSpecFile[] = "spec.txtpb";
constexpr char kWeightsFile[] = "weights.safetensors";
constexpr uint64_t kMaxManifestBytes = 1 << 20;
constexpr uint64_t kMaxIndexBytes = 16 << 20;
constexpr uint64_t kMaxWeightsBytes = uint64_t{4} << 30;
constexpr uint64_t kMaxVersion = std::numeric_limits<uint32_t>::max();

// What `manifest.json` says.
struct Manifest {
  std::string model;
  uint64_t version = 0;
  Digest digest;  // SHA-256 over the stored bytes: spec.txtpb, then weights.safetensors, each preceded by its length (8
                  // bytes LE)
  Digest spec_digest;
  Digest weights_digest;
  uint64_t spec_bytes = 0;
  uint64_t weights_bytes = 0;
  std::string target;  // CanonicalTarget
  Digest target_digest;
  v1::ModelCard card;
  std::string job;  // the job, attempt and fence that made it; empty for a trainer run by hand
  uint64_t attempt = 0;
  uint64_t fence = 0;
};

struct ModelIndex {
  uint64_t generation = 0;
  std::map<uint64_t, Digest> versions;
  std::map<std::string, uint64_t> aliases;
  uint64_t next_version() const { return versions.empty() ? 1 : versions.rbegin()->first + 1; }
};

// Manifest::digest of these stored bytes.
Digest ModelDigest(const std::string& spec_text, const std::string& weights);

// The files' text and back. Both end in the SHA-256 of their own bytes ("sealed"); parsing refuses, with DATA_LOSS, any
// altered byte, duplicate or unknown members, and numbers out of range. FormatManifest: INVALID_ARGUMENT when the card
// is no JSON (not UTF-8).
absl::StatusOr<std::string> FormatManifest(const Manifest& manifest);
absl::StatusOr<Manifest> ParseManifest(const std::string& text);
std::string FormatIndex(const ModelIndex& index, const std::string& model);
absl::StatusOr<ModelIndex> ParseIndex(const std::string& text, const std::string& model);

}  // namespace haarflow
