// How a request finds its model.
#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/action/target.h"
#include "core/base/status.h"
#include "core/model/spec.h"
#include "server/registry/registry.h"

namespace haarflow {
namespace {

constexpr size_t kMostNamesInAMessage = 16;
constexpr size_t kMostNearest = 3;
// Payload of a status that says which version must be loaded first: "name/version". Never leaves the process.
constexpr char kLoadNeededUrl[] = "haarflow.internal/load-needed";

absl::Status NeedsLoading(const std::string& model, uint64_t version) {
  absl::Status status = absl::UnavailableError(
      absl::StrCat("version ", version, " of model ", model, " is not in memory; it is loaded when asked for again"));
  status.SetPayload(kLoadNeededUrl, absl::Cord(absl::StrCat(model, "/", version)));
  return status;
}

// The target nearest to `target` that a model was made for: its own, moved within its intervals.
v1::Target NearestServed(const v1::Target& own, const v1::ModelSpec& spec, const v1::Target& target) {
  v1::Target nearest = own;
  const auto asked = TheoryParameters(target);
  for (const v1::Conditioning& interval : spec.conditioning()) {
    for (const auto& [name, value] : asked) {
      if (name != interval.parameter()) continue;
      SetTheoryParameter(name, std::clamp(value, interval.low(), interval.high()), &nearest).IgnoreError();
    }
  }
  return nearest;
}

// Euclidean, in the parameters of the theory; infinite between two forms of one theory.
double Distance(const v1::Target& a, const v1::Target& b) {
  const auto left = TheoryParameters(a), right = TheoryParameters(b);
  if (!SameForm(a, b)) return std::numeric_limits<double>::infinity();
  double sum = 0;
  for (size_t i = 0; i < left.size(); ++i) {
    sum += (left[i].second - right[i].second) * (left[i].second - right[i].second);
  }
  return std::sqrt(sum);
}

// What makes one of two models that serve a target the better choice: nothing known against it, made for this target
// alone, ESS.
std::tuple<bool, bool, double> Rank(const ModelFacts& model) {
  const v1::ModelCard& card = model.manifest.card;
  return {card.unreliable_reason().empty(), model.spec.conditioning().empty(), card.quality().ess()};
}

// What a user types to have a model made for `target` from the one named.
std::string RetuneCall(const std::string& model, const v1::Target& target) {
  std::string call = absl::StrCat("haarflow retune ", model);
  for (const auto& [name, value] : TheoryParameters(target)) {
    if (!IsUsual(name, value)) absl::StrAppend(&call, " --set ", name, "=", value);
  }
  return call;
}

std::string SomeNames(const std::vector<std::string>& names) {
  if (names.empty()) return "none";
  if (names.size() <= kMostNamesInAMessage) return absl::StrJoin(names, ", ");
  return absl::StrCat(absl::StrJoin(names.begin(), names.begin() + kMostNamesInAMessage, ", "), ", and ",
                      names.size() - kMostNamesInAMessage, " more");
}

absl::Status CheckFields(const v1::Target& target, const std::string& name, const v1::Target& own) {
  if (SameFields(target, own)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("target ", DescribeTarget(target), " has other fields than model ",
                                                 name, " (", DescribeTarget(own),
                                                 "); ask for the target alone, or for a model of those fields"));
}

}  // namespace

std::optional<NeededVersion> LoadNeeded(const absl::Status& status) {
  const auto payload = status.GetPayload(kLoadNeededUrl);
  if (!payload.has_value()) return std::nullopt;
  const std::string text(*payload);
  const size_t slash = text.rfind('/');
  NeededVersion needed;
  if (slash == std::string::npos || !absl::SimpleAtoi(text.substr(slash + 1), &needed.version)) return std::nullopt;
  needed.model = text.substr(0, slash);
  return needed;
}

bool ModelRegistry::Candidate::Serves(const v1::Target& target) const {
  return model != nullptr ? model->sampler->Serves(target) : ServesTarget(facts->spec, target);
}

std::vector<ModelRegistry::Candidate> ModelRegistry::Candidates() const {
  std::vector<Candidate> candidates;
  MutexLock lock(&mutex_);
  for (const auto& [name, entry] : entries_) {
    if (entry.current != nullptr) {
      candidates.push_back({entry.current, entry.current});
    } else if (entry.unloaded != nullptr) {
      candidates.push_back({nullptr, entry.unloaded});
    }
  }
  return candidates;
}

absl::StatusOr<ModelRegistry::Candidate> ModelRegistry::ByName(const std::string& name) const {
  MutexLock lock(&mutex_);
  const auto it = entries_.find(name);
  if (it == entries_.end()) {
    std::vector<std::string> names;
    for (const auto& [known, entry] : entries_) {
      if (entry.current != nullptr || entry.unloaded != nullptr) names.push_back(known);
    }
    return absl::NotFoundError(
        absl::StrCat("no model is named \"", name.substr(0, 64), "\"; models here: ", SomeNames(names)));
  }
  const Entry& entry = it->second;
  if (entry.current != nullptr) return Candidate{entry.current, entry.current};
  if (entry.unloaded != nullptr) return Candidate{nullptr, entry.unloaded};
  if (entry.loading != 0) {
    return absl::UnavailableError(absl::StrCat("model ", name, " is being loaded; try again in a moment"));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("model ", name, " is known but was refused: ", entry.reason, "; publish it again"));
}

absl::StatusOr<ModelRegistry::Candidate> ModelRegistry::ByTarget(const v1::Target& target) const {
  std::optional<Candidate> best;
  for (Candidate& candidate : Candidates()) {
    if (!candidate.Serves(target)) continue;
    if (!best.has_value() || Rank(*candidate.facts) > Rank(*best->facts)) best = std::move(candidate);
  }
  if (!best.has_value()) return NoModelFor(target);
  return *std::move(best);
}

absl::StatusOr<ModelRegistry::Candidate> ModelRegistry::ByDigest(const Candidate& champion, const std::string& name,
                                                                 const Digest& digest) const {
  if (champion.facts->digest() == digest) return champion;
  MutexLock lock(&mutex_);
  const auto it = entries_.find(name);
  if (it == entries_.end()) return absl::NotFoundError(absl::StrCat("no model is named ", name));
  const Entry& entry = it->second;
  if (const auto old = entry.retiring.find(digest); old != entry.retiring.end()) {
    if (auto model = old->second.lock()) return Candidate{model, model};
  }
  for (const auto& [version, known] : entry.index.versions) {
    if (known != digest) continue;
    const auto refused = entry.refused.find(version);
    if (refused == entry.refused.end() || refused->second.digest != digest) return NeedsLoading(name, version);
    return absl::FailedPreconditionError(
        absl::StrCat("version ", version, " of model ", name, " was refused: ", refused->second.reason));
  }
  return absl::FailedPreconditionError(absl::StrCat("model ", name, " is served with digest ",
                                                    champion.facts->digest().ShortHex(), ", not ", digest.ShortHex(),
                                                    " as asked for, and the store names no version with that digest"));
}

absl::Status ModelRegistry::NoModelFor(const v1::Target& target) const {
  std::vector<std::pair<double, std::pair<std::string, std::string>>> nearest;  // distance; name, and how it is told
  for (const Candidate& candidate : Candidates()) {
    if (!SameFields(candidate.target(), target)) continue;
    const v1::Target served = NearestServed(candidate.target(), candidate.facts->spec, target);
    const std::string& name = candidate.facts->name();
    nearest.push_back({Distance(served, target), {name, absl::StrCat(name, " (", DescribeTarget(served), ")")}});
  }
  std::sort(nearest.begin(), nearest.end());
  if (nearest.size() > kMostNearest) nearest.resize(kMostNearest);
  std::vector<std::string> names;
  const std::string call = nearest.empty() ? std::string() : RetuneCall(nearest.front().second.first, target);
  for (auto& [distance, model] : nearest) names.push_back(std::move(model.second));
  const std::string what = absl::StrCat("no model is made for ", DescribeTarget(target));
  if (names.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(what,
                     ", and none has its fields; `haarflow retune MODEL --lattice ... --set ...` from a model of "
                     "another lattice may make one"));
  }
  return absl::FailedPreconditionError(
      absl::StrCat(what, "; nearest: ", absl::StrJoin(names, ", "),
                   ". Name one of them to have it reweighted to the target, or make one with `", call, "`"));
}

