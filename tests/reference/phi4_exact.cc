#include "tests/reference/phi4_exact.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace haarflow::reference {
namespace {

const double kPi = std::acos(-1.0);
using Matrix = std::vector<double>;  // [n * n]

// Nodes and weights of Gauss-Legendre quadrature on [low, high]: roots of P_n by Newton's method.
struct Quadrature {
  std::vector<double> x, w;
};
Quadrature GaussLegendre(int n, double low, double high) {
  Quadrature q;
  for (int i = 0; i < n; ++i) {
    double z = std::cos(kPi * (i + 0.75) / (n + 0.5)), slope = 0;
    for (int iteration = 0; iteration < 100; ++iteration) {
      double p = 1, before = 0;
      for (int k = 1; k <= n; ++k) {
        const double next = ((2 * k - 1) * z * p - (k - 1) * before) / k;
        before = p;
        p = next;
      }
      slope = n * (z * p - before) / (z * z - 1);
      const double step = p / slope;
      z -= step;
      if (std::abs(step) < 1e-15) break;
    }
    q.x.push_back(0.5 * (low + high) + 0.5 * (high - low) * z);
    q.w.push_back((high - low) / ((1 - z * z) * slope * slope));
  }
  return q;
}

// Where (quadratic - neighbours |hop|) x^2 + quartic x^4 is 50 above its minimum; 2 neighbours per site and dimension.
double Reach(const QuarticSite& site, int dims) {
  const double a = site.quadratic - dims * std::abs(site.hop);
  const double lowest = a < 0 ? -a * a / (4 * site.quartic) : 0;
  double x = 0.01;
  while (a * x * x + site.quartic * x * x * x * x - lowest < 50 || 2 * site.quartic * x * x < -a) x *= 1.01;
  return x;
}

double Potential(const QuarticSite& site, double x) { return (site.quadratic + site.quartic * x * x) * x * x; }

Matrix Times(int64_t n, const Matrix& a, const Matrix& b) {
  Matrix c(n * n, 0.0);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t k = 0; k < n; ++k) {
      const double factor = a[i * n + k];
      for (int64_t j = 0; j < n; ++j) c[i * n + j] += factor * b[k * n + j];
    }
  }
  return c;
}
double TraceOf(int64_t n, const Matrix& a, const Matrix& b) {
  double trace = 0;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t k = 0; k < n; ++k) trace += a[i * n + k] * b[k * n + i];
  }
  return trace;
}

// A row operator R with the operators that insert sum phi, (sum phi)^2, sum phi^2 and sum (phi^2)^2 of the row.
struct RowOperators {
  int64_t size = 0;
  double sites = 1;
  Matrix plain, phi, phi_phi, square, fourth;
};

// Tr of `length` rows with insertions. Scaled, so that nothing overflows.
Phi4Moments Close(const RowOperators& row, int64_t length) {
  const int64_t n = row.size;
  double scale = 0;
  for (int64_t i = 0; i < n; ++i) scale += std::abs(row.plain[i * n + i]);
  const auto scaled = [scale](Matrix m) {
    for (double& x : m) x /= scale;
    return m;
  };
  const Matrix plain = scaled(row.plain), phi = scaled(row.phi);
  std::vector<Matrix> power(length);  // power[t] = plain^t, t >= 1
  power[1] = plain;
  for (int64_t t = 2; t < length; ++t) power[t] = Times(n, power[t - 1], plain);
  const Matrix& rest = power[length - 1];
  const double z = TraceOf(n, plain, rest);
  Phi4Moments moments;
  moments.log_z = std::log(z) + static_cast<double>(length) * std::log(scale);
  moments.square = TraceOf(n, scaled(row.square), rest) / (row.sites * z);
  moments.fourth = TraceOf(n, scaled(row.fourth), rest) / (row.sites * z);
  moments.two_point.push_back(TraceOf(n, scaled(row.phi_phi), rest) / (row.sites * z));
  for (int64_t t = 1; t < length; ++t) {
    const Matrix left = t == 1 ? phi : Times(n, phi, power[t - 1]);
    const Matrix right = t == length - 1 ? phi : Times(n, phi, power[length - 1 - t]);
    moments.two_point.push_back(TraceOf(n, left, right) / (row.sites * z));
  }
  moments.susceptibility = std::accumulate(moments.two_point.begin(), moments.two_point.end(), 0.0);
  return moments;
}

