#include "core/observable/derived.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "absl/strings/str_join.h"
#include "core/action/target.h"
#include "core/base/status.h"
#include "core/observable/observable.h"

namespace haarflow {
namespace {

constexpr char kLogCosine[] = "log_charge_cos_";

}  // namespace

std::vector<std::string> DerivedObservableNames(const v1::Target& target) {
  if (!target.has_phi4()) return {};
  return {"binder_cumulant", "correlation_length"};
}

bool IsDerivedObservable(const v1::Target& target, const std::string& name) {
  if (target.has_u1_wilson()) return name.starts_with(kLogCosine);
  const std::vector<std::string> known = DerivedObservableNames(target);
  return std::find(known.begin(), known.end(), name) != known.end();
}

absl::StatusOr<DerivedObservable> DerivedObservable::Create(const v1::Target& target, const std::string& name) {
  RETURN_IF_ERROR(ValidateTarget(target));
  ASSIGN_OR_RETURN(const Lattice lattice, LatticeOf(target));
  if (!IsDerivedObservable(target, name)) {
    const std::vector<std::string> known = DerivedObservableNames(target);
    return absl::InvalidArgumentError(
        absl::StrCat("derived observable '", name.substr(0, 80), "' is unknown; known are ",
                     known.empty() ? "none for this theory" : absl::StrJoin(known, ", ")));
  }
  DerivedObservable derived;
  derived.name_ = name;
  if (target.has_u1_wilson()) {
    derived.kind_ = Kind::kLog;
    derived.primaries_ = {name.substr(sizeof("log_") - 1)};
    RETURN_IF_ERROR(ObservableSet::Create(target, derived.primaries_).status());
  } else if (name == "binder_cumulant") {
    derived.primaries_ = {"magnetisation_squared", "magnetisation_fourth"};
  } else {
    derived.kind_ = Kind::kCorrelationLength;
    derived.primaries_ = {"susceptibility", "structure_factor_min"};
    const int64_t largest = *std::max_element(lattice.shape().begin(), lattice.shape().end());
    derived.smallest_momentum_ = 2 * std::sin(std::numbers::pi / static_cast<double>(largest));
  }
  return derived;
}

double DerivedObservable::Value(absl::Span<const double> means) const {
  if (kind_ == Kind::kLog) return std::log(means[0]);
  if (kind_ == Kind::kBinderCumulant) return 1 - means[1] / (3 * means[0] * means[0]);
  return std::sqrt(means[0] / means[1] - 1) / smallest_momentum_;
}

std::vector<double> DerivedObservable::Gradient(absl::Span<const double> means) const {
  if (kind_ == Kind::kLog) return {1 / means[0]};
  if (kind_ == Kind::kBinderCumulant) {
    return {2 * means[1] / (3 * std::pow(means[0], 3)), -1 / (3 * means[0] * means[0])};
  }
  // d xi = d(chi / F) / (2 q^2 xi).
  const double slope = 1 / (2 * smallest_momentum_ * smallest_momentum_ * Value(means));
  return {slope / means[1], -slope * means[0] / (means[1] * means[1])};
}

}  // namespace haarflow
