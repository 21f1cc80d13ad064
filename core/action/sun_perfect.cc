#include "core/action/sun_perfect.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <numbers>

#include "core/action/sun_matrix.h"
#include "core/action/sun_torus.h"
#include "core/base/noise.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

using std::numbers::pi;

// Terms below this times f_n(1) are left out: f_n is rounded there.
constexpr double kNegligible = 1e-18;
// Nodes of the tables per width of a density: interpolation errors below 1e-13.
constexpr double kSpacing = 0.06;
// Beyond so many widths nothing is tabulated.
constexpr double kReach = 12;

// Random numbers of one configuration, one after the other.
class Stream {
 public:
  Stream(uint64_t seed, uint64_t index) : seed_(seed), index_(index) {}
  double Uniform() {
    double u[2];
    Pair(u);
    return u[0];
  }
  void Pair(double* u) {
    const auto r = NoiseBlock(seed_, NoisePurpose::kRejection, index_, 0, step_++);
    u[0] = UnitInterval(r[0], r[1]);
    u[1] = UnitInterval(r[2], r[3]);
  }
  // n standard normal numbers, n even.
  void Normal(int n, double* out) {
    for (int i = 0; i < n; i += 2) {
      double u[2];
      Pair(u);
      const double radius = std::sqrt(-2 * std::log1p(-u[0]));
      out[i] = radius * std::cos(2 * pi * u[1]);
      out[i + 1] = radius * std::sin(2 * pi * u[1]);
    }
  }

 private:
  uint64_t seed_;
  uint64_t index_;
  uint32_t step_ = 0;
};

// Rows to an orthonormal frame of determinant 1 (Gram-Schmidt).
template <int N>
void Orthonormalise(double* m) {
  const auto normalise = [](double* row) {
    double norm = 0;
    for (int k = 0; k < 2 * N; ++k) norm += row[k] * row[k];
    norm = 1 / std::sqrt(norm);
    for (int k = 0; k < 2 * N; ++k) row[k] *= norm;
  };
  normalise(m);
  if constexpr (N == 2) {
    const double rest[4] = {-m[2], m[3], m[0], -m[1]};
    std::copy_n(rest, 4, m + 4);
  } else {
    double *a = m, *b = m + 6, *c = m + 12;
    double re = 0, im = 0;  // a^* . b
    for (int k = 0; k < 3; ++k) {
      re += a[2 * k] * b[2 * k] + a[2 * k + 1] * b[2 * k + 1];
      im += a[2 * k] * b[2 * k + 1] - a[2 * k + 1] * b[2 * k];
    }
    for (int k = 0; k < 3; ++k) {
      b[2 * k] -= re * a[2 * k] - im * a[2 * k + 1];
      b[2 * k + 1] -= re * a[2 * k + 1] + im * a[2 * k];
    }
    normalise(b);
    for (int k = 0; k < 3; ++k) {
      const int i = 2 * ((k + 1) % 3), j = 2 * ((k + 2) % 3);
      c[2 * k] = a[i] * b[j] - a[i + 1] * b[j + 1] - a[j] * b[i] + a[j + 1] * b[i + 1];
      c[2 * k + 1] = -(a[i] * b[j + 1] + a[i + 1] * b[j] - a[j] * b[i + 1] - a[j + 1] * b[i]);
    }
  }
}

// Haar distributed: normal rows, orthonormalised.
template <int N>
void Haar(Stream* stream, double* m) {
  stream->Normal(2 * N * (N - 1), m);
  Orthonormalise<N>(m);
}

template <int N>
void Unit(double* m) {
  std::fill_n(m, 2 * N * N, 0.0);
  for (int i = 0; i < N; ++i) m[2 * (i * N + i)] = 1;
}

ConditionalQuantile::Axis AxisOf(double half_width, double width) {
  half_width = std::min(half_width, pi);
  return {half_width, static_cast<int64_t>(std::ceil(2 * half_width / (kSpacing * width)))};
}

// exp((beta/3) (sum cos - 3)) times Weyl's density.
double Su3Density(double beta, double x, double y) {
  const double z = -x - y;
  const double a = std::sin((x - y) / 2), b = std::sin((y - z) / 2), c = std::sin((z - x) / 2);
  return a * a * b * b * c * c * std::exp(beta / 3 * (std::cos(x) + std::cos(y) + std::cos(z) - 3));
}

}  // namespace

SunPerfectSampler::SunPerfectSampler(const Lattice& lattice, int colours, double beta)
    : nx_(lattice.extent(0)), ny_(lattice.extent(1)), colours_(colours), beta_(std::abs(beta)), negative_(beta < 0) {}

