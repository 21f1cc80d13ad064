// Observables of SU(N) link fields; formulas in observable.h.
#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/action/sun_torus.h"
#include "core/action/sun_wilson.h"
#include "core/base/status.h"
#include "core/observable/theory_observables.h"

namespace haarflow {
namespace {

enum class Kind {
  kPlaquette,
  kRectangle,
  kAction,
  kWilsonLoop,
  kPolyakovReal,
  kPolyakovImag,
  kPolyakovAbs,
  kPolyakovCorrelator,
  kCharge,
  kChargeSquared,
};
struct Name {
  const char* name;
  Kind kind;
};
constexpr std::array<Name, 8> kNames = {{{"plaquette", Kind::kPlaquette},
                                         {"rectangle", Kind::kRectangle},
                                         {"action", Kind::kAction},
                                         {"polyakov_real", Kind::kPolyakovReal},
                                         {"polyakov_imag", Kind::kPolyakovImag},
                                         {"polyakov_abs", Kind::kPolyakovAbs},
                                         {"charge", Kind::kCharge},
                                         {"charge_squared", Kind::kChargeSquared}}};
constexpr char kKnown[] =
    "plaquette, rectangle, wilson_loop_RxT, polyakov_real, polyakov_imag, polyakov_abs, polyakov_correlator_R, charge, "
    "charge_squared, action";

class SunObservables : public TheoryObservables {
 public:
  SunObservables(const Lattice& lattice, const v1::SunWilsonAction& action)
      : lattice_(lattice),
        colours_(static_cast<int>(action.colours())),
        beta_(action.beta()),
        rectangle_(action.rectangle()) {}
  absl::Status Add(const std::string& name) override;
  void Evaluate(const double* links, double* values) const override;
  std::optional<double> Exact(size_t i) const override;

 private:
  struct Entry {
    Kind kind;
    int64_t r = 0;
    int64_t t = 0;
  };
  // What one configuration is reduced to before any entry is filled in: shared by entries.
  struct Sums {
    SunLoopSums loops;
    std::vector<double> polyakov;  // Tr L of every line in the last direction: real part, imaginary part
    double mean[2] = {};           // of Tr L / N
    double charge = 0;
  };
  absl::StatusOr<Entry> Parse(const std::string& name) const;
  absl::StatusOr<Entry> ParseWilsonLoop(const std::string& name, absl::string_view sides) const;
  absl::StatusOr<Entry> ParseCorrelator(const std::string& name, absl::string_view distance) const;
  int time() const { return lattice_.dims() - 1; }
  int64_t plaquettes() const { return lattice_.plaquettes(); }
  Sums SumsOf(const double* links) const;
  double Value(const Entry& entry, const Sums& sums, const double* links) const;
  double WilsonLoop(const double* links, const Entry& entry) const;
  double Correlator(const std::vector<double>& polyakov, int64_t distance) const;
  bool Needs(std::initializer_list<Kind> kinds) const;

  Lattice lattice_;
  int colours_;
  double beta_;
  double rectangle_;
  std::vector<Entry> entries_;
};

absl::StatusOr<SunObservables::Entry> SunObservables::ParseWilsonLoop(const std::string& name,
                                                                      absl::string_view rest) const {
  const std::vector<std::string> sides = absl::StrSplit(rest, 'x');
  const auto r = ParseInteger(sides[0]);
  const auto t = sides.size() == 2 ? ParseInteger(sides[1]) : std::nullopt;
  if (!r || !t) return UnknownObservable(name, kKnown);
  const int64_t smallest = *std::min_element(lattice_.shape().begin(), lattice_.shape().end());
  if (std::min(*r, *t) >= 1 && std::max(*r, *t) < smallest) return Entry{.kind = Kind::kWilsonLoop, .r = *r, .t = *t};
  return absl::InvalidArgumentError(absl::StrCat("observable '", name, "' does not fit: sides are 1..", smallest - 1,
                                                 " on the lattice ", lattice_.ToString()));
}

absl::StatusOr<SunObservables::Entry> SunObservables::ParseCorrelator(const std::string& name,
                                                                      absl::string_view rest) const {
  const auto r = ParseInteger(std::string(rest));
  if (!r) return UnknownObservable(name, kKnown);
  int64_t smallest = lattice_.extent(0);
  for (int mu = 1; mu < time(); ++mu) smallest = std::min(smallest, lattice_.extent(mu));
  if (*r >= 0 && *r <= smallest / 2) return Entry{.kind = Kind::kPolyakovCorrelator, .r = *r};
  return absl::InvalidArgumentError(absl::StrCat("observable '", name, "' does not fit: distances are 0..",
                                                 smallest / 2, " on the lattice ", lattice_.ToString()));
}

absl::StatusOr<SunObservables::Entry> SunObservables::Parse(const std::string& name) const {
  absl::string_view rest = name;
  if (absl::ConsumePrefix(&rest, "wilson_loop_")) return ParseWilsonLoop(name, rest);
  if (absl::ConsumePrefix(&rest, "polyakov_correlator_")) return ParseCorrelator(name, rest);
  for (const Name& known : kNames) {
    if (name != known.name) continue;
    const bool charge = known.kind == Kind::kCharge || known.kind == Kind::kChargeSquared;
    if (!charge || lattice_.dims() == 4) return Entry{.kind = known.kind};
    return absl::InvalidArgumentError(
        absl::StrCat("observable '", name, "' is defined in four dimensions; the lattice is ", lattice_.ToString()));
  }
  return UnknownObservable(name, kKnown);
}

absl::Status SunObservables::Add(const std::string& name) {
  ASSIGN_OR_RETURN(const Entry entry, Parse(name));
  entries_.push_back(entry);
  return absl::OkStatus();
}

bool SunObservables::Needs(std::initializer_list<Kind> kinds) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return std::find(kinds.begin(), kinds.end(), entry.kind) != kinds.end();
  });
}

