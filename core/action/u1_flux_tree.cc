#include "core/action/u1_flux_tree.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <map>
#include <numbers>
#include <utility>

#include "core/action/bessel.h"
#include "core/action/u1_torus.h"
#include "core/base/noise.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

using std::numbers::pi;

// Of the tables, of the largest value that they interpolate.
constexpr double kTolerance = 1e-13;
// Beyond so many standard deviations of a flux nothing is tabulated: Gaussian tails of 1e-22.
constexpr double kReach = 10;
// Where that exceeds this part of the circle, all of it is.
constexpr double kWhole = 0.75;
constexpr int64_t kLeastCells = 24;
constexpr int64_t kMaxExtent = 4096;
// Coefficients that are as good as zero.
constexpr double kNegligible = 1e-20;

using Complex = std::complex<double>;

// c_n^A until negligible; `end` says whether that was reached.
std::vector<Complex> Powers(absl::Span<const Complex> ratio, int64_t area, bool* end = nullptr) {
  std::vector<Complex> power;
  for (const Complex& c : ratio) {
    const double size = std::pow(std::abs(c), static_cast<double>(area));
    power.push_back(c.imag() == 0 && c.real() >= 0 ? size : std::polar(size, static_cast<double>(area) * std::arg(c)));
    if (end != nullptr) *end = size < kNegligible;
    if (size < kNegligible) break;
  }
  return power;
}

// Of f: what bounds it.
double AtZero(const std::vector<Complex>& c) {
  double sum = 1;
  for (size_t n = 1; n < c.size(); ++n) sum += 2 * std::abs(c[n]);
  return sum;
}

// f(x) at many points.
void Evaluate(const std::vector<Complex>& c, int64_t n, const double* x, double* values) {
  std::vector<double> re(n, 1.0), im(n, 0.0), step_re(n), step_im(n);
  for (int64_t i = 0; i < n; ++i) {
    step_re[i] = std::cos(x[i]);
    step_im[i] = std::sin(x[i]);
    values[i] = 1;
  }
  for (size_t k = 1; k < c.size(); ++k) {
    const double even = 2 * c[k].real(), odd = 2 * c[k].imag();
    for (int64_t i = 0; i < n; ++i) {
      const double turned = re[i] * step_re[i] - im[i] * step_im[i];
      im[i] = im[i] * step_re[i] + re[i] * step_im[i];
      re[i] = turned;
      values[i] += even * turned;
    }
    if (odd == 0) continue;
    for (int64_t i = 0; i < n; ++i) values[i] += odd * im[i];
  }
}

// Half width of what is tabulated of a flux: pi is the whole circle. A theta term moves the flux by the square of its
// width times theta_I / 2 pi.
double Reach(const std::vector<Complex>& c, double theta_imaginary) {
  double curvature = 0;
  for (size_t n = 1; n < c.size(); ++n) curvature += 2 * std::abs(c[n]) * static_cast<double>(n * n);
  curvature /= AtZero(c);
  if (!(curvature > 0)) return pi;
  const double width = 1 / std::sqrt(curvature), shift = width * width * std::abs(theta_imaginary) / (2 * pi);
  return std::min(kReach / std::sqrt(curvature) + shift, pi);
}

// An axis of the distribution function of x with phi, by the waves that it is made of: spacing such that the
// interpolation errors of all, in phase, are below the tolerance.
ConditionalQuantile::Axis MakeAxis(double half_width, double twelfth_derivative, double peak) {
  if (half_width > kWhole * pi) half_width = pi;
  const double spacing = std::pow(
      kTolerance * peak / (ConditionalQuantile::kInterpolationError * std::max(twelfth_derivative, 1e-300)), 1.0 / 12);
  const auto cells = static_cast<int64_t>(std::ceil(2 * half_width / spacing));
  return {half_width, std::max(cells, kLeastCells)};
}

