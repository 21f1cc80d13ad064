// The map of one link, U' = exp(F) U, on numbers T: see core/kernel/sun_algebra.h, and for what the includer provides.
#pragma once

#include "core/kernel/cpu/loop_isa.h"
#include "core/kernel/sun_algebra.h"
#include "core/kernel/table.h"

namespace haarflow::HF_ISA::sun {

using kernel::kMaxActiveLoops;

template <int N, class T>
HF_FN Complex<T> Times(const Complex<T>& a, const Complex<T>& b) {
  if constexpr (Group<N>::kRealTrace) {
    return {a.re * b.re, a.re};
  } else {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
  }
}
template <int N, class T>
HF_FN Complex<T> Conjugate(const Complex<T>& a) {
  if constexpr (Group<N>::kRealTrace) {
    return a;
  } else {
    return {a.re, -a.im};
  }
}
template <int N, class T>
HF_FN void AddTo(const Complex<T>& a, Complex<T>* sum) {
  sum->re = sum->re + a.re;
  if constexpr (!Group<N>::kRealTrace) sum->im = sum->im + a.im;
}

// What a link's map reads, as arrays.
template <int N, class T>
struct LoopArrays {
  static constexpr bool kStreams = false;
  T loop[kMaxActiveLoops][Group<N>::kNumbers];  // U M_j
  const Complex<T>* factor;                     // [monomials]: coefficient x scalar
  const T* twin_factor;                         // [twins]: coefficient
};

// `Loops`: where loop, factor and twin_factor are, LoopArrays or what is indexed like them. kStreams: each is read
// where it is needed, and a thread keeps as little as possible.
template <int N, class T, class Loops = LoopArrays<N, T>>
struct LinkMap : Loops {
  static constexpr int kNumbers = Group<N>::kNumbers;
  static constexpr int kDim = Group<N>::kDim;
  using Loops::factor;
  using Loops::loop;
  using Loops::twin_factor;

  const hf_link_program* program;
  T linear[kNumbers];                 // U L
  Complex<T> trace[kMaxActiveLoops];  // t_j
  T total[kNumbers];                  // U (L + sum_j alpha_j M_j) + sum over twins of c (A B + B A)
  T force[kDim];

  HF_FN Complex<T> Factor(int32_t operand) const {
    const Complex<T>& t = trace[operand / 2];
    return operand % 2 == 0 ? t : Conjugate<N>(t);
  }

  // F^a = Re tr T^a U (L + sum_j alpha_j M_j), alpha_j the derivative of the potential in t_j.
  HF_FN void Force() {
    HF_UNROLL
    for (int r = 0; r < kNumbers; ++r) total[r] = linear[r];
    for (int j = 0; j < program->loops; ++j) trace[j] = TraceOf<N, T>(loop[j]);
    Complex<T> alpha[kMaxActiveLoops];
    for (int j = 0; j < program->loops; ++j) alpha[j] = {T(Vd{}), T(Vd{})};
    for (int m = 0; m < program->monomials; ++m) {
      const hf_loop_monomial& monomial = program->monomial[m];
      for (int i = 0; i < monomial.loops; ++i) {
        Complex<T> slope = factor[m];
        for (int k = 0; k < monomial.loops; ++k) {
          if (k != i) slope = Times<N>(slope, Factor(monomial.loop[k]));
        }
        if (monomial.loop[i] % 2 == 1) slope = Conjugate<N>(slope);
        AddTo<N>(slope, &alpha[monomial.loop[i] / 2]);
      }
    }
    for (int j = 0; j < program->loops; ++j) {
      const auto& w = loop[j];
      if constexpr (N == 2) {
        HF_UNROLL
        for (int r = 0; r < kNumbers; ++r) total[r] = MulAdd(alpha[j].re, w[r], total[r]);
      } else {
        const T minus = -alpha[j].im;
        HF_UNROLL
        for (int r = 0; r < kNumbers; r += 2) {
          total[r] = MulAdd(alpha[j].re, w[r], MulAdd(minus, w[r + 1], total[r]));
          total[r + 1] = MulAdd(alpha[j].re, w[r + 1], MulAdd(alpha[j].im, w[r], total[r + 1]));
        }
      }
    }
    if constexpr (N == 3) {
      for (int i = 0; i < program->twins; ++i) {
        const auto& a = loop[program->twin[i].a];
        const auto& b = loop[program->twin[i].b];
        AddProduct(twin_factor[i], a, b);
        AddProduct(twin_factor[i], b, a);
      }
    }
    Components<N, T>(total, force);
  }

