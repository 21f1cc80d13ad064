#include "core/group/sun_group.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <utility>

namespace haarflow {
namespace {

using Complex = std::complex<double>;
using std::numbers::pi;

constexpr Complex kI{0, 1};

// What multiplies by a phase of modulus near 1: no overflow checks are wanted.
Complex Product(Complex a, Complex b) {
  return {a.real() * b.real() - a.imag() * b.imag(), a.real() * b.imag() + a.imag() * b.real()};
}

template <int N>
double MaxNorm(const GroupMatrix<N>& m) {
  double largest = 0;
  for (const Complex& z : m) largest = std::max({largest, std::abs(z.real()), std::abs(z.imag())});
  return largest;
}

// Roots of the characteristic polynomial x^3 - t x^2 + t^* x - 1 of a matrix of SU(3) with trace t (Cardano). Where two
// of them coincide, half of the digits are lost, where three do, two thirds.
std::array<Complex, 3> RoughEigenvalues(Complex t) {
  const Complex p = std::conj(t) - t * t / 3.0;
  const Complex q = -2.0 / 27 * t * t * t + t * std::conj(t) / 3.0 - 1.0;
  const Complex root = std::sqrt(q * q / 4.0 + p * p * p / 27.0);
  const Complex plus = -q / 2.0 + root, minus = -q / 2.0 - root;
  const Complex c = std::pow(std::norm(plus) > std::norm(minus) ? plus : minus, 1.0 / 3);
  std::array<Complex, 3> x;
  for (int k = 0; k < 3; ++k) {
    const Complex turned = c * std::polar(1.0, 2 * pi * k / 3);
    x[k] = t / 3.0 + turned - (std::norm(turned) > 0 ? p / (3.0 * turned) : 0.0);
  }
  return x;
}

// The phase that leaves cos(angle - phase) of different eigenvalues as different as they are themselves: the Hermitian
// part of exp(-i phase) U then has no degeneracy that U has not. cos(a - f) - cos(b - f) = -2 sin((a + b) / 2 - f)
// sin((a - b) / 2); of six phases, three pairs spoil at most half.
double SeparatingPhase(const std::array<Complex, 3>& eigenvalues) {
  double best_phase = 0, best = -1;
  for (int k = 0; k < 6; ++k) {
    const double phase = pi * k / 6;
    double worst = 1;
    for (int i = 0; i < 3; ++i) {
      const double a = std::arg(eigenvalues[i]), b = std::arg(eigenvalues[(i + 1) % 3]);
      worst = std::min(worst, std::abs(std::sin((a + b) / 2 - phase)));
    }
    if (worst > best) {
      best = worst;
      best_phase = phase;
    }
  }
  return best_phase;
}

// The eigenvectors of a Hermitian matrix, columns of V, by Jacobi rotations (Golub and Van Loan, section 8.5).
template <int N>
GroupMatrix<N> HermitianEigenvectors(GroupMatrix<N> a) {
  GroupMatrix<N> v = Identity<N>();
  const auto at = [](auto& m, int i, int j) -> Complex& { return m[N * i + j]; };
  for (int sweep = 0; sweep < 30; ++sweep) {
    bool rotated = false;
    for (int p = 0; p < N; ++p) {
      for (int q = p + 1; q < N; ++q) {
        const double size = std::abs(at(a, p, q));
        if (size < 1e-18) continue;
        rotated = true;
        const Complex phase = at(a, p, q) / size;
        const double tau = (at(a, q, q).real() - at(a, p, p).real()) / (2 * size);
        const double t = (tau >= 0 ? 1 : -1) / (std::abs(tau) + std::sqrt(1 + tau * tau));
        const double c = 1 / std::sqrt(1 + t * t), s = t * c;
        // a <- J^+ a J, v <- v J, J_pp = c, J_pq = s phase, J_qp = -s phase^*, J_qq = c.
        const auto columns = [&](GroupMatrix<N>& m) {
          for (int i = 0; i < N; ++i) {
            const Complex x = at(m, i, p), y = at(m, i, q);
            at(m, i, p) = c * x - s * Product(std::conj(phase), y);
            at(m, i, q) = s * Product(phase, x) + c * y;
          }
        };
        columns(a);
        columns(v);
        for (int i = 0; i < N; ++i) {
          const Complex x = at(a, p, i), y = at(a, q, i);
          at(a, p, i) = c * x - s * Product(phase, y);
          at(a, q, i) = s * Product(std::conj(phase), x) + c * y;
        }
        at(a, p, q) = at(a, q, p) = 0;
      }
    }
    if (!rotated) break;
  }
  return v;
}

// lambda^a / 2 as coefficients: M = sum_a h_a lambda^a / 2.
template <int N>
GroupMatrix<N> HermitianMatrix(const AlgebraVector<N>& h) {
  if constexpr (N == 2) {
    return {Complex(h[2] / 2), Complex(h[0], -h[1]) / 2.0, Complex(h[0], h[1]) / 2.0, Complex(-h[2] / 2)};
  } else {
    const double eighth = h[7] / std::numbers::sqrt3;
    const Complex x = Complex(h[0], -h[1]) / 2.0, y = Complex(h[3], -h[4]) / 2.0, z = Complex(h[5], -h[6]) / 2.0;
    return {Complex((h[2] + eighth) / 2),
            x,
            y,
            std::conj(x),
            Complex((eighth - h[2]) / 2),
            z,
            std::conj(y),
            std::conj(z),
            Complex(-eighth)};
  }
}

// V diag(d) V^+.
template <int N>
GroupMatrix<N> Conjugated(const GroupMatrix<N>& v, const std::array<Complex, N>& d) {
  GroupMatrix<N> scaled = v;
  for (int i = 0; i < N; ++i) {
    for (int j = 0; j < N; ++j) scaled[N * i + j] = Product(scaled[N * i + j], d[j]);
  }
  return Multiply<N>(scaled, Adjoint<N>(v));
}

template <int N>
GroupMatrix<N> Inverse(const GroupMatrix<N>& m) {
  GroupMatrix<N> inverse;
  if constexpr (N == 2) {
    inverse = {m[3], -m[1], -m[2], m[0]};
  } else {
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) {
        const int r = (j + 1) % 3, s = (j + 2) % 3, c = (i + 1) % 3, d = (i + 2) % 3;
        inverse[3 * i + j] = m[3 * r + c] * m[3 * s + d] - m[3 * r + d] * m[3 * s + c];
      }
    }
  }
  const Complex determinant = Determinant<N>(m);
  for (Complex& z : inverse) z /= determinant;
  return inverse;
}

}  // namespace