ConditionalQuantile MakeTable(absl::Span<const Complex> ratio, double theta_imaginary, int64_t first, int64_t second) {
  const std::vector<Complex> a = Powers(ratio, first), b = Powers(ratio, second), both = Powers(ratio, first + second);
  const double peak = AtZero(both);
  // f_A(x) f_B(phi - x) = sum_m b_m e^{im phi} sum_k a_{k+m} e^{ikx}; the integral over x divides by k.
  const auto at = [](const std::vector<Complex>& c, int64_t n) {
    return std::llabs(n) < static_cast<int64_t>(c.size()) ? std::abs(c[std::llabs(n)]) : 0.0;
  };
  const auto na = static_cast<int64_t>(a.size()), nb = static_cast<int64_t>(b.size());
  double in_x = 0, in_phi = 0;
  for (int64_t m = -nb + 1; m < nb; ++m) {
    const double bm = at(b, m);
    in_phi += bm * std::pow(static_cast<double>(m), 12);
    for (int64_t k = -na - nb; k <= na + nb; ++k) {
      if (k != 0) in_x += bm * at(a, k + m) * std::pow(static_cast<double>(std::llabs(k)), 11);
    }
  }
  const auto density = [&](double phi, int64_t n, const double* x, double* values) {
    std::vector<double> rest(n), other(n);
    for (int64_t i = 0; i < n; ++i) rest[i] = phi - x[i];
    Evaluate(a, n, x, values);
    Evaluate(b, n, rest.data(), other.data());
    for (int64_t i = 0; i < n; ++i) values[i] = std::max(values[i], 0.0) * std::max(other[i], 0.0);
  };
  return ConditionalQuantile(MakeAxis(Reach(a, theta_imaginary), in_x, peak),
                             MakeAxis(Reach(both, theta_imaginary), in_phi, peak), density);
}

}  // namespace

// Adds the splits of a box {y, x, height, width}; returns the position of its flux.
int32_t U1FluxTree::Grow(const std::vector<int64_t>& box, int64_t nx, std::vector<Areas>* kinds) {
  const int64_t area = box[2] * box[3];
  if (area == 1) return static_cast<int32_t>(volume_ - 1 + box[0] * nx + box[1]);
  const int axis = box[2] >= box[3] ? 0 : 1;
  std::vector<int64_t> first = box, second = box;
  first[2 + axis] = (box[2 + axis] + 1) / 2;
  second[2 + axis] = box[2 + axis] - first[2 + axis];
  second[axis] += first[2 + axis];
  const Areas areas = {first[2] * first[3], second[2] * second[3]};
  auto kind = std::find(kinds->begin(), kinds->end(), areas);
  if (kind == kinds->end()) kind = kinds->insert(kind, areas);
  const auto position = static_cast<int32_t>(splits_.size());
  splits_.push_back({static_cast<int32_t>(kind - kinds->begin()), {0, 0}});
  const int32_t one = Grow(first, nx, kinds), other = Grow(second, nx, kinds);
  splits_[position].child[0] = one;
  splits_[position].child[1] = other;
  return position;
}

absl::StatusOr<U1FluxTree> U1FluxTree::Grown(const Lattice& lattice, std::vector<Areas>* kinds) {
  if (lattice.dims() != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("the flux tree is two-dimensional, the lattice has ", lattice.dims(), " dimensions"));
  }
  const int64_t nx = lattice.extent(0), ny = lattice.extent(1);
  if (nx > kMaxExtent || ny > kMaxExtent) {
    return absl::InvalidArgumentError(absl::StrCat("flux tree: extents up to ", kMaxExtent, " are supported"));
  }
  U1FluxTree tree;
  tree.volume_ = lattice.volume();
  tree.splits_.reserve(tree.volume_ - 1);
  tree.Grow({0, 0, ny, nx}, nx, kinds);
  return tree;
}