  // total += c A B.
  template <class A>
  HF_FN void AddProduct(const T& c, const A& a, const A& b) {
    HF_UNROLL
    for (int i = 0; i < 3; ++i) {
      HF_UNROLL
      for (int j = 0; j < 3; ++j) {
        T re = T(Vd{}), im = T(Vd{});
        HF_UNROLL
        for (int k = 0; k < 3; ++k) {
          const int p = 6 * i + 2 * k, q = 6 * k + 2 * j;
          re = MulAdd(a[p], b[q], MulAdd(-a[p + 1], b[q + 1], re));
          im = MulAdd(a[p], b[q + 1], MulAdd(a[p + 1], b[q], im));
        }
        total[6 * i + 2 * j] = MulAdd(c, re, total[6 * i + 2 * j]);
        total[6 * i + 2 * j + 1] = MulAdd(c, im, total[6 * i + 2 * j + 1]);
      }
    }
  }

  // det(1 + dexp_{-F} H), H^ab = d F^a along T^b, as det(dexp_{-F}) det(dexp_{-F}^{-1} + H): the antisymmetric parts of
  // the sum, ad F / 2 and -ad F / 2, cancel.
  HF_FN T BlockDeterminant() const {
    T m[kDim][kDim];
    // Re tr(T^a T^b W) = -1/2 ad_ab - delta_ab Re tr W / (2 N) - 1/4 sum_c d_abc Re tr(lambda^c W).
    const T diagonal = (-0.5 / N) * TraceOf<N, T>(total).re;
    T e[kDim];
    if constexpr (N == 3) {
      ImaginaryComponents(total, e);  // -1/2 Re tr(lambda^c W)
      HF_UNROLL
      for (int a = 0; a < kDim; ++a) e[a] = 0.5 * e[a];
    }
    const T dexp = InverseDifferential<N, T>(force, e, diagonal, m);
    if constexpr (Loops::kStreams) {
      StreamSecondDerivatives(m);
    } else {
      AddSecondDerivatives(m);
    }
    if constexpr (N == 3) {
      for (int i = 0; i < program->twins; ++i) {
        if constexpr (Loops::kStreams) {
          StreamTwin(program->twin[i], twin_factor[i], m);
        } else {
          AddTwin(program->twin[i], twin_factor[i], m);
        }
      }
    }
    return dexp * SymmetricDeterminant<kDim, T>(m);
  }

  // A second derivative of the potential: terms [begin, end) of the pairs.
  HF_FN Complex<T> Second(int begin, int end) const {
    Complex<T> sum = {T(Vd{}), T(Vd{})};
    for (int i = begin; i < end; ++i) {
      const hf_pair_term& term = program->pair_term[i];
      Complex<T> c = factor[term.monomial];
      if (term.rest >= 0) c = Times<N>(c, Factor(term.rest));
      AddTo<N>(term.conjugate != 0 ? Conjugate<N>(c) : c, &sum);
    }
    return sum;
  }

 private:
  // Of the potential in the traces, upper triangle: Re sum over pairs of loops, both ways round, of d_a t_j (p d_b t_k
  // + q d_b t_k^*); p and q the potential's second derivatives, d_a t_j = tr T^a U M_j.
  void AddSecondDerivatives(T (*m)[kDim]) const {
    if (program->pairs == 0) return;
    T re[kMaxActiveLoops][kDim], im[kMaxActiveLoops][kDim];
    T x[kMaxActiveLoops][kDim], y[kMaxActiveLoops][kDim];  // m^ab += Re d_a t_j (x + i y)_j^b
    for (int j = 0; j < program->paired; ++j) {
      Components<N, T>(loop[j], re[j]);
      for (int b = 0; b < kDim; ++b) x[j][b] = T(Vd{});
      if constexpr (N == 3) {
        ImaginaryComponents(loop[j], im[j]);
        for (int b = 0; b < kDim; ++b) y[j][b] = T(Vd{});
      }
    }
    for (int i = 0; i < program->pairs; ++i) {
      const hf_loop_pair& pair = program->pair[i];
      const Complex<T> p = Second(pair.begin, pair.mixed), q = Second(pair.mixed, pair.end);
      const int j = pair.j, k = pair.k;
      if constexpr (N == 2) {
        for (int b = 0; b < kDim; ++b) x[j][b] = MulAdd(p.re, re[k][b], x[j][b]);
        if (j == k) continue;
        for (int b = 0; b < kDim; ++b) x[k][b] = MulAdd(p.re, re[j][b], x[k][b]);
      } else {
        const T sum = p.re + q.re, difference = p.re - q.re;
        AddPair(sum, q.im - p.im, p.im + q.im, difference, re[k], im[k], x[j], y[j]);
        if (j != k) AddPair(sum, -(p.im + q.im), p.im - q.im, difference, re[j], im[j], x[k], y[k]);
      }
    }
    for (int j = 0; j < program->paired; ++j) {
      for (int a = 0; a < kDim; ++a) {
        if constexpr (N == 2) {
          for (int b = a; b < kDim; ++b) m[a][b] = MulAdd(re[j][a], x[j][b], m[a][b]);
        } else {
          const T minus = -im[j][a];
          for (int b = a; b < kDim; ++b) m[a][b] = MulAdd(re[j][a], x[j][b], MulAdd(minus, y[j][b], m[a][b]));
        }
      }
    }
  }

