#include "server/jobs/retune_plan.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "core/action/target.h"
#include "core/base/status.h"
#include "core/model/spec.h"

namespace haarflow {
namespace {

constexpr size_t kMaxKeyBytes = 128;
constexpr size_t kMostReasons = 4;

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

// Euclidean, to the nearest point of the interval of a conditional model.
double Distance(const v1::ModelSpec& spec, const v1::Target& target) {
  const auto own = TheoryParameters(spec.target()), asked = TheoryParameters(target);
  double sum = 0;
  for (size_t i = 0; i < asked.size(); ++i) {
    double from = own[i].second;
    for (const v1::Conditioning& c : spec.conditioning()) {
      if (c.parameter() == asked[i].first) from = std::clamp(asked[i].second, c.low(), c.high());
    }
    sum += (asked[i].second - from) * (asked[i].second - from);
  }
  return std::sqrt(sum);
}

bool SameLattice(const v1::Target& a, const v1::Target& b) {
  return std::equal(a.lattice().shape().begin(), a.lattice().shape().end(), b.lattice().shape().begin(),
                    b.lattice().shape().end());
}

// Why a version cannot be taken to `target`; empty: it can.
std::string Obstacle(const v1::ModelSpec& spec, const v1::Target& target) {
  v1::Target on_its_lattice = target;
  *on_its_lattice.mutable_lattice() = spec.target().lattice();
  if (!SameFields(on_its_lattice, spec.target())) return "has other fields";
  if (spec.prior().has_perfect()) return "is a perfect sampler, served for every beta as it is";
  if (!SameForm(spec.target(), target)) return "gives its action in another form";
  const auto made = RetunedSpec(spec, "name", target);
  return made.ok() ? std::string() : std::string(made.status().message());
}

std::string Reference(const Manifest& manifest) { return absl::StrCat(manifest.model, "/", manifest.version); }

absl::Status ServedAlready(const std::vector<RetuneCandidate>& candidates, const v1::RetuneRequest& request,
                           const std::string& publish_model) {
  for (const RetuneCandidate& c : candidates) {
    if (!c.champion || c.manifest.model != publish_model || !c.spec.conditioning().empty()) continue;
    const double ess = c.manifest.card.quality().ess();
    const bool good = c.manifest.card.unreliable_reason().empty() && ess >= request.requested_ess();
    if (good && CanonicalTarget(c.spec.target()) == CanonicalTarget(request.target())) {
      return absl::FailedPreconditionError(
          absl::StrFormat("%s serves %s with ESS %.4f already, %.4f asked for: nothing to do", Reference(c.manifest),
                          DescribeTarget(request.target()), ess, request.requested_ess()));
    }
  }
  return absl::OkStatus();
}

absl::Status NoStart(const std::vector<RetuneCandidate>& candidates, const v1::RetuneRequest& request) {
  std::vector<std::string> reasons;
  for (const RetuneCandidate& c : candidates) {
    if (reasons.size() < kMostReasons) {
      reasons.push_back(absl::StrCat(Reference(c.manifest), " ", Obstacle(c.spec, request.target())));
    }
  }
  return absl::FailedPreconditionError(
      absl::StrCat("no model can be re-tuned to ", DescribeTarget(request.target()), ": ",
                   reasons.empty() ? std::string("there is none") : absl::StrJoin(reasons, "; "),
                   "; train one with `haarflow-trainer train`"));
}

std::string PublishModel(const std::vector<RetuneCandidate>& candidates, const v1::RetuneRequest& request) {
  if (!request.publish_as().empty()) return request.publish_as();
  for (const RetuneCandidate& c : candidates) {
    const bool same = CanonicalTarget(c.spec.target()) == CanonicalTarget(request.target());
    if (c.champion && same && c.manifest.model == request.model()) return request.model();
  }
  return NameOfTarget(request.target());
}

}  // namespace

absl::Status CheckRetuneRequest(const v1::RetuneRequest& request) {
  if (request.idempotency_key().empty() || request.idempotency_key().size() > kMaxKeyBytes) {
    return Invalid(absl::StrCat("idempotency_key has ", request.idempotency_key().size(), " bytes; it must have 1 to ",
                                kMaxKeyBytes, ": choose one for each wish, and repeat it when you repeat the call"));
  }
  if (!request.has_target()) return Invalid("target is not given");
  RETURN_IF_ERROR(Annotate(ValidateTarget(request.target()), "target"));
  if (!(request.requested_ess() > 0 && request.requested_ess() < 1)) {
    return Invalid(absl::StrCat("requested_ess is ", request.requested_ess(), "; it must lie between 0 and 1"));
  }
  const double budget = request.budget_seconds();
  if (budget != 0 && !(budget >= 1 && budget <= kMostBudgetSeconds)) {
    return Invalid(absl::StrCat("budget_seconds is ", budget, "; it must be 1 to ", kMostBudgetSeconds, ", or 0 for ",
                                kDefaultBudgetSeconds));
  }
  if (!request.publish_as().empty()) {
    RETURN_IF_ERROR(Annotate(ValidateModelName(request.publish_as()), "publish_as"));
  }
  if (!request.model().empty()) RETURN_IF_ERROR(Annotate(ValidateModelName(request.model()), "model"));
  return absl::OkStatus();
}

std::string CanonicalRequest(const v1::RetuneRequest& request) {
  return absl::StrFormat("model %s\nas %s\ness %.17g\nbudget %.17g\npriority %d\n%s", request.model(),
                         request.publish_as(), request.requested_ess(), request.budget_seconds(), request.priority(),
                         CanonicalTarget(request.target()));
}

absl::StatusOr<v1::ModelSpec> RetunedSpec(const v1::ModelSpec& start, const std::string& name,
                                          const v1::Target& target) {
  v1::ModelSpec spec = start;
  spec.set_name(name);
  *spec.mutable_target() = target;
  spec.clear_conditioning();  // one target
  spec.clear_description();
  spec.mutable_training()->clear_start_from();
  RETURN_IF_ERROR(ValidateSpec(spec));
  return spec;
}

absl::StatusOr<RetunePlan> PlanRetune(const std::vector<RetuneCandidate>& candidates,
                                      const v1::RetuneRequest& request) {
  RETURN_IF_ERROR(CheckRetuneRequest(request));
  RetunePlan plan{.request = request};
  plan.request.DiscardUnknownFields();
  plan.publish_model = PublishModel(candidates, request);
  RETURN_IF_ERROR(ServedAlready(candidates, request, plan.publish_model));
  if (request.budget_seconds() == 0) plan.request.set_budget_seconds(kDefaultBudgetSeconds);
  // Smaller is better; of equals the champion, then the newest.
  std::optional<std::tuple<bool, double, double, bool, uint64_t>> best;
  for (const RetuneCandidate& c : candidates) {
    if (!Obstacle(c.spec, request.target()).empty()) continue;
    const std::tuple rank = {!SameLattice(c.spec.target(), request.target()), Distance(c.spec, request.target()),
                             -c.manifest.card.quality().ess(), !c.champion, kMaxVersion - c.manifest.version};
    if (best.has_value() && !(rank < *best)) continue;
    best = rank;
    plan.start_model = c.manifest.model;
    plan.start_version = c.manifest.version;
    plan.start_digest = c.manifest.digest;
  }
  if (!best.has_value()) return NoStart(candidates, request);
  return plan;
}

std::string NameOfTarget(const v1::Target& target) {
  std::string name = "u1";
  if (target.has_phi4()) name = target.phi4().components() == 2 ? "o2" : "phi4";
  if (target.has_sun_wilson()) name = absl::StrCat("su", target.sun_wilson().colours());
  absl::StrAppend(&name, "-", absl::StrJoin(target.lattice().shape(), "x"));
  for (const auto& [parameter, value] : TheoryParameters(target)) {
    if (!IsUsual(parameter, value))
      absl::StrAppendFormat(&name, "-%s%.6g", parameter.substr(0, parameter == "normalisation" ? 4 : 9), value);
  }
  return absl::StrReplaceAll(name, {{"+", ""}}).substr(0, 64);
}

}  // namespace haarflow
