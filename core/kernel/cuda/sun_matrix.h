// Matrices of SU(2) and SU(3) in one GPU thread's registers, and what core/kernel/loop_map.h asks of its includer. A
// matrix in memory has its numbers (core/kernel/sun_algebra.h) at equal distances, those of neighbouring threads side
// by side.
#pragma once

#include "core/kernel/cuda/noise.h"

namespace haarflow::HF_ISA {
using Vd = double;  // a thread's register
namespace sun {
HF_FN double MulAdd(double a, double b, double c) { return Fma(a, b, c); }
}  // namespace sun
}  // namespace haarflow::HF_ISA

// The map of a link over these functions: included here because it must come after them.
#include "core/kernel/loop_laplacian.h"

namespace haarflow::HF_ISA::sun {

template <int N>
HF_FN void Read(const double* first, int64_t stride, double* m) {
  HF_UNROLL
  for (int r = 0; r < Group<N>::kNumbers; ++r) m[r] = first[r * stride];
}
template <int N>
HF_FN void Write(const double* m, double* first, int64_t stride) {
  HF_UNROLL
  for (int r = 0; r < Group<N>::kNumbers; ++r) first[r * stride] = m[r];
}
template <int N>
HF_FN void Copy(const double* from, double* to) {
  HF_UNROLL
  for (int r = 0; r < Group<N>::kNumbers; ++r) to[r] = from[r];
}

// m to its adjoint.
template <int N>
HF_FN void Adjoin(double* m) {
  double copy[Group<N>::kNumbers];
  Copy<N>(m, copy);
  HF_UNROLL
  for (int r = 0; r < Group<N>::kNumbers; ++r) {
    m[r] = AdjointNegates<N>(r) ? -copy[AdjointRow<N>(r)] : copy[AdjointRow<N>(r)];
  }
}

// a = a b.
template <int N>
HF_FN void MultiplyBy(const double* b, double* a) {
  if constexpr (N == 2) {
    // (a0 + i a.s)(b0 + i b.s) = a0 b0 - a.b + i (a0 b + b0 a - a x b).s
    const double w = Fma(a[0], b[0], -Fma(a[1], b[1], Fma(a[2], b[2], a[3] * b[3])));
    const double x = Fma(a[0], b[1], Fma(b[0], a[1], Fma(a[3], b[2], -(a[2] * b[3]))));
    const double y = Fma(a[0], b[2], Fma(b[0], a[2], Fma(a[1], b[3], -(a[3] * b[1]))));
    const double z = Fma(a[0], b[3], Fma(b[0], a[3], Fma(a[2], b[1], -(a[1] * b[2]))));
    a[0] = w;
    a[1] = x;
    a[2] = y;
    a[3] = z;
  } else {
    HF_UNROLL
    for (int i = 0; i < 3; ++i) {
      double row[6];
      HF_UNROLL
      for (int j = 0; j < 3; ++j) {
        double re = 0, im = 0;
        HF_UNROLL
        for (int k = 0; k < 3; ++k) {
          const int p = 6 * i + 2 * k, q = 6 * k + 2 * j;
          re = Fma(a[p], b[q], re);
          im = Fma(a[p], b[q + 1], im);
          re = Fma(-a[p + 1], b[q + 1], re);
          im = Fma(a[p + 1], b[q], im);
        }
        row[2 * j] = re;
        row[2 * j + 1] = im;
      }
      HF_UNROLL
      for (int r = 0; r < 6; ++r) a[6 * i + r] = row[r];
    }
  }
}

// Re tr(a b).
template <int N>
HF_FN double RealTraceOfProduct(const double* a, const double* b) {
  double sum = 0;
  if constexpr (N == 2) {
    sum = Fma(a[0], b[0], -Fma(a[1], b[1], Fma(a[2], b[2], a[3] * b[3])));
    return 2.0 * sum;
  } else {
    HF_UNROLL
    for (int r = 0; r < 9; ++r) {
      const int p = 2 * r, q = 6 * (r % 3) + 2 * (r / 3);
      sum = Fma(a[p], b[q], Fma(-a[p + 1], b[q + 1], sum));
    }
    return sum;
  }
}

// sum += (re + i im) a; im is not read where traces are real.
template <int N>
HF_FN void AddMultiple(double re, double im, bool is_complex, const double* a, double* sum) {
  HF_UNROLL
  for (int r = 0; r < Group<N>::kNumbers; ++r) sum[r] = Fma(re, a[r], sum[r]);
  if constexpr (N == 3) {
    if (!is_complex) return;
    HF_UNROLL
    for (int r = 0; r < 18; r += 2) {
      sum[r] = Fma(-im, a[r + 1], sum[r]);
      sum[r + 1] = Fma(im, a[r], sum[r + 1]);
    }
  }
}

}  // namespace haarflow::HF_ISA::sun