  // The same, one loop after another: every second derivative twice, gradients once for every pair.
  HF_FN void StreamSecondDerivatives(T (*m)[kDim]) const {
    for (int j = 0; j < program->paired; ++j) {
      T x[kDim], y[kDim], u[kDim], v[kDim];
      HF_UNROLL
      for (int b = 0; b < kDim; ++b) x[b] = y[b] = T(Vd{});
      for (int i = 0; i < program->pairs; ++i) {
        const hf_loop_pair pair = program->pair[i];
        if (pair.j != j && pair.k != j) continue;
        const bool first = pair.j == j;
        const Complex<T> p = Second(pair.begin, pair.mixed);
        const auto& other = loop[first ? pair.k : pair.j];
        Components<N, T>(other, u);
        if constexpr (N == 2) {
          for (int b = 0; b < kDim; ++b) x[b] = MulAdd(p.re, u[b], x[b]);
        } else {
          const Complex<T> q = Second(pair.mixed, pair.end);
          ImaginaryComponents(other, v);
          const T xv = first ? q.im - p.im : -(p.im + q.im), yu = first ? p.im + q.im : p.im - q.im;
          AddPair(p.re + q.re, xv, yu, p.re - q.re, u, v, x, y);
        }
      }
      Components<N, T>(loop[j], u);
      if constexpr (N == 3) ImaginaryComponents(loop[j], v);
      HF_UNROLL
      for (int a = 0; a < kDim; ++a) {
        HF_UNROLL
        for (int b = a; b < kDim; ++b) {
          if constexpr (N == 2) {
            m[a][b] = MulAdd(u[a], x[b], m[a][b]);
          } else {
            m[a][b] = MulAdd(u[a], x[b], MulAdd(-v[a], y[b], m[a][b]));
          }
        }
      }
    }
  }

  HF_FN static void AddPair(const T& xu, const T& xv, const T& yu, const T& yv, const T* u, const T* v, T* x, T* y) {
    HF_UNROLL
    for (int b = 0; b < kDim; ++b) {
      x[b] = MulAdd(xu, u[b], MulAdd(xv, v[b], x[b]));
      y[b] = MulAdd(yu, u[b], MulAdd(yv, v[b], y[b]));
    }
  }

