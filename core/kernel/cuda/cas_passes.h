// The cas transform of a lattice as passes over memory, each of which combines a few points in a thread's registers.
//
// A line of n = R r_2 ... r_p points. The first pass makes transforms of R points that are n / R apart; a later pass of
// radix r makes transforms of M r points from r transforms of M points. With E[k] = X[k] + i X[M - k], X the cas
// transform of M real points, E is (1 + i) times their Fourier transform exp(-2 pi i k x / M): so a pass is the
// Fourier transform's, on the pairs (k, M - k) that a thread holds, and nothing is unpacked:
//   E'[k + M q] = sum_j exp(-2 pi i j q / r) exp(-2 pi i j k / (M r)) E_j[k],  0 <= q < r.
// k = 0 is a cas transform of r points; k = M / 2 is its own mirror image. Each pass is in place: what a unit (one
// thread's points) reads, and nothing else, it writes, so that one barrier between passes is enough. Frequencies end up
// in digit-reversed places, which tables know (CasPlan). The matrix of the whole transform is symmetric, hence back
// from frequencies to sites go the transposed passes in reverse order.
#pragma once

#include "core/kernel/cuda/cas_points.h"

namespace haarflow::HF_ISA {

constexpr int kMaxPasses = 24;

// Where a unit's points are: `first` and `mirror` are the addresses of the first points of k and of M - k, further ones
// lie `step` apart. Pair 0 is k = 0 with M / 2 (mirror < 0 where M is odd), else pair is k.
struct alignas(16) UnitEntry {
  int32_t first, mirror, pair, unused;
};

struct PassTable {
  // R of a first pass; minus r of a later one; 0: a dense transform of an axis, from one buffer to another, for extents
  // with a prime factor above 7.
  int32_t radix;
  int32_t units;
  int32_t step;
  int32_t extent;  // n, of a dense transform: each point is a unit, `first` its address, `mirror` that of its line,
                   // `pair` its frequency
  const UnitEntry* unit;   // [units]
  const double* twiddles;  // [pairs][r - 1][2]: cos and sin of 2 pi j k / (M r), pair 0 that of k = M / 2;
                           // dense: [n], cas(2 pi j / n)
};

// Tables are read through the cache of read-only data.
template <class T>
HF_INLINE T Read(const T* p) {
#ifdef __CUDA_ARCH__
  return __ldg(p);
#else
  return *p;
#endif
}
HF_INLINE UnitEntry Read(const UnitEntry* p) {
#ifdef __CUDA_ARCH__
  const int4 v = __ldg(reinterpret_cast<const int4*>(p));
  return {v.x, v.y, v.z, v.w};
#else
  return *p;
#endif
}

template <class T>
struct alignas(2 * sizeof(T)) PairOf {
  T first, second;
};
HF_INLINE PairOf<double> Read(const PairOf<double>* p) {
#ifdef __CUDA_ARCH__
  const double2 v = __ldg(reinterpret_cast<const double2*>(p));
  return {v.x, v.y};
#else
  return *p;
#endif
}
HF_INLINE PairOf<int32_t> Read(const PairOf<int32_t>* p) {
#ifdef __CUDA_ARCH__
  const int2 v = __ldg(reinterpret_cast<const int2*>(p));
  return {v.x, v.y};
#else
  return *p;
#endif
}

// A unit of a first pass.
template <int R>
struct RealUnit {
  static constexpr int kSize = R;
  template <bool kTransposed>
  HF_INLINE static void Transform(double* x, int32_t /*pair*/, const double* /*twiddles*/) {
    Cas<R>(x);
  }
  // The point's place: in the first or second group of the unit's points, and there.
  HF_INLINE static constexpr bool InMirror(int) { return false; }
  HF_INLINE static constexpr int Place(int i) { return i; }
};

// A unit of a later pass: X[k] of the r transforms, then X[M - k]. Of pair 0: X[0], then X[M / 2].
template <int R>
struct ComplexUnit {
  static constexpr int kSize = 2 * R;
  HF_INLINE static constexpr bool InMirror(int i) { return i >= R; }
  HF_INLINE static constexpr int Place(int i) { return i < R ? i : i - R; }

