// SU(2) and SU(3) on numbers of any type: vector registers, variables of a tape, or one number of a GPU thread.
//
// The includer provides, in namespace HF_ISA, Splat, Sqrt and the type Vd of constants (a vector register, or double),
// HF_FN (function attributes) and, on a GPU, HF_UNROLL. A number T is made from a Vd.
//
// SU(3), and sums of its matrices: [row][column][real, imaginary part]. SU(2), and real combinations of its matrices: a
// quaternion (w_0 .. w_3), W = w_0 + i sum_a w_a sigma_a; such matrices have real traces.
//
// Generators are anti-Hermitian, T^a = -i lambda^a / 2 (sigma^a / 2), tr T^a T^b = -delta_ab / 2, [T^a, T^b] = f_abc
// T^c.
#pragma once

#ifndef HF_FN
#define HF_FN inline
#endif
#ifdef HF_UNROLL
#define HF_UNROLL_WHOLE HF_UNROLL
#else
#define HF_UNROLL
#define HF_UNROLL_WHOLE _Pragma("GCC unroll 32")
#endif

namespace haarflow::HF_ISA::sun {

template <int N>
struct Group;
template <>
struct Group<2> {
  static constexpr int kNumbers = 4;
  static constexpr int kDim = 3;
  static constexpr bool kRealTrace = true;
};
template <>
struct Group<3> {
  static constexpr int kNumbers = 18;
  static constexpr int kDim = 8;
  static constexpr bool kRealTrace = false;
};

// a b + c; fused where the includer's own function for its numbers fuses.
template <class T>
HF_FN T MulAdd(T a, T b, T c) {
  return a * b + c;
}
template <class T>
HF_FN T MulAdd(double a, T b, T c) {
  return a * b + c;
}

// The row that holds element r of the adjoint, and its sign.
template <int N>
HF_FN constexpr int AdjointRow(int r) {
  return N == 2 ? r : 6 * (r / 2 % 3) + 2 * (r / 6) + r % 2;
}
template <int N>
HF_FN constexpr bool AdjointNegates(int r) {
  return N == 2 ? r > 0 : r % 2 == 1;
}

template <class T>
struct Complex {
  T re, im;
};

// Trace of a matrix of numbers T [kNumbers]; the imaginary part is not set for SU(2).
template <int N, class T, class W>
HF_FN Complex<T> TraceOf(const W& w) {
  if constexpr (N == 2) {
    return {2.0 * w[0], w[0]};
  } else {
    return {w[0] + w[8] + w[16], w[1] + w[9] + w[17]};
  }
}

// W^a = Re tr(T^a W), and (complex) tr(T^a W) = W^a + i V^a.
template <int N, class T, class W>
HF_FN void Components(const W& w, T* out) {
  if constexpr (N == 2) {
    for (int a = 0; a < 3; ++a) out[a] = w[a + 1];
  } else {
    // tr(T^a W) = -i/2 tr(lambda^a W): real part half the imaginary part of tr(lambda^a W).
    out[0] = 0.5 * (w[3] + w[7]);
    out[1] = 0.5 * (w[2] - w[6]);
    out[2] = 0.5 * (w[1] - w[9]);
    out[3] = 0.5 * (w[5] + w[13]);
    out[4] = 0.5 * (w[4] - w[12]);
    out[5] = 0.5 * (w[11] + w[15]);
    out[6] = 0.5 * (w[10] - w[14]);
    out[7] = 0.28867513459481288225 * (w[1] + w[9] - 2.0 * w[17]);
  }
}
// V^a = Im tr(T^a W) = -1/2 Re tr(lambda^a W); SU(3).
template <class W, class T>
HF_FN void ImaginaryComponents(const W& w, T* out) {
  out[0] = -0.5 * (w[2] + w[6]);
  out[1] = 0.5 * (w[3] - w[7]);
  out[2] = -0.5 * (w[0] - w[8]);
  out[3] = -0.5 * (w[4] + w[12]);
  out[4] = 0.5 * (w[5] - w[13]);
  out[5] = -0.5 * (w[10] + w[14]);
  out[6] = 0.5 * (w[11] - w[15]);
  out[7] = -0.28867513459481288225 * (w[0] + w[8] - 2.0 * w[16]);
}

// Normal numbers (SU(3): 12 in the first two rows) made a Haar-distributed matrix: a unit quaternion; the rows made
// orthonormal and their cross product.
template <int N, class T>
HF_FN void MakeHaar(T* w) {
  if constexpr (N == 2) {
    const T scale = 1.0 / Sqrt(w[0] * w[0] + w[1] * w[1] + w[2] * w[2] + w[3] * w[3]);
    for (int r = 0; r < 4; ++r) w[r] = w[r] * scale;
  } else {
    HF_UNROLL
    for (int row = 0; row < 2; ++row) {
      T* a = w + 6 * row;
      if (row == 1) {
        HF_UNROLL
        for (int again = 0; again < 2; ++again) {
          T re = T(Vd{}), im = T(Vd{});  // <w_0, w_1>
          HF_UNROLL
          for (int j = 0; j < 6; j += 2) {
            re += w[j] * a[j] + w[j + 1] * a[j + 1];
            im += w[j] * a[j + 1] - w[j + 1] * a[j];
          }
          HF_UNROLL
          for (int j = 0; j < 6; j += 2) {
            const T x = a[j] - (re * w[j] - im * w[j + 1]), y = a[j + 1] - (re * w[j + 1] + im * w[j]);
            a[j] = x;
            a[j + 1] = y;
          }
        }
      }
      T norm = T(Vd{});
      HF_UNROLL
      for (int j = 0; j < 6; ++j) norm += a[j] * a[j];
      const T scale = 1.0 / Sqrt(norm);
      HF_UNROLL
      for (int j = 0; j < 6; ++j) a[j] *= scale;
    }
    HF_UNROLL
    for (int j = 0; j < 3; ++j) {
      const int k = 2 * ((j + 1) % 3), l = 2 * ((j + 2) % 3);
      const T* a = w;
      const T* b = w + 6;
      w[12 + 2 * j] = a[k] * b[l] - a[k + 1] * b[l + 1] - (a[l] * b[k] - a[l + 1] * b[k + 1]);
      w[12 + 2 * j + 1] = -(a[k] * b[l + 1] + a[k + 1] * b[l] - (a[l] * b[k + 1] + a[l + 1] * b[k]));
    }
  }
}

struct Structure {
  int a, b, c;
  double value;
};
// d_abc of SU(3), a <= b <= c: the k-th of 16. Tables are functions: a GPU reads no constants of the host.
constexpr double kD8 = 0.57735026918962576451;
HF_FN constexpr Structure SymmetricStructure(int k) {
  constexpr Structure kD[16] = {
      {0, 0, 7, kD8},        {1, 1, 7, kD8},        {2, 2, 7, kD8},        {7, 7, 7, -kD8},
      {3, 3, 7, -0.5 * kD8}, {4, 4, 7, -0.5 * kD8}, {5, 5, 7, -0.5 * kD8}, {6, 6, 7, -0.5 * kD8},
      {0, 3, 5, 0.5},        {0, 4, 6, 0.5},        {1, 4, 5, 0.5},        {2, 3, 3, 0.5},
      {2, 4, 4, 0.5},        {1, 3, 6, -0.5},       {2, 5, 5, -0.5},       {2, 6, 6, -0.5}};
  return kD[k];
}

// Exponentials and their differentials are polynomials, powers reduced by the characteristic polynomial: no branch, no
// division, accurate to 1e-14 up to this sum of squares of F^a.
constexpr double kLargestForce = 16;

// (x/2) cot(x/2) = 1 + y h(y) and sin(x/2) / (x/2) = p(y), y = -x^2: interpolated on [-16, 0], errors 1e-16.
constexpr int kCotangentTerms = 17;
HF_FN constexpr double CotangentTerm(int k) {
  constexpr double kTerm[kCotangentTerms] = {0.08333333333333341,    -0.0013888888888860431,  3.306878308579813e-05,
                                             -8.267195365685821e-07, 2.087680669832073e-08,   -5.283818047032438e-10,
                                             1.3400828184502091e-11, -3.3274695911068796e-13, 1.0099581380450711e-14,
                                             5.136289981211064e-17,  4.073516498826279e-17,   3.2673237126300337e-18,
                                             2.4434753092571367e-19, 1.2053267082343006e-20,  4.186023505178364e-22,
                                             8.742687510391965e-24,  9.057754020836715e-26};
  return kTerm[k];
}
constexpr int kSineTerms = 11;
HF_FN constexpr double SineTerm(int k) {
  constexpr double kTerm[kSineTerms] = {1.0,
                                        0.041666666666666664,
                                        0.0005208333333333333,
                                        3.10019841269841e-06,
                                        1.0764577821868113e-08,
                                        2.4464949594756392e-11,
                                        3.9206649919170486e-14,
                                        4.6674574781632644e-17,
                                        4.2898791235920734e-20,
                                        3.132923716030077e-23,
                                        1.7871321303542784e-26};
  return kTerm[k];
}

// F = i Q: Q = sum_a q_a lambda^a, its square, and Q^3 = s Q + d.
template <class T>
struct Hermitian {
  T q00, q11, q22, xr, xi, yr, yi, zr, zi;  // elements 01: x, 02: y, 12: z
  T p00, p11, p22, ur, ui, vr, vi, wr, wi;  // of Q^2
  T s, d;

