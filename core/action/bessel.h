// Ratios of modified Bessel functions, for character expansions. Internal to this folder.
#pragma once

#include <cmath>
#include <vector>

namespace haarflow {

// r_n = I_n(x) / I_0(x), n = 0, 1, ..., until they are below 1e-30; x >= 0. From the continued fraction of the ratios,
// I_{n+1} / I_n = 1 / (2 (n + 1) / x + I_{n+2} / I_{n+1}), evaluated downward: every term is positive, so it is stable,
// and nothing grows like exp(x).
template <typename Real>
std::vector<Real> BesselRatios(Real x) {
  const int terms = 48 + static_cast<int>(12 * std::sqrt(x));
  std::vector<Real> step(terms, 0);  // I_{n+1} / I_n
  Real above = 0;
  for (int n = terms + 50; n >= 0; --n) {
    above = x / (Real(2) * (n + 1) + x * above);
    if (n < terms) step[n] = above;
  }
  std::vector<Real> ratio = {1};
  for (int n = 0; n < terms; ++n) ratio.push_back(ratio.back() * step[n]);
  return ratio;
}

// log I_0(x) from its ratios: e^x = I_0 + 2 sum_{n>0} I_n, without overflow and without an asymptotic series.
template <typename Real>
Real LogBesselI0(Real x, const std::vector<Real>& ratio) {
  Real all = 0;
  for (size_t n = ratio.size() - 1; n > 0; --n) all += 2 * ratio[n];
  return x - std::log1p(all);
}

}  // namespace haarflow