absl::StatusOr<std::unique_ptr<const SunPerfectSampler>> SunPerfectSampler::Create(const Lattice& lattice, int colours,
                                                                                   double beta) {
  if (lattice.dims() != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("perfect SU(N) sampler: the lattice has ", lattice.dims(), " dimensions; 2 are supported"));
  }
  const bool in_range = colours == 2   ? std::abs(beta) <= 1000 && (beta >= 0 || lattice.volume() % 2 == 0)
                        : colours == 3 ? beta >= 0 && beta <= kMaxBetaSu3
                                       : false;
  if (!in_range) {
    return absl::InvalidArgumentError(
        absl::StrCat("perfect SU(N) sampler: N = ", colours, ", beta = ", beta, " on ", lattice.volume(),
                     " sites; SU(2) with |beta| <= 1000 (negative on an even number of sites) and SU(3) with 0 <= beta "
                     "<= 24 are supported"));
  }
  std::unique_ptr<SunPerfectSampler> sampler(new SunPerfectSampler(lattice, colours, beta));
  RETURN_IF_ERROR(sampler->MakeClassFunctions());
  sampler->MakeTables();
  return std::unique_ptr<const SunPerfectSampler>(std::move(sampler));
}

absl::Status SunPerfectSampler::MakeClassFunctions() {
  const int64_t volume = nx_ * ny_;
  ASSIGN_OR_RETURN(const SunTorus torus, SunTorus::Create(colours_, volume, beta_));
  log_z_ = torus.LogZ();
  // All that a product of two needs.
  ASSIGN_OR_RETURN(const SunTorus two, SunTorus::Create(colours_, 2, beta_));
  const auto coefficients = two.Coefficients();
  std::vector<int64_t> sizes = {volume};
  for (int64_t n = volume / 2; n > 0; n /= 2) sizes.push_back(n);
  for (int64_t n : sizes) {
    ClassFunction f{.n = n};
    double all = 1, reduced_z = 1;
    for (const auto& c : coefficients) {
      if (c.p + c.q == 0) continue;
      const double power = std::pow(c.ratio, static_cast<double>(n));
      all += c.dimension * c.dimension * power;
      reduced_z += power;
    }
    for (const auto& c : coefficients) {
      const double power = std::pow(c.ratio, static_cast<double>(n));
      if (c.p + c.q == 0 || c.q > c.p || !(c.dimension * c.dimension * power > kNegligible * all)) continue;
      const double twice = colours_ == 3 && c.p != c.q ? 2 : 1;
      f.terms.push_back({c.p, c.q, twice * c.dimension * power});
      f.at_one += twice * c.dimension * c.dimension * power;
      f.shells = std::max(f.shells, c.p + c.q + 1);
    }
    if (n == volume) reduced_z_ = reduced_z;
    functions_.push_back(std::move(f));
  }
  return absl::OkStatus();
}

void SunPerfectSampler::MakeTables() {
  const ConditionalQuantile::Axis none = {0, 1};
  if (colours_ == 2) {
    const double width = 1 / std::sqrt(beta_ + 4);
    first_angle_ = std::make_unique<const ConditionalQuantile>(
        AxisOf(beta_ > 0 ? kReach / std::sqrt(beta_) : pi, width), none,
        [this](double, int64_t n, const double* x, double* values) {
          for (int64_t i = 0; i < n; ++i) {
            values[i] = std::sin(x[i]) * std::sin(x[i]) * std::exp(beta_ * (std::cos(x[i]) - 1));
          }
        });
    return;
  }
  const double width = 1 / std::sqrt(2 * beta_ / 3 + 4);
  const auto axis = AxisOf(pi, width);
  first_angle_ = std::make_unique<const ConditionalQuantile>(
      axis, none, [this](double, int64_t n, const double* x, double* values) {
        constexpr int kSteps = 256;  // exact for waves up to this
        for (int64_t i = 0; i < n; ++i) {
          values[i] = 0;
          for (int k = 0; k < kSteps; ++k) values[i] += Su3Density(beta_, x[i], 2 * pi * k / kSteps);
        }
      });
  second_angle_ = std::make_unique<const ConditionalQuantile>(
      axis, axis, [this](double phi, int64_t n, const double* x, double* values) {
        for (int64_t i = 0; i < n; ++i) values[i] = Su3Density(beta_, phi, x[i]);
      });
}

const SunPerfectSampler::ClassFunction& SunPerfectSampler::Function(int64_t n) const {
  return *std::find_if(functions_.begin(), functions_.end(), [&](const ClassFunction& f) { return f.n == n; });
}

