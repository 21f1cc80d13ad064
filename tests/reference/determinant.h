// log |det| of a dense matrix [n][n], by elimination with pivots.
#pragma once

#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

namespace haarflow::testing {

inline double LogDeterminant(std::vector<std::vector<double>> m) {
  double log = 0;
  for (size_t k = 0; k < m.size(); ++k) {
    size_t pivot = k;
    for (size_t i = k; i < m.size(); ++i) {
      if (std::abs(m[i][k]) > std::abs(m[pivot][k])) pivot = i;
    }
    std::swap(m[k], m[pivot]);
    log += std::log(std::abs(m[k][k]));
    for (size_t i = k + 1; i < m.size(); ++i) {
      const double factor = m[i][k] / m[k][k];
      if (factor == 0) continue;
      for (size_t j = k; j < m.size(); ++j) m[i][j] -= factor * m[k][j];
    }
  }
  return log;
}

}  // namespace haarflow::testing