SunObservables::Sums SunObservables::SumsOf(const double* links) const {
  Sums sums;
  const bool action = Needs({Kind::kAction});
  const bool rectangles = Needs({Kind::kRectangle}) || (action && rectangle_ != 0);
  if (action || rectangles || Needs({Kind::kPlaquette})) {
    sums.loops = SunLoopSumsOf(lattice_, colours_, links, rectangles);
  }
  if (Needs({Kind::kPolyakovReal, Kind::kPolyakovImag, Kind::kPolyakovAbs, Kind::kPolyakovCorrelator})) {
    sums.polyakov = SunPolyakovTraces(lattice_, colours_, links, time());
    const double norm = colours_ * static_cast<double>(sums.polyakov.size() / 2);
    for (size_t i = 0; i < sums.polyakov.size(); ++i) sums.mean[i % 2] += sums.polyakov[i] / norm;
  }
  if (Needs({Kind::kCharge, Kind::kChargeSquared})) sums.charge = SunCloverCharge(lattice_, colours_, links);
  return sums;
}

// (1 / (V d (d - 1))) sum over x and ordered pairs mu != nu of Re Tr / N. The T x R loop of (nu, mu) is the R x T loop
// of (mu, nu) reversed: for R = T, mu < nu is enough.
double SunObservables::WilsonLoop(const double* links, const Entry& entry) const {
  double sum = 0;
  int64_t planes = 0;
  for (int mu = 0; mu < lattice_.dims(); ++mu) {
    for (int nu = entry.r == entry.t ? mu + 1 : 0; nu < lattice_.dims(); ++nu) {
      if (nu == mu) continue;
      sum += SunLoopSum(lattice_, colours_, links, mu, nu, entry.r, entry.t);
      ++planes;
    }
  }
  return sum / static_cast<double>(colours_ * planes * lattice_.volume());
}

double SunObservables::Correlator(const std::vector<double>& polyakov, int64_t distance) const {
  // Traces are those of the sites with t = 0, which come first: t is the first axis.
  const int64_t sites = static_cast<int64_t>(polyakov.size() / 2);
  double sum = 0;
  for (int mu = 0; mu < time(); ++mu) {
    for (int64_t x = 0; x < sites; ++x) {
      const int64_t y = lattice_.Shift(x, mu, distance);
      sum += polyakov[2 * x] * polyakov[2 * y] + polyakov[2 * x + 1] * polyakov[2 * y + 1];
    }
  }
  return sum / static_cast<double>(colours_ * colours_ * sites * time());
}

double SunObservables::Value(const Entry& entry, const Sums& sums, const double* links) const {
  switch (entry.kind) {
    case Kind::kPlaquette:
      return sums.loops.plaquettes / static_cast<double>(colours_ * plaquettes());
    case Kind::kRectangle:
      return sums.loops.rectangles / static_cast<double>(colours_ * RectanglesOf(lattice_));
    case Kind::kAction:
      return -beta_ / colours_ * ((1 - 8 * rectangle_) * sums.loops.plaquettes + rectangle_ * sums.loops.rectangles);
    case Kind::kWilsonLoop:
      return WilsonLoop(links, entry);
    case Kind::kPolyakovReal:
      return sums.mean[0];
    case Kind::kPolyakovImag:
      return sums.mean[1];
    case Kind::kPolyakovAbs:
      return std::hypot(sums.mean[0], sums.mean[1]);
    case Kind::kPolyakovCorrelator:
      return Correlator(sums.polyakov, entry.r);
    case Kind::kCharge:
      return sums.charge;
    case Kind::kChargeSquared:
      return sums.charge * sums.charge;
  }
  return 0;
}

void SunObservables::Evaluate(const double* links, double* values) const {
  const Sums sums = SumsOf(links);
  for (size_t i = 0; i < entries_.size(); ++i) values[i] = Value(entries_[i], sums, links);
}

std::optional<double> SunObservables::Exact(size_t i) const {
  const Entry& entry = entries_[i];
  // Symmetries, in any dimension: the centre of the group (one time slice's links times a root of unity), and parity.
  if (entry.kind == Kind::kPolyakovReal || entry.kind == Kind::kPolyakovImag || entry.kind == Kind::kCharge) return 0;
  if (lattice_.dims() != 2 || rectangle_ != 0) return std::nullopt;
  const auto torus = SunTorus::Create(colours_, lattice_.volume(), beta_);
  if (!torus.ok()) return std::nullopt;
  switch (entry.kind) {
    case Kind::kPlaquette:
      return torus->Plaquette();
    case Kind::kAction:
      return -beta_ * static_cast<double>(lattice_.volume()) * torus->Plaquette();
    case Kind::kRectangle:
      // On an extent of 2 it touches itself around the lattice and has no inside.
      if (std::min(lattice_.extent(0), lattice_.extent(1)) == 2) return std::nullopt;
      return torus->WilsonLoop(2);
    case Kind::kWilsonLoop:
      return torus->WilsonLoop(entry.r * entry.t);
    case Kind::kPolyakovCorrelator:
      return torus->PolyakovCorrelator(entry.r * lattice_.extent(1));
    default:
      return std::nullopt;
  }
}

}  // namespace

std::unique_ptr<TheoryObservables> MakeSunObservables(const v1::Target& target, const Lattice& lattice) {
  return std::make_unique<SunObservables>(lattice, target.sun_wilson());
}

}  // namespace haarflow
