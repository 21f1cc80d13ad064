#include "core/observable/observable.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/action/u1_torus.h"
#include "core/action/u1_wilson.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

constexpr size_t kMaxObservables = 64;

absl::StatusOr<Lattice> LatticeOf(const v1::Target& target) {
  if (!target.has_u1_wilson()) return absl::InvalidArgumentError("target: the theory is not u1_wilson");
  if (const double beta = target.u1_wilson().beta(); !std::isfinite(beta)) {
    return absl::InvalidArgumentError(absl::StrCat("target.u1_wilson.beta is ", beta));
  }
  for (const int boundary : target.lattice().boundary()) {
    if (boundary != v1::BOUNDARY_PERIODIC) {
      return absl::InvalidArgumentError("target.lattice.boundary: gauge links are periodic in every direction");
    }
  }
  return Lattice::Create({target.lattice().shape().begin(), target.lattice().shape().end()});
}

// A decimal integer in the one way it is written: no sign but '-', no leading zero. Two spellings would be two names of
// one thing.
std::optional<int64_t> ParseInteger(absl::string_view text) {
  int64_t value = 0;
  if (!absl::SimpleAtoi(text, &value) || absl::StrCat(value) != text) return std::nullopt;
  return value;
}

// sum_P cos theta_P in four partial sums: independent of how the compiler vectorises, and shorter chains of additions.
double SumOfCosines(const double* angles, int64_t n) {
  double partial[4] = {};
  int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    for (int lane = 0; lane < 4; ++lane) partial[lane] += std::cos(angles[i + lane]);
  }
  for (; i < n; ++i) partial[0] += std::cos(angles[i]);
  return (partial[0] + partial[1]) + (partial[2] + partial[3]);
}

// Q = (1/2pi) sum_P arg(e^{i theta_P}). With arg = theta_P - 2 pi floor(theta_P / 2 pi + 1/2), which is in [-pi, pi),
// and sum_P theta_P = 0 because every link enters twice with opposite signs: Q = -sum_P floor(theta_P / 2 pi + 1/2), an
// integer.
int64_t Charge(const double* angles, int64_t n) {
  int64_t windings = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double turns = angles[i] * (0.5 / std::numbers::pi) + 0.5;
    const int32_t truncated = static_cast<int32_t>(turns);  // toward 0; links are in [-pi, pi): |turns| < 3
    windings += truncated - (turns < truncated ? 1 : 0);
  }
  return -windings;
}

}  // namespace

absl::StatusOr<ObservableSet::Entry> ObservableSet::Parse(const Lattice& lattice, const std::string& name) {
  const auto in_two_dimensions = [&](Entry entry) -> absl::StatusOr<Entry> {
    if (lattice.dims() == 2) return entry;
    return absl::InvalidArgumentError(
        absl::StrCat("observable '", name, "' is defined in two dimensions; the lattice is ", lattice.ToString()));
  };
  if (name == "plaquette") return Entry{Kind::kPlaquette};
  if (name == "action") return Entry{Kind::kAction};
  if (name == "charge") return in_two_dimensions({Kind::kCharge});
  if (name == "charge_squared") return in_two_dimensions({Kind::kChargeSquared});
  absl::string_view rest = name;
  if (absl::ConsumePrefix(&rest, "charge_probability_")) {
    if (const auto q = ParseInteger(rest)) return in_two_dimensions({.kind = Kind::kChargeProbability, .q = *q});
  } else if (absl::ConsumePrefix(&rest, "wilson_loop_")) {
    const std::vector<std::string> sides = absl::StrSplit(rest, 'x');
    const auto r = ParseInteger(sides[0]);
    const auto t = sides.size() == 2 ? ParseInteger(sides[1]) : std::nullopt;
    if (r && t) {
      const int64_t smallest = *std::min_element(lattice.shape().begin(), lattice.shape().end());
      if (std::min(*r, *t) >= 1 && std::max(*r, *t) < smallest)
        return Entry{.kind = Kind::kWilsonLoop, .r = *r, .t = *t};
      return absl::InvalidArgumentError(absl::StrCat("observable '", name, "' does not fit: sides are 1..",
                                                     smallest - 1, " on the lattice ", lattice.ToString()));
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "observable '", name.substr(0, 80),
      "' is unknown; known are plaquette, wilson_loop_RxT, charge, charge_squared, charge_probability_q, action"));
}

