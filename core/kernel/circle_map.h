// Diffeomorphisms of the circle [-pi, pi) (arXiv:2002.02428), their inverses and derivatives, for any value type.
//
// A template over V (a vector register of doubles, or double itself on a GPU); the includer provides, in namespace
// HF_ISA, the functions Exp, Log, SinCos, Atan2RightHalf, WrapAngle, Splat, Max, Min and kPi, and HF_FN (function
// attributes).
//
// Every map is g(x) + phase, wrapped, where g(-pi) = -pi and g(pi) = pi. Parameters are read by a callable p(j),
// unconstrained:
//   spline, K bins:       p(0..K-1) widths, p(K..2K-1) heights (softmax, each at least kMinBin of the circle),
//   p(2K..3K-1)
//                         derivatives at the knots (exp, clamped to e^{+-6}; periodic), p(3K) phase.
//                         Rational-quadratic, arXiv:1906.04032 equations 4 to 8.
//   sharp spline, K bins: the same, bins down to kSharpMinBin of the circle, derivatives up to e^{+-14}.
//   Moebius, C components: p(2k), p(2k+1) = s_k, b_k, p(2C) phase: g = mean_k 2 atan(e^{s_k} tan(x/2) + b_k). In the
//   variable
//                         tan(x/2) the Moebius maps of the circle that fix -1 are exactly the increasing affine maps.
//   non-compact, C:       the same with b_k = 0: p(k) = s_k, p(C) phase (the tutorial's mixture, arXiv:2101.08176).
// All zero parameters are the identity.
#pragma once

#ifndef HF_FN
#define HF_FN inline
#endif