double SunPerfectSampler::MeanHolonomies() const { return functions_.front().at_one / reduced_z_; }
double SunPerfectSampler::MeanAttempts(int64_t rest) const { return Function(rest).at_one / reduced_z_; }

// Characters by the complete symmetric polynomials h_k of the eigenvalues: h_k = t h_{k-1} - h_{k-2} for SU(2), which
// are its characters, h_k = t h_{k-1} - t^* h_{k-2} + h_{k-3} for SU(3), where chi_(p,q) = h_{p+q} h_q - h_{p+q+1}
// h_{q-1} (Jacobi and Trudi).
double SunPerfectSampler::Ratio(const ClassFunction& f, double trace_re, double trace_im) const {
  if (f.n == 1) return std::exp(beta_ / colours_ * (trace_re - colours_));
  if (f.terms.empty()) return 1;
  double sum = 1;
  if (colours_ == 2) {
    double before = 1, here = trace_re;
    // Terms are in order: p = 1, 2, ...
    for (const Term& term : f.terms) {
      sum += term.weight * here;
      const double next = trace_re * here - before;
      before = here;
      here = next;
    }
    return sum / f.at_one;
  }
  std::complex<double> h[512];
  const std::complex<double> t(trace_re, trace_im);
  h[0] = 1;
  h[1] = t;
  h[2] = t * t - std::conj(t);
  const int last = f.shells + 1;
  for (int k = 3; k <= last; ++k) h[k] = t * h[k - 1] - std::conj(t) * h[k - 2] + h[k - 3];
  const auto re = [](const std::complex<double>& a, const std::complex<double>& b) {
    return a.real() * b.real() - a.imag() * b.imag();
  };
  for (const Term& term : f.terms) {
    const double character =
        re(h[term.p + term.q], h[term.q]) - (term.q > 0 ? re(h[term.p + term.q + 1], h[term.q - 1]) : 0.0);
    sum += term.weight * character;
  }
  return sum / f.at_one;
}

template <int N>
class SunPerfectSampler::Draft {
 public:
  using M = SunMatrix<N>;
  static constexpr int kNumbers = M::kNumbers;

  Draft(const SunPerfectSampler& owner, Stream* stream) : owner_(owner), stream_(stream) {}

  // A plaquette of density w: eigenvalues, and a Haar distributed frame.
  void Plaquette(double* p) {
    double u[2];
    stream_->Pair(u);
    const double first = owner_.first_angle_->Quantile(0, u[0]);
    if constexpr (N == 2) {
      // cos + i sin n . sigma, n uniform on the sphere.
      double height = 2 * u[1] - 1, azimuth = 2 * pi * stream_->Uniform();
      const double s = std::sin(first), across = s * std::sqrt(1 - height * height);
      const double a1 = across * std::cos(azimuth), a2 = across * std::sin(azimuth), a3 = s * height;
      const double a0 = std::cos(first);
      const double entries[8] = {a0, a3, a2, a1, -a2, a1, a0, -a3};
      std::copy_n(entries, 8, p);
    } else {
      const double second = owner_.second_angle_->Quantile(first, u[1]);
      const double angle[3] = {first, second, -first - second};
      double frame[kNumbers], turned[kNumbers];
      Haar<N>(stream_, frame);
      for (int j = 0; j < N; ++j) {
        const double c = std::cos(angle[j]), s = std::sin(angle[j]);
        for (int i = 0; i < N; ++i) {
          const double re = M::Re(frame, i, j), im = M::Im(frame, i, j);
          turned[2 * (i * N + j)] = re * c - im * s;
          turned[2 * (i * N + j) + 1] = re * s + im * c;
        }
      }
      M::MultiplyAdjoint(turned, frame, p);
    }
  }

  bool Accept(const ClassFunction& f, const double* w) {
    if (f.n > 1 && f.terms.empty()) return true;
    double re = 0, im = 0;
    for (int i = 0; i < N; ++i) {
      re += M::Re(w, i, i);
      im += M::Im(w, i, i);
    }
    return stream_->Uniform() < owner_.Ratio(f, re, im);
  }

  // Holonomies, and their commutator.
  void Holonomies(double* a, double* b, double* commutator, Effort* effort) {
    double ab[kNumbers], aba[kNumbers];
    do {
      Haar<N>(stream_, a);
      Haar<N>(stream_, b);
      M::Multiply(a, b, ab);
      M::MultiplyAdjoint(ab, a, aba);
      M::MultiplyAdjoint(aba, b, commutator);
      if (effort != nullptr) ++effort->holonomies;
    } while (!Accept(owner_.functions_.front(), commutator));
  }

