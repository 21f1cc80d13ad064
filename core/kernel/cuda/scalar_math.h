// Elementary functions of one number, for the GPU: core/kernel/cpu/vecmath.h with V = double, and what circle_map.h
// asks of its includer. Host and device run the same arithmetic: every fused multiply-add is written as Fma and the
// compilers are told to fuse nothing else (--fmad=false, -ffp-contract=off), so that a test on the CPU finds the very
// bits of the GPU.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define HF_FN __host__ __device__ inline
#define HF_UNROLL _Pragma("unroll")
#else
#define HF_FN inline
#define HF_UNROLL
#endif
#define HF_ISA isa_cuda

namespace haarflow::HF_ISA {

constexpr double kPi = 3.14159265358979323846;
constexpr double kTwoPi = 2 * kPi;

HF_FN double Fma(double a, double b, double c) { return ::fma(a, b, c); }
HF_FN float Fma(float a, float b, float c) { return ::fmaf(a, b, c); }

HF_FN double Splat(double x) { return x; }
HF_FN double Max(double a, double b) { return a > b ? a : b; }
HF_FN double Min(double a, double b) { return a < b ? a : b; }
HF_FN float Max(float a, float b) { return a > b ? a : b; }
HF_FN float Min(float a, float b) { return a < b ? a : b; }
HF_FN double Sqrt(double x) { return ::sqrt(x); }

template <class To, class From>
HF_FN To Bits(From v) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &v, sizeof(To));
  return to;
}

// Nearest integer of |x| < 2^51; the low bits of `raw` hold it as an integer.
HF_FN double Round(double x, uint64_t* raw) {
  constexpr double kMagic = 0x1.8p52;
  const double shifted = x + kMagic;
  *raw = Bits<uint64_t>(shifted);
  return shifted - kMagic;
}

// exp, clamped to [-708, 709].
HF_FN double Exp(double x) {
  x = Max(Min(x, 709.0), -708.0);
  uint64_t k;
  const double n = Round(x * 1.4426950408889634074, &k);
  double r = Fma(n, -0x1.62e42fee00000p-1, x);  // ln 2 in two parts
  r = Fma(n, -0x1.a39ef35793c76p-33, r);
  double p = 1.0 / 6227020800;
  p = Fma(p, r, 1.0 / 479001600);
  p = Fma(p, r, 1.0 / 39916800);
  p = Fma(p, r, 1.0 / 3628800);
  p = Fma(p, r, 1.0 / 362880);
  p = Fma(p, r, 1.0 / 40320);
  p = Fma(p, r, 1.0 / 5040);
  p = Fma(p, r, 1.0 / 720);
  p = Fma(p, r, 1.0 / 120);
  p = Fma(p, r, 1.0 / 24);
  p = Fma(p, r, 1.0 / 6);
  p = Fma(p, r, 0.5);
  p = Fma(p * r, r, r) + 1.0;
  return p * Bits<double>((k + 1023) << 52);
}

// exp, clamped to [-87, 88].
HF_FN float Exp(float x) {
  x = Max(Min(x, 88.0f), -87.0f);
  constexpr float kMagic = 0x1.8p23f;
  const float shifted = Fma(x, 1.442695041f, kMagic);
  const uint32_t k = Bits<uint32_t>(shifted);
  const float n = shifted - kMagic;
  float r = Fma(n, -0x1.62e400p-1f, x);
  r = Fma(n, -0x1.7f7d1cp-20f, r);
  float p = 1.0f / 5040;
  p = Fma(p, r, 1.0f / 720);
  p = Fma(p, r, 1.0f / 120);
  p = Fma(p, r, 1.0f / 24);
  p = Fma(p, r, 1.0f / 6);
  p = Fma(p, r, 0.5f);
  p = Fma(p * r, r, r) + 1.0f;
  return p * Bits<float>((k + 127) << 23);
}

// log of a positive normal number (fdlibm's series).
HF_FN double Log(double x) {
  const int64_t bits = Bits<int64_t>(x);
  // Exponent such that the mantissa lies in [sqrt(1/2), sqrt(2)).
  const int64_t e = (bits - 0x3FE6A09E667F3BCDLL) >> 52;
  const double m = Bits<double>(static_cast<uint64_t>(bits) - (static_cast<uint64_t>(e) << 52));
  const double f = m - 1.0;
  const double s = f / (2.0 + f);
  const double z = s * s;
  double r = Fma(z, 1.479819860511658591e-01, 1.531383769920937332e-01);
  r = Fma(r, z, 1.818357216161805012e-01);
  r = Fma(r, z, 2.222219843214978396e-01);
  r = Fma(r, z, 2.857142874366239149e-01);
  r = Fma(r, z, 3.999999999940941908e-01);
  r = Fma(r, z, 6.666666666666735130e-01);
  r = r * z;
  const double hfsq = f * f * 0.5;
  const double n = static_cast<double>(e);
  return Fma(n, 0x1.62e42fee00000p-1, -((hfsq - Fma(s, hfsq + r, n * 0x1.a39ef35793c76p-33)) - f));
}