template <int N>
GroupMatrix<N> Identity() {
  GroupMatrix<N> m{};
  for (int i = 0; i < N; ++i) m[N * i + i] = 1;
  return m;
}

template <int N>
GroupMatrix<N> Multiply(const GroupMatrix<N>& a, const GroupMatrix<N>& b) {
  GroupMatrix<N> out{};
  for (int i = 0; i < N; ++i) {
    for (int k = 0; k < N; ++k) {
      for (int j = 0; j < N; ++j) out[N * i + j] += Product(a[N * i + k], b[N * k + j]);
    }
  }
  return out;
}

template <int N>
GroupMatrix<N> Adjoint(const GroupMatrix<N>& a) {
  GroupMatrix<N> out;
  for (int i = 0; i < N; ++i) {
    for (int j = 0; j < N; ++j) out[N * i + j] = std::conj(a[N * j + i]);
  }
  return out;
}

template <int N>
Complex Trace(const GroupMatrix<N>& a) {
  Complex sum = 0;
  for (int i = 0; i < N; ++i) sum += a[N * i + i];
  return sum;
}

template <int N>
Complex Determinant(const GroupMatrix<N>& m) {
  if constexpr (N == 2) {
    return m[0] * m[3] - m[1] * m[2];
  } else {
    return m[0] * (m[4] * m[8] - m[5] * m[7]) - m[1] * (m[3] * m[8] - m[5] * m[6]) + m[2] * (m[3] * m[7] - m[4] * m[6]);
  }
}

