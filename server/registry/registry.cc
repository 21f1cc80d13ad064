#include "server/registry/registry.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <tuple>
#include <utility>

#include "absl/strings/str_join.h"
#include "core/action/target.h"
#include "core/base/status.h"
#include "core/model/model.h"

namespace haarflow {
namespace {

constexpr size_t kMostNamesInAMessage = 16;
constexpr size_t kMostNearest = 3;

absl::StatusOr<std::shared_ptr<const ServedModel>> MakeServed(StoredModel stored, const hf_kernels& kernels,
                                                              int device) {
  ASSIGN_OR_RETURN(std::shared_ptr<const Model> model, Model::Create(stored.spec, stored.weights, kernels, device));
  // One draw, so that a model that cannot draw on this device is refused now and not in the first stream.
  const std::vector<uint64_t> seed = {0};
  const std::vector<uint64_t> index = {0};
  Proposals proposals;
  RETURN_IF_ERROR(model->Draw(model->target(), seed, index, &proposals));
  auto served = std::make_shared<ServedModel>();
  served->parameters = static_cast<uint64_t>(model->parameters());
  served->sampler = std::move(model);
  served->manifest = std::move(stored.manifest);
  served->manifest_json = std::move(stored.manifest_json);
  served->spec_text = std::move(stored.spec_text);
  served->spec = std::move(stored.spec);
  return served;
}

absl::StatusOr<std::shared_ptr<const ServedModel>> LoadOne(const ModelStore& store, const std::string& name,
                                                           const hf_kernels& kernels, int device) {
  try {
    ASSIGN_OR_RETURN(StoredModel stored, store.LoadChampion(name));
    return MakeServed(std::move(stored), kernels, device);
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("loading ", name, ": ", e.what()));
  }
}

// The target nearest to `target` that `model` was made for: its own, moved within its intervals.
v1::Target NearestServed(const ServedModel& model, const v1::Target& target) {
  v1::Target nearest = model.target();
  const auto asked = TheoryParameters(target);
  for (const v1::Conditioning& interval : model.spec.conditioning()) {
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
  double sum = left.size() == right.size() ? 0 : std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < std::min(left.size(), right.size()); ++i) {
    if (left[i].first != right[i].first) return std::numeric_limits<double>::infinity();
    sum += (left[i].second - right[i].second) * (left[i].second - right[i].second);
  }
  return std::sqrt(sum);
}

// What makes one of two models that serve a target the better choice: nothing known against it, made for this target
// alone, ESS.
std::tuple<bool, bool, double> Rank(const ServedModel& model) {
  const v1::ModelCard& card = model.manifest.card;
  return {card.unreliable_reason().empty(), model.spec.conditioning().empty(), card.quality().ess()};
}

// What a user types to have a model made for `target` from the one named.
std::string RetuneCall(const std::string& model, const v1::Target& target) {
  std::string call = absl::StrCat("haarflow retune ", model);
  for (const auto& [name, value] : TheoryParameters(target)) {
    const bool default_value = value == 0 && (name == "normalisation" || name == "rectangle");
    if (!default_value) absl::StrAppend(&call, " --set ", name, "=", value);
  }
  return call;
}

std::string SomeNames(const std::vector<std::string>& names) {
  if (names.empty()) return "none";
  if (names.size() <= kMostNamesInAMessage) return absl::StrJoin(names, ", ");
  return absl::StrCat(absl::StrJoin(names.begin(), names.begin() + kMostNamesInAMessage, ", "), ", and ",
                      names.size() - kMostNamesInAMessage, " more");
}

absl::Status CheckFields(const v1::Target& target, const ServedModel& model) {
  if (SameFields(target, model.target())) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("target ", DescribeTarget(target), " has other fields than model ",
                                                 model.name(), " (", DescribeTarget(model.target()),
                                                 "); ask for the target alone, or for a model of those fields"));
}

}  // namespace

absl::Status ModelRegistry::LoadStore(const ModelStore& store, const hf_kernels& kernels, int device) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, store.ListModels());
  for (const std::string& name : names) LoadModel(store, name, kernels, device);
  return absl::OkStatus();
}

void ModelRegistry::LoadModel(const ModelStore& store, const std::string& name, const hf_kernels& kernels, int device) {
  auto loaded = LoadOne(store, name, kernels, device);
  if (loaded.ok()) {
    Add(*std::move(loaded));
  } else {
    Refuse(name, loaded.status());
  }
}