absl::StatusOr<U1FluxTree> U1FluxTree::Create(const Lattice& lattice, absl::Span<const double> ratio) {
  bool good = !ratio.empty() && ratio[0] == 1 && ratio.size() < 4096;
  for (size_t n = 1; n < ratio.size(); ++n) good = good && ratio[n] >= 0 && ratio[n] <= ratio[n - 1];
  if (!good || (ratio.size() > 1 && ratio.back() > kNegligible)) {
    return absl::InvalidArgumentError(
        "flux tree: the weight's Fourier coefficients must start with 1, not increase, not be negative, and end below "
        "1e-20");
  }
  std::vector<Areas> kinds;
  ASSIGN_OR_RETURN(U1FluxTree tree, Grown(lattice, &kinds));
  const std::vector<Complex> c(ratio.begin(), ratio.end());
  for (const auto& [first, second] : kinds) tree.tables_.push_back(MakeTable(c, 0, first, second));
  return tree;
}

absl::StatusOr<U1FluxTree> U1FluxTree::Create(const Lattice& lattice, const U1Plaquette& plaquette,
                                              const U1PlaquetteTorus& torus) {
  std::vector<Areas> kinds;
  ASSIGN_OR_RETURN(U1FluxTree tree, Grown(lattice, &kinds));
  const double theta = plaquette.theta_imaginary;
  std::map<int64_t, U1BlockWeight> weights;
  const auto weight_of = [&](const auto& self, int64_t area) -> const U1BlockWeight& {
    auto known = weights.find(area);
    if (known == weights.end()) {
      const U1BlockWeight made = area == 1
                                     ? U1BlockWeight::Single(plaquette)
                                     : U1BlockWeight::Join(self(self, area - area / 2), self(self, area / 2), theta);
      known = weights.emplace(area, made).first;
    }
    return known->second;
  };
  // The series of this area has converged.
  const auto converges = [&](int64_t area) {
    bool end = false;
    Powers(torus.ratio(), area, &end);
    return end || !torus.broken();
  };
  std::vector<int32_t> kind_of;
  for (const auto& [first, second] : kinds) {
    if (converges(first) && converges(second)) {
      kind_of.push_back(static_cast<int32_t>(tree.tables_.size()));
      tree.tables_.push_back(MakeTable(torus.ratio(), theta, first, second));
    } else {
      kind_of.push_back(-1 - static_cast<int32_t>(tree.broken_.size()));
      tree.broken_.emplace_back(weight_of(weight_of, first), first, weight_of(weight_of, second), second, theta);
    }
  }
  for (Split& split : tree.splits_) split.kind = kind_of[split.kind];
  return tree;
}

void U1FluxTree::Angles(const double* uniform, double* angle, double* flux) const {
  flux[0] = 0;
  for (size_t s = 0; s < splits_.size(); ++s) {
    const Split& split = splits_[s];
    const double x = Quantile(split.kind, flux[s], uniform[s]);
    const double part[2] = {U1PrincipalAngle(x), U1PrincipalAngle(flux[s] - x)};
    for (int i = 0; i < 2; ++i) {
      const int64_t site = split.child[i] - (volume_ - 1);
      (site >= 0 ? angle[site] : flux[split.child[i]]) = part[i];
    }
  }
  if (splits_.empty()) angle[0] = 0;
}

void U1FluxTree::Uniforms(const double* angle, double* uniform) const {
  std::vector<double> flux(2 * volume_ - 1);
  std::copy_n(angle, volume_, flux.begin() + (volume_ - 1));
  for (int64_t s = splits() - 1; s >= 0; --s)
    flux[s] = U1PrincipalAngle(flux[splits_[s].child[0]] + flux[splits_[s].child[1]]);
  for (int64_t s = 0; s < splits(); ++s) {
    const double phi = s == 0 ? 0 : flux[s], x = flux[splits_[s].child[0]];
    const int32_t kind = splits_[s].kind;
    uniform[s] = kind >= 0 ? tables_[kind].Distribution(phi, x) : broken_[-1 - kind].Distribution(phi, x);
  }
}

int64_t U1FluxTree::table_size() const {
  int64_t size = 0;
  for (const auto& table : tables_) size += table.size();
  for (const auto& split : broken_) size += split.size();
  return size;
}