template <int N>
GroupMatrix<N> AlgebraMatrix(const AlgebraVector<N>& f) {
  GroupMatrix<N> m = HermitianMatrix<N>(f);
  for (Complex& z : m) z = Complex(z.imag(), -z.real());
  return m;
}

template <int N>
AlgebraVector<N> AlgebraComponents(const GroupMatrix<N>& m) {
  // -2 Re tr(-i lambda^a / 2 M) = -Im tr(lambda^a M).
  if constexpr (N == 2) {
    return {-(m[1] + m[2]).imag(), (m[2] - m[1]).real(), -(m[0] - m[3]).imag()};
  } else {
    return {-(m[1] + m[3]).imag(), (m[3] - m[1]).real(),
            -(m[0] - m[4]).imag(), -(m[2] + m[6]).imag(),
            (m[6] - m[2]).real(),  -(m[5] + m[7]).imag(),
            (m[7] - m[5]).real(),  -(m[0] + m[4] - 2.0 * m[8]).imag() / std::numbers::sqrt3};
  }
}

template <int N>
GroupMatrix<N> Exponential(const AlgebraVector<N>& f) {
  // F = -i H; H = V h V^+.
  const GroupMatrix<N> h = HermitianMatrix<N>(f);
  const GroupMatrix<N> v = HermitianEigenvectors<N>(h);
  const GroupMatrix<N> diagonal = Multiply<N>(Adjoint<N>(v), Multiply<N>(h, v));
  std::array<Complex, N> phase;
  for (int i = 0; i < N; ++i) phase[i] = std::polar(1.0, -diagonal[N * i + i].real());
  return Conjugated<N>(v, phase);
}

template <int N>
EigenSystem<N> Eigen(const GroupMatrix<N>& u) {
  GroupMatrix<N> hermitian;
  if constexpr (N == 2) {
    // The eigenvalues are conjugate to each other: the anti-Hermitian part separates them.
    const GroupMatrix<N> adjoint = Adjoint<N>(u);
    for (int i = 0; i < N * N; ++i) hermitian[i] = -0.5 * kI * (u[i] - adjoint[i]);
  } else {
    const Complex turn = std::polar(1.0, -SeparatingPhase(RoughEigenvalues(Trace<N>(u))));
    const GroupMatrix<N> adjoint = Adjoint<N>(u);
    for (int i = 0; i < N * N; ++i) hermitian[i] = 0.5 * (turn * u[i] + std::conj(turn) * adjoint[i]);
  }
  const GroupMatrix<N> v = HermitianEigenvectors<N>(hermitian);
  const GroupMatrix<N> diagonal = Multiply<N>(Adjoint<N>(v), Multiply<N>(u, v));
  std::array<std::pair<double, int>, N> angle;
  for (int i = 0; i < N; ++i) angle[i] = {std::arg(diagonal[N * i + i]), i};
  std::sort(angle.begin(), angle.end(), std::greater<>());
  // Angles in [-pi, pi] of a product that is 1: their sum is a multiple of 2 pi; one turn, or none, makes it 0.
  double sum = 0;
  for (const auto& a : angle) sum += a.first;
  if (sum > pi) angle.front().first -= 2 * pi;
  if (sum < -pi) angle.back().first += 2 * pi;
  std::sort(angle.begin(), angle.end(), std::greater<>());
  EigenSystem<N> system;
  for (int j = 0; j < N; ++j) {
    system.angle[j] = angle[j].first;
    for (int i = 0; i < N; ++i) system.vectors[N * i + j] = v[N * i + angle[j].second];
  }
  return system;
}

template <int N>
AlgebraVector<N> Logarithm(const GroupMatrix<N>& u) {
  const EigenSystem<N> system = Eigen<N>(u);
  std::array<Complex, N> log;
  for (int i = 0; i < N; ++i) log[i] = kI * system.angle[i];
  return AlgebraComponents<N>(Conjugated<N>(system.vectors, log));
}