absl::StatusOr<ResolvedModel> ModelRegistry::Resolve(const ModelQuery& query) const {
  if (query.model.empty() && query.target == nullptr) {
    return absl::InvalidArgumentError("a request names a model, or a target, or both; this one has neither");
  }
  ResolvedModel found;
  if (query.target != nullptr) {
    RETURN_IF_ERROR(Annotate(ValidateTarget(*query.target), "target"));
    found.target = *query.target;
    found.target_digest = TargetDigest(found.target);
  }
  ASSIGN_OR_RETURN(Candidate candidate, query.model.empty() ? ByTarget(found.target) : ByName(query.model));
  const std::string name = candidate.facts->name();
  if (!query.model_digest.empty()) {
    ASSIGN_OR_RETURN(const Digest asked, Digest::FromBytes(query.model_digest));
    ASSIGN_OR_RETURN(candidate, ByDigest(candidate, name, asked));
  }
  if (query.target != nullptr) {
    RETURN_IF_ERROR(CheckFields(found.target, name, candidate.target()));
  } else if (candidate.model != nullptr) {
    found.target = candidate.model->target();
    found.target_digest = candidate.model->target_digest();
  }
  if (candidate.model == nullptr) return NeedsLoading(name, candidate.facts->manifest.version);
  Touch(name);
  found.model = std::move(candidate.model);
  return found;
}

}  // namespace haarflow
