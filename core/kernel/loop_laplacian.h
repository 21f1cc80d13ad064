// The divergence of the force of a link: what continuous loop flows integrate.
#pragma once

#include "core/kernel/loop_map.h"

namespace haarflow::HF_ISA::sun {

// d_a t = tr T^a W of a trace t = tr W.
template <int N, class T, class W>
HF_FN void GradientOf(const W& w, T* re, T* im) {
  Components<N, T>(w, re);
  if constexpr (N == 3) ImaginaryComponents(w, im);
}

// sum_a d_a d_a Phi of a link, after Force(): -C_F times the linear part; Re sum over pairs of loops, both ways round,
// of sum_a d_a t_j (p d_a t_k + q d_a t_k^*), p and q the potential's second derivatives; -c Re (tr A tr B - tr AB / N)
// of twins.
template <int N, class T, class Loops>
HF_FN T Laplacian(const LinkMap<N, T, Loops>& map) {
  constexpr int kDim = Group<N>::kDim, kKept = Loops::kStreams ? 2 : kMaxActiveLoops;
  const hf_link_program& program = *map.program;
  T sum = (-(N * N - 1) / (2.0 * N)) * TraceOf<N, T>(map.total).re;
  T re[kKept][kDim], im[kKept][kDim];  // d_a t_j
  if constexpr (!Loops::kStreams) {
    for (int j = 0; j < program.paired; ++j) GradientOf<N, T>(map.loop[j], re[j], im[j]);
  }
  for (int i = 0; i < program.pairs; ++i) {
    const hf_loop_pair pair = program.pair[i];
    int j = pair.j, k = pair.k;
    const double ways = j == k ? 1 : 2;
    const Complex<T> p = map.Second(pair.begin, pair.mixed);
    if constexpr (Loops::kStreams) {
      GradientOf<N, T>(map.loop[j], re[0], im[0]);
      GradientOf<N, T>(map.loop[k], re[1], im[1]);
      j = 0;
      k = 1;
    }
    T uu = re[j][0] * re[k][0];
    HF_UNROLL
    for (int a = 1; a < kDim; ++a) uu = MulAdd(re[j][a], re[k][a], uu);
    if constexpr (N == 2) {
      sum = MulAdd(ways * p.re, uu, sum);
    } else {
      const Complex<T> q = map.Second(pair.mixed, pair.end);
      T vv = im[j][0] * im[k][0], uv = re[j][0] * im[k][0], vu = im[j][0] * re[k][0];
      HF_UNROLL
      for (int a = 1; a < kDim; ++a) {
        vv = MulAdd(im[j][a], im[k][a], vv);
        uv = MulAdd(re[j][a], im[k][a], uv);
        vu = MulAdd(im[j][a], re[k][a], vu);
      }
      const T plain = p.re * (uu - vv) - p.im * (uv + vu), mixed = q.re * (uu + vv) - q.im * (vu - uv);
      sum = sum + ways * (plain + mixed);
    }
  }
  if constexpr (N == 3) {
    for (int i = 0; i < program.twins; ++i) {
      const int a = program.twin[i].a, b = program.twin[i].b;
      T traced = Times<N>(map.trace[a], map.trace[b]).re;
      const auto& x = map.loop[a];
      const auto& y = map.loop[b];
      HF_UNROLL
      for (int r = 0; r < 9; ++r) {
        const int p = 2 * r, q = 2 * (3 * (r % 3) + r / 3);
        traced = MulAdd(-1.0 / N, x[p] * y[q] - x[p + 1] * y[q + 1], traced);
      }
      sum = sum - map.twin_factor[i] * traced;
    }
  }
  return sum;
}

}  // namespace haarflow::HF_ISA::sun
