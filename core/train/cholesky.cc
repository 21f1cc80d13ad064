#include "core/train/cholesky.h"

#include <cmath>
#include <cstdint>

namespace haarflow {

bool SolveCholesky(std::vector<double>* a, std::vector<double>* b) {
  const auto n = static_cast<int64_t>(b->size());
  double* m = a->data();
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      double sum = m[i * n + j];
      for (int64_t k = 0; k < j; ++k) sum -= m[i * n + k] * m[j * n + k];
      if (i == j) {
        if (!(sum > 0)) return false;
        m[i * n + i] = std::sqrt(sum);
      } else {
        m[i * n + j] = sum / m[j * n + j];
      }
    }
  }
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t k = 0; k < i; ++k) (*b)[i] -= m[i * n + k] * (*b)[k];
    (*b)[i] /= m[i * n + i];
  }
  for (int64_t i = n - 1; i >= 0; --i) {
    for (int64_t k = i + 1; k < n; ++k) (*b)[i] -= m[k * n + i] * (*b)[k];
    (*b)[i] /= m[i * n + i];
  }
  return true;
}

}  // namespace haarflow