// Eigenvalues and eigenvectors (rows) of a symmetric matrix, which is destroyed: cyclic Jacobi.
void Jacobi(int64_t n, Matrix* matrix, std::vector<double>* value, Matrix* vector) {
  Matrix& a = *matrix;
  vector->assign(n * n, 0.0);
  for (int64_t i = 0; i < n; ++i) (*vector)[i * n + i] = 1;
  for (int sweep = 0; sweep < 40; ++sweep) {
    for (int64_t p = 0; p < n; ++p) {
      for (int64_t q = p + 1; q < n; ++q) {
        if (a[p * n + q] == 0) continue;
        const double theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
        const double t = (theta >= 0 ? 1 : -1) / (std::abs(theta) + std::hypot(theta, 1.0));
        const double c = 1 / std::hypot(t, 1.0), s = t * c;
        const auto rotate = [c, s](double* x, double* y) {
          const double old = *x;
          *x = c * old - s * *y;
          *y = s * old + c * *y;
        };
        for (int64_t k = 0; k < n; ++k) rotate(&a[k * n + p], &a[k * n + q]);
        for (int64_t k = 0; k < n; ++k) rotate(&a[p * n + k], &a[q * n + k]);
        for (int64_t k = 0; k < n; ++k) rotate(&(*vector)[p * n + k], &(*vector)[q * n + k]);
      }
    }
  }
  for (int64_t i = 0; i < n; ++i) value->push_back(a[i * n + i]);
}

// The site tensors [left][right][up][down] with phi^0, phi^1, phi^2, phi^4 inserted. The eigenvalues of the bonds go
// with the right and the upper legs.
std::vector<std::vector<double>> SiteTensors(const QuarticSite& site, int states) {
  constexpr int kNodes = 80;
  const double reach = Reach(site, 2);
  const Quadrature q = GaussLegendre(kNodes, -reach, reach);
  Matrix bond(kNodes * kNodes), vector;
  std::vector<double> value;
  for (int i = 0; i < kNodes; ++i) {
    for (int j = 0; j < kNodes; ++j) {
      const double x = q.x[i], y = q.x[j];
      bond[i * kNodes + j] =
          std::sqrt(q.w[i] * q.w[j]) * std::exp(site.hop * x * y - (Potential(site, x) + Potential(site, y)) / 4);
    }
  }
  Jacobi(kNodes, &bond, &value, &vector);
  std::vector<int> order(kNodes);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int a, int b) { return std::abs(value[a]) > std::abs(value[b]); });
  const int64_t d = states;
  std::vector<std::vector<double>> tensors(4, std::vector<double>(d * d * d * d, 0.0));
  for (int i = 0; i < kNodes; ++i) {
    std::vector<double> f(d);
    for (int64_t n = 0; n < d; ++n) f[n] = vector[order[n] * kNodes + i] / std::sqrt(q.w[i]);
    const double inserted[4] = {1, q.x[i], std::pow(q.x[i], 2), std::pow(q.x[i], 4)};
    for (int64_t at = 0; at < d * d * d * d; ++at) {
      const int64_t left = at / (d * d * d), right = at / (d * d) % d, up = at / d % d, down = at % d;
      const double product = q.w[i] * f[left] * f[right] * f[up] * f[down] * value[order[right]] * value[order[up]];
      for (int k = 0; k < 4; ++k) tensors[k][at] += product * inserted[k];
    }
  }
  return tensors;
}

