// Increasing maps of the real line, their inverses and derivatives, for any value type: templates over V like those of
// circle_map.h, which says what the includer provides (here also Tanh).
//
// Parameters are read by a callable p(j), unconstrained:
//   affine:                    y = e^s x + t, p(0) = s, clamped to +-kMaxLogDerivative, p(1) = t
//   affine tanh:               the same with s = tanh p(0), t = tanh p(1) (arXiv:2101.08176)
//   spline, K bins, range R:   y = g(e^s x + t), p(0) and p(1) as for affine; g on [-R, R] is rational-quadratic
//                              (arXiv:1906.04032, equations 4 to 8), outside it is the identity:
//                              p(2..K+1) widths, p(K+2..2K+1) heights (softmax, each at least kMinBin of 2 R),
//                              p(2K+2..3K) derivatives at the K - 1 inner knots (exp, clamped to
//                              e^{+-kMaxLogDerivative}; 1 at the ends).
// All zero parameters are the identity. A log-derivative is continuous everywhere, also at +-R, so that rounding there
// does not matter.
#pragma once

#include "core/kernel/circle_map.h"

namespace haarflow::HF_ISA {

enum class LineMapKind { kAffine = 1, kAffineTanh = 2, kSpline = 3 };

HF_FN int LineMapParameters(LineMapKind kind, int pieces) { return kind == LineMapKind::kSpline ? 3 * pieces + 1 : 2; }

// The map x -> -f(-x) has the parameters sign p(ReflectedLineParameter(pieces, j, &sign)): s stays, t changes its sign,
// widths, heights and derivatives are reversed.
HF_FN int ReflectedLineParameter(int pieces, int j, double* sign) {
  *sign = j == 1 ? -1.0 : 1.0;
  if (j < 2) return j;
  const int block = (j - 2) / pieces;
  const int first = 2 + block * pieces, count = block < 2 ? pieces : pieces - 1;
  return 2 * first + count - 1 - j;
}

// ----------------------------------------------------------------------------------------- one bin of a spline

template <class V>
HF_FN void BinForward(const SplineBin<V>& b, V x, V* y, V* log_derivative) {
  const V xi = Max(Min((x - b.x0) / b.w, Splat(1.0)), Splat(0.0));
  const V s = b.h / b.w;
  const V q = xi * (1.0 - xi);
  const V den = s + (b.d1 + b.d0 - 2.0 * s) * q;
  *y = b.y0 + b.h * (s * xi * xi + b.d0 * q) / den;
  const V a = b.d1 * xi * xi + 2.0 * s * q + b.d0 * (1.0 - xi) * (1.0 - xi);
  const V ratio = s / den;
  *log_derivative = Log(a * ratio * ratio);
}

// `log_derivative` is that of the forward map.
template <class V>
HF_FN void BinInverse(const SplineBin<V>& b, V y, V* x, V* log_derivative) {
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
  *log_derivative = Log(a * ratio * ratio);
}

// Gradients of grad_y y + grad_l log_derivative of BinForward; that with respect to x0 is -x, that to y0 is grad_y.
template <class V>
struct BinGradient {
  V x, w, h, d0, d1;
};

template <class V>
HF_FN BinGradient<V> BinBackward(const SplineBin<V>& b, V x, V grad_y, V grad_l) {
  const V xi = Max(Min((x - b.x0) / b.w, Splat(1.0)), Splat(0.0));
  const V s = b.h / b.w;
  const V q = xi * (1.0 - xi), dq = 1.0 - 2.0 * xi;
  const V sum = b.d1 + b.d0 - 2.0 * s;
  const V den = s + sum * q;
  const V r = (s * xi * xi + b.d0 * q) / den;
  const V a = b.d1 * xi * xi + 2.0 * s * q + b.d0 * (1.0 - xi) * (1.0 - xi);
  // Adjoints of num, den and a; y = y0 + h num / den, l = 2 log s + log a - 2 log den.
  const V g_num = grad_y * b.h / den;
  const V g_den = -(g_num * r) - 2.0 * grad_l / den;
  const V g_a = grad_l / a;
  const V g_xi =
      g_num * (2.0 * s * xi + b.d0 * dq) + g_den * sum * dq + g_a * 2.0 * (b.d1 * xi + s * dq - b.d0 * (1.0 - xi));
  const V g_s = g_num * xi * xi + g_den * (1.0 - 2.0 * q) + g_a * 2.0 * q + 2.0 * grad_l / s;
  BinGradient<V> g;
  g.x = g_xi / b.w;
  g.w = -(g_s * s + g_xi * xi) / b.w;
  g.h = grad_y * r + g_s / b.w;
  g.d0 = g_num * q + g_den * q + g_a * (1.0 - xi) * (1.0 - xi);
  g.d1 = g_den * q + g_a * xi * xi;
  return g;
}

// ------------------------------------------------------------------------------- splines of [-range, range]

// Unconstrained derivative at a knot, 0 <= knot <= bins.
template <class V, class P>
HF_FN V KnotParameter(int bins, const P& p, int knot) {
  return knot == 0 || knot == bins ? Splat(0.0) : p(2 * bins + 1 + knot);
}

template <class V, class P>
HF_FN void ReadLineWeights(int bins, const P& p, SplineWeights<V>* e) {
  ReadSplineWeights(
      bins, [&p](int j) { return p(2 + j); }, e);
}

// The bin that holds `value` among x's (or, for the inverse, among y's) bin edges.
template <class V, class P>
HF_FN SplineBin<V> FindLineBin(int bins, double range, const P& p, const SplineWeights<V>& e, V value, bool inverse) {
  const V scale_w = (1 - bins * kMinBin) * 2 * range / e.sum_w;
  const V scale_h = (1 - bins * kMinBin) * 2 * range / e.sum_h;
  const double least = 2 * range * kMinBin;
  SplineBin<V> bin;
  V x = Splat(-range), y = Splat(-range);
  for (int j = 0; j < bins; ++j) {
    const V w = least + e.w[j] * scale_w;
    const V h = least + e.h[j] * scale_h;
    const V d0 = KnotParameter<V>(bins, p, j), d1 = KnotParameter<V>(bins, p, j + 1);
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
  bin.d0 = Exp(ClampParameter(bin.d0, kMaxLogDerivative));
  bin.d1 = Exp(ClampParameter(bin.d1, kMaxLogDerivative));
  return bin;
}

template <class V, class P>
HF_FN void LineSplineForward(int bins, double range, const P& p, V u, V* y, V* log_derivative) {
  SplineWeights<V> e;
  ReadLineWeights(bins, p, &e);
  V inner, l;
  BinForward(FindLineBin(bins, range, p, e, u, false), u, &inner, &l);
  const auto inside = u > -range && u < range;
  *y = inside ? inner : u;
  *log_derivative = inside ? l : Splat(0.0);
}

// `log_derivative` is that of the forward map.
template <class V, class P>
HF_FN void LineSplineInverse(int bins, double range, const P& p, V y, V* u, V* log_derivative) {
  SplineWeights<V> e;
  ReadLineWeights(bins, p, &e);
  V inner, l;
  BinInverse(FindLineBin(bins, range, p, e, y, true), y, &inner, &l);
  const auto inside = y > -range && y < range;
  *u = inside ? inner : y;
  *log_derivative = inside ? l : Splat(0.0);
}

// Gradients of grad_y y + grad_l log_derivative with respect to u and, by add(j, value), to parameters 2 .. 3 bins.
template <class V, class P, class Add>
HF_FN void LineSplineBackward(int bins, double range, const P& p, V u, V grad_y, V grad_l, V* grad_u, const Add& add) {
  SplineWeights<V> e;
  ReadLineWeights(bins, p, &e);
  const SplineBin<V> b = FindLineBin(bins, range, p, e, u, false);
  const auto inside = u > -range && u < range;
  const V g_y = inside ? grad_y : Splat(0.0);
  const BinGradient<V> g = BinBackward(b, u, g_y, inside ? grad_l : Splat(0.0));
  *grad_u = inside ? g.x : grad_y;

  // Bin j's width: g.w in the bin itself, -g.x (moving x0) in those before it. The same for heights with g.h and g_y.
  V mean_w = Splat(0.0), mean_h = Splat(0.0);
  V gw[kMaxBins], gh[kMaxBins];
  for (int j = 0; j < bins; ++j) {
    const V number = Splat(static_cast<double>(j));
    const auto here = b.number == number;
    const auto before = b.number > number;
    gw[j] = here ? g.w : (before ? -g.x : Splat(0.0));
    gh[j] = here ? g.h : (before ? g_y : Splat(0.0));
    mean_w = mean_w + e.w[j] / e.sum_w * gw[j];
    mean_h = mean_h + e.h[j] / e.sum_h * gh[j];
    if (j == 0) continue;
    // The knot between bins j - 1 and j.
    const auto left = b.number == number - 1.0;
    const V d = KnotParameter<V>(bins, p, j);
    const V g_d = here ? g.d0 * b.d0 : (left ? g.d1 * b.d1 : Splat(0.0));
    add(2 * bins + 1 + j, ClampParameter(d, kMaxLogDerivative) == d ? g_d : Splat(0.0));
  }
  const double scale = (1 - bins * kMinBin) * 2 * range;
  for (int j = 0; j < bins; ++j) {
    add(2 + j, scale * (e.w[j] / e.sum_w) * (gw[j] - mean_w));
    add(2 + bins + j, scale * (e.h[j] / e.sum_h) * (gh[j] - mean_h));
  }
}

// ---------------------------------------------------------------------------------------------------------- maps

template <class V, class P>
HF_FN void ReadAffine(LineMapKind kind, const P& p, V* s, V* t) {
  if (kind == LineMapKind::kAffineTanh) {
    *s = Tanh(p(0));
    *t = Tanh(p(1));
  } else {
    *s = ClampParameter(p(0), kMaxLogDerivative);
    *t = p(1);
  }
}

template <class V, class P>
HF_FN void LineMapForward(LineMapKind kind, int pieces, double range, const P& p, V x, V* y, V* log_derivative) {
  V s, t;
  ReadAffine(kind, p, &s, &t);
  *y = Exp(s) * x + t;
  *log_derivative = s;
  if (kind == LineMapKind::kSpline) {
    V l;
    LineSplineForward(pieces, range, p, *y, y, &l);
    *log_derivative = s + l;
  }
}

// `log_derivative` is that of the inverse map.
template <class V, class P>
HF_FN void LineMapInverse(LineMapKind kind, int pieces, double range, const P& p, V y, V* x, V* log_derivative) {
  V s, t;
  ReadAffine(kind, p, &s, &t);
  V u = y;
  *log_derivative = -s;
  if (kind == LineMapKind::kSpline) {
    V l;
    LineSplineInverse(pieces, range, p, y, &u, &l);
    *log_derivative = -(s + l);
  }
  *x = (u - t) * Exp(-s);
}

// Gradients of grad_y y + grad_l log_derivative with respect to x and, by add(j, value), to the parameters.
template <class V, class P, class Add>
HF_FN void LineMapBackward(LineMapKind kind, int pieces, double range, const P& p, V x, V grad_y, V grad_l, V* grad_x,
                           const Add& add) {
  V s, t;
  ReadAffine(kind, p, &s, &t);
  const V scale = Exp(s);
  V g_u = grad_y;
  if (kind == LineMapKind::kSpline) {
    LineSplineBackward(pieces, range, p, scale * x + t, grad_y, grad_l, &g_u, add);
  }
  *grad_x = g_u * scale;
  const V g_s = *grad_x * x + grad_l;
  if (kind == LineMapKind::kAffineTanh) {
    add(0, g_s * (1.0 - s * s));
    add(1, g_u * (1.0 - t * t));
  } else {
    add(0, s == p(0) ? g_s : Splat(0.0));
    add(1, g_u);
  }
}

}  // namespace haarflow::HF_ISA
