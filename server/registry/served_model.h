// A model as it is served: what the store says about it and the sampler made of it.
//
// Lifetime: immutable and reference-counted. A stream holds its shared_ptr from its first to its last byte, whatever
// the registry serves meanwhile; the last holder destroys it. Thread-safety: immutable.
#pragma once

#include <memory>
#include <string>

#include "core/base/digest.h"
#include "core/model/sampler.h"
#include "core/model/store.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

struct ServedModel {
  Manifest manifest;
  std::string manifest_json;  // the stored bytes
  std::string spec_text;      // the stored bytes
  v1::ModelSpec spec;
  std::shared_ptr<const Sampler> sampler;  // never null
  uint64_t parameters = 0;

  const std::string& name() const { return manifest.model; }
  const Digest& digest() const { return manifest.digest; }
  const v1::Target& target() const { return sampler->target(); }
  const Digest& target_digest() const { return manifest.target_digest; }
};

}  // namespace haarflow