  HF_FN explicit Hermitian(const T* f)
      : q00(-0.5 * (f[2] + kD8 * f[7])),
        q11(-0.5 * (kD8 * f[7] - f[2])),
        q22(kD8 * f[7]),
        xr(-0.5 * f[0]),
        xi(0.5 * f[1]),
        yr(-0.5 * f[3]),
        yi(0.5 * f[4]),
        zr(-0.5 * f[5]),
        zi(0.5 * f[6]) {
    const T xx = xr * xr + xi * xi, yy = yr * yr + yi * yi, zz = zr * zr + zi * zi;
    p00 = q00 * q00 + xx + yy;
    p11 = q11 * q11 + xx + zz;
    p22 = q22 * q22 + yy + zz;
    ur = xr * (q00 + q11) + yr * zr + yi * zi;
    ui = xi * (q00 + q11) + yi * zr - yr * zi;
    vr = yr * (q00 + q22) + xr * zr - xi * zi;
    vi = yi * (q00 + q22) + xr * zi + xi * zr;
    wr = zr * (q11 + q22) + xr * yr + xi * yi;
    wi = zi * (q11 + q22) + xr * yi - xi * yr;
    s = 0.5 * (p00 + p11 + p22);
    d = q00 * (q11 * q22 - zz) - q11 * yy - q22 * xx + 2.0 * (xr * (zr * yr + zi * yi) - xi * (zi * yr - zr * yi));
  }
};

// exp(F), F = sum_a F^a T^a.
template <int N, class T>
HF_FN void Exponential(const T* f, T* e) {
  if constexpr (N == 2) {
    const T r = -0.25 * (f[0] * f[0] + f[1] * f[1] + f[2] * f[2]);
    T c = T(Splat(1.0)), s = T(Splat(1.0));
    HF_UNROLL_WHOLE
    for (int k = 13; k > 0; --k) {
      c = MulAdd(1.0 / ((2 * k - 1) * (2 * k)) * r, c, T(Splat(1.0)));
      s = MulAdd(1.0 / ((2 * k) * (2 * k + 1)) * r, s, T(Splat(1.0)));
    }
    e[0] = c;
    for (int a = 0; a < 3; ++a) e[a + 1] = -0.5 * (s * f[a]);
  } else {
    const Hermitian<T> h(f);
    // Q^k = u + v Q + w Q^2.
    T u = T(Vd{}), v = T(Vd{}), w = T(Splat(1.0));
    T f0[2] = {T(Splat(1.0)), T(Vd{})}, f1[2] = {T(Vd{}), T(Splat(1.0))}, f2[2] = {T(Splat(-0.5)), T(Vd{})};
    double factorial = 2;
    HF_UNROLL_WHOLE
    for (int k = 3; k <= 22; ++k) {
      const T next_u = h.d * w, next_v = MulAdd(h.s, w, u);
      w = v;
      u = next_u;
      v = next_v;
      factorial *= k;
      const double c = (k / 2 % 2 == 0 ? 1 : -1) / factorial;  // i^k / k!, up to i for odd k
      f0[k % 2] = MulAdd(c, u, f0[k % 2]);
      f1[k % 2] = MulAdd(c, v, f1[k % 2]);
      f2[k % 2] = MulAdd(c, w, f2[k % 2]);
    }
    // E = f0 + f1 Q + f2 Q^2; element (i, j) from Q_ij = a + i b, (Q^2)_ij = p + i q.
    const auto set = [&](int i, int j, const T& a, const T& b, const T& p, const T& q) {
      e[6 * i + 2 * j] = f1[0] * a - f1[1] * b + (f2[0] * p - f2[1] * q);
      e[6 * i + 2 * j + 1] = f1[0] * b + f1[1] * a + (f2[0] * q + f2[1] * p);
    };
    set(0, 1, h.xr, h.xi, h.ur, h.ui);
    set(1, 0, h.xr, -h.xi, h.ur, -h.ui);
    set(0, 2, h.yr, h.yi, h.vr, h.vi);
    set(2, 0, h.yr, -h.yi, h.vr, -h.vi);
    set(1, 2, h.zr, h.zi, h.wr, h.wi);
    set(2, 1, h.zr, -h.zi, h.wr, -h.wi);
    const auto diagonal = [&](int i, const T& a, const T& p) {
      e[8 * i] = f0[0] + f1[0] * a + f2[0] * p;
      e[8 * i + 1] = f0[1] + f1[1] * a + f2[1] * p;
    };
    diagonal(0, h.q00, h.p00);
    diagonal(1, h.q11, h.p11);
    diagonal(2, h.q22, h.p22);
  }
}

// The symmetric matrix dexp_{-F}^{-1} - ad F / 2 = (x/2) cot(x/2) of x = -i ad F, upper triangle, plus sum_c d_abc e_c
// and `diagonal` on the diagonal; and det dexp_{-F}.
//
// SU(3): ad F has the eigenvalues 0 twice and +-i x_k, x_k^2 = 4 s - 3 l_k^2, l_k those of Q. With A = h(y) = u + v l +
// w l^2 on the roots and r_a the components of Q^2, y A is the matrix with the scalar part -2 s u + 3 d v - 2 s^2 w /
// 3, the part d_abc (2 s v q - 6 u r - 6 d w q + 2 s w r)_c, and 4 u q q^T - 2 v (q r^T + r q^T) + 4 w r r^T: right on
// the roots, zero on q and r, and without division where eigenvalues coincide.
template <int N, class T>
HF_FN T InverseDifferential(const T* f, const T* e, const T& diagonal, T (*m)[Group<N>::kDim]) {
  if constexpr (N == 2) {
    const T y = -(f[0] * f[0] + f[1] * f[1] + f[2] * f[2]);
    T h = T(Splat(CotangentTerm(kCotangentTerms - 1))), p = T(Splat(SineTerm(kSineTerms - 1)));
    HF_UNROLL_WHOLE
    for (int k = kCotangentTerms - 2; k >= 0; --k) h = MulAdd(y, h, T(Splat(CotangentTerm(k))));
    HF_UNROLL_WHOLE
    for (int k = kSineTerms - 2; k >= 0; --k) p = MulAdd(y, p, T(Splat(SineTerm(k))));
    // ad^2 = F F^T - F^2.
    const T scalar = MulAdd(y, h, diagonal) + 1.0;
    HF_UNROLL
    for (int a = 0; a < 3; ++a) {
      const T hf = h * f[a];
      HF_UNROLL
      for (int b = a; b < 3; ++b) m[a][b] = a == b ? MulAdd(hf, f[b], scalar) : hf * f[b];
    }
    return p * p;
  } else {
    const Hermitian<T> q(f);
    // Times y = 3 l^2 - 4 s, plus a number.
    const T minus_s = -q.s, s4 = 4.0 * minus_s, d3 = 3.0 * q.d;
    const auto step = [&](T* x, double c) {
      const T u = MulAdd(d3, x[1], MulAdd(s4, x[0], T(Splat(c))));
      const T v = MulAdd(d3, x[2], minus_s * x[1]);
      x[2] = MulAdd(minus_s, x[2], 3.0 * x[0]);
      x[0] = u;
      x[1] = v;
    };
    T h[3] = {T(Splat(CotangentTerm(kCotangentTerms - 1))), T(Vd{}), T(Vd{})};
    T p[3] = {T(Splat(SineTerm(kSineTerms - 1))), T(Vd{}), T(Vd{})};
    HF_UNROLL_WHOLE
    for (int k = kCotangentTerms - 2; k >= 0; --k) step(h, CotangentTerm(k));
    HF_UNROLL_WHOLE
    for (int k = kSineTerms - 2; k >= 0; --k) step(p, SineTerm(k));

    T l[8], r[8];  // q and r
    HF_UNROLL
    for (int a = 0; a < 8; ++a) l[a] = -0.5 * f[a];
    r[0] = q.ur;
    r[1] = -q.ui;
    r[2] = 0.5 * (q.p00 - q.p11);
    r[3] = q.vr;
    r[4] = -q.vi;
    r[5] = q.wr;
    r[6] = -q.wi;
    r[7] = 0.5 * kD8 * (q.p00 + q.p11 - 2.0 * q.p22);
    const T sw = q.s * h[2];
    const T scalar = MulAdd(d3, h[1], MulAdd(-2.0 * q.s, h[0], MulAdd(-2.0 / 3, q.s * sw, diagonal))) + 1.0;
    const T on_q = MulAdd(2.0, q.s * h[1], (-2.0 * d3) * h[2]), on_r = MulAdd(2.0, sw, -6.0 * h[0]);
    T c[8];
    HF_UNROLL
    for (int a = 0; a < 8; ++a) c[a] = MulAdd(on_q, l[a], MulAdd(on_r, r[a], e[a]));
    const T u4 = 4.0 * h[0], v2 = -2.0 * h[1], w4 = 4.0 * h[2];
    HF_UNROLL
    for (int a = 0; a < 8; ++a) {
      const T x = MulAdd(u4, l[a], v2 * r[a]), z = MulAdd(v2, l[a], w4 * r[a]);
      HF_UNROLL
      for (int b = a; b < 8; ++b) m[a][b] = MulAdd(x, l[b], a == b ? MulAdd(z, r[b], scalar) : z * r[b]);
    }
    HF_UNROLL_WHOLE
    for (int k = 0; k < 16; ++k) {
      const Structure d = SymmetricStructure(k);
      const int i = d.a, j = d.b, n = d.c;
      m[i][j] = MulAdd(d.value, c[n], m[i][j]);
      if (j != n) m[i][n] = MulAdd(d.value, c[j], m[i][n]);
      if (i != j) m[j][n] = MulAdd(d.value, c[i], m[j][n]);
    }
    // The product of p over the roots: the determinant of multiplication by it, modulo l^3 = s l + d.
    const T a1 = p[2] * q.d, b1 = MulAdd(q.s, p[2], p[0]), a2 = p[1] * q.d, b2 = MulAdd(q.s, p[1], a1);
    const T norm = p[0] * (b1 * b1 - p[1] * b2) - a1 * (p[1] * b1 - p[2] * b2) + a2 * (p[1] * p[1] - p[2] * b1);
    return norm * norm;
  }
}

// det of a symmetric matrix near the identity by elimination without pivoting, from its upper triangle. Destroys it.
template <int n, class T>
HF_FN T SymmetricDeterminant(T (*m)[n]) {
  T det = m[0][0];
  HF_UNROLL
  for (int k = 0; k < n - 1; ++k) {
    const T inverse = 1.0 / m[k][k];
    HF_UNROLL
    for (int i = k + 1; i < n; ++i) {
      const T factor = -(m[k][i] * inverse);
      HF_UNROLL
      for (int j = i; j < n; ++j) m[i][j] = MulAdd(factor, m[k][j], m[i][j]);
    }
    det = det * m[k + 1][k + 1];
  }
  return det;
}

}  // namespace haarflow::HF_ISA::sun