  template <bool kTransposed>
  HF_INLINE static void Transform(double* x, int32_t pair, const double* twiddles) {
    const bool own_mirror = pair == 0;
    const double* turn = twiddles + pair * (2 * (R - 1));
    Complex in[R], out[R];
    HF_UNROLL
    for (int j = 0; j < R; ++j) {
      // Of frequencies the image of k + M q is M - k + M (r - 1 - q).
      const double re = x[j], mirror = x[R + j];
      in[j].re = own_mirror ? mirror : re;
      in[j].im = x[kTransposed ? 2 * R - 1 - j : R + j];
      if (!kTransposed && j > 0) in[j] = Rotate(in[j], Read(turn + 2 * j - 2), -Read(turn + 2 * j - 1));
    }
    FourierPoints<R, 1, kTransposed ? 1 : -1>(in, out);
    if (kTransposed) {
      HF_UNROLL
      for (int j = 1; j < R; ++j) out[j] = Rotate(out[j], Read(turn + 2 * j - 2), Read(turn + 2 * j - 1));
    }
    if (own_mirror) Cas<R>(x);
    HF_UNROLL
    for (int i = 0; i < R; ++i) {
      const Complex mirrored = out[kTransposed ? i : R - 1 - i];
      const double re = x[i];
      x[i] = own_mirror ? re : out[i].re;
      x[R + i] = own_mirror ? out[i].re : mirrored.im;
    }
  }
};

// f(unit type) for a pass; kPoints bounds the number of a unit's points (8 or 16).
template <int kPoints, class F>
HF_INLINE void ForRadix(int32_t radix, const F& f) {
  switch (radix) {
    case 1:
      return f(RealUnit<1>());
    case 2:
      return f(RealUnit<2>());
    case 3:
      return f(RealUnit<3>());
    case 4:
      return f(RealUnit<4>());
    case 5:
      return f(RealUnit<5>());
    case 6:
      return f(RealUnit<6>());
    case 7:
      return f(RealUnit<7>());
    case 8:
      return f(RealUnit<8>());
    case -2:
      return f(ComplexUnit<2>());
    case -3:
      return f(ComplexUnit<3>());
    case -4:
      return f(ComplexUnit<4>());
    default:
      break;
  }
  if constexpr (kPoints == 16) {
    switch (radix) {
      case 10:
        return f(RealUnit<10>());
      case 12:
        return f(RealUnit<12>());
      case 14:
        return f(RealUnit<14>());
      case 16:
        return f(RealUnit<16>());
      case -5:
        return f(ComplexUnit<5>());
      case -8:
        return f(ComplexUnit<8>());
      default:
        break;
    }
  }
}

// A half that is not there (mirror < 0) reads the other: finite numbers that nobody uses.
template <class Unit>
HF_INLINE void LoadUnit(const UnitEntry& at, int32_t step, const double* work, double* x) {
  HF_UNROLL
  for (int i = 0; i < Unit::kSize; ++i) {
    x[i] = work[(Unit::InMirror(i) && at.mirror >= 0 ? at.mirror : at.first) + Unit::Place(i) * step];
  }
}
template <class Unit>
HF_INLINE void StoreUnit(const UnitEntry& at, int32_t step, const double* x, double* work) {
  HF_UNROLL
  for (int i = 0; i < Unit::kSize; ++i) {
    if (!Unit::InMirror(i)) {
      work[at.first + Unit::Place(i) * step] = x[i];
    } else if (at.mirror >= 0) {
      work[at.mirror + Unit::Place(i) * step] = x[i];
    }
  }
}

}  // namespace haarflow::HF_ISA