absl::StatusOr<ObservableSet> ObservableSet::Create(const v1::Target& target, const std::vector<std::string>& names) {
  ASSIGN_OR_RETURN(const Lattice lattice, LatticeOf(target));
  if (names.size() > kMaxObservables) {
    return absl::InvalidArgumentError(absl::StrCat(names.size(), " observables; at most ", kMaxObservables));
  }
  ObservableSet set(lattice);
  set.beta_ = target.u1_wilson().beta();
  for (const std::string& name : names) {
    if (std::find(set.names_.begin(), set.names_.end(), name) != set.names_.end()) {
      return absl::InvalidArgumentError(absl::StrCat("observable '", name, "' is listed twice"));
    }
    ASSIGN_OR_RETURN(const Entry entry, Parse(lattice, name));
    const bool cosines = entry.kind == Kind::kPlaquette || entry.kind == Kind::kAction;
    set.needs_cosines_ = set.needs_cosines_ || cosines;
    set.needs_charge_ = set.needs_charge_ || !(cosines || entry.kind == Kind::kWilsonLoop);
    set.names_.push_back(name);
    set.entries_.push_back(entry);
  }
  return set;
}

ObservableSet::Sums ObservableSet::PlaquetteSums(const double* links, double* angles) const {
  Sums sums;
  if (!needs_cosines_ && !needs_charge_) return sums;
  for (int mu = 0; mu < lattice_.dims(); ++mu) {
    for (int nu = mu + 1; nu < lattice_.dims(); ++nu) {
      U1LoopAngles(lattice_, links, mu, nu, 1, 1, angles);
      if (needs_cosines_) sums.cosines += SumOfCosines(angles, lattice_.volume());
      if (needs_charge_) sums.charge += Charge(angles, lattice_.volume());
    }
  }
  return sums;
}

// (1 / (V d (d - 1))) sum over x and ordered pairs mu != nu of cos(angle of the R x T loop). The T x R loop of (nu, mu)
// is the R x T loop of (mu, nu) reversed: for R = T, mu < nu is enough.
double ObservableSet::WilsonLoop(const double* links, const Entry& entry, double* angles) const {
  double sum = 0;
  int64_t planes = 0;
  for (int mu = 0; mu < lattice_.dims(); ++mu) {
    for (int nu = entry.r == entry.t ? mu + 1 : 0; nu < lattice_.dims(); ++nu) {
      if (nu == mu) continue;
      U1LoopAngles(lattice_, links, mu, nu, entry.r, entry.t, angles);
      sum += SumOfCosines(angles, lattice_.volume());
      ++planes;
    }
  }
  return sum / static_cast<double>(planes * lattice_.volume());
}

void ObservableSet::Evaluate(const double* links, double* values) const {
  std::vector<double> angles(lattice_.volume());
  const Sums sums = PlaquetteSums(links, angles.data());
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    switch (entry.kind) {
      case Kind::kPlaquette:  // (1/N_P) sum_P cos theta_P
        values[i] = sums.cosines / static_cast<double>(lattice_.plaquettes());
        break;
      case Kind::kAction:  // S = -beta sum_P cos theta_P
        values[i] = -beta_ * sums.cosines;
        break;
      case Kind::kWilsonLoop:
        values[i] = WilsonLoop(links, entry, angles.data());
        break;
      case Kind::kCharge:
        values[i] = static_cast<double>(sums.charge);
        break;
      case Kind::kChargeSquared:
        values[i] = static_cast<double>(sums.charge * sums.charge);
        break;
      case Kind::kChargeProbability:
        values[i] = sums.charge == entry.q ? 1 : 0;
        break;
    }
  }
}

std::optional<double> ExactExpectation(const v1::Target& target, const std::string& observable) {
  const auto lattice = LatticeOf(target);
  if (!lattice.ok() || lattice->dims() != 2) return std::nullopt;
  const auto entry = ObservableSet::Parse(*lattice, observable);
  const double beta = target.u1_wilson().beta();
  const auto torus = U1Torus::Create(lattice->volume(), beta);
  if (!entry.ok() || !torus.ok()) return std::nullopt;
  switch (entry->kind) {
    case ObservableSet::Kind::kPlaquette:
      return torus->Plaquette();
    case ObservableSet::Kind::kAction:
      return -beta * static_cast<double>(lattice->volume()) * torus->Plaquette();
    case ObservableSet::Kind::kWilsonLoop:
      return torus->WilsonLoop(entry->r * entry->t);
    case ObservableSet::Kind::kCharge:
      return 0;
    case ObservableSet::Kind::kChargeSquared:
      return torus->ChargeSquared();
    case ObservableSet::Kind::kChargeProbability:
      return torus->ChargeProbability(entry->q);
  }
  return std::nullopt;
}

std::optional<double> ExactLogZ(const v1::Target& target) {
  const auto lattice = LatticeOf(target);
  if (!lattice.ok() || lattice->dims() != 2) return std::nullopt;
  const auto torus = U1Torus::Create(lattice->volume(), target.u1_wilson().beta());
  if (!torus.ok()) return std::nullopt;
  return torus->LogZ();
}

}  // namespace haarflow
