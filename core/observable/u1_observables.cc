// Observables of U(1) link fields; formulas in observable.h.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/action/u1_torus.h"
#include "core/action/u1_wilson.h"
#include "core/base/status.h"
#include "core/observable/theory_observables.h"

namespace haarflow {
namespace {

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

class U1Observables : public TheoryObservables {
 public:
  U1Observables(const Lattice& lattice, double beta) : lattice_(lattice), beta_(beta) {}
  absl::Status Add(const std::string& name) override;
  void Evaluate(const double* links, double* values) const override;
  std::optional<double> Exact(size_t i) const override;

 private:
  enum class Kind { kPlaquette, kWilsonLoop, kCharge, kChargeSquared, kChargeProbability, kAction };
  struct Entry {
    Kind kind;
    int64_t r = 0;
    int64_t t = 0;
    int64_t q = 0;
  };
  // What one configuration is reduced to before any entry is filled in: shared by plaquette, action, charge and its
  // functions.
  struct Sums {
    double cosines = 0;  // sum_P cos theta_P
    int64_t charge = 0;  // 2 dimensions only
  };
  absl::StatusOr<Entry> Parse(const std::string& name) const;
  Sums PlaquetteSums(const double* links, double* angles) const;
  double WilsonLoop(const double* links, const Entry& entry, double* angles) const;

  Lattice lattice_;
  double beta_;
  bool needs_cosines_ = false;
  bool needs_charge_ = false;
  std::vector<Entry> entries_;
};

absl::StatusOr<U1Observables::Entry> U1Observables::Parse(const std::string& name) const {
  const auto in_two_dimensions = [&](Entry entry) -> absl::StatusOr<Entry> {
    if (lattice_.dims() == 2) return entry;
    return absl::InvalidArgumentError(
        absl::StrCat("observable '", name, "' is defined in two dimensions; the lattice is ", lattice_.ToString()));
  };
  if (name == "plaquette") return Entry{Kind::kPlaquette};
  if (name == "action") return Entry{Kind::kAction};
  if (name == "charge") return in_two_dimensions({Kind::kCharge});
  if (name == "charge_squared") return in_two_dimensions({Kind::kChargeSquared});
  absl::string_view rest = name;
  if (absl::ConsumePrefix(&rest, "charge_probability_")) {
    if (const auto q = ParseInteger(std::string(rest)))
      return in_two_dimensions({.kind = Kind::kChargeProbability, .q = *q});
  } else if (absl::ConsumePrefix(&rest, "wilson_loop_")) {
    const std::vector<std::string> sides = absl::StrSplit(rest, 'x');
    const auto r = ParseInteger(sides[0]);
    const auto t = sides.size() == 2 ? ParseInteger(sides[1]) : std::nullopt;
    if (r && t) {
      const int64_t smallest = *std::min_element(lattice_.shape().begin(), lattice_.shape().end());
      if (std::min(*r, *t) >= 1 && std::max(*r, *t) < smallest)
        return Entry{.kind = Kind::kWilsonLoop, .r = *r, .t = *t};
      return absl::InvalidArgumentError(absl::StrCat("observable '", name, "' does not fit: sides are 1..",
                                                     smallest - 1, " on the lattice ", lattice_.ToString()));
    }
  }
  return UnknownObservable(name, "plaquette, wilson_loop_RxT, charge, charge_squared, charge_probability_q, action");
}

absl::Status U1Observables::Add(const std::string& name) {
  ASSIGN_OR_RETURN(const Entry entry, Parse(name));
  const bool cosines = entry.kind == Kind::kPlaquette || entry.kind == Kind::kAction;
  needs_cosines_ = needs_cosines_ || cosines;
  needs_charge_ = needs_charge_ || !(cosines || entry.kind == Kind::kWilsonLoop);
  entries_.push_back(entry);
  return absl::OkStatus();
}

U1Observables::Sums U1Observables::PlaquetteSums(const double* links, double* angles) const {
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
double U1Observables::WilsonLoop(const double* links, const Entry& entry, double* angles) const {
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

void U1Observables::Evaluate(const double* links, double* values) const {
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

std::optional<double> U1Observables::Exact(size_t i) const {
  if (lattice_.dims() != 2) return std::nullopt;
  const auto torus = U1Torus::Create(lattice_.volume(), beta_);
  if (!torus.ok()) return std::nullopt;
  const Entry& entry = entries_[i];
  switch (entry.kind) {
    case Kind::kPlaquette:
      return torus->Plaquette();
    case Kind::kAction:
      return -beta_ * static_cast<double>(lattice_.volume()) * torus->Plaquette();
    case Kind::kWilsonLoop:
      return torus->WilsonLoop(entry.r * entry.t);
    case Kind::kCharge:
      return 0;
    case Kind::kChargeSquared:
      return torus->ChargeSquared();
    case Kind::kChargeProbability:
      return torus->ChargeProbability(entry.q);
  }
  return std::nullopt;
}

}  // namespace

std::unique_ptr<TheoryObservables> MakeU1Observables(const v1::Target& target, const Lattice& lattice) {
  return std::make_unique<U1Observables>(lattice, target.u1_wilson().beta());
}

}  // namespace haarflow
