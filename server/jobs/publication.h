// A trainer's result on its way into the store: verified, judged, published once.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "core/model/store.h"
#include "haarflow/v1/model.pb.h"
#include "server/jobs/job_table.h"

namespace haarflow {

// What a trainer has uploaded.
struct UploadedVersion {
  std::string spec_text;
  std::string weights;  // safetensors
  std::string card;     // serialised ModelCard
  std::string digest;   // the model's, as the trainer computed it
};

// The same, understood.
struct VerifiedVersion {
  std::string spec_text;
  TensorMap weights;
  v1::ModelCard card;
};

// DATA_LOSS: the bytes do not have the digest they should. INVALID_ARGUMENT: a spec, weights or a card that do not
// parse, do not fit together, or are not what the job asked for (name, target, layers of `start`); a card without
// measurement.
absl::StatusOr<VerifiedVersion> VerifyVersion(const JobRecord& job, const v1::ModelSpec& start,
                                              const UploadedVersion& uploaded);

// Whether a version becomes champion. It does when it has the ESS that was asked for, nothing is known against it, and
// the present champion of the model (null: none), if made for the same target, is not better.
struct Verdict {
  bool promote = false;
  std::string reason;  // of a refusal
};
Verdict Judge(const v1::RetuneRequest& request, const v1::ModelCard& card, const StoredModel* champion);

// The version that this job has published, if it has: what a crash between publication and job table leaves.
absl::StatusOr<std::optional<Manifest>> FindPublished(const ModelStore& store, const JobRecord& job);
// Whether an index names `version` champion of `model`.
absl::StatusOr<bool> IsChampion(const ModelStore& store, const std::string& model, uint64_t version);

// Publishes as candidate, and as champion where the verdict says so; at most one version for each job.
struct PublishedVersion {
  Manifest manifest;
  Verdict verdict;
};
absl::StatusOr<PublishedVersion> PublishVersion(ModelStore store, const JobRecord& job, const VerifiedVersion& version);

}  // namespace haarflow
