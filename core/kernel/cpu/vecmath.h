// Elementary functions on vector registers (GCC vector extensions), the same source for AVX-512, AVX2 and baseline
// x86-64.
//
// Include only from a source compiled for one instruction set, with HF_ISA defined to a namespace of its own: the
// inline functions of different instruction sets must never be merged by the linker. For the same reason nothing here
// uses a standard template. Errors below 2 ulp in the ranges stated; no function branches on data, so that every lane
// runs the same arithmetic.
#pragma once

#include <stdint.h>

#if defined(__AVX512F__)
#define HF_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define HF_VECTOR_BYTES 32
#else
#define HF_VECTOR_BYTES 16
#endif

namespace haarflow::HF_ISA {

typedef double Vd __attribute__((vector_size(HF_VECTOR_BYTES)));
typedef float Vf __attribute__((vector_size(HF_VECTOR_BYTES)));
typedef int64_t Vi64 __attribute__((vector_size(HF_VECTOR_BYTES)));
typedef uint64_t Vu64 __attribute__((vector_size(HF_VECTOR_BYTES)));
typedef int32_t Vi32 __attribute__((vector_size(HF_VECTOR_BYTES)));
typedef float VfHalf __attribute__((vector_size(HF_VECTOR_BYTES / 2)));  // as many floats as Vd has doubles

constexpr int kDoubleLanes = HF_VECTOR_BYTES / 8;
constexpr int kFloatLanes = HF_VECTOR_BYTES / 4;

constexpr double kPi = 3.14159265358979323846;
constexpr double kTwoPi = 2 * kPi;

inline Vd Splat(double x) { return x - Vd{}; }
inline Vf Splat(float x) { return x - Vf{}; }

template <class V, class T>
inline V Load(const T* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof(V));
  return v;
}
template <class V, class T>
inline void Store(T* p, V v) {
  __builtin_memcpy(p, &v, sizeof(V));
}

// Bits of one vector type seen as another of the same size.
template <class To, class From>
inline To Bits(From v) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &v, sizeof(To));
  return to;
}

inline Vd Abs(Vd x) { return Bits<Vd>(Bits<Vi64>(x) & 0x7FFFFFFFFFFFFFFF); }
inline Vd Max(Vd a, Vd b) { return a > b ? a : b; }
inline Vd Min(Vd a, Vd b) { return a < b ? a : b; }
inline Vf Max(Vf a, Vf b) { return a > b ? a : b; }
inline Vf Min(Vf a, Vf b) { return a < b ? a : b; }

inline Vd Sqrt(Vd x) {
  Vd r;
  for (int i = 0; i < kDoubleLanes; ++i) r[i] = __builtin_sqrt(x[i]);
  return r;
}

// Nearest integer of |x| < 2^51; the low bits of `raw` hold it as an integer.
inline Vd Round(Vd x, Vi64* raw) {
  constexpr double kMagic = 0x1.8p52;
  const Vd shifted = x + kMagic;
  *raw = Bits<Vi64>(shifted);
  return shifted - kMagic;
}

// exp, clamped to [-708, 709].
inline Vd Exp(Vd x) {
  x = Max(Min(x, Splat(709.0)), Splat(-708.0));
  Vi64 k;
  const Vd n = Round(x * 1.4426950408889634074, &k);
  Vd r = x - n * 0x1.62e42fee00000p-1;  // ln 2 in two parts
  r = r - n * 0x1.a39ef35793c76p-33;
  Vd p = Splat(1.0 / 6227020800);
  p = p * r + 1.0 / 479001600;
  p = p * r + 1.0 / 39916800;
  p = p * r + 1.0 / 3628800;
  p = p * r + 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r * r + r + 1.0;
  return p * Bits<Vd>((k + 1023) << 52);
}

// exp, clamped to [-87, 88].
inline Vf Exp(Vf x) {
  x = Max(Min(x, Splat(88.0f)), Splat(-87.0f));
  constexpr float kMagic = 0x1.8p23f;
  const Vf shifted = x * 1.442695041f + kMagic;
  const Vi32 k = Bits<Vi32>(shifted);
  const Vf n = shifted - kMagic;
  Vf r = x - n * 0x1.62e400p-1f;
  r = r - n * 0x1.7f7d1cp-20f;
  Vf p = Splat(1.0f / 5040);
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  return p * Bits<Vf>((k + 127) << 23);
}

