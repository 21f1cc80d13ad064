// Observables of U(1) link fields; formulas in observable.h.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/action/u1_plaquette.h"
#include "core/action/u1_plaquette_torus.h"
#include "core/action/u1_torus.h"
#include "core/action/u1_wilson.h"
#include "core/base/status.h"
#include "core/observable/theory_observables.h"

namespace haarflow {
namespace {

constexpr double kMaxTheta = 1000;  // of charge_cos_x

// The real number that is written in the one shortest way: "0.5", not "0.50" or ".5".
std::optional<double> ParseReal(absl::string_view text) {
  double value = 0;
  char shortest[32];
  if (!absl::SimpleAtod(text, &value) || !std::isfinite(value) || std::abs(value) > kMaxTheta) return std::nullopt;
  const auto end = std::to_chars(shortest, shortest + sizeof shortest, value);
  if (absl::string_view(shortest, end.ptr - shortest) != text || std::signbit(value)) return std::nullopt;
  return value;
}

// What is known exactly: by the character expansion of Wilson's action, or by quadrature of any.
std::optional<U1PlaquetteTorus> TorusOf(const Lattice& lattice, const U1Plaquette& plaquette) {
  if (lattice.dims() != 2) return std::nullopt;
  auto torus = U1PlaquetteTorus::Create(lattice.volume(), plaquette);
  if (!torus.ok()) return std::nullopt;
  return *std::move(torus);
}

class U1Observables : public TheoryObservables {
 public:
  U1Observables(const Lattice& lattice, const U1Plaquette& plaquette) : lattice_(lattice), plaquette_(plaquette) {}
  absl::Status Add(const std::string& name) override;
  void Evaluate(const double* links, double* values) const override;
  std::optional<double> Exact(size_t i) const override;

 private:
  enum class Kind {
    kPlaquette,
    kEnergy,
    kWilsonLoop,
    kCharge,
    kChargeSquared,
    kChargeProbability,
    kChargeCosine,
    kAction
  };
  struct Entry {
    Kind kind;
    int64_t r = 0;
    int64_t t = 0;
    int64_t q = 0;
    double x = 0;
  };
  absl::StatusOr<Entry> Parse(const std::string& name) const;
  static double ExactOf(const U1PlaquetteTorus& torus, const Entry& entry);
  double WilsonLoop(const double* links, const Entry& entry, double* angles) const;

