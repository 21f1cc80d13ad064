#include "core/action/sun_wilson.h"

#include <array>
#include <cmath>
#include <numbers>

#include "core/action/sun_matrix.h"

namespace haarflow {
namespace {

// The site `steps` ahead of every site.
std::vector<int64_t> Ahead(const Lattice& lattice, int mu, int64_t steps) {
  std::vector<int64_t> site(lattice.volume());
  for (int64_t x = 0; x < lattice.volume(); ++x) site[x] = lattice.Shift(x, mu, steps);
  return site;
}

template <int N>
class Links {
 public:
  using M = SunMatrix<N>;
  static constexpr int kNumbers = M::kNumbers;

  Links(const Lattice& lattice, const double* links) : lattice_(lattice), links_(links) {}

  const double* At(int mu, int64_t site) const { return links_ + lattice_.Link(mu, site) * kNumbers; }

  // The product of `steps` links along mu from every site.
  std::vector<double> Lines(int mu, int64_t steps) const {
    const int64_t volume = lattice_.volume();
    std::vector<double> line(At(mu, 0), At(mu, 0) + volume * kNumbers);
    std::vector<double> longer(line.size());
    for (int64_t length = 1; length < steps; ++length) {
      for (int64_t x = 0; x < volume; ++x) {
        M::Multiply(&line[x * kNumbers], At(mu, lattice_.Shift(x, mu, length)), &longer[x * kNumbers]);
      }
      line.swap(longer);
    }
    return line;
  }

  // Re Tr [a b (b' a')^+], a and a' the two lines along mu, b' and b those along nu: two products, and no inverse.
  double LoopSum(int mu, int nu, int64_t width, int64_t height) const {
    std::vector<double> wide, high;
    const double* along_mu = At(mu, 0);
    const double* along_nu = At(nu, 0);
    if (width > 1) along_mu = (wide = Lines(mu, width)).data();
    if (height > 1) along_nu = (high = Lines(nu, height)).data();
    const std::vector<int64_t> ahead_mu = Ahead(lattice_, mu, width);
    const std::vector<int64_t> ahead_nu = Ahead(lattice_, nu, height);
    double below[kNumbers], above[kNumbers];
    double sum = 0;
    for (int64_t x = 0; x < lattice_.volume(); ++x) {
      M::Multiply(along_mu + x * kNumbers, along_nu + ahead_mu[x] * kNumbers, below);
      M::Multiply(along_nu + x * kNumbers, along_mu + ahead_nu[x] * kNumbers, above);
      sum += M::ReTraceAdjoint(below, above);
    }
    return sum;
  }

  SunLoopSums Sums(bool rectangles) const {
    SunLoopSums sums;
    for (int mu = 0; mu < lattice_.dims(); ++mu) {
      for (int nu = mu + 1; nu < lattice_.dims(); ++nu) {
        sums.plaquettes += LoopSum(mu, nu, 1, 1);
        if (rectangles) sums.rectangles += LoopSum(mu, nu, 2, 1) + LoopSum(mu, nu, 1, 2);
      }
    }
    return sums;
  }

  std::vector<double> PolyakovTraces(int mu) const {
    std::vector<double> traces;
    double line[kNumbers], longer[kNumbers];
    for (int64_t x = 0; x < lattice_.volume(); ++x) {
      if (lattice_.Coordinate(x, lattice_.AxisOf(mu)) != 0) continue;
      M::Copy(At(mu, x), line);
      for (int64_t step = 1; step < lattice_.extent(mu); ++step) {
        M::Multiply(line, At(mu, lattice_.Shift(x, mu, step)), longer);
        M::Copy(longer, line);
      }
      double re = 0;
      double im = 0;
      for (int i = 0; i < N; ++i) {
        re += M::Re(line, i, i);
        im += M::Im(line, i, i);
      }
      traces.push_back(re);
      traces.push_back(im);
    }
    return traces;
  }

  double CloverCharge() const {
    double sum = 0;
    for (int64_t x = 0; x < lattice_.volume(); ++x) {
      const Matrix f01 = FieldStrength(x, 0, 1), f23 = FieldStrength(x, 2, 3);
      const Matrix f02 = FieldStrength(x, 0, 2), f13 = FieldStrength(x, 1, 3);
      const Matrix f03 = FieldStrength(x, 0, 3), f12 = FieldStrength(x, 1, 2);
      // Of the 24 terms of eps, 8 are equal to each of these. Tr a b = Re Tr a b^+ for Hermitian matrices.
      sum += M::ReTraceAdjoint(f01.data(), f23.data()) - M::ReTraceAdjoint(f02.data(), f13.data()) +
             M::ReTraceAdjoint(f03.data(), f12.data());
    }
    return 8 * sum / (32 * std::numbers::pi * std::numbers::pi);
  }