// log of a positive normal number (fdlibm's series).
inline Vd Log(Vd x) {
  const Vi64 bits = Bits<Vi64>(x);
  // Exponent such that the mantissa lies in [sqrt(1/2), sqrt(2)).
  const Vi64 e = (bits - 0x3FE6A09E667F3BCDLL) >> 52;
  const Vd m = Bits<Vd>(bits - (e << 52));
  const Vd f = m - 1.0;
  const Vd s = f / (2.0 + f);
  const Vd z = s * s;
  Vd r = z * 1.479819860511658591e-01 + 1.531383769920937332e-01;
  r = r * z + 1.818357216161805012e-01;
  r = r * z + 2.222219843214978396e-01;
  r = r * z + 2.857142874366239149e-01;
  r = r * z + 3.999999999940941908e-01;
  r = r * z + 6.666666666666735130e-01;
  r = r * z;
  const Vd hfsq = f * f * 0.5;
  // e as a double: |e| < 2^11, by the magic-number way.
  const Vd n = Bits<Vd>(e + 0x4338000000000000LL) - 0x1.8p52;
  return n * 0x1.62e42fee00000p-1 - ((hfsq - (s * (hfsq + r) + n * 0x1.a39ef35793c76p-33)) - f);
}

// sin and cos of |x| < 2^20.
inline __attribute__((always_inline)) void SinCos(Vd x, Vd* sine, Vd* cosine) {
  Vi64 q;
  const Vd n = Round(x * 0.63661977236758134308, &q);
  Vd r = x - n * 0x1.921fb54400000p+0;  // pi / 2 in three parts
  r = r - n * 0x1.0b4611a600000p-34;
  r = r - n * 0x1.3198a2e037073p-69;
  const Vd z = r * r;
  Vd s = z * 1.58969099521155010221e-10 - 2.50507602534068634195e-08;
  s = s * z + 2.75573137070700676789e-06;
  s = s * z - 1.98412698298579493134e-04;
  s = s * z + 8.33333333332248946124e-03;
  s = s * z - 1.66666666666666324348e-01;
  s = r + r * z * s;
  Vd c = z * -1.13596475577881948265e-11 + 2.08757232129817482790e-09;
  c = c * z - 2.75573143513906633035e-07;
  c = c * z + 2.48015872894767294178e-05;
  c = c * z - 1.38888888888741095749e-03;
  c = c * z + 4.16666666666666019037e-02;
  c = 1.0 - (z * 0.5 - z * z * c);
  const auto odd = (q & 1) != 0;
  const Vd a = odd ? c : s;
  const Vd b = odd ? s : c;
  *sine = Bits<Vd>(Bits<Vi64>(a) ^ ((q & 2) << 62));
  *cosine = Bits<Vd>(Bits<Vi64>(b) ^ (((q + 1) & 2) << 62));
}

// atan2(y, x) for x >= 0, not both zero: in [-pi/2, pi/2].
inline Vd Atan2RightHalf(Vd y, Vd x) {
  const Vd ay = Abs(y);
  const auto steep = ay > x;
  const Vd low = steep ? x : ay;
  const Vd high = steep ? ay : x;
  Vd t = low / high;  // in [0, 1]
  const auto far = t > 0.41421356237309503;
  t = far ? (low - high) / (low + high) : t;
  const Vd z = t * t;
  Vd p = z * 1.62858201153657823623e-02 - 3.65315727442169155270e-02;
  p = p * z + 4.97687799461593236017e-02;
  p = p * z - 5.83357013379057348645e-02;
  p = p * z + 6.66107313738753120669e-02;
  p = p * z - 7.69187620504482999495e-02;
  p = p * z + 9.09088713343650656196e-02;
  p = p * z - 1.11111104054623557880e-01;
  p = p * z + 1.42857142725034663711e-01;
  p = p * z - 1.99999999998764832476e-01;
  p = p * z + 3.33333333333329318027e-01;
  Vd a = t - t * z * p;
  a = far ? a + kPi / 4 : a;
  a = steep ? kPi / 2 - a : a;
  return Bits<Vd>(Bits<Vi64>(a) | (Bits<Vi64>(y) & static_cast<int64_t>(0x8000000000000000ull)));
}

// The representative in [-pi, pi) of an angle |x| < 2^20.
inline Vd WrapAngle(Vd x) {
  Vi64 unused;
  Vd r = x - kTwoPi * Round(x * (1 / kTwoPi), &unused);
  r = r >= kPi ? r - kTwoPi : r;
  return r < -kPi ? r + kTwoPi : r;
}

inline Vf Silu(Vf x) { return x / (1.0f + Exp(-x)); }
inline Vd Silu(Vd x) { return x / (1.0 + Exp(-x)); }
inline Vf LeakyRelu(Vf x) { return x > 0 ? x : x * 0.01f; }
inline Vd LeakyRelu(Vd x) { return x > 0 ? x : x * 0.01; }
inline Vf Tanh(Vf x) { return 1.0f - 2.0f / (Exp(2.0f * x) + 1.0f); }
inline Vd Tanh(Vd x) { return 1.0 - 2.0 / (Exp(2.0 * x) + 1.0); }

}  // namespace haarflow::HF_ISA
