#include "server/jobs/publication.h"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/base/failpoint.h"
#include "core/base/status.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "core/model/spec.h"
#include "server/jobs/retune_plan.h"

namespace haarflow {
namespace {

constexpr uint64_t kLeastSamples = 1024;  // behind a card's ESS
constexpr char kCandidate[] = "candidate";

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

// Name, target, prior and layers are the job's business; seed, plan and description the trainer's.
absl::Status CheckSpec(const JobRecord& job, const v1::ModelSpec& start, const v1::ModelSpec& made) {
  ASSIGN_OR_RETURN(v1::ModelSpec wanted, RetunedSpec(start, job.publish_model, job.request.target()));
  v1::ModelSpec got = made;
  for (v1::ModelSpec* spec : {&wanted, &got}) {
    spec->clear_training();
    spec->clear_description();
    spec->clear_target();
  }
  if (CanonicalTarget(made.target()) != CanonicalTarget(job.request.target())) {
    return Invalid(absl::StrCat("the spec is for ", DescribeTarget(made.target()), ", the job for ",
                                DescribeTarget(job.request.target())));
  }
  if (wanted.SerializeAsString() != got.SerializeAsString()) {
    return Invalid(absl::StrCat("the spec has another name, prior or layers than job ", job.id, " is about"));
  }
  return absl::OkStatus();
}

absl::Status CheckCard(const v1::ModelCard& card) {
  const v1::EnsembleQuality& quality = card.quality();
  const bool good = std::isfinite(quality.ess()) && quality.ess() >= 0 && quality.ess() <= 1 &&
                    quality.ess_error() >= 0 && quality.ess_error() <= 1 && quality.samples() >= kLeastSamples;
  if (good) return absl::OkStatus();
  return Invalid(absl::StrCat("the card's quality is no measurement: ESS ", quality.ess(), " on ", quality.samples(),
                              " samples (at least ", kLeastSamples, ")"));
}

}  // namespace

absl::StatusOr<VerifiedVersion> VerifyVersion(const JobRecord& job, const v1::ModelSpec& start,
                                              const UploadedVersion& uploaded) {
  const Digest actual = ModelDigest(uploaded.spec_text, uploaded.weights);
  if (actual.Bytes() != uploaded.digest) {
    return absl::DataLossError(
        absl::StrCat("the uploaded version has the digest ", actual.ShortHex(), ", not the one it was announced with"));
  }
  VerifiedVersion version{.spec_text = uploaded.spec_text};
  ASSIGN_OR_RETURN(const v1::ModelSpec spec, ParseSpec(uploaded.spec_text));
  RETURN_IF_ERROR(CheckSpec(job, start, spec));
  ASSIGN_OR_RETURN(version.weights, ReadSafetensors(uploaded.weights));
  if (WriteSafetensors(version.weights, {}) != uploaded.weights) {
    return Invalid("the weights are not in the store's own order; write them with WriteSafetensors");
  }
  if (!version.card.ParseFromString(uploaded.card)) return Invalid("the card is no ModelCard");
  RETURN_IF_ERROR(CheckCard(version.card));
  RETURN_IF_ERROR(Model::Create(spec, version.weights, CpuKernels(), 0).status());
  return version;
}

Verdict Judge(const v1::RetuneRequest& request, const v1::ModelCard& card, const StoredModel* champion) {
  const double ess = card.quality().ess();
  std::vector<std::string> faults;
  if (ess < request.requested_ess()) {
    faults.push_back(absl::StrFormat("reached ESS %.4f +- %.4f of %.4f asked for", ess, card.quality().ess_error(),
                                     request.requested_ess()));
  }
  if (card.quality().invalid_weights() > 0) {
    faults.push_back(absl::StrCat(card.quality().invalid_weights(), " weights are NaN or infinite"));
  }
  if (!card.unreliable_reason().empty()) faults.push_back(absl::StrCat("not reliable: ", card.unreliable_reason()));
  if (!faults.empty()) return {false, absl::StrJoin(faults, "; ")};
  const bool same = champion != nullptr &&
                    CanonicalTarget(champion->spec.target()) == CanonicalTarget(request.target()) &&
                    champion->manifest.card.unreliable_reason().empty();
  const double present = same ? champion->manifest.card.quality().ess() : 0;
  if (ess + 2 * card.quality().ess_error() < present) {
    return {false, absl::StrFormat("the champion, version %d, is better: ESS %.4f against %.4f",
                                   champion->manifest.version, present, ess)};
  }
  return {true, ""};
}

absl::StatusOr<std::optional<Manifest>> FindPublished(const ModelStore& store, const JobRecord& job) {
  const absl::StatusOr<ModelIndex> index = store.ReadIndex(job.publish_model);
  if (absl::IsNotFound(index.status())) return std::optional<Manifest>();
  RETURN_IF_ERROR(index.status());
  for (auto it = index->versions.rbegin(); it != index->versions.rend(); ++it) {
    absl::StatusOr<StoredModel> stored = store.Load(job.publish_model, it->first);
    if (stored.ok() && stored->manifest.job == job.id) return std::optional<Manifest>(std::move(stored->manifest));
  }
  return std::optional<Manifest>();
}

absl::StatusOr<bool> IsChampion(const ModelStore& store, const std::string& model, uint64_t version) {
  ASSIGN_OR_RETURN(const ModelIndex index, store.ReadIndex(model));
  const auto champion = index.aliases.find(kChampionAlias);
  return champion != index.aliases.end() && champion->second == version;
}

absl::StatusOr<PublishedVersion> PublishVersion(ModelStore store, const JobRecord& job,
                                                const VerifiedVersion& version) {
  const absl::StatusOr<StoredModel> champion = store.LoadChampion(job.publish_model);
  // None, or none that verifies: nothing to be better than. Any other error says nothing about it.
  if (!champion.ok() && !absl::IsNotFound(champion.status()) && !absl::IsDataLoss(champion.status())) {
    return champion.status();
  }
  PublishedVersion published;
  published.verdict = Judge(job.request, version.card, champion.ok() ? &*champion : nullptr);
  ASSIGN_OR_RETURN(std::optional<Manifest> before, FindPublished(store, job));
  if (before.has_value()) {
    published.manifest = *std::move(before);
    ASSIGN_OR_RETURN(published.verdict.promote, IsChampion(store, job.publish_model, published.manifest.version));
    return published;
  }
  Publication publication{.aliases = {kCandidate}, .job = job.id, .attempt = job.attempt, .fence = job.fence};
  if (published.verdict.promote) publication.aliases.emplace_back(kChampionAlias);
  ASSIGN_OR_RETURN(published.manifest, store.Publish(version.spec_text, version.weights, version.card, publication));
  Failpoint("published");
  return published;
}

}  // namespace haarflow