 private:
  using Matrix = std::array<double, kNumbers>;

  Matrix FieldStrength(int64_t x, int mu, int nu) const {
    const int64_t ahead_mu = lattice_.Shift(x, mu, 1), behind_mu = lattice_.Shift(x, mu, -1);
    const int64_t ahead_nu = lattice_.Shift(x, nu, 1), behind_nu = lattice_.Shift(x, nu, -1);
    const int64_t left_up = lattice_.Shift(behind_mu, nu, 1), right_down = lattice_.Shift(behind_nu, mu, 1);
    const int64_t left_down = lattice_.Shift(behind_mu, nu, -1);
    Matrix clover{}, a, b, c;
    const auto add = [&clover, &c] {
      for (int k = 0; k < kNumbers; ++k) clover[k] += c[k];
    };
    // Right, up, left, down.
    M::Multiply(At(mu, x), At(nu, ahead_mu), a.data());
    M::Multiply(At(nu, x), At(mu, ahead_nu), b.data());
    M::MultiplyAdjoint(a.data(), b.data(), c.data());
    add();
    // Up, left, down, right.
    M::MultiplyAdjoint(At(nu, x), At(mu, left_up), a.data());
    M::AdjointMultiply(At(nu, behind_mu), At(mu, behind_mu), b.data());
    M::Multiply(a.data(), b.data(), c.data());
    add();
    // Left, down, right, up.
    M::Multiply(At(nu, left_down), At(mu, behind_mu), a.data());
    M::Multiply(At(mu, left_down), At(nu, behind_nu), b.data());
    M::AdjointMultiply(a.data(), b.data(), c.data());
    add();
    // Down, right, up, left.
    M::AdjointMultiply(At(nu, behind_nu), At(mu, behind_nu), a.data());
    M::MultiplyAdjoint(At(nu, right_down), At(mu, x), b.data());
    M::Multiply(a.data(), b.data(), c.data());
    add();
    return HermitianPart(clover);
  }

  // The traceless part of (c - c^+) / (8 i).
  static Matrix HermitianPart(const Matrix& c) {
    Matrix f;
    double trace = 0;
    for (int i = 0; i < N; ++i) {
      for (int j = 0; j < N; ++j) {
        f[2 * (i * N + j)] = (M::Im(c.data(), i, j) + M::Im(c.data(), j, i)) / 8;
        f[2 * (i * N + j) + 1] = (M::Re(c.data(), j, i) - M::Re(c.data(), i, j)) / 8;
      }
      trace += f[2 * (i * N + i)];
    }
    for (int i = 0; i < N; ++i) f[2 * (i * N + i)] -= trace / N;
    return f;
  }

  const Lattice& lattice_;
  const double* links_;
};

}  // namespace

double SunLoopSum(const Lattice& lattice, int colours, const double* links, int mu, int nu, int64_t width,
                  int64_t height) {
  return colours == 2 ? Links<2>(lattice, links).LoopSum(mu, nu, width, height)
                      : Links<3>(lattice, links).LoopSum(mu, nu, width, height);
}

SunLoopSums SunLoopSumsOf(const Lattice& lattice, int colours, const double* links, bool rectangles) {
  return colours == 2 ? Links<2>(lattice, links).Sums(rectangles) : Links<3>(lattice, links).Sums(rectangles);
}

double SunWilsonActionOf(const Lattice& lattice, int colours, double beta, double rectangle, const double* links) {
  const SunLoopSums sums = SunLoopSumsOf(lattice, colours, links, rectangle != 0);
  return -beta / colours * ((1 - 8 * rectangle) * sums.plaquettes + rectangle * sums.rectangles);
}

std::vector<double> SunPolyakovTraces(const Lattice& lattice, int colours, const double* links, int mu) {
  return colours == 2 ? Links<2>(lattice, links).PolyakovTraces(mu) : Links<3>(lattice, links).PolyakovTraces(mu);
}

double SunCloverCharge(const Lattice& lattice, int colours, const double* links) {
  return colours == 2 ? Links<2>(lattice, links).CloverCharge() : Links<3>(lattice, links).CloverCharge();
}

}  // namespace haarflow
