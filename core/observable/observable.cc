#include "core/observable/observable.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "core/action/phi4.h"
#include "core/action/phi4_chain.h"
#include "core/action/sun_single.h"
#include "core/action/sun_torus.h"
#include "core/action/target.h"
#include "core/action/u1_plaquette.h"
#include "core/action/u1_plaquette_torus.h"
#include "core/action/u1_torus.h"
#include "core/base/status.h"
#include "core/observable/theory_observables.h"

namespace haarflow {
namespace {

constexpr size_t kMaxObservables = 64;

std::unique_ptr<TheoryObservables> MakeTheory(const v1::Target& target, const Lattice& lattice) {
  if (target.has_phi4()) return MakeScalarObservables(target, lattice);
  if (target.has_sun_matrix()) return MakeSunSingleObservables(target);
  if (target.has_sun_wilson()) return MakeSunObservables(target, lattice);
  return MakeU1Observables(target, lattice);
}

}  // namespace

std::optional<int64_t> ParseInteger(const std::string& text) {
  int64_t value = 0;
  if (!absl::SimpleAtoi(text, &value) || absl::StrCat(value) != text) return std::nullopt;
  return value;
}

absl::Status UnknownObservable(const std::string& name, const std::string& known) {
  return absl::InvalidArgumentError(
      absl::StrCat("observable '", name.substr(0, 80), "' is unknown; known are ", known));
}

absl::StatusOr<ObservableSet> ObservableSet::Create(const v1::Target& target, const std::vector<std::string>& names) {
  RETURN_IF_ERROR(ValidateTarget(target));
  ASSIGN_OR_RETURN(const Lattice lattice, LatticeOf(target));
  if (names.size() > kMaxObservables) {
    return absl::InvalidArgumentError(absl::StrCat(names.size(), " observables; at most ", kMaxObservables));
  }
  std::unique_ptr<TheoryObservables> theory = MakeTheory(target, lattice);
  for (auto name = names.begin(); name != names.end(); ++name) {
    if (std::find(names.begin(), name, *name) != name) {
      return absl::InvalidArgumentError(absl::StrCat("observable '", name->substr(0, 80), "' is listed twice"));
    }
    RETURN_IF_ERROR(theory->Add(*name));
  }
  ObservableSet set;
  set.names_ = names;
  set.theory_ = std::move(theory);
  return set;
}

void ObservableSet::Evaluate(const double* field, double* values) const { theory_->Evaluate(field, values); }

std::optional<double> ExactExpectation(const v1::Target& target, const std::string& observable) {
  const auto set = ObservableSet::Create(target, {observable});
  if (!set.ok()) return std::nullopt;
  return set->theory_->Exact(0);
}

std::optional<double> ExactLogZ(const v1::Target& target) {
  if (!ValidateTarget(target).ok()) return std::nullopt;
  const Lattice lattice = LatticeOf(target).value();
  if (target.has_phi4()) {
    const Phi4Couplings couplings = Phi4CouplingsOf(target.phi4(), lattice.dims());
    if (const auto free = FreeScalarLogZ(lattice, couplings)) return free;
    const auto chain = Phi4Chain::Create(lattice, couplings);
    if (!chain.ok()) return std::nullopt;
    return chain->LogZ();
  }
  if (target.has_sun_matrix()) {
    const auto solution = SolveSunSingle(static_cast<int>(target.sun_matrix().colours()), ActionNumbers(target));
    if (!solution.has_value()) return std::nullopt;
    return solution->log_z;
  }
  if (lattice.dims() != 2) return std::nullopt;
  if (target.has_sun_wilson()) {
    if (target.sun_wilson().rectangle() != 0) return std::nullopt;
    const auto torus =
        SunTorus::Create(static_cast<int>(target.sun_wilson().colours()), lattice.volume(), target.sun_wilson().beta());
    if (!torus.ok()) return std::nullopt;
    return torus->LogZ();
  }
  const U1Plaquette plaquette = U1PlaquetteOf(target);
  if (!plaquette.IsPlain()) {
    const auto torus = U1PlaquetteTorus::Create(lattice.volume(), plaquette);
    if (!torus.ok()) return std::nullopt;
    return torus->LogZ();
  }
  const auto torus = U1Torus::Create(lattice.volume(), plaquette.beta);
  if (!torus.ok()) return std::nullopt;
  return torus->LogZ();
}

}  // namespace haarflow