  // Upper triangle of c Re [tr(T^a A T^b B) + tr(T^b A T^a B)], A and B the twin's loops.
  void AddTwin(const hf_loop_twin& twin, const T& c, T (*m)[kDim]) const {
    // A T^b B = -i/2 X^b, X^b = A lambda^b B, in which columns of A meet rows of B; Re tr(T^a A T^b B) = 1/2 V_a(X^b),
    // V the imaginary components.
    const T* a = loop[twin.a];
    const T* b = loop[twin.b];
    T outer[3][3][kNumbers];  // column i of A, row j of B
    for (int i = 0; i < 3; ++i) {
      for (int j = 0; j < 3; ++j) {
        for (int r = 0; r < 9; ++r) {
          const T *p = a + 6 * (r / 3) + 2 * i, *q = b + 6 * j + 2 * (r % 3);
          outer[i][j][2 * r] = p[0] * q[0] - p[1] * q[1];
          outer[i][j][2 * r + 1] = MulAdd(p[0], q[1], p[1] * q[0]);
        }
      }
    }
    T v[kDim][kDim];                                                 // [b][a]
    constexpr int kPlace[3][3] = {{0, 1, 0}, {0, 2, 3}, {1, 2, 5}};  // i, j, generator
    for (const auto& place : kPlace) {
      const T *x = outer[place[0]][place[1]], *y = outer[place[1]][place[0]];
      T sum[kNumbers], turned[kNumbers];  // x + y, -i (x - y)
      for (int r = 0; r < 9; ++r) {
        sum[2 * r] = x[2 * r] + y[2 * r];
        sum[2 * r + 1] = x[2 * r + 1] + y[2 * r + 1];
        turned[2 * r] = x[2 * r + 1] - y[2 * r + 1];
        turned[2 * r + 1] = y[2 * r] - x[2 * r];
      }
      ImaginaryComponents(sum, v[place[2]]);
      ImaginaryComponents(turned, v[place[2] + 1]);
    }
    T third[kNumbers], eighth[kNumbers];
    for (int r = 0; r < kNumbers; ++r) {
      third[r] = outer[0][0][r] - outer[1][1][r];
      eighth[r] = kD8 * (outer[0][0][r] + outer[1][1][r] - 2.0 * outer[2][2][r]);
    }
    ImaginaryComponents(third, v[2]);
    ImaginaryComponents(eighth, v[7]);
    const T half = 0.5 * c;
    for (int i = 0; i < kDim; ++i) {
      for (int j = i; j < kDim; ++j) m[i][j] = MulAdd(half, v[i][j] + v[j][i], m[i][j]);
    }
  }

  // The same, generator after generator.
  HF_FN void StreamTwin(const hf_loop_twin& twin, const T& c, T (*m)[kDim]) const {
    const auto& a = loop[twin.a];
    const auto& b = loop[twin.b];
    const T half = 0.5 * c;
    AddGenerators<0, 1, 0>(a, b, half, m);
    AddGenerators<0, 2, 3>(a, b, half, m);
    AddGenerators<1, 2, 5>(a, b, half, m);
    T third[kNumbers], eighth[kNumbers];
    HF_UNROLL
    for (int r = 0; r < 9; ++r) {
      const Complex<T> x = Outer(a, b, 0, 0, r), y = Outer(a, b, 1, 1, r), z = Outer(a, b, 2, 2, r);
      third[2 * r] = x.re - y.re;
      third[2 * r + 1] = x.im - y.im;
      eighth[2 * r] = kD8 * (x.re + y.re - 2.0 * z.re);
      eighth[2 * r + 1] = kD8 * (x.im + y.im - 2.0 * z.im);
    }
    AddDerivatives<2>(third, half, m);
    AddDerivatives<7>(eighth, half, m);
  }
  // Element r of column i of A times row j of B.
  template <class A>
  HF_FN static Complex<T> Outer(const A& a, const A& b, int i, int j, int r) {
    const int p = 6 * (r / 3) + 2 * i, q = 6 * j + 2 * (r % 3);
    return {MulAdd(a[p], b[q], -(a[p + 1] * b[q + 1])), MulAdd(a[p], b[q + 1], a[p + 1] * b[q])};
  }
  // The generators `place` and `place` + 1, of elements (i, j) and (j, i).
  template <int i, int j, int place, class A>
  HF_FN static void AddGenerators(const A& a, const A& b, const T& half, T (*m)[kDim]) {
    T sum[kNumbers], turned[kNumbers];  // x + y, -i (x - y)
    HF_UNROLL
    for (int r = 0; r < 9; ++r) {
      const Complex<T> x = Outer(a, b, i, j, r), y = Outer(a, b, j, i, r);
      sum[2 * r] = x.re + y.re;
      sum[2 * r + 1] = x.im + y.im;
      turned[2 * r] = x.im - y.im;
      turned[2 * r + 1] = y.re - x.re;
    }
    AddDerivatives<place>(sum, half, m);
    AddDerivatives<place + 1>(turned, half, m);
  }
  template <int b>
  HF_FN static void AddDerivatives(const T* x, const T& half, T (*m)[kDim]) {
    T v[kDim];
    ImaginaryComponents(x, v);
    const T c = half + half;
    HF_UNROLL
    for (int a = 0; a < kDim; ++a) {
      T* const to = a < b ? &m[a][b] : &m[b][a];
      *to = MulAdd(a == b ? c : half, v[a], *to);
    }
  }
};

}  // namespace haarflow::HF_ISA::sun
