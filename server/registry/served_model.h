// A model as it is served: what the store says about it and the sampler made of it.
//
// Lifetime: immutable and reference-counted. A stream holds its shared_ptr from its first to its last byte, whatever
// the registry serves meanwhile; after the last holder the model reaper destroys it, on a thread of its own.
// Thread-safety: immutable.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/base/digest.h"
#include "core/model/sampler.h"
#include "core/model/store.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

// What is known of a version without having it in memory.
struct ModelFacts {
  Manifest manifest;
  std::string manifest_json;  // the stored bytes
  std::string spec_text;      // the stored bytes
  v1::ModelSpec spec;
  uint64_t parameters = 0;
  int64_t memory_bytes = 0;  // what the memory budget counts for it

  const std::string& name() const { return manifest.model; }
  const Digest& digest() const { return manifest.digest; }
  const Digest& target_digest() const { return manifest.target_digest; }
};

struct ServedModel : ModelFacts {
  std::shared_ptr<const Sampler> sampler;  // never null
  // By worker, where workers have devices of their own; empty: every worker draws from `sampler`. All draw its bits.
  std::vector<std::shared_ptr<const Sampler>> replicas;

  const Sampler& ForWorker(size_t worker) const { return replicas.empty() ? *sampler : *replicas.at(worker); }

  const v1::Target& target() const { return sampler->target(); }
};

}  // namespace haarflow
