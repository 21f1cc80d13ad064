#include "tests/reference/sun_reference.h"

#include <cmath>

namespace haarflow::reference {
namespace {

int64_t SiteIndex(const Shape& shape, const Shape& site) {
  int64_t index = 0;
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    index = index * shape[axis] + ((site[axis] % shape[axis]) + shape[axis]) % shape[axis];
  }
  return index;
}

Shape SiteAt(const Shape& shape, int64_t index) {
  Shape site(shape.size());
  for (int axis = static_cast<int>(shape.size()) - 1; axis >= 0; --axis) {
    site[axis] = index % shape[axis];
    index /= shape[axis];
  }
  return site;
}

Matrix Identity(int n) {
  Matrix m(n * n, 0.0);
  for (int i = 0; i < n; ++i) m[i * n + i] = 1;
  return m;
}

Matrix Times(int n, const Matrix& a, const Matrix& b) {
  Matrix c(n * n, 0.0);
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) {
      for (int k = 0; k < n; ++k) c[i * n + j] += a[i * n + k] * b[k * n + j];
    }
  }
  return c;
}

Matrix Dagger(int n, const Matrix& a) {
  Matrix c(n * n);
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) c[i * n + j] = std::conj(a[j * n + i]);
  }
  return c;
}

Complex Trace(int n, const Matrix& a) {
  Complex sum = 0;
  for (int i = 0; i < n; ++i) sum += a[i * n + i];
  return sum;
}

Matrix LinkMatrix(const Shape& shape, int n, const SunField& field, const Shape& site, int mu) {
  const int64_t start = (mu * Volume(shape) + SiteIndex(shape, site)) * n * n;
  return Matrix(field.begin() + start, field.begin() + start + n * n);
}

std::vector<int> RectangleSteps(int mu, int nu, int64_t width, int64_t height) {
  std::vector<int> steps;
  steps.insert(steps.end(), width, mu + 1);
  steps.insert(steps.end(), height, nu + 1);
  steps.insert(steps.end(), width, -(mu + 1));
  steps.insert(steps.end(), height, -(nu + 1));
  return steps;
}

double LoopValue(const Shape& shape, int n, const SunField& field, int64_t x, int mu, int nu, int64_t width,
                 int64_t height) {
  const Matrix loop = PathProduct(shape, n, field, SiteAt(shape, x), RectangleSteps(mu, nu, width, height));
  return Trace(n, loop).real() / n;
}

Matrix Clover(const Shape& shape, int n, const SunField& field, int64_t x, int mu, int nu) {
  const int m = mu + 1;
  const int v = nu + 1;
  Matrix sum(n * n, 0.0);
  for (const auto& leaf : {std::vector<int>{m, v, -m, -v}, {v, -m, -v, m}, {-m, -v, m, v}, {-v, m, v, -m}}) {
    const Matrix one = PathProduct(shape, n, field, SiteAt(shape, x), leaf);
    for (int k = 0; k < n * n; ++k) sum[k] += one[k] / 4.0;
  }
  const Matrix adjoint = Dagger(n, sum);
  Matrix f(n * n);
  for (int k = 0; k < n * n; ++k) f[k] = (sum[k] - adjoint[k]) / Complex(0, 2);
  const Complex trace = Trace(n, f);
  for (int i = 0; i < n; ++i) f[i * n + i] -= trace / static_cast<double>(n);
  return f;
}

}  // namespace

Complex Determinant(int n, const Matrix& m) {
  if (n == 2) return m[0] * m[3] - m[1] * m[2];
  return m[0] * (m[4] * m[8] - m[5] * m[7]) - m[1] * (m[3] * m[8] - m[5] * m[6]) + m[2] * (m[3] * m[7] - m[4] * m[6]);
}

Matrix RandomSunMatrix(int n, std::mt19937_64* random) {
  std::normal_distribution<double> normal;
  Matrix m(n * n);
  for (Complex& z : m) z = Complex(normal(*random), normal(*random));
  for (int i = 0; i < n; ++i) {
    for (int pass = 0; pass < 2; ++pass) {  // the second takes away what cancellation left in the first
      for (int j = 0; j < i; ++j) {
        Complex overlap = 0;
        for (int k = 0; k < n; ++k) overlap += std::conj(m[j * n + k]) * m[i * n + k];
        for (int k = 0; k < n; ++k) m[i * n + k] -= overlap * m[j * n + k];
      }
      double norm = 0;
      for (int k = 0; k < n; ++k) norm += std::norm(m[i * n + k]);
      for (int k = 0; k < n; ++k) m[i * n + k] /= std::sqrt(norm);
    }
  }
  const Complex phase = std::conj(Determinant(n, m));
  for (int k = 0; k < n; ++k) m[(n - 1) * n + k] *= phase;
  return m;
}

SunField RandomSunField(const Shape& shape, int n, std::mt19937_64* random) {
  SunField field;
  for (int64_t link = 0; link < Links(shape); ++link) {
    const Matrix m = RandomSunMatrix(n, random);
    field.insert(field.end(), m.begin(), m.end());
  }
  return field;
}

Field Numbers(const SunField& field) {
  Field numbers;
  for (const Complex& z : field) {
    numbers.push_back(z.real());
    numbers.push_back(z.imag());
  }
  return numbers;
}