  // `count` plaquettes whose ordered product is w, which is used up.
  void Plaquettes(int64_t count, double* w, double* plaquette, Effort* effort) {
    size_t step = 1;
    while (count > 1) {
      const int64_t free = (count + 1) / 2;
      const ClassFunction& f = owner_.functions_[step++];
      double rest[kNumbers], product[kNumbers], next[kNumbers];
      int64_t attempts = 0;
      do {
        for (int64_t i = 0; i < free; ++i) {
          double* p = plaquette + i * kNumbers;
          Plaquette(p);
          if (i == 0) {
            M::Copy(p, product);
          } else {
            M::Multiply(product, p, next);
            M::Copy(next, product);
          }
        }
        M::AdjointMultiply(product, w, rest);
        ++attempts;
      } while (!Accept(f, rest));
      if (effort != nullptr) effort->attempts.push_back(attempts);
      M::Copy(rest, w);
      Orthonormalise<N>(w);
      plaquette += free * kNumbers;
      count -= free;
    }
    M::Copy(w, plaquette);
  }

 private:
  const SunPerfectSampler& owner_;
  Stream* stream_;
};

template <int N>
void SunPerfectSampler::DrawOf(uint64_t seed, uint64_t index, double* links, std::vector<double>* work,
                               Effort* effort) const {
  using M = SunMatrix<N>;
  constexpr int kNumbers = M::kNumbers;
  const int64_t volume = nx_ * ny_;
  Stream stream(seed, index);
  Draft<N> draft(*this, &stream);
  work->resize(volume * kNumbers);
  double around_x[kNumbers], around_y[kNumbers], w[kNumbers], m[kNumbers], n[kNumbers];
  draft.Holonomies(around_x, around_y, w, effort);
  draft.Plaquettes(volume, w, work->data(), effort);
  if (negative_) {
    for (double& entry : *work) entry = -entry;
  }
  // In the order of the product: columns from the last to the first, each upwards.
  const auto plaquette = [&](int64_t y, int64_t x) { return work->data() + ((nx_ - 1 - x) * ny_ + y) * kNumbers; };
  const auto link = [&](int mu, int64_t y, int64_t x) { return links + ((mu * ny_ + y) * nx_ + x) * kNumbers; };
  // P(x, y) = U_x(x, y) U_y(x + 1, y) U_x(x, y + 1)^+ U_y(x, y)^+, with U_y = 1 below the top row and U_x = 1 in row 0
  // but for its last link.
  for (int64_t x = 0; x < nx_; ++x) {
    x + 1 < nx_ ? Unit<N>(link(0, 0, x)) : M::Copy(around_x, link(0, 0, x));
    for (int64_t y = 0; y + 1 < ny_; ++y) {
      M::AdjointMultiply(plaquette(y, x), link(0, y, x), link(0, y + 1, x));
      Unit<N>(link(1, y, x));
    }
  }
  const int64_t top = ny_ - 1;
  M::Copy(around_y, link(1, top, 0));
  for (int64_t x = 0; x + 1 < nx_; ++x) {
    M::AdjointMultiply(link(0, top, x), plaquette(top, x), m);
    M::Multiply(m, link(1, top, x), n);
    M::Multiply(n, link(0, 0, x), link(1, top, x + 1));
  }
  // A random gauge: U_mu(x) -> g(x) U_mu(x) g(x + mu)^+.
  double* gauge = work->data();
  for (int64_t x = 0; x < volume; ++x) Haar<N>(&stream, gauge + x * kNumbers);
  for (int mu = 0; mu < 2; ++mu) {
    for (int64_t y = 0; y < ny_; ++y) {
      for (int64_t x = 0; x < nx_; ++x) {
        const int64_t next = mu == 0 ? y * nx_ + (x + 1) % nx_ : (y + 1) % ny_ * nx_ + x;
        M::Multiply(gauge + (y * nx_ + x) * kNumbers, link(mu, y, x), m);
        M::MultiplyAdjoint(m, gauge + next * kNumbers, link(mu, y, x));
        Orthonormalise<N>(link(mu, y, x));
      }
    }
  }
}

void SunPerfectSampler::Draw(uint64_t seed, uint64_t index, double* links, std::vector<double>* work) const {
  colours_ == 2 ? DrawOf<2>(seed, index, links, work, nullptr) : DrawOf<3>(seed, index, links, work, nullptr);
}

SunPerfectSampler::Effort SunPerfectSampler::DrawCounting(uint64_t seed, uint64_t index, double* links,
                                                          std::vector<double>* work) const {
  Effort effort;
  colours_ == 2 ? DrawOf<2>(seed, index, links, work, &effort) : DrawOf<3>(seed, index, links, work, &effort);
  return effort;
}

}  // namespace haarflow
