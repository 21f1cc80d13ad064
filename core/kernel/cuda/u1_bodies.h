// What one GPU thread does for U(1) flows; see network_bodies.h for the layout.
#pragma once

#include "core/kernel/cuda/network_bodies.h"
#include "core/kernel/cuda/noise.h"

namespace haarflow::HF_ISA {

// ------------------------------------------------------------------------------------------------------------- noise

// names is seeds [batch], indices [batch].
struct PriorBody {
  const uint64_t* names;
  double* links;
  int64_t batch;
  HF_FN void operator()(int32_t link, int64_t c) const {
    const double u = Uniform(names[c], names[batch + c], kPriorPurpose, static_cast<uint32_t>(link));
    links[link * batch + c] = (u - 0.5) * kTwoPi;
  }
};

// -------------------------------------------------------------------------------------------------------------- loops

HF_FN double LoopAngle(const hf_loops& loops, int32_t i, const double* links, int64_t batch, int64_t c) {
  double angle = 0;
  for (int32_t k = loops.begin[i]; k < loops.begin[i + 1]; ++k) {
    const int32_t signed_link = loops.links[k];
    const double link = links[(signed_link >> 1) * batch + c];
    angle = signed_link & 1 ? angle - link : angle + link;
  }
  return angle;
}

template <class T>
struct FeatureBody {
  hf_loops loops;
  const double* links;
  T* out;
  int64_t batch;
  HF_FN void operator()(int32_t i, int64_t c) const {
    double sine, cosine;
    SinCos(LoopAngle(loops, i, links, batch, c), &sine, &cosine);
    out[2 * i * batch + c] = static_cast<T>(cosine);
    out[(2 * i + 1) * batch + c] = static_cast<T>(sine);
  }
};

struct CosineBody {
  hf_loops loops;
  const double* links;
  double* rows;
  int64_t batch;
  HF_FN void operator()(int32_t i, int64_t c) const {
    double sine, cosine;
    SinCos(LoopAngle(loops, i, links, batch, c), &sine, &cosine);
    rows[i * batch + c] = cosine;
  }
};

// ---------------------------------------------------------------------------------------------------------- couplings

// Transforms active link i in place: no other active link's loop passes through it (PackFlow checks). The logarithm of
// the derivative goes to row i of log_derivatives.
template <class T, CircleMapKind kKind, bool kInverse>
struct CoupleBody {
  const int32_t* active_links;
  hf_loops loops;
  int32_t pieces;
  const T* parameters;  // [active][parameters per link][batch]
  double* links;
  double* log_derivatives;
  int64_t batch;
  HF_FN void operator()(int32_t i, int64_t c) const {
    const ParameterRow<T> p = {parameters + static_cast<int64_t>(i) * CircleMapParameters(kKind, pieces) * batch + c,
                               batch};
    const double angle = WrapAngle(LoopAngle(loops, i, links, batch, c));
    double mapped, log_derivative;
    if (kInverse) {
      CircleMapInverse(kKind, pieces, p, angle, &mapped, &log_derivative);
    } else {
      CircleMapForward(kKind, pieces, p, angle, &mapped, &log_derivative);
    }
    double* link = links + active_links[i] * batch + c;
    *link = WrapAngle(*link + (mapped - angle));
    log_derivatives[i * batch + c] = log_derivative;
  }
};

// --------------------------------------------------------------------------------------------------------------- sums

// action = -beta sum of rows, in order. Unit 0 only.
struct ActionBody {
  int32_t count;
  const double* rows;
  const double* beta;
  double* action;
  int64_t batch;
  HF_FN void operator()(int32_t, int64_t c) const {
    double sum = 0;
    for (int32_t i = 0; i < count; ++i) sum = sum + rows[i * batch + c];
    action[c] = -*beta * sum;
  }
};

// log q of a draw is minus the sum of logarithms of derivatives; of a density it is their sum. Unit 0 only.
struct LogQBody {
  double sign;
  const double* log_det;
  double* log_q;
  HF_FN void operator()(int32_t, int64_t c) const { log_q[c] = 0.0 + sign * log_det[c]; }
};

// -------------------------------------------------------------------------------------------- circle maps on arrays

template <CircleMapKind kKind, bool kInverse>
struct CircleBody {
  int32_t pieces;
  int64_t n;
  const double *x, *parameters;
  double *y, *log_derivative;
  HF_FN void operator()(int32_t, int64_t i) const {
    const ParameterRow<double> p = {parameters + i, n};
    if (kInverse) {
      CircleMapInverse(kKind, pieces, p, x[i], y + i, log_derivative + i);
    } else {
      CircleMapForward(kKind, pieces, p, x[i], y + i, log_derivative + i);
    }
  }
};

struct AddGradient {
  double* first;
  int64_t stride;
  HF_FN void operator()(int j, double v) const { first[j * stride] += v; }
};

template <CircleMapKind kKind>
struct CircleBackwardBody {
  int32_t pieces;
  int64_t n;
  const double *x, *parameters, *grad_y, *grad_log_derivative;
  double *grad_x, *grad_parameters;
  HF_FN void operator()(int32_t, int64_t i) const {
    const int count = CircleMapParameters(kKind, pieces);
    for (int j = 0; j < count; ++j) grad_parameters[j * n + i] = 0;
    const ParameterRow<double> p = {parameters + i, n};
    const AddGradient add = {grad_parameters + i, n};
    CircleMapBackward(kKind, pieces, p, x[i], grad_y[i], grad_log_derivative[i], grad_x + i, add);
  }
};

}  // namespace haarflow::HF_ISA
