// Observables that are functions of means, f(<A>, <B>): their errors need the gradient (Gamma method of a derived
// quantity, Wolff hep-lat/0306017 section 2) or a jackknife of the value.
//
//   binder_cumulant     U = 1 - <M^4> / (3 <M^2>^2), of magnetisation_squared and magnetisation_fourth: 2/3 where |M|
//                       does not fluctuate; where M is Gaussian 0 for one component, 1/3 for two
//   correlation_length  the second-moment correlation length xi = sqrt(chi / F - 1) / (2 sin(pi / L)), of
//                       susceptibility and structure_factor_min, L the largest extent: 1 / m for a free field of mass
//                       m (khat^2 + m^2)
//   log_charge_cos_x    log of the mean of charge_cos_x, U(1) in two dimensions: log Z(theta = x) - log Z(0)
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

class DerivedObservable {
 public:
  // INVALID_ARGUMENT for a target that is not valid, and for a name that is unknown or not defined for it.
  static absl::StatusOr<DerivedObservable> Create(const v1::Target& target, const std::string& name);

  const std::string& name() const { return name_; }
  // What it is a function of: names of ObservableSet.
  const std::vector<std::string>& primaries() const { return primaries_; }
  // Of the primaries' means, in their order. NaN where it is not defined (noise may make chi <= F).
  double Value(absl::Span<const double> means) const;
  // The derivatives by the means, [primaries().size()].
  std::vector<double> Gradient(absl::Span<const double> means) const;

 private:
  enum class Kind { kBinderCumulant, kCorrelationLength, kLog };
  DerivedObservable() = default;
  Kind kind_ = Kind::kBinderCumulant;
  std::string name_;
  std::vector<std::string> primaries_;
  double smallest_momentum_ = 0;  // 2 sin(pi / L)
};

// Whether this is the name of a function of means, not of an observable of single configurations.
bool IsDerivedObservable(const v1::Target& target, const std::string& name);
// Those of a target that stand for themselves, without a number in their names.
std::vector<std::string> DerivedObservableNames(const v1::Target& target);

}  // namespace haarflow
