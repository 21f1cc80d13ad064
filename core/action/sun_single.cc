#include "core/action/sun_single.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "core/action/sun_matrix.h"

namespace haarflow {
namespace {

using std::numbers::pi;

template <int N>
std::array<double, 3> PowerTraces(const double* u) {
  using Matrix = SunMatrix<N>;
  double square[Matrix::kNumbers], cube[Matrix::kNumbers];
  Matrix::Multiply(u, u, square);
  Matrix::Multiply(square, u, cube);
  std::array<double, 3> traces = {};
  for (int i = 0; i < N; ++i) {
    traces[0] += Matrix::Re(u, i, i);
    traces[1] += Matrix::Re(square, i, i);
    traces[2] += Matrix::Re(cube, i, i);
  }
  return traces;
}

// Weyl's measure and the action at angles 2 pi k / n of a maximal torus; weights relative to exp(shift).
class WeylSum {
 public:
  WeylSum(int colours, const std::array<double, 3>& b, int n) : colours_(colours), b_(b), n_(n), cosine_(n), sine2_(n) {
    for (int k = 0; k < n; ++k) {
      cosine_[k] = std::cos(2 * pi * k / n);
      sine2_[k] = std::pow(std::sin(pi * k / n), 2);
    }
  }

  SunSingleSolution Solve() {
    // The largest exponent first, then sums that cannot overflow.
    shift_ = -INFINITY;
    ForAll([&](double, double exponent, const std::array<double, 3>&) { shift_ = std::max(shift_, exponent); });
    double norm = 0, sum = 0;
    std::array<double, 3> traces = {};
    ForAll([&](double measure, double exponent, const std::array<double, 3>& trace) {
      const double weight = measure * std::exp(exponent - shift_);
      norm += measure;
      sum += weight;
      for (int i = 0; i < 3; ++i) traces[i] += weight * trace[i] / colours_;
    });
    for (double& trace : traces) trace /= sum;
    return {shift_ + std::log(sum / norm), traces};
  }

 private:
  int Wrap(int64_t k) const { return static_cast<int>(((k % n_) + n_) % n_); }
  template <class F>
  void ForAll(const F& f) {
    for (int i = 0; i < n_; ++i) {
      const int last = colours_ == 2 ? 1 : n_;
      for (int j = 0; j < last; ++j) {
        const int angle[3] = {i, colours_ == 2 ? Wrap(-i) : j, Wrap(-int64_t{i} - j)};
        double measure = 1, exponent = 0;
        std::array<double, 3> trace = {};
        for (int a = 0; a < colours_; ++a) {
          for (int c = a + 1; c < colours_; ++c) measure *= sine2_[Wrap(angle[a] - angle[c])];
          for (int p = 0; p < 3; ++p) trace[p] += cosine_[Wrap(int64_t{p + 1} * angle[a])];
        }
        for (int p = 0; p < 3; ++p) exponent += b_[p] / colours_ * trace[p];
        f(measure, exponent, trace);
      }
    }
  }

  const int colours_;
  const std::array<double, 3> b_;
  const int n_;
  std::vector<double> cosine_, sine2_;
  double shift_ = 0;
};

}  // namespace

std::array<double, 3> SunPowerTraces(int colours, const double* matrix) {
  return colours == 2 ? PowerTraces<2>(matrix) : PowerTraces<3>(matrix);
}

std::optional<SunSingleSolution> SolveSunSingle(int colours, const std::array<double, 3>& b) {
  SunSingleSolution solution = WeylSum(colours, b, 64).Solve();
  for (int n = 128; n <= (colours == 2 ? 65536 : 1024); n *= 2) {
    const SunSingleSolution finer = WeylSum(colours, b, n).Solve();
    if (std::abs(finer.log_z - solution.log_z) < 1e-13 * std::max(1.0, std::abs(finer.log_z))) return finer;
    solution = finer;
  }
  return std::nullopt;
}

}  // namespace haarflow
