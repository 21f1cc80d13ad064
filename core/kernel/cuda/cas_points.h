// Transforms of a few points that one thread holds in registers. Sizes and twiddles are known to the compiler: no table
// is read and no index is computed.
#pragma once

#include <utility>

#include "core/kernel/cuda/scalar_math.h"

#ifdef __CUDACC__
#define HF_INLINE __host__ __device__ __forceinline__
#else
#define HF_INLINE inline __attribute__((always_inline))
#endif
// After a lambda's parameters: what it captures stays in registers only if it is inlined.
#define HF_LAMBDA __attribute__((always_inline))

namespace haarflow::HF_ISA {

// cos and sin of 2 pi k / n. The angle is folded into [0, pi / 4] in integers; there the series are right to an ulp.
HF_FN constexpr double SmallCosine(double x) {
  double sum = 1;
  for (int i = 20; i > 0; i -= 2) sum = 1 - sum * x * x / (i * (i - 1));
  return sum;
}
HF_FN constexpr double SmallSine(double x) {
  double sum = 1;
  for (int i = 21; i > 1; i -= 2) sum = 1 - sum * x * x / (i * (i - 1));
  return sum * x;
}
HF_FN constexpr double CosineOfTurn(int64_t k, int64_t n) {
  k = (k % n + n) % n;
  if (2 * k > n) k = n - k;
  if (4 * k > n) return -CosineOfTurn(n - 2 * k, 2 * n);
  if (8 * k > n) return SmallSine(2 * kPi * static_cast<double>(n - 4 * k) / static_cast<double>(4 * n));
  return SmallCosine(2 * kPi * static_cast<double>(k) / static_cast<double>(n));
}
HF_FN constexpr double SineOfTurn(int64_t k, int64_t n) { return CosineOfTurn(n - 4 * k, 4 * n); }

template <class F, int... kIndex>
HF_INLINE void StaticForEach(std::integer_sequence<int, kIndex...>, const F& f) {
  (f(std::integral_constant<int, kIndex>()), ...);
}
// f(0), ..., f(n - 1) with the index as a compile-time constant.
template <int n, class F>
HF_INLINE void StaticFor(const F& f) {
  StaticForEach(std::make_integer_sequence<int, n>(), f);
}

// ------------------------------------------------------------------------------------------------------- cas, real

// E in out[0 .. n/2), O in out[n/2 .. n) -> the transform of n points: see core/kernel/cpu/scalar_cas.inc.
template <int n>
HF_INLINE void CasButterflies(double* out) {
  constexpr int kHalf = n / 2;
  const double zero = out[kHalf];
  out[kHalf] = out[0] - zero;
  out[0] = out[0] + zero;
  StaticFor<(kHalf - 1) / 2>([&](auto index) HF_LAMBDA {
    constexpr int k = decltype(index)::value + 1;
    constexpr double c = CosineOfTurn(k, n), s = SineOfTurn(k, n);
    const double a = out[kHalf + k], b = out[n - k];
    const double low = 8 * k == n ? c * (a + b) : Fma(s, b, c * a);
    const double high = 8 * k == n ? c * (a - b) : Fma(s, a, -c * b);
    out[kHalf + k] = out[k] - low;
    out[k] = out[k] + low;
    out[n - k] = out[kHalf - k] - high;
    out[kHalf - k] = out[kHalf - k] + high;
  });
  if constexpr (kHalf % 2 == 0) {
    const double quarter = out[kHalf + kHalf / 2];
    out[kHalf + kHalf / 2] = out[kHalf / 2] - quarter;
    out[kHalf / 2] = out[kHalf / 2] + quarter;
  }
}

template <int n, int kStride>
HF_INLINE void CasOdd(const double* in, double* out) {
  constexpr int kHalf = n / 2;
  double sum = in[0], plus[kHalf + 1], minus[kHalf + 1];
  StaticFor<kHalf>([&](auto index) HF_LAMBDA {
    constexpr int j = decltype(index)::value + 1;
    plus[j] = in[j * kStride] + in[(n - j) * kStride];
    minus[j] = in[j * kStride] - in[(n - j) * kStride];
    sum = sum + plus[j];
  });
  out[0] = sum;
  StaticFor<kHalf>([&](auto outer) HF_LAMBDA {
    constexpr int k = decltype(outer)::value + 1;
    double even = in[0], odd = 0;
    StaticFor<kHalf>([&](auto inner) HF_LAMBDA {
      constexpr int j = decltype(inner)::value + 1;
      constexpr double c = CosineOfTurn(j * k, n), s = SineOfTurn(j * k, n);
      even = Fma(c, plus[j], even);
      odd = Fma(s, minus[j], odd);
    });
    out[k] = even + odd;
    out[n - k] = even - odd;
  });
}

// out[k] = sum_j cas(2 pi j k / n) in[j * kStride]. Not in place.
template <int n, int kStride>
HF_INLINE void CasPoints(const double* in, double* out) {
  if constexpr (n == 1) {
    out[0] = in[0];
  } else if constexpr (n % 2 != 0) {
    CasOdd<n, kStride>(in, out);
  } else {
    CasPoints<n / 2, 2 * kStride>(in, out);
    CasPoints<n / 2, 2 * kStride>(in + kStride, out + n / 2);
    CasButterflies<n>(out);
  }
}

// In place.
template <int n>
HF_INLINE void Cas(double* x) {
  double in[n];
  HF_UNROLL
  for (int i = 0; i < n; ++i) in[i] = x[i];
  CasPoints<n, 1>(in, x);
}

// ------------------------------------------------------------------------------------------------ Fourier, complex

struct Complex {
  double re, im;
};
HF_INLINE Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
HF_INLINE Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
// z (c + i s).
HF_INLINE Complex Rotate(Complex z, double c, double s) { return {Fma(c, z.re, -(s * z.im)), Fma(c, z.im, s * z.re)}; }

// z times exp(sign 2 pi i k / n), 0 <= 2 k < n, cheaper where that is an eighth root of unity.
template <int k, int n, int kSign>
HF_INLINE Complex RotateBy(Complex z) {
  if constexpr (k == 0) {
    return z;
  } else if constexpr (4 * k == n) {
    return kSign > 0 ? Complex{-z.im, z.re} : Complex{z.im, -z.re};
  } else if constexpr (8 * k == n || 8 * k == 3 * n) {
    constexpr double kSize = CosineOfTurn(1, 8);
    const double along = kSize * (z.re - kSign * z.im), across = kSize * (z.im + kSign * z.re);
    return 8 * k == n ? Complex{along, across}
                      : Complex{-(kSize * (z.re + kSign * z.im)), kSize * (kSign * z.re - z.im)};
  } else {
    constexpr double c = CosineOfTurn(k, n), s = kSign * SineOfTurn(k, n);
    return Rotate(z, c, s);
  }
}

// out[q] = sum_j exp(sign 2 pi i j q / n) in[j * kStride]. Not in place.
template <int n, int kStride, int kSign>
HF_INLINE void FourierPoints(const Complex* in, Complex* out) {
  constexpr int kHalf = n / 2;
  if constexpr (n == 1) {
    out[0] = in[0];
  } else if constexpr (n % 2 == 0) {
    FourierPoints<kHalf, 2 * kStride, kSign>(in, out);
    FourierPoints<kHalf, 2 * kStride, kSign>(in + kStride, out + kHalf);
    StaticFor<kHalf>([&](auto index) HF_LAMBDA {
      constexpr int k = decltype(index)::value;
      const Complex odd = RotateBy<k, n, kSign>(out[kHalf + k]);
      out[kHalf + k] = out[k] - odd;
      out[k] = out[k] + odd;
    });
  } else {
    Complex sum = in[0], plus[kHalf + 1], minus[kHalf + 1];
    StaticFor<kHalf>([&](auto index) HF_LAMBDA {
      constexpr int j = decltype(index)::value + 1;
      plus[j] = in[j * kStride] + in[(n - j) * kStride];
      minus[j] = in[j * kStride] - in[(n - j) * kStride];
      sum = sum + plus[j];
    });
    out[0] = sum;
    StaticFor<kHalf>([&](auto outer) HF_LAMBDA {
      constexpr int k = decltype(outer)::value + 1;
      Complex even = in[0], odd = {0, 0};
      StaticFor<kHalf>([&](auto inner) HF_LAMBDA {
        constexpr int j = decltype(inner)::value + 1;
        constexpr double c = CosineOfTurn(j * k, n), s = kSign * SineOfTurn(j * k, n);
        even = {Fma(c, plus[j].re, even.re), Fma(c, plus[j].im, even.im)};
        odd = {Fma(s, minus[j].re, odd.re), Fma(s, minus[j].im, odd.im)};
      });
      out[k] = {even.re - odd.im, even.im + odd.re};
      out[n - k] = {even.re + odd.im, even.im - odd.re};
    });
  }
}

}  // namespace haarflow::HF_ISA