namespace haarflow::HF_ISA {

constexpr double kMinBin = 1e-3;
constexpr double kMaxLogDerivative = 6;
// A plaquette's density at beta = 7 spans a factor e^28, and a bin's least mass is drawn whatever the density there.
constexpr double kSharpMinBin = 1e-6;
constexpr double kSharpMaxLogDerivative = 14;
constexpr int kMaxBins = 64;
constexpr int kInverseIterations = 64;

template <class V>
HF_FN V ClampParameter(V x, double bound) {
  return Max(Min(x, Splat(bound)), Splat(-bound));
}

// One bin of a spline: x in [x0, x0 + w] to [y0, y0 + h], derivatives d0 and d1 at the ends.
template <class V>
struct SplineBin {
  V number, x0, w, y0, h, d0, d1;
};

// Softmax numerators of widths and heights, with their sums.
template <class V>
struct SplineWeights {
  V w[kMaxBins], h[kMaxBins];
  V sum_w, sum_h;
};

template <class V, class P>
HF_FN void ReadSplineWeights(int bins, const P& p, SplineWeights<V>* e) {
  V max_w = p(0), max_h = p(bins);
  for (int j = 1; j < bins; ++j) {
    max_w = Max(max_w, p(j));
    max_h = Max(max_h, p(bins + j));
  }
  e->sum_w = e->sum_h = Splat(0.0) * max_w;
  for (int j = 0; j < bins; ++j) {
    e->w[j] = Exp(p(j) - max_w);
    e->h[j] = Exp(p(bins + j) - max_h);
    e->sum_w = e->sum_w + e->w[j];
    e->sum_h = e->sum_h + e->h[j];
  }
}

template <bool kSharp>
struct SplineLimits {
  static constexpr double kLeastBin = kSharp ? kSharpMinBin : kMinBin;
  static constexpr double kLogDerivative = kSharp ? kSharpMaxLogDerivative : kMaxLogDerivative;
};

// Finds the bin that holds `value` among x's (or, for the inverse, among y's) bin edges.
template <bool kSharp, class V, class P>
HF_FN SplineBin<V> FindBin(int bins, const P& p, const SplineWeights<V>& e, V value, bool inverse) {
  const V scale_w = (1 - bins * SplineLimits<kSharp>::kLeastBin) * 2 * kPi / e.sum_w;
  const V scale_h = (1 - bins * SplineLimits<kSharp>::kLeastBin) * 2 * kPi / e.sum_h;
  const double least = 2 * kPi * SplineLimits<kSharp>::kLeastBin;
  SplineBin<V> bin;
  V x = Splat(-kPi), y = Splat(-kPi);
  for (int j = 0; j < bins; ++j) {
    const V w = least + e.w[j] * scale_w;
    const V h = least + e.h[j] * scale_h;
    const V d0 = p(2 * bins + j);
    const V d1 = p(2 * bins + (j + 1 == bins ? 0 : j + 1));
    if (j == 0) {
      bin = {Splat(0.0), x, w, y, h, d0, d1};
    } else {
      const auto here = (inverse ? y : x) <= value;
      bin.number = here ? Splat(static_cast<double>(j)) : bin.number;
      bin.x0 = here ? x : bin.x0;
      bin.w = here ? w : bin.w;
      bin.y0 = here ? y : bin.y0;
      bin.h = here ? h : bin.h;
      bin.d0 = here ? d0 : bin.d0;
      bin.d1 = here ? d1 : bin.d1;
    }
    x = x + w;
    y = y + h;
  }
  bin.d0 = Exp(ClampParameter(bin.d0, SplineLimits<kSharp>::kLogDerivative));
  bin.d1 = Exp(ClampParameter(bin.d1, SplineLimits<kSharp>::kLogDerivative));
  return bin;
}

template <bool kSharp, class V, class P>
HF_FN void SplineForward(int bins, const P& p, V x, V* y, V* log_derivative) {
  SplineWeights<V> e;
  ReadSplineWeights(bins, p, &e);
  const SplineBin<V> b = FindBin<kSharp>(bins, p, e, x, false);
  const V xi = Max(Min((x - b.x0) / b.w, Splat(1.0)), Splat(0.0));
  const V s = b.h / b.w;
  const V q = xi * (1.0 - xi);
  const V den = s + (b.d1 + b.d0 - 2.0 * s) * q;
  *y = b.y0 + b.h * (s * xi * xi + b.d0 * q) / den;
  const V a = b.d1 * xi * xi + 2.0 * s * q + b.d0 * (1.0 - xi) * (1.0 - xi);
  const V ratio = s / den;
  *log_derivative = Log(a * ratio * ratio);
}

template <bool kSharp, class V, class P>
HF_FN void SplineInverse(int bins, const P& p, V y, V* x, V* log_derivative) {
  SplineWeights<V> e;
  ReadSplineWeights(bins, p, &e);
  const SplineBin<V> b = FindBin<kSharp>(bins, p, e, y, true);
  const V s = b.h / b.w;
  const V dy = Max(Min(y - b.y0, b.h), Splat(0.0));
  const V sum = b.d1 + b.d0 - 2.0 * s;
  const V qa = b.h * (s - b.d0) + dy * sum;
  const V qb = b.h * b.d0 - dy * sum;
  const V qc = -s * dy;
  const V root = Sqrt(Max(qb * qb - 4.0 * qa * qc, Splat(0.0)));
  const V xi = 2.0 * qc / (-qb - root);  // the stable root: qb > 0 wherever 4 qa qc > 0
  *x = b.x0 + xi * b.w;
  const V q = xi * (1.0 - xi);
  const V den = s + sum * q;
  const V a = b.d1 * xi * xi + 2.0 * s * q + b.d0 * (1.0 - xi) * (1.0 - xi);
  const V ratio = s / den;
  *log_derivative = -Log(a * ratio * ratio);
}

// Adds to grad_x and, by the callable add(j, value), to the gradients of the parameters (except the phase).
template <bool kSharp, class V, class P, class Add>
HF_FN void SplineBackward(int bins, const P& p, V x, V grad_y, V grad_l, V* grad_x, const Add& add) {
  SplineWeights<V> e;
  ReadSplineWeights(bins, p, &e);
  const SplineBin<V> b = FindBin<kSharp>(bins, p, e, x, false);
  const V xi = Max(Min((x - b.x0) / b.w, Splat(1.0)), Splat(0.0));
  const V s = b.h / b.w;
  const V q = xi * (1.0 - xi), dq = 1.0 - 2.0 * xi;
  const V sum = b.d1 + b.d0 - 2.0 * s;
  const V den = s + sum * q;
  const V r = (s * xi * xi + b.d0 * q) / den;
  const V a = b.d1 * xi * xi + 2.0 * s * q + b.d0 * (1.0 - xi) * (1.0 - xi);
  // Adjoints of num, den and a; y = y0 + h num / den, l = 2 log s + log a - 2 log den.
  const V g_num = grad_y * b.h / den;
  const V g_den = -grad_y * b.h * r / den - 2.0 * grad_l / den;
  const V g_a = grad_l / a;
  const V g_xi =
      g_num * (2.0 * s * xi + b.d0 * dq) + g_den * sum * dq + g_a * 2.0 * (b.d1 * xi + s * dq - b.d0 * (1.0 - xi));
  const V g_s = g_num * xi * xi + g_den * (1.0 - 2.0 * q) + g_a * 2.0 * q + 2.0 * grad_l / s;
  const V g_d0 = g_num * q + g_den * q + g_a * (1.0 - xi) * (1.0 - xi);
  const V g_d1 = g_den * q + g_a * xi * xi;
  const V g_h = grad_y * r + g_s / b.w;
  const V g_w = -(g_s * s + g_xi * xi) / b.w;
  const V g_x = g_xi / b.w;  // and -g_x on x0
  *grad_x = *grad_x + g_x;

  // Bin j's width: g_w in the bin itself, -g_x in those before it. The same for heights with g_h and grad_y.
  const double scale = (1 - bins * SplineLimits<kSharp>::kLeastBin) * 2 * kPi;
  V mean_w = Splat(0.0), mean_h = Splat(0.0);
  V gw[kMaxBins], gh[kMaxBins];
  for (int j = 0; j < bins; ++j) {
    const V number = Splat(static_cast<double>(j));
    const auto here = b.number == number;
    const auto before = b.number > number;
    gw[j] = here ? g_w : (before ? -g_x : Splat(0.0));
    gh[j] = here ? g_h : (before ? grad_y : Splat(0.0));
    mean_w = mean_w + e.w[j] / e.sum_w * gw[j];
    mean_h = mean_h + e.h[j] / e.sum_h * gh[j];
    const int next = j + 1 == bins ? 0 : j + 1;
    const V u0 = p(2 * bins + j), u1 = p(2 * bins + next);
    add(2 * bins + j, here ? (ClampParameter(u0, SplineLimits<kSharp>::kLogDerivative) == u0 ? g_d0 * b.d0 : Splat(0.0))
                           : Splat(0.0));
    add(2 * bins + next,
        here ? (ClampParameter(u1, SplineLimits<kSharp>::kLogDerivative) == u1 ? g_d1 * b.d1 : Splat(0.0))
             : Splat(0.0));
  }
  for (int j = 0; j < bins; ++j) {
    add(j, scale * (e.w[j] / e.sum_w) * (gw[j] - mean_w));
    add(bins + j, scale * (e.h[j] / e.sum_h) * (gh[j] - mean_h));
  }
}

// tan(x/2) -> a tan(x/2) + b, from half-angle sine and cosine; *derivative = dy/dx.
template <class V>
HF_FN V AffineTangent(V a, V b, V sine, V cosine, V* derivative) {
  const V up = a * sine + b * cosine;
  *derivative = a / (cosine * cosine + up * up);
  return 2.0 * Atan2RightHalf(up, cosine);
}

// The mean over components, b_k = 0 when `shifted` is false.
template <class V, class P>
HF_FN void TangentMixture(int components, bool shifted, const P& p, V x, V* y, V* derivative) {
  V sine, cosine;
  SinCos(x * 0.5, &sine, &cosine);
  cosine = Max(cosine, Splat(1e-300));  // x = -pi: the map is continuous there, its formula needs cos > 0
  V sum_y = Splat(0.0), sum_d = Splat(0.0);
  for (int k = 0; k < components; ++k) {
    const V a = Exp(ClampParameter(shifted ? p(2 * k) : p(k), 2 * kMaxLogDerivative));
    const V b = shifted ? p(2 * k + 1) : Splat(0.0);
    V d;
    sum_y = sum_y + AffineTangent(a, b, sine, cosine, &d);
    sum_d = sum_d + d;
  }
  *y = sum_y * (1.0 / components);
  *derivative = sum_d * (1.0 / components);
}

template <class V, class P>
HF_FN void TangentMixtureInverse(int components, bool shifted, const P& p, V y, V* x, V* log_derivative) {
  V derivative;
  if (components == 1) {
    V sine, cosine, unused;
    SinCos(y * 0.5, &sine, &cosine);
    cosine = Max(cosine, Splat(1e-300));
    const V a = Exp(ClampParameter(p(0), 2 * kMaxLogDerivative));
    const V b = shifted ? p(1) : Splat(0.0);
    *x = AffineTangent(1.0 / a, -b / a, sine, cosine, &unused);
    TangentMixture(components, shifted, p, *x, &unused, &derivative);
  } else {
    // Newton's method inside a shrinking bracket; a fixed number of steps, so that no lane's work depends on another's.
    V low = Splat(-kPi), high = Splat(kPi), guess = y, value;
    for (int i = 0; i < kInverseIterations; ++i) {
      TangentMixture(components, shifted, p, guess, &value, &derivative);
      const auto above = value > y;
      high = above ? guess : high;
      low = above ? low : guess;
      const V newton = guess - (value - y) / derivative;
      guess = newton > low && newton < high ? newton : 0.5 * (low + high);
    }
    *x = guess;
    TangentMixture(components, shifted, p, guess, &value, &derivative);
  }
  *log_derivative = -Log(derivative);
}

template <class V, class P, class Add>
HF_FN void TangentMixtureBackward(int components, bool shifted, const P& p, V x, V grad_y, V grad_l, V* grad_x,
                                  const Add& add) {
  V y, derivative;
  TangentMixture(components, shifted, p, x, &y, &derivative);
  V sine, cosine;
  SinCos(x * 0.5, &sine, &cosine);
  cosine = Max(cosine, Splat(1e-300));
  const V g_y = grad_y * (1.0 / components);
  const V g_d = grad_l / derivative * (1.0 / components);
  for (int k = 0; k < components; ++k) {
    const V raw = shifted ? p(2 * k) : p(k);
    const V a = Exp(ClampParameter(raw, 2 * kMaxLogDerivative));
    const V b = shifted ? p(2 * k + 1) : Splat(0.0);
    // up = a sin + b cos, n = cos^2 + up^2, y_k = 2 atan2(up, cos), d_k = a / n. Half angles: dsin/dx = cos / 2.
    const V up = a * sine + b * cosine;
    const V n = cosine * cosine + up * up;
    const V d = a / n;
    const V dup_dx = 0.5 * (a * cosine - b * sine);
    const V dn_dx = -cosine * sine + 2.0 * up * dup_dx;
    *grad_x = *grad_x + g_y * d - g_d * d * dn_dx / n;
    const V dy_dup = 2.0 * cosine / n;  // at fixed cos
    const V dd_dup = -d * 2.0 * up / n;
    const V g_a = g_y * dy_dup * sine + g_d * (1.0 / n + dd_dup * sine);
    add(shifted ? 2 * k : k, ClampParameter(raw, 2 * kMaxLogDerivative) == raw ? g_a * a : Splat(0.0));
    if (shifted) add(2 * k + 1, (g_y * dy_dup + g_d * dd_dup) * cosine);
  }
}

enum class CircleMapKind { kSpline = 1, kMoebius = 2, kNonCompact = 3, kSharpSpline = 4 };

HF_FN int CircleMapParameters(CircleMapKind kind, int pieces) {
  return kind == CircleMapKind::kSpline || kind == CircleMapKind::kSharpSpline ? 3 * pieces + 1
         : kind == CircleMapKind::kMoebius                                     ? 2 * pieces + 1
                                                                               : pieces + 1;
}

template <class V, class P>
HF_FN void CircleMapForward(CircleMapKind kind, int pieces, const P& p, V x, V* y, V* log_derivative) {
  if (kind == CircleMapKind::kSpline) {
    SplineForward<false>(pieces, p, x, y, log_derivative);
  } else if (kind == CircleMapKind::kSharpSpline) {
    SplineForward<true>(pieces, p, x, y, log_derivative);
  } else {
    V derivative;
    TangentMixture(pieces, kind == CircleMapKind::kMoebius, p, x, y, &derivative);
    *log_derivative = Log(derivative);
  }
  *y = WrapAngle(*y + p(CircleMapParameters(kind, pieces) - 1));
}

template <class V, class P>
HF_FN void CircleMapInverse(CircleMapKind kind, int pieces, const P& p, V y, V* x, V* log_derivative) {
  y = WrapAngle(y - p(CircleMapParameters(kind, pieces) - 1));
  if (kind == CircleMapKind::kSpline) {
    SplineInverse<false>(pieces, p, y, x, log_derivative);
  } else if (kind == CircleMapKind::kSharpSpline) {
    SplineInverse<true>(pieces, p, y, x, log_derivative);
  } else {
    TangentMixtureInverse(pieces, kind == CircleMapKind::kMoebius, p, y, x, log_derivative);
  }
}

template <class V, class P, class Add>
HF_FN void CircleMapBackward(CircleMapKind kind, int pieces, const P& p, V x, V grad_y, V grad_l, V* grad_x,
                             const Add& add) {
  *grad_x = Splat(0.0) * x;
  if (kind == CircleMapKind::kSpline) {
    SplineBackward<false>(pieces, p, x, grad_y, grad_l, grad_x, add);
  } else if (kind == CircleMapKind::kSharpSpline) {
    SplineBackward<true>(pieces, p, x, grad_y, grad_l, grad_x, add);
  } else {
    TangentMixtureBackward(pieces, kind == CircleMapKind::kMoebius, p, x, grad_y, grad_l, grad_x, add);
  }
  add(CircleMapParameters(kind, pieces) - 1, grad_y);
}

}  // namespace haarflow::HF_ISA