template <int N>
GroupMatrix<N> Project(const GroupMatrix<N>& m) {
  // Newton's iteration for the polar decomposition (Higham, SIAM J. Sci. Stat. Comput. 7 (1986) 1160).
  GroupMatrix<N> x = m;
  for (int i = 0; i < 20; ++i) {
    const GroupMatrix<N> other = Adjoint<N>(Inverse<N>(x));
    GroupMatrix<N> change;
    for (int k = 0; k < N * N; ++k) {
      change[k] = 0.5 * (other[k] - x[k]);
      x[k] += change[k];
    }
    if (MaxNorm<N>(change) < 1e-15) break;
  }
  const Complex phase = std::polar(1.0, -std::arg(Determinant<N>(x)) / N);
  for (Complex& z : x) z *= phase;
  return x;
}

template <int N>
GroupMatrix<N> HaarMatrix(uint64_t seed, NoisePurpose purpose, uint64_t index, uint32_t link) {
  // Pairs of normal numbers, real and imaginary part.
  const auto normal = [&](uint32_t dof) {
    const auto r = NoiseBlock(seed, purpose, index, dof);
    return std::polar(std::sqrt(-2 * std::log1p(-UnitInterval(r[0], r[1]))), 2 * pi * UnitInterval(r[2], r[3]));
  };
  if constexpr (N == 2) {
    // A quaternion w_0 + i w.sigma.
    Complex a = normal(2 * link), b = normal(2 * link + 1);
    const double scale = 1 / std::sqrt(std::norm(a) + std::norm(b));
    a *= scale;
    b *= scale;
    return {Complex(a.real(), b.imag()), Complex(b.real(), a.imag()), Complex(-b.real(), a.imag()),
            Complex(a.real(), -b.imag())};
  } else {
    GroupMatrix<N> m;
    for (uint32_t pair = 0; pair < 6; ++pair) m[pair] = normal(6 * link + pair);
    const auto normalise = [&m](int row) {
      double square = 0;
      for (int j = 0; j < 3; ++j) square += std::norm(m[3 * row + j]);
      for (int j = 0; j < 3; ++j) m[3 * row + j] /= std::sqrt(square);
    };
    normalise(0);
    for (int again = 0; again < 2; ++again) {
      Complex overlap = 0;
      for (int j = 0; j < 3; ++j) overlap += std::conj(m[j]) * m[3 + j];
      for (int j = 0; j < 3; ++j) m[3 + j] -= overlap * m[j];
    }
    normalise(1);
    for (int j = 0; j < 3; ++j) {
      const int k = (j + 1) % 3, l = (j + 2) % 3;
      m[6 + j] = std::conj(m[k] * m[3 + l] - m[l] * m[3 + k]);
    }
    return m;
  }
}

#define HAARFLOW_INSTANTIATE(N)                                                      \
  template GroupMatrix<N> Identity<N>();                                             \
  template GroupMatrix<N> Multiply<N>(const GroupMatrix<N>&, const GroupMatrix<N>&); \
  template GroupMatrix<N> Adjoint<N>(const GroupMatrix<N>&);                         \
  template Complex Trace<N>(const GroupMatrix<N>&);                                  \
  template Complex Determinant<N>(const GroupMatrix<N>&);                            \
  template GroupMatrix<N> AlgebraMatrix<N>(const AlgebraVector<N>&);                 \
  template AlgebraVector<N> AlgebraComponents<N>(const GroupMatrix<N>&);             \
  template GroupMatrix<N> Exponential<N>(const AlgebraVector<N>&);                   \
  template EigenSystem<N> Eigen<N>(const GroupMatrix<N>&);                           \
  template AlgebraVector<N> Logarithm<N>(const GroupMatrix<N>&);                     \
  template GroupMatrix<N> Project<N>(const GroupMatrix<N>&);                         \
  template GroupMatrix<N> HaarMatrix<N>(uint64_t, NoisePurpose, uint64_t, uint32_t);
HAARFLOW_INSTANTIATE(2)
HAARFLOW_INSTANTIATE(3)
#undef HAARFLOW_INSTANTIATE

}  // namespace haarflow
