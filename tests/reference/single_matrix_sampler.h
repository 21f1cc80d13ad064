// Independent single SU(N) matrices with the density exp(sum_n (b_n / N) Re Tr U^n) / Z in Haar measure, by rejection
// from Haar measure with std's random numbers: no code of the product.
#pragma once

#include <array>
#include <cmath>
#include <complex>
#include <random>
#include <vector>

namespace haarflow::reference {

class SingleMatrixSampler {
 public:
  SingleMatrixSampler(int colours, std::array<double, 3> b, uint64_t seed) : n_(colours), b_(b), random_(seed) {
    // The largest exponent, from a grid of eigenvalue angles; off it, it changes by less than the margin.
    constexpr int kGrid = 600;
    for (int i = 0; i < kGrid; ++i) {
      for (int j = 0; j < (n_ == 2 ? 1 : kGrid); ++j) {
        const double x = 2 * M_PI * i / kGrid, y = n_ == 2 ? -x : 2 * M_PI * j / kGrid;
        double exponent = 0;
        for (int p = 1; p <= 3; ++p) {
          exponent += b_[p - 1] / n_ * (std::cos(p * x) + std::cos(p * y) + (n_ == 2 ? 0 : std::cos(p * (x + y))));
        }
        largest_ = std::max(largest_, exponent);
      }
    }
    largest_ += 0.02;
  }

  // [row][column][2].
  std::vector<double> Draw() {
    for (;;) {
      const auto u = Haar();
      if (std::uniform_real_distribution<>()(random_) > std::exp(Exponent(u) - largest_)) continue;
      std::vector<double> field;
      for (const auto& z : u) field.insert(field.end(), {z.real(), z.imag()});
      return field;
    }
  }

 private:
  using Matrix = std::vector<std::complex<double>>;

  // Gram and Schmidt on a Gaussian matrix's rows; the last row's phase makes the determinant 1.
  Matrix Haar() {
    std::normal_distribution<> normal;
    Matrix u(n_ * n_);
    for (auto& z : u) z = {normal(random_), normal(random_)};
    for (int i = 0; i < n_; ++i) {
      for (int k = 0; k < i; ++k) {
        std::complex<double> overlap = 0;
        for (int j = 0; j < n_; ++j) overlap += std::conj(u[k * n_ + j]) * u[i * n_ + j];
        for (int j = 0; j < n_; ++j) u[i * n_ + j] -= overlap * u[k * n_ + j];
      }
      double norm = 0;
      for (int j = 0; j < n_; ++j) norm += std::norm(u[i * n_ + j]);
      for (int j = 0; j < n_; ++j) u[i * n_ + j] /= std::sqrt(norm);
    }
    const std::complex<double> d = n_ == 2 ? u[0] * u[3] - u[1] * u[2]
                                           : u[0] * (u[4] * u[8] - u[5] * u[7]) - u[1] * (u[3] * u[8] - u[5] * u[6]) +
                                                 u[2] * (u[3] * u[7] - u[4] * u[6]);
    for (int j = 0; j < n_; ++j) u[(n_ - 1) * n_ + j] *= std::conj(d);
    return u;
  }
  double Exponent(const Matrix& u) const {
    Matrix power = u;
    double exponent = 0;
    for (int p = 0; p < 3; ++p) {
      for (int i = 0; i < n_; ++i) exponent += b_[p] / n_ * power[i * n_ + i].real();
      Matrix next(n_ * n_);
      for (int i = 0; i < n_; ++i) {
        for (int k = 0; k < n_; ++k) {
          for (int j = 0; j < n_; ++j) next[i * n_ + j] += power[i * n_ + k] * u[k * n_ + j];
        }
      }
      power = next;
    }
    return exponent;
  }

  const int n_;
  const std::array<double, 3> b_;
  std::mt19937_64 random_;
  double largest_ = -INFINITY;
};

}  // namespace haarflow::reference
