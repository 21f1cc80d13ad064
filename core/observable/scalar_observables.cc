// Observables of scalar fields; formulas in observable.h.
#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "core/action/phi4.h"
#include "core/action/phi4_chain.h"
#include "core/base/status.h"
#include "core/observable/theory_observables.h"

namespace haarflow {
namespace {

using std::numbers::pi;

enum class Kind {
  kPhiSquared,
  kPhiFourth,
  kNeighbourSum,
  kEnergy,
  kAction,
  kMagnetisation,
  kMagnetisationAbs,
  kMagnetisationSquared,
  kMagnetisationFourth,
  kSusceptibility,
  kStructureFactorMin,
  kTwoPoint,
};
struct Name {
  const char* name;
  Kind kind;
};
constexpr std::array<Name, 11> kNames = {{{"phi_squared", Kind::kPhiSquared},
                                          {"phi_fourth", Kind::kPhiFourth},
                                          {"neighbour_sum", Kind::kNeighbourSum},
                                          {"energy", Kind::kEnergy},
                                          {"action", Kind::kAction},
                                          {"magnetisation", Kind::kMagnetisation},
                                          {"magnetisation_abs", Kind::kMagnetisationAbs},
                                          {"magnetisation_squared", Kind::kMagnetisationSquared},
                                          {"magnetisation_fourth", Kind::kMagnetisationFourth},
                                          {"susceptibility", Kind::kSusceptibility},
                                          {"structure_factor_min", Kind::kStructureFactorMin}}};

// Of a direction whose mode exp(2 pi i x_mu / L_mu) structure_factor_min averages over: cosines and sines by
// coordinate.
struct Wave {
  int axis;
  int64_t stride;
  std::vector<double> cosine, sine;
};

class ScalarObservables : public TheoryObservables {
 public:
  ScalarObservables(const Lattice& lattice, const Phi4Couplings& couplings);
  absl::Status Add(const std::string& name) override;
  void Evaluate(const double* field, double* values) const override;
  std::optional<double> Exact(size_t i) const override;

 private:
  struct Entry {
    Kind kind;
    int64_t t = 0;
  };
  double StructureFactorMin(const double* field) const;
  double TwoPoint(const std::vector<double>& slices, int64_t t) const;
  // Slices of the last direction: [component][L_t].
  std::vector<double> Slices(const double* field) const;
  std::optional<double> ExactFree(const Entry& entry) const;
  std::optional<double> ExactChain(const Entry& entry) const;