SunField RandomGauge(const Shape& shape, int n, const SunField& field, std::mt19937_64* random) {
  std::vector<Matrix> gauge;
  for (int64_t x = 0; x < Volume(shape); ++x) gauge.push_back(RandomSunMatrix(n, random));
  const int dims = static_cast<int>(shape.size());
  SunField result;
  for (int mu = 0; mu < dims; ++mu) {
    for (int64_t x = 0; x < Volume(shape); ++x) {
      const Shape site = SiteAt(shape, x);
      Shape next = site;
      ++next[dims - 1 - mu];
      const Matrix left = Times(n, gauge[x], LinkMatrix(shape, n, field, site, mu));
      const Matrix m = Times(n, left, Dagger(n, gauge[SiteIndex(shape, next)]));
      result.insert(result.end(), m.begin(), m.end());
    }
  }
  return result;
}

Matrix PathProduct(const Shape& shape, int n, const SunField& field, const Shape& site, const std::vector<int>& steps) {
  Matrix product = Identity(n);
  Shape at = site;
  for (const int step : steps) {
    const int mu = std::abs(step) - 1;
    const int axis = static_cast<int>(shape.size()) - 1 - mu;
    if (step > 0) {
      product = Times(n, product, LinkMatrix(shape, n, field, at, mu));
      ++at[axis];
    } else {
      --at[axis];
      product = Times(n, product, Dagger(n, LinkMatrix(shape, n, field, at, mu)));
    }
  }
  return product;
}

double SunPlaquette(const Shape& shape, int n, const SunField& field) {
  const int dims = static_cast<int>(shape.size());
  double sum = 0;
  int64_t loops = 0;
  for (int64_t x = 0; x < Volume(shape); ++x) {
    for (int mu = 0; mu < dims; ++mu) {
      for (int nu = mu + 1; nu < dims; ++nu, ++loops) sum += LoopValue(shape, n, field, x, mu, nu, 1, 1);
    }
  }
  return sum / static_cast<double>(loops);
}

double SunRectangle(const Shape& shape, int n, const SunField& field) {
  const int dims = static_cast<int>(shape.size());
  double sum = 0;
  int64_t loops = 0;
  for (int64_t x = 0; x < Volume(shape); ++x) {
    for (int mu = 0; mu < dims; ++mu) {
      for (int nu = mu + 1; nu < dims; ++nu, loops += 2) {
        sum += LoopValue(shape, n, field, x, mu, nu, 1, 2) + LoopValue(shape, n, field, x, mu, nu, 2, 1);
      }
    }
  }
  return sum / static_cast<double>(loops);
}

double SunWilsonLoop(const Shape& shape, int n, const SunField& field, int64_t r, int64_t t) {
  const int dims = static_cast<int>(shape.size());
  double sum = 0;
  int64_t loops = 0;
  for (int64_t x = 0; x < Volume(shape); ++x) {
    for (int mu = 0; mu < dims; ++mu) {
      for (int nu = 0; nu < dims; ++nu) {
        if (mu == nu) continue;
        sum += LoopValue(shape, n, field, x, mu, nu, r, t);
        ++loops;
      }
    }
  }
  return sum / static_cast<double>(loops);
}

double SunAction(const Shape& shape, int n, double beta, double c1, const SunField& field) {
  const int dims = static_cast<int>(shape.size());
  double sum = 0;
  for (int64_t x = 0; x < Volume(shape); ++x) {
    for (int mu = 0; mu < dims; ++mu) {
      for (int nu = mu + 1; nu < dims; ++nu) {
        sum += (1 - 8 * c1) * LoopValue(shape, n, field, x, mu, nu, 1, 1) +
               c1 * LoopValue(shape, n, field, x, mu, nu, 1, 2) + c1 * LoopValue(shape, n, field, x, mu, nu, 2, 1);
      }
    }
  }
  return -beta * sum;
}

std::vector<Complex> SunPolyakov(const Shape& shape, int n, const SunField& field) {
  const std::vector<int> steps(shape[0], static_cast<int>(shape.size()));
  std::vector<Complex> loops;
  for (int64_t x = 0; x < Volume(shape); ++x) {
    loops.push_back(Trace(n, PathProduct(shape, n, field, SiteAt(shape, x), steps)) / static_cast<double>(n));
  }
  return loops;
}

double SunPolyakovCorrelator(const Shape& shape, int n, const SunField& field, int64_t r) {
  const std::vector<Complex> loops = SunPolyakov(shape, n, field);
  double sum = 0;
  int64_t pairs = 0;
  for (int64_t x = 0; x < Volume(shape); ++x) {
    for (size_t axis = 1; axis < shape.size(); ++axis, ++pairs) {
      Shape site = SiteAt(shape, x);
      site[axis] += r;
      sum += (loops[x] * std::conj(loops[SiteIndex(shape, site)])).real();
    }
  }
  return sum / static_cast<double>(pairs);
}

double SunCloverCharge(const Shape& shape, int n, const SunField& field) {
  double sum = 0;
  for (int64_t x = 0; x < Volume(shape); ++x) {
    for (int mu = 0; mu < 4; ++mu) {
      for (int nu = 0; nu < 4; ++nu) {
        for (int rho = 0; rho < 4; ++rho) {
          for (int sigma = 0; sigma < 4; ++sigma) {
            const int sign = (nu - mu) * (rho - mu) * (sigma - mu) * (rho - nu) * (sigma - nu) * (sigma - rho);
            if (sign == 0) continue;
            const Matrix product = Times(n, Clover(shape, n, field, x, mu, nu), Clover(shape, n, field, x, rho, sigma));
            sum += (sign > 0 ? 1 : -1) * Trace(n, product).real();
          }
        }
      }
    }
  }
  const double pi = std::acos(-1.0);
  return sum / (32 * pi * pi);
}

}  // namespace haarflow::reference