// sin and cos of |x| < 2^20.
HF_FN void SinCos(double x, double* sine, double* cosine) {
  uint64_t q;
  const double n = Round(x * 0.63661977236758134308, &q);
  double r = Fma(n, -0x1.921fb54400000p+0, x);  // pi / 2 in three parts
  r = Fma(n, -0x1.0b4611a600000p-34, r);
  r = Fma(n, -0x1.3198a2e037073p-69, r);
  const double z = r * r;
  double s = Fma(z, 1.58969099521155010221e-10, -2.50507602534068634195e-08);
  s = Fma(s, z, 2.75573137070700676789e-06);
  s = Fma(s, z, -1.98412698298579493134e-04);
  s = Fma(s, z, 8.33333333332248946124e-03);
  s = Fma(s, z, -1.66666666666666324348e-01);
  s = Fma(r * z, s, r);
  double c = Fma(z, -1.13596475577881948265e-11, 2.08757232129817482790e-09);
  c = Fma(c, z, -2.75573143513906633035e-07);
  c = Fma(c, z, 2.48015872894767294178e-05);
  c = Fma(c, z, -1.38888888888741095749e-03);
  c = Fma(c, z, 4.16666666666666019037e-02);
  c = 1.0 - Fma(z * z, -c, z * 0.5);
  const bool odd = (q & 1) != 0;
  const double a = odd ? c : s;
  const double b = odd ? s : c;
  *sine = Bits<double>(Bits<uint64_t>(a) ^ ((q & 2) << 62));
  *cosine = Bits<double>(Bits<uint64_t>(b) ^ (((q + 1) & 2) << 62));
}

// atan2(y, x) for x >= 0, not both zero: in [-pi/2, pi/2].
HF_FN double Atan2RightHalf(double y, double x) {
  const double ay = ::fabs(y);
  const bool steep = ay > x;
  const double low = steep ? x : ay;
  const double high = steep ? ay : x;
  const bool far = low > 0.41421356237309503 * high;
  const double t = (far ? low - high : low) / (far ? low + high : high);
  const double z = t * t;
  double p = Fma(z, 1.62858201153657823623e-02, -3.65315727442169155270e-02);
  p = Fma(p, z, 4.97687799461593236017e-02);
  p = Fma(p, z, -5.83357013379057348645e-02);
  p = Fma(p, z, 6.66107313738753120669e-02);
  p = Fma(p, z, -7.69187620504482999495e-02);
  p = Fma(p, z, 9.09088713343650656196e-02);
  p = Fma(p, z, -1.11111104054623557880e-01);
  p = Fma(p, z, 1.42857142725034663711e-01);
  p = Fma(p, z, -1.99999999998764832476e-01);
  p = Fma(p, z, 3.33333333333329318027e-01);
  double a = Fma(t * z, -p, t);
  a = far ? a + kPi / 4 : a;
  a = steep ? kPi / 2 - a : a;
  return ::copysign(a, y);
}

// The representative in [-pi, pi) of an angle |x| < 2^20.
HF_FN double WrapAngle(double x) {
  uint64_t unused;
  double r = Fma(Round(x * (1 / kTwoPi), &unused), -kTwoPi, x);
  r = r >= kPi ? r - kTwoPi : r;
  return r < -kPi ? r + kTwoPi : r;
}

HF_FN float Silu(float x) { return x / (1.0f + Exp(-x)); }
HF_FN double Silu(double x) { return x / (1.0 + Exp(-x)); }
HF_FN float LeakyRelu(float x) { return x > 0 ? x : x * 0.01f; }
HF_FN double LeakyRelu(double x) { return x > 0 ? x : x * 0.01; }
HF_FN float Tanh(float x) { return 1.0f - 2.0f / (Exp(2.0f * x) + 1.0f); }
HF_FN double Tanh(double x) { return 1.0 - 2.0 / (Exp(2.0 * x) + 1.0); }

}  // namespace haarflow::HF_ISA

// The circle maps over these functions: included here because it must come after them.
#include "core/kernel/circle_map.h"
