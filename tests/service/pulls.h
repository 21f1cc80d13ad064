// Deviations from exact values in units of their errors, over many seeds.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <string>
#include <vector>

namespace haarflow::testing {

// Q(a, x) = Gamma(a, x) / Gamma(a), by series or continued fraction: chi2 survival probability is Q(dof / 2, chi2 / 2).
inline double ChiSquareProbability(double chi2, int dof) {
  const double a = 0.5 * dof, x = 0.5 * chi2;
  const double front = std::exp(a * std::log(x) - x - std::lgamma(a));
  if (x < a + 1) {
    double term = 1 / a, sum = term;
    for (int n = 1; n < 1000; ++n) sum += term *= x / (a + n);
    return 1 - front * sum;
  }
  double b = x + 1 - a, c = 1e300, d = 1 / b, h = d;
  for (int n = 1; n < 1000; ++n) {
    const double an = -n * (n - a);
    b += 2;
    d = 1 / (an * d + b);
    c = b + an / c;
    h *= c * d;
  }
  return front * h;
}

// By quantity, one for each seed.
using PullsByName = std::map<std::string, std::vector<double>>;

inline double Probability(const std::vector<double>& pulls) {
  double chi2 = 0;
  for (double p : pulls) chi2 += p * p;
  return ChiSquareProbability(chi2, static_cast<int>(pulls.size()));
}
// All pulls of one quantity together: a common shift adds up as the square root of their number.
inline double MeanPull(const std::vector<double>& pulls) {
  return std::accumulate(pulls.begin(), pulls.end(), 0.0) / std::sqrt(static_cast<double>(pulls.size()));
}
inline void ExpectStandardNormal(const PullsByName& all, const std::string& what) {
  for (const auto& [name, pulls] : all) {
    EXPECT_GT(Probability(pulls), 1e-3) << what << " " << name;
    EXPECT_LT(Probability(pulls), 1 - 1e-3) << what << " " << name << ": errors are overestimated";
    EXPECT_LT(std::abs(MeanPull(pulls)), 3.5) << what << " " << name;
  }
}

}  // namespace haarflow::testing