  Lattice lattice_;
  Phi4Couplings couplings_;
  std::vector<Wave> waves_;
  std::vector<Entry> entries_;
  bool needs_sums_ = false;    // Phi4Sums
  bool needs_slices_ = false;  // M and two_point
};

ScalarObservables::ScalarObservables(const Lattice& lattice, const Phi4Couplings& couplings)
    : lattice_(lattice), couplings_(couplings) {
  const int64_t largest = *std::max_element(lattice.shape().begin(), lattice.shape().end());
  int64_t stride = lattice.volume();
  for (int axis = 0; axis < lattice.dims(); ++axis) {
    stride /= lattice.shape()[axis];
    if (lattice.shape()[axis] != largest) continue;
    Wave wave = {.axis = axis, .stride = stride};
    for (int64_t x = 0; x < largest; ++x) {
      const double angle = 2 * pi * static_cast<double>(x) / static_cast<double>(largest);
      wave.cosine.push_back(std::cos(angle));
      wave.sine.push_back(std::sin(angle));
    }
    waves_.push_back(std::move(wave));
  }
}

absl::Status ScalarObservables::Add(const std::string& name) {
  absl::string_view rest = name;
  if (absl::ConsumePrefix(&rest, "two_point_")) {
    const int64_t largest = lattice_.shape()[0] / 2;
    const auto t = ParseInteger(std::string(rest));
    if (t && (*t < 0 || *t > largest)) {
      return absl::InvalidArgumentError(absl::StrCat("observable '", name, "' does not fit: distances are 0..", largest,
                                                     " on the lattice ", lattice_.ToString()));
    }
    if (t) {
      entries_.push_back({Kind::kTwoPoint, *t});
      needs_slices_ = true;
      return absl::OkStatus();
    }
  }
  const auto known = std::find_if(kNames.begin(), kNames.end(), [&](const Name& n) { return n.name == name; });
  if (known == kNames.end()) {
    return UnknownObservable(
        name,
        absl::StrCat(absl::StrJoin(kNames, ", ", [](std::string* out, const Name& n) { absl::StrAppend(out, n.name); }),
                     ", two_point_T"));
  }
  if (known->kind == Kind::kMagnetisation && couplings_.components != 1) {
    return absl::InvalidArgumentError(absl::StrCat("observable 'magnetisation' is a vector for ", couplings_.components,
                                                   " components; use magnetisation_abs or magnetisation_squared"));
  }
  const bool from_sums = known->kind <= Kind::kAction;
  needs_sums_ = needs_sums_ || from_sums;
  needs_slices_ = needs_slices_ || !(from_sums || known->kind == Kind::kStructureFactorMin);
  entries_.push_back({known->kind});
  return absl::OkStatus();
}

std::vector<double> ScalarObservables::Slices(const double* field) const {
  const int64_t times = lattice_.shape()[0];
  const int64_t sites = lattice_.volume() / times;
  std::vector<double> slices(couplings_.components * times, 0.0);
  for (double& slice : slices) {
    for (int64_t x = 0; x < sites; ++x) slice += field[x];
    field += sites;  // time is the outermost axis within a component
  }
  return slices;
}

double ScalarObservables::TwoPoint(const std::vector<double>& slices, int64_t t) const {
  const int64_t times = lattice_.shape()[0];
  double sum = 0;
  for (int c = 0; c < couplings_.components; ++c) {
    const double* s = slices.data() + c * times;
    for (int64_t t0 = 0; t0 < times; ++t0) sum += s[t0] * s[(t0 + t) % times];
  }
  return sum / static_cast<double>(lattice_.volume());
}

double ScalarObservables::StructureFactorMin(const double* field) const {
  const int64_t volume = lattice_.volume(), extent = static_cast<int64_t>(waves_[0].cosine.size());
  double sum = 0;
  for (const Wave& wave : waves_) {
    for (int c = 0; c < couplings_.components; ++c) {
      const double* phi = field + c * volume;
      double re = 0, im = 0;
      for (int64_t row = 0; row < volume / wave.stride; ++row) {  // sites of one coordinate along the axis
        double slice = 0;
        for (int64_t i = 0; i < wave.stride; ++i) slice += *phi++;
        re += slice * wave.cosine[row % extent];
        im += slice * wave.sine[row % extent];
      }
      sum += re * re + im * im;
    }
  }
  return sum / static_cast<double>(volume * static_cast<int64_t>(waves_.size()));
}

void ScalarObservables::Evaluate(const double* field, double* values) const {
  const double volume = static_cast<double>(lattice_.volume());
  Phi4Sums sums;
  if (needs_sums_) sums = Phi4SumsOf(lattice_, couplings_.components, field);
  std::vector<double> slices;
  double m = 0;        // of the last component: M where there is but one
  double squared = 0;  // M . M
  if (needs_slices_) {
    slices = Slices(field);
    const int64_t times = lattice_.shape()[0];
    for (int c = 0; c < couplings_.components; ++c) {
      m = 0;
      for (int64_t t = 0; t < times; ++t) m += slices[c * times + t];
      m /= volume;
      squared += m * m;
    }
  }
  for (size_t i = 0; i < entries_.size(); ++i) {
    values[i] = [&, entry = entries_[i]] {
      switch (entry.kind) {
        case Kind::kPhiSquared:
          return sums.squares / volume;
        case Kind::kPhiFourth:
          return sums.quartics / volume;
        case Kind::kNeighbourSum:
          return sums.neighbours / volume;
        case Kind::kEnergy:
          return -sums.neighbours / (volume * lattice_.dims());
        case Kind::kAction:
          return -couplings_.hop * sums.neighbours + couplings_.quadratic * sums.squares +
                 couplings_.quartic * sums.quartics;
        case Kind::kMagnetisation:
          return m;
        case Kind::kMagnetisationAbs:
          return std::sqrt(squared);
        case Kind::kMagnetisationSquared:
          return squared;
        case Kind::kMagnetisationFourth:
          return squared * squared;
        case Kind::kSusceptibility:
          return volume * squared;
        case Kind::kStructureFactorMin:
          return StructureFactorMin(field);
        case Kind::kTwoPoint:
          return TwoPoint(slices, entry.t);
      }
      return std::nan("");
    }();
  }
}

std::optional<double> ScalarObservables::Exact(size_t i) const {
  const Entry& entry = entries_[i];
  if (entry.kind == Kind::kMagnetisation) return 0;  // phi -> -phi
  return couplings_.quartic == 0 ? ExactFree(entry) : ExactChain(entry);
}

// Free field: independent modes with <|phi_k|^2> = 1 / (2 l_k) for each component; M is Gaussian.
std::optional<double> ScalarObservables::ExactFree(const Entry& entry) const {
  const std::vector<double> spectrum = Phi4Spectrum(lattice_, couplings_);
  const double n = couplings_.components;
  const double volume = static_cast<double>(lattice_.volume());
  const auto angle = [&](int64_t k, int axis) {
    return 2 * pi * static_cast<double>(lattice_.Coordinate(k, axis)) / static_cast<double>(lattice_.shape()[axis]);
  };
  double square = 0;      // <phi_x^2> of one component
  double neighbours = 0;  // sum_mu <phi_x phi_{x+mu}> of one component
  double slice = 0;       // two_point of one component: modes that are constant within a slice
  const int64_t sites = lattice_.volume() / lattice_.shape()[0];
  for (int64_t k = 0; k < lattice_.volume(); ++k) {
    if (!(spectrum[k] > 0)) return std::nullopt;
    const double mode = 1 / (2 * spectrum[k]);
    square += mode / volume;
    for (int axis = 0; axis < lattice_.dims(); ++axis) neighbours += std::cos(angle(k, axis)) * mode / volume;
    if (k % sites == 0) {
      slice += std::cos(angle(k, 0) * static_cast<double>(entry.t)) * mode / static_cast<double>(lattice_.shape()[0]);
    }
  }
  const double m2 = 1 / (2 * spectrum[0] * volume);  // <M^2> of one component
  const double pairs = n * (n + 2);                  // <(x . x)^2> of n normal numbers
  switch (entry.kind) {
    case Kind::kPhiSquared:
      return n * square;
    case Kind::kPhiFourth:
      return pairs * square * square;
    case Kind::kNeighbourSum:
      return n * neighbours;
    case Kind::kEnergy:
      return -n * neighbours / lattice_.dims();
    case Kind::kAction:
      return n * volume / 2;
    case Kind::kMagnetisation:
      return 0;
    case Kind::kMagnetisationAbs:
      return couplings_.components == 1 ? std::sqrt(2 * m2 / pi) : std::sqrt(pi * m2 / 2);
    case Kind::kMagnetisationSquared:
      return n * m2;
    case Kind::kMagnetisationFourth:
      return pairs * m2 * m2;
    case Kind::kSusceptibility:
      return n * volume * m2;
    case Kind::kStructureFactorMin:
      // All averaged directions have the same extent; l_k at one step along the first of them.
      return n / (2 * spectrum[lattice_.Shift(0, lattice_.dims() - 1 - waves_[0].axis, 1)]);
    case Kind::kTwoPoint:
      return n * slice;
  }
  return std::nullopt;
}

std::optional<double> ScalarObservables::ExactChain(const Entry& entry) const {
  const auto chain = Phi4Chain::Create(lattice_, couplings_);
  if (!chain.ok()) return std::nullopt;
  const int64_t times = lattice_.shape()[0];
  const auto fourier = [&](int64_t n) {  // sum_t cos(2 pi n t / L) <phi_0 phi_t>
    double sum = 0;
    for (int64_t t = 0; t < times; ++t) {
      sum += std::cos(2 * pi * static_cast<double>(n * t) / static_cast<double>(times)) * chain->TwoPoint(t);
    }
    return sum;
  };
  switch (entry.kind) {
    case Kind::kPhiSquared:
      return chain->Square();
    case Kind::kPhiFourth:
      return chain->Fourth();
    case Kind::kNeighbourSum:
      return chain->TwoPoint(1);
    case Kind::kEnergy:
      return -chain->TwoPoint(1);
    case Kind::kAction:
      return static_cast<double>(times) *
             (-couplings_.hop * chain->TwoPoint(1) + couplings_.quadratic * chain->Square() +
              couplings_.quartic * chain->Fourth());
    case Kind::kSusceptibility:
      return fourier(0);
    case Kind::kMagnetisationSquared:
      return fourier(0) / static_cast<double>(times);
    case Kind::kStructureFactorMin:
      return fourier(1);
    case Kind::kTwoPoint:
      return chain->TwoPoint(entry.t);
    default:
      return std::nullopt;
  }
}

}  // namespace

std::unique_ptr<TheoryObservables> MakeScalarObservables(const v1::Target& target, const Lattice& lattice) {
  return std::make_unique<ScalarObservables>(lattice, Phi4CouplingsOf(target.phi4(), lattice.dims()));
}

}  // namespace haarflow