// What has been contracted of a row: [left][right][up...][down...], `span` = states^columns.
struct PartialRow {
  int64_t span = 1;
  std::vector<double> tensor;
};
// out += partial x tensor over the bond between them.
void Append(int64_t d, const PartialRow& partial, const std::vector<double>& tensor, PartialRow* out) {
  const int64_t span = partial.span, wide = span * d;
  out->span = wide;
  out->tensor.resize(d * d * wide * wide, 0.0);
  for (int64_t left = 0; left < d; ++left) {
    for (int64_t middle = 0; middle < d; ++middle) {
      for (int64_t ud = 0; ud < span * span; ++ud) {
        const double factor = partial.tensor[(left * d + middle) * span * span + ud];
        if (factor == 0) continue;  // odd functions of the field
        for (int64_t ru = 0; ru < d * d; ++ru) {
          const int64_t right = ru / d, up = ru % d;
          double* row = &out->tensor[((left * d + right) * wide + ud / span * d + up) * wide + ud % span * d];
          for (int64_t down = 0; down < d; ++down) row[down] += factor * tensor[(middle * d * d + ru) * d + down];
        }
      }
    }
  }
}
Matrix CloseRow(int64_t d, const PartialRow& partial) {
  const int64_t n = partial.span;
  Matrix matrix(n * n, 0.0);
  for (int64_t left = 0; left < d; ++left) {
    for (int64_t ud = 0; ud < n * n; ++ud) matrix[ud] += partial.tensor[(left * d + left) * n * n + ud];
  }
  return matrix;
}

}  // namespace

Phi4Moments QuarticChain(const QuarticSite& site, int64_t length) {
  constexpr int64_t kNodes = 120;
  const double reach = Reach(site, 1);
  const Quadrature q = GaussLegendre(kNodes, -reach, reach);
  RowOperators row = {.size = kNodes};
  for (Matrix* m : {&row.plain, &row.phi, &row.phi_phi, &row.square, &row.fourth}) m->resize(kNodes * kNodes);
  for (int64_t i = 0; i < kNodes; ++i) {
    for (int64_t j = 0; j < kNodes; ++j) {
      const double x = q.x[i], y = q.x[j];
      const int64_t at = i * kNodes + j;
      row.plain[at] = q.w[i] * std::exp(site.hop * x * y - 0.5 * (Potential(site, x) + Potential(site, y)));
      row.phi[at] = row.plain[at] * x;
      row.phi_phi[at] = row.square[at] = row.plain[at] * x * x;
      row.fourth[at] = row.plain[at] * x * x * x * x;
    }
  }
  return Close(row, length);
}

Phi4Moments QuarticChainByBruteForce(const QuarticSite& site, int64_t length) {
  constexpr int kNodes = 56;
  const double reach = Reach(site, 1);
  const Quadrature q = GaussLegendre(kNodes, -reach, reach);
  double z = 0, square = 0, fourth = 0;
  std::vector<double> two_point(length, 0.0), phi(length);
  const std::function<void(int64_t, double)> sum = [&](int64_t at, double weight) {
    if (at < length) {
      for (int i = 0; i < kNodes; ++i) {
        phi[at] = q.x[i];
        sum(at + 1, weight * q.w[i]);
      }
      return;
    }
    double action = 0;
    for (int64_t t = 0; t < length; ++t) {
      action += Potential(site, phi[t]) - site.hop * phi[t] * phi[(t + 1) % length];
    }
    weight *= std::exp(-action);
    z += weight;
    square += weight * phi[0] * phi[0];
    fourth += weight * std::pow(phi[0], 4);
    for (int64_t t = 0; t < length; ++t) two_point[t] += weight * phi[0] * phi[t];
  };
  sum(0, 1);
  Phi4Moments moments = {std::log(z), square / z, fourth / z};
  for (const double g : two_point) moments.two_point.push_back(g / z);
  moments.susceptibility = std::accumulate(moments.two_point.begin(), moments.two_point.end(), 0.0);
  return moments;
}