  Lattice lattice_;
  U1Plaquette plaquette_;
  bool needs_weights_ = false;  // cosines, action, energy
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
  if (name == "energy") return Entry{Kind::kEnergy};
  if (name == "action") return Entry{Kind::kAction};
  if (name == "charge") return in_two_dimensions({Kind::kCharge});
  if (name == "charge_squared") return in_two_dimensions({Kind::kChargeSquared});
  absl::string_view rest = name;
  if (absl::ConsumePrefix(&rest, "charge_probability_")) {
    if (const auto q = ParseInteger(std::string(rest)))
      return in_two_dimensions({.kind = Kind::kChargeProbability, .q = *q});
  } else if (absl::ConsumePrefix(&rest, "charge_cos_")) {
    if (const auto x = ParseReal(rest)) return in_two_dimensions({.kind = Kind::kChargeCosine, .x = *x});
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
  return UnknownObservable(
      name,
      "plaquette, energy, wilson_loop_RxT, charge, charge_squared, charge_probability_q, charge_cos_x, "
      "action");
}

absl::Status U1Observables::Add(const std::string& name) {
  ASSIGN_OR_RETURN(const Entry entry, Parse(name));
  const bool weights = entry.kind == Kind::kPlaquette || entry.kind == Kind::kEnergy || entry.kind == Kind::kAction;
  needs_weights_ = needs_weights_ || weights;
  needs_charge_ = needs_charge_ || !(weights || entry.kind == Kind::kWilsonLoop);
  entries_.push_back(entry);
  return absl::OkStatus();
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
      sum += U1SumOfCosines(angles, lattice_.volume());
      ++planes;
    }
  }
  return sum / static_cast<double>(planes * lattice_.volume());
}

void U1Observables::Evaluate(const double* links, double* values) const {
  std::vector<double> angles(lattice_.volume());
  U1PlaquetteSums sums;
  if (needs_weights_ || needs_charge_) {
    sums = U1PlaquetteSumsOf(lattice_, plaquette_, links, !needs_weights_, angles.data());
  }
  const auto charge = static_cast<double>(sums.charge);
  for (size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    switch (entry.kind) {
      case Kind::kPlaquette:  // (1/N_P) sum_P cos theta_P
        values[i] = sums.cosines / static_cast<double>(lattice_.plaquettes());
        break;
      case Kind::kEnergy:  // (1/N_P) sum_P ds(theta_P)/dbeta
        values[i] = sums.energy / static_cast<double>(lattice_.plaquettes());
        break;
      case Kind::kAction:  // S = sum_P s(theta_P) - theta_imaginary Q
        values[i] = sums.action;
        if (plaquette_.theta_imaginary != 0) values[i] -= plaquette_.theta_imaginary * charge;
        break;
      case Kind::kWilsonLoop:
        values[i] = WilsonLoop(links, entry, angles.data());
        break;
      case Kind::kCharge:
        values[i] = charge;
        break;
      case Kind::kChargeSquared:
        values[i] = charge * charge;
        break;
      case Kind::kChargeProbability:
        values[i] = sums.charge == entry.q ? 1 : 0;
        break;
      case Kind::kChargeCosine:
        values[i] = std::cos(entry.x * charge);
        break;
    }
  }
}

std::optional<double> U1Observables::Exact(size_t i) const {
  const Entry& entry = entries_[i];
  // <cos(x Q)> alone is not in the closed forms of Wilson's action.
  if (!plaquette_.IsPlain() || entry.kind == Kind::kChargeCosine) {
    const auto torus = TorusOf(lattice_, plaquette_);
    if (!torus.has_value()) return std::nullopt;
    return ExactOf(*torus, entry);
  }
  if (lattice_.dims() != 2) return std::nullopt;
  const auto torus = U1Torus::Create(lattice_.volume(), plaquette_.beta);
  if (!torus.ok()) return std::nullopt;
  switch (entry.kind) {
    case Kind::kPlaquette:
      return torus->Plaquette();
    case Kind::kEnergy:
      return -torus->Plaquette();
    case Kind::kAction:
      return -plaquette_.beta * static_cast<double>(lattice_.volume()) * torus->Plaquette();
    case Kind::kWilsonLoop:
      return torus->WilsonLoop(entry.r * entry.t);
    case Kind::kCharge:
      return 0;
    case Kind::kChargeSquared:
      return torus->ChargeSquared();
    case Kind::kChargeProbability:
      return torus->ChargeProbability(entry.q);
    case Kind::kChargeCosine:
      break;
  }
  return std::nullopt;
}

double U1Observables::ExactOf(const U1PlaquetteTorus& torus, const Entry& entry) {
  switch (entry.kind) {
    case Kind::kPlaquette:
      return torus.Plaquette();
    case Kind::kEnergy:
      return torus.Energy();
    case Kind::kAction:
      return torus.Action();
    case Kind::kWilsonLoop:
      return torus.WilsonLoop(entry.r * entry.t);
    case Kind::kCharge:
      return torus.Charge();
    case Kind::kChargeSquared:
      return torus.ChargeSquared();
    case Kind::kChargeProbability:
      return torus.ChargeProbability(entry.q);
    case Kind::kChargeCosine:
      break;
  }
  return torus.ChargeCosine(entry.x);
}

}  // namespace

std::unique_ptr<TheoryObservables> MakeU1Observables(const v1::Target& target, const Lattice& lattice) {
  return std::make_unique<U1Observables>(lattice, U1PlaquetteOf(target));
}

}  // namespace haarflow
