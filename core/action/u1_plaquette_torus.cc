#include "core/action/u1_plaquette_torus.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numbers>

#include "core/action/gauss_legendre.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

using std::numbers::pi;
using Complex = std::complex<double>;

constexpr int64_t kMaxTerms = 1024;
constexpr double kNegligible = 1e-16;
// Of what is continued as zero or smoothly at pi, over the peak.
constexpr double kRounding = 1e-16;

Complex Power(const Complex& x, double n) {
  const double size = std::abs(x);
  return size == 0 ? Complex(n == 0 ? 1 : 0) : std::polar(std::pow(size, n), n * std::arg(x));
}

// Waves that a smooth weight of this sharpness is made of.
int64_t Waves(double sharpness) { return 32 + static_cast<int64_t>(12 * std::sqrt(sharpness)); }

}  // namespace

absl::StatusOr<U1PlaquetteTorus> U1PlaquetteTorus::Create(int64_t volume, const U1Plaquette& plaquette) {
  if (volume < 3 || volume > int64_t{1} << 26) {
    return absl::InvalidArgumentError(absl::StrCat("U(1) torus: volume is ", volume, "; 3..2^26 are supported"));
  }
  if (!(plaquette.beta >= 0 && plaquette.beta <= 1000)) {
    return absl::InvalidArgumentError(absl::StrCat("U(1) torus: beta is ", plaquette.beta, "; 0..1000 are supported"));
  }
  return U1PlaquetteTorus(volume, plaquette);
}

U1PlaquetteTorus::U1PlaquetteTorus(int64_t volume, const U1Plaquette& plaquette)
    : volume_(volume), plaquette_(plaquette), terms_(Waves(plaquette.sharpness())) {
  const double v = static_cast<double>(volume);
  double log_scale = 0;
  for (;; terms_ = std::min(2 * terms_, kMaxTerms)) {
    // Nodes for waves up to those of the weight and of the last term.
    const auto nodes = static_cast<int>(1.6 * static_cast<double>(Waves(plaquette_.sharpness()) + terms_)) + 40;
    const GaussLegendre rule(nodes);
    node_.resize(nodes);
    weight_.resize(nodes);
    double peak = -HUGE_VAL;
    for (int i = 0; i < nodes; ++i) {
      node_[i] = pi * (2 * rule.node[i] - 1);
      weight_[i] = plaquette_.LogWeight(node_[i]);
      peak = std::max(peak, weight_[i]);
    }
    double sum = 0;
    for (int i = 0; i < nodes; ++i) {
      weight_[i] = rule.weight[i] * std::exp(weight_[i] - peak);
      sum += weight_[i];
    }
    for (double& weight : weight_) weight /= sum;
    log_scale = peak + std::log(sum);
    const std::vector<double> one(nodes, 1.0);
    all_ = Coefficients(0, one);
    // Between integers c(nu) falls like 1/nu for every weight.
    const double last = std::pow(std::max(std::abs(all_.back()), std::abs(Coefficients(0.5, one).back())), v);
    if (terms_ == kMaxTerms || last * static_cast<double>(terms_) < kNegligible) break;
  }
  const double up = plaquette_.LogWeight(pi), down = plaquette_.LogWeight(-pi);
  broken_ = plaquette_.theta_imaginary != 0 || plaquette_.form == U1Plaquette::Form::kManton;
  broken_ = broken_ && std::exp(std::max(up, down) - log_scale) > kRounding;
  ratio_.assign(all_.begin() + terms_, all_.end());
  if (!broken_) {
    // Smooth weights have coefficients that fall fast, down to what rounding makes of zero.
    const auto end =
        std::find_if(ratio_.begin(), ratio_.end(), [](const Complex& c) { return std::abs(c) < kRounding; });
    ratio_.erase(end, ratio_.end());
  }
  reduced_z_ = 0;
  for (const Complex& c : all_) reduced_z_ += Power(c, v).real();
  log_z_ = v * log_scale + std::log(reduced_z_);
}