Phi4Moments PlanarChain(const QuarticSite& site, int64_t length) {
  constexpr int64_t kNodes = 60;
  constexpr int kMomenta = 40;  // m = 0 .. kMomenta; -m is the same
  const Quadrature q = GaussLegendre(kNodes, 0, Reach(site, 1));
  std::vector<std::vector<Matrix>> power(kMomenta + 1);  // [m][t]
  double largest = 0;
  for (int m = 0; m <= kMomenta; ++m) {
    Matrix t(kNodes * kNodes);
    for (int64_t i = 0; i < kNodes; ++i) {
      for (int64_t j = 0; j < kNodes; ++j) {
        const double x = q.x[i], y = q.x[j], sign = site.hop < 0 && m % 2 == 1 ? -1 : 1;
        t[i * kNodes + j] = q.w[i] * x * 2 * kPi * sign * std::cyl_bessel_i(m, std::abs(site.hop) * x * y) *
                            std::exp(-0.5 * (Potential(site, x) + Potential(site, y)));
        if (m == 0) largest = std::max(largest, t[i * kNodes + j]);
      }
    }
    for (double& x : t) x /= largest;
    power[m] = {Matrix(), t};
    for (int64_t k = 2; k <= length; ++k) power[m].push_back(Times(kNodes, power[m].back(), t));
  }
  const auto diagonal = [&](int m, int moment) {
    double sum = 0;
    for (int64_t i = 0; i < kNodes; ++i) sum += power[m][length][i * kNodes + i] * std::pow(q.x[i], moment);
    return (m == 0 ? 1 : 2) * sum;
  };
  double z = 0, square = 0, fourth = 0;
  for (int m = 0; m <= kMomenta; ++m) {
    z += diagonal(m, 0);
    square += diagonal(m, 2);
    fourth += diagonal(m, 4);
  }
  Phi4Moments moments = {std::log(z) + static_cast<double>(length) * std::log(largest), square / z, fourth / z};
  moments.two_point.push_back(moments.square);
  for (int64_t t = 1; t < length; ++t) {
    // phi . phi' = r r' cos(angle): takes m to m + 1 and to m - 1, half each.
    double sum = 0;
    for (int m = -kMomenta; m < kMomenta; ++m) {
      const Matrix &a = power[std::abs(m)][t], &b = power[std::abs(m + 1)][length - t];
      for (int64_t i = 0; i < kNodes; ++i) {
        for (int64_t j = 0; j < kNodes; ++j) sum += q.x[i] * a[i * kNodes + j] * q.x[j] * b[j * kNodes + i];
      }
    }
    moments.two_point.push_back(sum / z);
  }
  moments.susceptibility = std::accumulate(moments.two_point.begin(), moments.two_point.end(), 0.0);
  return moments;
}

Phi4Moments QuarticStrip(const QuarticSite& site, int64_t width, int64_t length, int states) {
  const int64_t d = states;
  const std::vector<std::vector<double>> x = SiteTensors(site, states);
  // Rows with nothing inserted, with sum phi, (sum phi)^2, sum phi^2, sum phi^4; before the first column the unit bond.
  std::vector<PartialRow> rows(5);
  for (int k = 0; k < 5; ++k) rows[k].tensor.assign(d * d, 0.0);
  for (int64_t left = 0; left < d; ++left) rows[0].tensor[left * d + left] = 1;
  for (int64_t column = 0; column < width; ++column) {
    std::vector<PartialRow> next(5);
    for (int k = 0; k < 5; ++k) Append(d, rows[k], x[0], &next[k]);
    Append(d, rows[0], x[1], &next[1]);
    Append(d, rows[1], x[1], &next[2]);
    Append(d, rows[1], x[1], &next[2]);
    Append(d, rows[0], x[2], &next[2]);
    Append(d, rows[0], x[2], &next[3]);
    Append(d, rows[0], x[3], &next[4]);
    rows = std::move(next);
  }
  RowOperators row = {.size = rows[0].span, .sites = static_cast<double>(width)};
  row.plain = CloseRow(d, rows[0]);
  row.phi = CloseRow(d, rows[1]);
  row.phi_phi = CloseRow(d, rows[2]);
  row.square = CloseRow(d, rows[3]);
  row.fourth = CloseRow(d, rows[4]);
  return Close(row, length);
}

}  // namespace haarflow::reference
