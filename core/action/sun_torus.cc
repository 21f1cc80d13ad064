#include "core/action/sun_torus.h"

#include <cmath>
#include <cstdlib>

#include "core/action/bessel.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

// What representations add up to is below this times what the others do: of log Z, and of products of neighbours.
constexpr double kNegligible = 1e-30;

// x^n, with 0^0 = 1.
double Power(double x, int64_t n) { return std::pow(x, static_cast<double>(n)); }

// The coefficients of SU(3) over I_0^3. A determinant cancels to about (3/beta)^3 of its terms, the more the larger the
// representation: in 64 bits of mantissa 1e-13 of c_0 remains at beta = 1000, where the action has 1e-13 of log Z.
class Su3Coefficients {
 public:
  explicit Su3Coefficients(double beta) : ratio_(BesselRatios<long double>(beta / 3.0L)) {
    // I_n below 1e-24 does not count beside rounding.
    while (reach_ + 1 < static_cast<int>(ratio_.size()) && ratio_[reach_] > 1e-24L) ++reach_;
    log_i0_ = LogBesselI0<long double>(beta / 3.0L, ratio_);
  }

  static double Dimension(int p, int q) { return (p + 1.0) * (q + 1.0) * (p + q + 2.0) / 2; }
  long double log_i0() const { return log_i0_; }

  // c_(p,q) / I_0^3.
  long double At(int p, int q) const {
    const int first = p + q;
    long double sum = 0;
    for (int k = -reach_ - 2; k <= reach_ + 2 - first; ++k) {
      long double m[3][3];
      for (int i = 0; i < 3; ++i) {
        m[i][0] = Ratio(first + i + k);
        m[i][1] = Ratio(q - 1 + i + k);
        m[i][2] = Ratio(-2 + i + k);
      }
      sum += m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0]) +
             m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0]);
    }
    return sum / static_cast<long double>(Dimension(p, q));
  }

 private:
  long double Ratio(int n) const {
    const size_t k = static_cast<size_t>(std::abs(n));
    return k < ratio_.size() ? ratio_[k] : 0;
  }

  std::vector<long double> ratio_;
  int reach_ = 0;
  long double log_i0_ = 0;
};

// Representations (p, q) in the order of shells p + q, within one by p.
int Position(int p, int q) { return (p + q) * (p + q + 1) / 2 + p; }

}  // namespace

absl::StatusOr<SunTorus> SunTorus::Create(int colours, int64_t volume, double beta) {
  if (colours != 2 && colours != 3) {
    return absl::InvalidArgumentError(absl::StrCat("SU(N) torus: N is ", colours, "; 2 and 3 are supported"));
  }
  if (volume < 1 || volume > int64_t{1} << 26) {
    return absl::InvalidArgumentError(absl::StrCat("SU(N) torus: volume is ", volume, "; 1..2^26 are supported"));
  }
  if (!(beta >= 0 && beta <= 1000)) {
    return absl::InvalidArgumentError(absl::StrCat("SU(N) torus: beta is ", beta, "; 0..1000 are supported"));
  }
  SunTorus torus(colours, volume);
  colours == 2 ? torus.AddSu2(beta) : torus.AddSu3(beta);
  return torus;
}

void SunTorus::AddSu2(double beta) {
  const std::vector<double> bessel = BesselRatios(beta);
  // 2 I_1 / beta = I_0 - I_2, which is also right at beta = 0.
  const double c0 = 1 - bessel[2];
  log_c0_ = LogBesselI0(beta, bessel) + std::log(c0);
  const int last = static_cast<int>(bessel.size()) - 1;
  for (int n = 1; n <= last; ++n) {
    Representation representation{.dimension = static_cast<double>(n), .ratio = n == 1 ? 1 : bessel[n] / bessel[1]};
    if (beta == 0 && n > 1) representation.ratio = 0;
    if (n > 1) representation.products.push_back(n - 2);
    if (n < last) representation.products.push_back(n);
    representations_.push_back(std::move(representation));
  }
}

void SunTorus::AddSu3(double beta) {
  const Su3Coefficients coefficients(beta);
  const long double c0 = coefficients.At(0, 0);
  log_c0_ = static_cast<double>(3 * coefficients.log_i0() + std::log(c0));
  // Shells until none matters, and one more: neighbours of the last that does.
  bool enough = false;
  int shells = 0;
  while (!enough) {
    enough = shells > 0;
    for (int p = 0; p <= shells; ++p) {
      const int q = shells - p;
      Representation representation{.dimension = Su3Coefficients::Dimension(p, q)};
      // (q, p) is the conjugate: the same coefficient.
      representation.ratio =
          p > q ? representations_[Position(q, p)].ratio : static_cast<double>(coefficients.At(p, q) / c0);
      if (Power(std::abs(representation.ratio), volume_) > kNegligible) enough = false;
      representations_.push_back(std::move(representation));
    }
    ++shells;
  }
  for (int shell = 0; shell < shells; ++shell) {
    for (int p = 0; p <= shell; ++p) {
      const int q = shell - p;
      std::vector<int>& products = representations_[Position(p, q)].products;
      if (shell + 1 < shells) products.push_back(Position(p + 1, q));
      if (p > 0) products.push_back(Position(p - 1, q + 1));
      if (q > 0) products.push_back(Position(p, q - 1));
    }
  }
}

double SunTorus::ReducedZ() const {
  double sum = 0;
  for (const Representation& r : representations_) sum += Power(r.ratio, volume_);
  return sum;
}

template <typename Term>
double SunTorus::SumOfPairs(int64_t area, const Term& factor) const {
  double sum = 0;
  for (const Representation& inner : representations_) {
    for (const int product : inner.products) {
      const Representation& outer = representations_[product];
      sum += factor(inner, outer) * Power(inner.ratio, area) * Power(outer.ratio, volume_ - area);
    }
  }
  return sum / ReducedZ();
}

std::vector<SunTorus::Coefficient> SunTorus::Coefficients() const {
  std::vector<Coefficient> coefficients;
  for (int shell = 0; coefficients.size() < representations_.size(); ++shell) {
    for (int p = colours_ == 2 ? shell : 0; p <= shell; ++p) {
      const Representation& r = representations_[coefficients.size()];
      coefficients.push_back({p, shell - p, r.dimension, r.ratio});
    }
  }
  return coefficients;
}

double SunTorus::LogZ() const { return static_cast<double>(volume_) * log_c0_ + std::log(ReducedZ()); }

double SunTorus::Plaquette() const { return WilsonLoop(1); }

double SunTorus::WilsonLoop(int64_t area) const {
  return SumOfPairs(area, [](const auto& inner, const auto& outer) { return inner.dimension / outer.dimension; }) /
         colours_;
}

double SunTorus::PolyakovCorrelator(int64_t area) const {
  return SumOfPairs(area, [](const auto&, const auto&) { return 1.0; }) / (colours_ * colours_);
}

}  // namespace haarflow