std::vector<Complex> U1PlaquetteTorus::Coefficients(double shift, const std::vector<double>& g) const {
  std::vector<Complex> sum(2 * terms_ + 1);
  for (size_t i = 0; i < node_.size(); ++i) {
    // From the middle outwards: fewer products from the start to every term.
    const Complex start = std::polar(weight_[i] * g[i], shift * node_[i]), step = std::polar(1.0, node_[i]);
    Complex up = start, down = start;
    sum[terms_] += start;
    for (int64_t n = 1; n <= terms_; ++n) {
      up *= step;
      down *= std::conj(step);
      sum[terms_ + n] += up;
      sum[terms_ - n] += down;
    }
  }
  return sum;
}

template <typename F>
std::vector<double> U1PlaquetteTorus::AtNodes(const F& g) const {
  std::vector<double> values;
  for (double p : node_) values.push_back(g(p));
  return values;
}

double U1PlaquetteTorus::OnePoint(const std::vector<double>& g) const {
  const std::vector<Complex> c = Coefficients(0, g);
  double sum = 0;
  for (size_t n = 0; n < c.size(); ++n) sum += (c[n] * Power(all_[n], static_cast<double>(volume_ - 1))).real();
  return sum / reduced_z_;
}

double U1PlaquetteTorus::Plaquette() const {
  return OnePoint(AtNodes([](double p) { return std::cos(p); }));
}

double U1PlaquetteTorus::Energy() const {
  return OnePoint(AtNodes([this](double p) { return plaquette_.BetaDerivative(p); }));
}

double U1PlaquetteTorus::Action() const {
  const double s = OnePoint(AtNodes([this](double p) { return plaquette_.Action(p); }));
  return static_cast<double>(volume_) * s - plaquette_.theta_imaginary * Charge();
}

double U1PlaquetteTorus::WilsonLoop(int64_t area) const {
  double sum = 0;
  for (size_t n = 0; n + 1 < all_.size(); ++n) {
    sum += (Power(all_[n + 1], static_cast<double>(area)) * Power(all_[n], static_cast<double>(volume_ - area))).real();
  }
  return sum / reduced_z_;
}

double U1PlaquetteTorus::Charge() const {
  if (plaquette_.theta_imaginary == 0) return 0;
  return static_cast<double>(volume_) * OnePoint(AtNodes([](double p) { return p / (2 * pi); }));
}

double U1PlaquetteTorus::ChargeSquared() const {
  const std::vector<Complex> first = Coefficients(0, AtNodes([](double p) { return p / (2 * pi); }));
  const std::vector<Complex> second = Coefficients(0, AtNodes([](double p) { return p * p / (4 * pi * pi); }));
  const double v = static_cast<double>(volume_);
  double sum = 0;
  for (size_t n = 0; n < all_.size(); ++n) {
    const Complex& c = all_[n];
    sum += (Power(c, v - 2) * (second[n] * c + (v - 1) * first[n] * first[n])).real();
  }
  return std::max(v * sum / reduced_z_, 0.0);
}

double U1PlaquetteTorus::ChargeCosine(double x) const {
  double sum = 0;
  for (const Complex& c : Coefficients(x / (2 * pi), std::vector<double>(node_.size(), 1.0))) {
    sum += Power(c, static_cast<double>(volume_)).real();
  }
  return sum / reduced_z_;
}

double U1PlaquetteTorus::ChargeProbability(int64_t q) const {
  // |Q| < V/2: <e^{i x Q}> is a trigonometric polynomial, and the trapezoidal rule exact up to aliases P(Q + k points):
  // beyond V points there are none, beyond 16 standard deviations none that matters.
  if (std::llabs(q) > volume_ / 2) return 0;
  const double mean = Charge(), sigma = std::sqrt(std::max(ChargeSquared() - mean * mean, 0.0));
  const auto reach = static_cast<int64_t>(std::abs(static_cast<double>(q) - mean) + 24 + 16 * sigma);
  const int64_t points = std::min(2 * reach, volume_ + 1);
  const std::vector<double> one(node_.size(), 1.0);
  double sum = 0;
  for (int64_t k = 0; k < points; ++k) {
    const double turn = static_cast<double>(k) / static_cast<double>(points);
    Complex z = 0;
    for (const Complex& c : Coefficients(turn, one)) z += Power(c, static_cast<double>(volume_));
    const double phase = 2 * pi * static_cast<double>(k * (q % points) % points) / static_cast<double>(points);
    sum += (z * std::polar(1.0, -phase)).real();
  }
  return std::clamp(sum / (static_cast<double>(points) * reduced_z_), 0.0, 1.0);
}

}  // namespace haarflow
