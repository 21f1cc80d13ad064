#include "core/action/eigen.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/base/status.h"

namespace haarflow {
namespace {

// The matrix becomes diagonal[i] on the diagonal and below[i] between i - 1 and i, below[0] = 0, by the orthogonal rows
// of `matrix`: matrix A matrix^T is tridiagonal.
struct Tridiagonal {
  std::vector<double> diagonal, below;
};

// One Householder reflection, I - v v^T / h, takes row i to its last element (the one below the diagonal). v is left in
// row i of `a`, h is returned: 0 where there is nothing to do.
double Reflect(int n, int i, double* a, Tridiagonal* t) {
  double* v = a + i * n;
  double scale = 0;
  for (int k = 0; k < i; ++k) scale += std::abs(v[k]);
  t->below[i] = v[i - 1];
  if (i == 1 || scale == 0) return 0;
  double h = 0;
  for (int k = 0; k < i; ++k) h += (v[k] / scale) * (v[k] / scale);
  const double g = (v[i - 1] > 0 ? -1 : 1) * std::sqrt(h);
  t->below[i] = scale * g;
  for (int k = 0; k < i; ++k) v[k] /= scale;
  h -= v[i - 1] * g;
  v[i - 1] -= g;
  // A <- A - v w^T - w v^T with p = A v / h, w = p - (v . p / 2h) v, in the lower triangle.
  std::vector<double> w(i, 0.0);
  for (int j = 0; j < i; ++j) {
    for (int k = 0; k < j; ++k) {
      w[j] += a[j * n + k] * v[k];
      w[k] += a[j * n + k] * v[j];
    }
    w[j] += a[j * n + j] * v[j];
  }
  double overlap = 0;
  for (int j = 0; j < i; ++j) overlap += v[j] * (w[j] /= h);
  for (int j = 0; j < i; ++j) w[j] -= overlap / (2 * h) * v[j];
  for (int j = 0; j < i; ++j) {
    for (int k = 0; k <= j; ++k) a[j * n + k] -= v[j] * w[k] + w[j] * v[k];
  }
  return h;
}

Tridiagonal Reduce(int n, std::vector<double>* matrix) {
  double* a = matrix->data();
  Tridiagonal t = {std::vector<double>(n), std::vector<double>(n, 0.0)};
  std::vector<double> h(n, 0.0);
  for (int i = n - 1; i > 0; --i) h[i] = Reflect(n, i, a, &t);
  for (int i = 0; i < n; ++i) t.diagonal[i] = a[i * n + i];
  // The product of the reflections, applied to the unit matrix from the smallest one up; row i still holds its v.
  std::vector<double> q(n * n, 0.0);
  for (int i = 0; i < n; ++i) q[i * n + i] = 1;
  for (int i = 1; i < n; ++i) {
    if (h[i] == 0) continue;
    const double* v = a + i * n;
    for (int k = 0; k < i; ++k) {
      double dot = 0;
      for (int j = 0; j < i; ++j) dot += q[k * n + j] * v[j];
      for (int j = 0; j < i; ++j) q[k * n + j] -= dot / h[i] * v[j];
    }
  }
  *matrix = std::move(q);
  return t;
}

// QL steps on the block l..m until below[l] is negligible; rows of `q` rotate along. `t->below` is shifted: below[i]
// lies between i and i + 1.
void QlStep(int n, int l, int m, Tridiagonal* t, double* q) {
  double* d = t->diagonal.data();
  double* e = t->below.data();
  double g = (d[l + 1] - d[l]) / (2 * e[l]);
  double r = std::hypot(g, 1.0);
  g = d[m] - d[l] + e[l] / (g + std::copysign(r, g));
  double s = 1, c = 1, p = 0;
  for (int i = m - 1; i >= l; --i) {
    const double f = s * e[i], b = c * e[i];
    e[i + 1] = r = std::hypot(f, g);
    if (r == 0) {
      d[i + 1] -= p;
      e[m] = 0;
      return;
    }
    s = f / r;
    c = g / r;
    g = d[i + 1] - p;
    r = (d[i] - g) * s + 2 * c * b;
    p = s * r;
    d[i + 1] = g + p;
    g = c * r - b;
    double* low = q + i * n;
    double* high = low + n;
    for (int k = 0; k < n; ++k) {
      const double x = high[k], y = low[k];
      high[k] = s * y + c * x;
      low[k] = c * y - s * x;
    }
  }
  d[l] -= p;
  e[l] = g;
  e[m] = 0;
}

}  // namespace

absl::StatusOr<SymmetricEigen> DiagonaliseSymmetric(int n, std::vector<double> matrix) {
  Tridiagonal t = Reduce(n, &matrix);
  std::rotate(t.below.begin(), t.below.begin() + 1, t.below.end());  // below[n - 1] = 0
  double size = 0;
  for (int i = 0; i < n; ++i) size = std::max(size, std::abs(t.diagonal[i]) + std::abs(t.below[i]));
  const double negligible = 1e-17 * size;
  for (int l = 0; l < n; ++l) {
    for (int iteration = 0;; ++iteration) {
      int m = l;
      while (m + 1 < n && !(std::abs(t.below[m]) <= negligible)) ++m;
      if (m == l) break;
      if (iteration == 60) return absl::InternalError("eigenvalues: the QL iteration does not converge");
      QlStep(n, l, m, &t, matrix.data());
    }
  }
  for (const double d : t.diagonal) {
    if (!std::isfinite(d)) return absl::InternalError("eigenvalues: not finite");
  }
  return SymmetricEigen{std::move(t.diagonal), std::move(matrix)};
}

}  // namespace haarflow
