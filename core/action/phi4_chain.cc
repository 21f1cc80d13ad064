#include "core/action/phi4_chain.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/action/eigen.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

// Where the weight of one site, at most exp(-f), f = (quadratic - |hop|) x^2 + quartic x^4, has fallen to exp(-45) of
// its largest.
double Range(const Phi4Couplings& c) {
  const double a = c.quadratic - std::abs(c.hop);
  const double lowest = a < 0 ? -a * a / (4 * c.quartic) : 0;
  double low = a < 0 ? std::sqrt(-a / (2 * c.quartic)) : 0;
  double high = low + 1;
  const auto fallen = [&](double x) { return a * x * x + c.quartic * x * x * x * x - lowest > 45; };
  while (!fallen(high)) high *= 2;
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (low + high);
    (fallen(middle) ? high : low) = middle;
  }
  return high;
}

// The eigenvectors of one parity with what is needed of them.
struct Parity {
  std::vector<double> value;
  std::vector<double>
      vector;  // [which][point], points of x > 0; the whole vector is this at x, +-this at -x, over sqrt(2)
};

// Keeps eigenvalues that are not tiny beside the largest of either parity, and divides by that.
void Scale(double largest, size_t points, Parity* parity) {
  Parity kept;
  for (size_t k = 0; k < parity->value.size(); ++k) {
    if (std::abs(parity->value[k]) < 1e-18 * largest) continue;
    kept.value.push_back(parity->value[k] / largest);
    const auto begin = parity->vector.begin() + static_cast<int64_t>(k * points);
    kept.vector.insert(kept.vector.end(), begin, begin + static_cast<int64_t>(points));
  }
  *parity = std::move(kept);
}

}  // namespace

absl::StatusOr<Phi4Chain> Phi4Chain::Create(const Lattice& lattice, const Phi4Couplings& couplings) {
  if (lattice.dims() != 1 || couplings.components != 1) {
    return absl::InvalidArgumentError("phi^4 chain: one dimension and one component are supported");
  }
  RETURN_IF_ERROR(CheckPhi4Couplings("phi^4 chain", 1, couplings));
  Phi4Chain chain;
  chain.length_ = lattice.volume();
  const double range = Range(couplings);
  double before = 0;
  for (int points = 64; points <= 512; points *= 2) {
    RETURN_IF_ERROR(chain.Solve(couplings, range, points));
    if (points > 64 && std::abs(chain.log_z_ - before) <= 1e-12 * std::max(1.0, std::abs(before))) return chain;
    before = chain.log_z_;
  }
  return absl::FailedPreconditionError("phi^4 chain: 512 points do not resolve the transfer matrix of these couplings");
}

absl::Status Phi4Chain::Solve(const Phi4Couplings& c, double range, int points) {
  const double spacing = 2 * range / (points - 1);
  const int half = points / 2;
  std::vector<double> x(half);
  for (int i = 0; i < half; ++i) x[i] = (i + 0.5) * spacing;
  const auto potential = [&](double z) { return (c.quadratic + c.quartic * z * z) * z * z; };
  const auto exponent = [&](double a, double b) { return c.hop * a * b - 0.5 * (potential(a) + potential(b)); };
  // The largest exponent is taken out, so that nothing overflows.
  double top = exponent(x[0], x[0]);
  for (int i = 0; i < half; ++i) {
    for (int j = 0; j < half; ++j) top = std::max({top, exponent(x[i], x[j]), exponent(x[i], -x[j])});
  }
  Parity parities[2];
  for (int odd = 0; odd < 2; ++odd) {
    std::vector<double> matrix(half * half);
    for (int i = 0; i < half; ++i) {
      for (int j = 0; j < half; ++j) {
        const double same = std::exp(exponent(x[i], x[j]) - top), other = std::exp(exponent(x[i], -x[j]) - top);
        matrix[i * half + j] = spacing * (odd ? same - other : same + other);
      }
    }
    ASSIGN_OR_RETURN(SymmetricEigen eigen, DiagonaliseSymmetric(half, std::move(matrix)));
    parities[odd] = {std::move(eigen.value), std::move(eigen.vector)};
  }
  double largest = 0;
  for (const Parity& parity : parities) {
    for (const double e : parity.value) largest = std::max(largest, std::abs(e));
  }
  trace_ = square_ = fourth_ = 0;
  for (Parity& parity : parities) {
    Scale(largest, half, &parity);
    for (size_t k = 0; k < parity.value.size(); ++k) {
      const double weight = std::pow(parity.value[k], static_cast<double>(length_));
      trace_ += weight;
      for (int i = 0; i < half; ++i) {
        const double v = parity.vector[k * half + i];
        square_ += weight * v * v * x[i] * x[i];
        fourth_ += weight * v * v * std::pow(x[i], 4);
      }
    }
  }
  square_ /= trace_;
  fourth_ /= trace_;
  log_z_ = static_cast<double>(length_) * (top + std::log(largest)) + std::log(trace_);
  even_ = parities[0].value;
  odd_ = parities[1].value;
  position_.clear();
  for (size_t k = 0; k < even_.size(); ++k) {
    for (size_t l = 0; l < odd_.size(); ++l) {
      double sum = 0;
      for (int i = 0; i < half; ++i) sum += parities[0].vector[k * half + i] * x[i] * parities[1].vector[l * half + i];
      position_.push_back(sum * sum);
    }
  }
  return absl::OkStatus();
}

// sum over k, l of opposite parity of e_k^t e_l^(L - t) <k|x|l>^2, over sum_k e_k^L.
double Phi4Chain::TwoPoint(int64_t t) const {
  t = (t % length_ + length_) % length_;
  if (t == 0) return square_;
  const auto powers = [&](const std::vector<double>& values, int64_t n) {
    std::vector<double> result;
    for (const double e : values) result.push_back(std::pow(e, static_cast<double>(n)));
    return result;
  };
  const std::vector<double> even = powers(even_, t), even_rest = powers(even_, length_ - t);
  const std::vector<double> odd = powers(odd_, t), odd_rest = powers(odd_, length_ - t);
  double sum = 0;
  for (size_t k = 0; k < even.size(); ++k) {
    for (size_t l = 0; l < odd.size(); ++l) {
      sum += position_[k * odd.size() + l] * (even[k] * odd_rest[l] + odd[l] * even_rest[k]);
    }
  }
  return sum / trace_;
}

}  // namespace haarflow