void ModelRegistry::Add(std::shared_ptr<const ServedModel> model) {
  Entry entry{std::move(model), ""};
  const std::string name = entry.model->name();
  MutexLock lock(&mutex_);
  std::swap(entries_[name], entry);  // the old model is destroyed after the lock, or by its last stream
}

void ModelRegistry::Refuse(const std::string& name, const absl::Status& reason) {
  MutexLock lock(&mutex_);
  entries_[name] = Entry{nullptr, std::string(reason.message())};
}

absl::StatusOr<std::shared_ptr<const ServedModel>> ModelRegistry::ByName(const std::string& name) const {
  MutexLock lock(&mutex_);
  const auto it = entries_.find(name);
  if (it == entries_.end()) {
    std::vector<std::string> names;
    for (const auto& [known, entry] : entries_) {
      if (entry.model != nullptr) names.push_back(known);
    }
    return absl::NotFoundError(
        absl::StrCat("no model is named \"", name.substr(0, 64), "\"; models here: ", SomeNames(names)));
  }
  if (it->second.model == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("model ", name, " is known but was refused: ", it->second.reason, "; publish it again"));
  }
  return it->second.model;
}

absl::StatusOr<std::shared_ptr<const ServedModel>> ModelRegistry::ByTarget(const v1::Target& target) const {
  std::shared_ptr<const ServedModel> best;
  for (auto& model : Ready()) {
    if (model->sampler->Serves(target) && (best == nullptr || Rank(*model) > Rank(*best))) best = model;
  }
  if (best == nullptr) return NoModelFor(target);
  return best;
}

absl::Status ModelRegistry::NoModelFor(const v1::Target& target) const {
  std::vector<std::pair<double, std::pair<std::string, std::string>>> nearest;  // distance; name, and how it is told
  for (const auto& model : Ready()) {
    if (!SameFields(model->target(), target)) continue;
    const v1::Target served = NearestServed(*model, target);
    nearest.push_back(
        {Distance(served, target), {model->name(), absl::StrCat(model->name(), " (", DescribeTarget(served), ")")}});
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
                     ", and none has its fields; `haarflow retune MODEL --lattice ... --set ...` from a model "
                     "of another lattice may make one"));
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
  if (query.model.empty()) {
    ASSIGN_OR_RETURN(found.model, ByTarget(found.target));
  } else {
    ASSIGN_OR_RETURN(found.model, ByName(query.model));
    if (query.target != nullptr) {
      RETURN_IF_ERROR(CheckFields(found.target, *found.model));
    } else {
      found.target = found.model->target();
      found.target_digest = found.model->target_digest();
    }
  }
  if (!query.model_digest.empty()) {
    ASSIGN_OR_RETURN(const Digest asked, Digest::FromBytes(query.model_digest));
    if (asked != found.model->digest()) {
      return absl::FailedPreconditionError(absl::StrCat("model ", found.model->name(), " is served with digest ",
                                                        found.model->digest().ShortHex(), ", not ", asked.ShortHex(),
                                                        " as asked for"));
    }
  }
  return found;
}

std::vector<v1::ModelInfo> ModelRegistry::List() const {
  std::vector<v1::ModelInfo> list;
  MutexLock lock(&mutex_);
  for (const auto& [name, entry] : entries_) {
    if (entry.model != nullptr) {
      list.push_back(InfoOf(*entry.model));
      continue;
    }
    v1::ModelInfo& info = list.emplace_back();
    info.set_name(name);
    info.set_state(v1::MODEL_STATE_REFUSED);
    info.set_state_reason(entry.reason);
  }
  return list;
}

std::vector<std::shared_ptr<const ServedModel>> ModelRegistry::Ready() const {
  std::vector<std::shared_ptr<const ServedModel>> ready;
  MutexLock lock(&mutex_);
  for (const auto& [name, entry] : entries_) {
    if (entry.model != nullptr) ready.push_back(entry.model);
  }
  return ready;
}

v1::ModelInfo InfoOf(const ServedModel& model) {
  v1::ModelInfo info;
  info.set_name(model.name());
  info.set_version(model.manifest.version);
  info.set_digest(model.digest().Bytes());
  *info.mutable_target() = model.target();
  info.set_target_digest(model.target_digest().Bytes());
  *info.mutable_card() = model.manifest.card;
  info.set_state(v1::MODEL_STATE_READY);
  info.set_parameters(model.parameters);
  *info.mutable_conditioning() = model.spec.conditioning();
  return info;
}

}  // namespace haarflow