absl::StatusOr<U1PerfectSampler> U1PerfectSampler::Create(const Lattice& lattice, const U1Plaquette& plaquette) {
  const double beta = plaquette.beta;
  if (!(std::abs(beta) <= 1000) || !(std::abs(plaquette.theta_imaginary) <= kMaxTheta)) {
    return absl::InvalidArgumentError(
        absl::StrCat("perfect U(1) sampler: beta is ", beta, ", theta_imaginary ", plaquette.theta_imaginary,
                     "; |beta| <= 1000 and |theta_imaginary| <= ", kMaxTheta, " are supported"));
  }
  if (beta < 0 && (lattice.volume() % 2 != 0 || !plaquette.IsPlain())) {
    return absl::InvalidArgumentError(absl::StrCat("perfect U(1) sampler: beta is ", beta, " on ", lattice.volume(),
                                                   " sites; negative couplings need an even number of sites, and no "
                                                   "theta term"));
  }
  if (plaquette.IsPlain()) {
    ASSIGN_OR_RETURN(U1FluxTree tree, U1FluxTree::Create(lattice, BesselRatios(std::abs(beta))));
    ASSIGN_OR_RETURN(const U1Torus torus, U1Torus::Create(lattice.volume(), std::abs(beta)));
    return U1PerfectSampler(lattice, std::move(tree), torus.LogZ(), beta < 0);
  }
  ASSIGN_OR_RETURN(const U1PlaquetteTorus torus, U1PlaquetteTorus::Create(lattice.volume(), plaquette));
  ASSIGN_OR_RETURN(U1FluxTree tree, U1FluxTree::Create(lattice, plaquette, torus));
  return U1PerfectSampler(lattice, std::move(tree), torus.LogZ(), false);
}

// Links on a maximal tree are gauge: uniform, as are one link that closes a loop around the torus in each direction.
// The plaquettes give the others.
void U1PerfectSampler::Draw(uint64_t seed, uint64_t index, double* links, std::vector<double>* work) const {
  const int64_t volume = nx_ * ny_;
  // One block of noise is two numbers.
  const auto uniforms = [&](uint32_t step, int64_t n, double* out) {
    for (int64_t i = 0; i < n; i += 2) {
      const auto r = NoiseBlock(seed, NoisePurpose::kPrior, index, static_cast<uint32_t>(i / 2), step);
      out[i] = UnitInterval(r[0], r[1]);
      if (i + 1 < n) out[i + 1] = UnitInterval(r[2], r[3]);
    }
  };
  work->resize(3 * volume);
  double* angle = work->data();
  double* uniform = angle + volume;
  uniforms(0, volume - 1, uniform);
  tree_.Angles(uniform, angle, uniform + volume);
  if (negative_) {
    for (int64_t x = 0; x < volume; ++x) angle[x] += pi;
  }
  double* along_x = links;
  double* along_y = links + volume;
  // Uniform: row 0 of the x links (with the holonomy), all y links but the last row's, and one of those.
  uniforms(1, volume + 1, links);
  for (int64_t i = 0; i <= volume; ++i) links[i] = pi * (2 * links[i] - 1);
  const double holonomy = links[volume];
  std::copy_n(links + nx_, volume - nx_, along_y);
  // theta_P = theta_x(x, y) + theta_y(x + 1, y) - theta_x(x, y + 1) - theta_y(x, y).
  for (int64_t y = 0; y + 1 < ny_; ++y) {
    const double* row_y = along_y + y * nx_;
    for (int64_t x = 0; x < nx_; ++x) {
      const double across = row_y[x + 1 < nx_ ? x + 1 : 0] - row_y[x];
      along_x[(y + 1) * nx_ + x] = U1PrincipalAngle(along_x[y * nx_ + x] + across - angle[y * nx_ + x]);
    }
  }
  const int64_t top = (ny_ - 1) * nx_;
  along_y[top] = holonomy;
  for (int64_t x = 0; x + 1 < nx_; ++x) {
    along_y[top + x + 1] = U1PrincipalAngle(along_y[top + x] + angle[top + x] - along_x[top + x] + along_x[x]);
  }
}

}  // namespace haarflow
