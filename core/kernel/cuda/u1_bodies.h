// What one GPU thread does: each body is a callable (unit, column), where a column is one configuration (a few, for
// stages) and a unit a link, loop, site or the like. The lanes of a warp are neighbouring columns of one unit: fields
// are [element][batch], so that loads of fields are coalesced and those of tables and weights are the same for the
// whole warp.
//
// No body depends on where a configuration stands, nor on the batch, except by addresses; sums run in one fixed order.
// The same bodies run on the CPU in tests/gpu.
#pragma once

#include <stdint.h>

#include "core/kernel/cuda/scalar_math.h"
#include "core/kernel/table.h"

namespace haarflow::HF_ISA {

// One convolution on the device. Weights are [weight_blocks][groups][rows_per_tap][block], the channels zero-padded to
// groups * block.
struct StageTables {
  int32_t sites, out_channels, rows_per_tap, groups, block, activation;
  const int32_t *tap_begin, *tap_input, *tap_weight;
  const void *weights, *bias;
};

// ------------------------------------------------------------------------------------------------------------- noise

// UniformNoise of core/base/noise.h: Philox4x32-10, counter {0, dof, index, purpose | index >> 32}.
HF_FN double Uniform(uint64_t seed, uint64_t index, uint32_t purpose, uint32_t dof) {
  uint32_t c0 = 0, c1 = dof, c2 = static_cast<uint32_t>(index);
  uint32_t c3 = static_cast<uint32_t>(index >> 32 & 0xFFFFFFu) | purpose << 24;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(c0) * 0xD2511F53u;
    const uint64_t p1 = static_cast<uint64_t>(c2) * 0xCD9E8D57u;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(p1);
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return static_cast<double>((static_cast<uint64_t>(c1) << 32 | c0) >> 11) * 0x1p-53;
}

// names is seeds [batch], indices [batch].
struct PriorBody {
  const uint64_t* names;
  double* links;
  int64_t batch;
  HF_FN void operator()(int32_t link, int64_t c) const {
    constexpr uint32_t kPriorPurpose = 1;
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

// ------------------------------------------------------------------------------------------------------------ network

template <class V>
HF_FN V Activate(int32_t activation, V x) {
  switch (activation) {
    case HF_ACTIVATION_SILU:
      return Silu(x);
    case HF_ACTIVATION_LEAKY_RELU:
      return LeakyRelu(x);
    case HF_ACTIVATION_TANH:
      return Tanh(x);
    default:
      return x;
  }
}

// 16 bytes: what a thread loads at once.
template <class T>
struct alignas(16) Pack {
  static constexpr int kSize = 16 / sizeof(T);
  T v[kSize];
};

// kBlock channels of one site for the configurations of one Pack: kBlock * kSize accumulators in registers, per row of
// input one load of values and kBlock / kSize loads of weights. A unit is (site, channel group).
template <class T, int kBlock>
struct StageBody {
  static constexpr int kSize = Pack<T>::kSize;
  StageTables stage;
  const T* in;
  T* out;
  int64_t batch;
  HF_FN void operator()(int32_t unit, int64_t column) const {
    const int32_t site = unit / stage.groups, group = unit % stage.groups;
    const int64_t rows = stage.rows_per_tap, first = column * kSize;
    const T* bias = static_cast<const T*>(stage.bias) + group * kBlock;
    T sum[kBlock][kSize];
    for (int o = 0; o < kBlock; ++o) {
      for (int i = 0; i < kSize; ++i) sum[o][i] = bias[o];
    }
    for (int32_t t = stage.tap_begin[site]; t < stage.tap_begin[site + 1]; ++t) {
      const T* x = in + stage.tap_input[t] * rows * batch + first;
      const T* w = static_cast<const T*>(stage.weights) +
                   (static_cast<int64_t>(stage.tap_weight[t]) * stage.groups + group) * rows * kBlock;
      for (int64_t r = 0; r < rows; ++r, x += batch, w += kBlock) {
        const Pack<T> value = *reinterpret_cast<const Pack<T>*>(x);
        for (int o = 0; o < kBlock; o += kSize) {
          const Pack<T> weight = *reinterpret_cast<const Pack<T>*>(w + o);
          for (int k = 0; k < kSize; ++k) {
            for (int i = 0; i < kSize; ++i) sum[o + k][i] = Fma(value.v[i], weight.v[k], sum[o + k][i]);
          }
        }
      }
    }
    const int32_t channel = group * kBlock;
    T* row = out + (static_cast<int64_t>(site) * stage.out_channels + channel) * batch + first;
    HF_UNROLL  // `sum` indexed at run time would live in memory
        for (int o = 0; o < kBlock; ++o) {
      if (channel + o >= stage.out_channels) break;
      Pack<T> result;
      for (int i = 0; i < kSize; ++i) result.v[i] = Activate(stage.activation, sum[o][i]);
      *reinterpret_cast<Pack<T>*>(row + o * batch) = result;
    }
  }
};

// ---------------------------------------------------------------------------------------------------------- couplings

// Parameter j of one configuration.
template <class T>
struct ParameterRow {
  const T* first;
  int64_t stride;
  HF_FN double operator()(int j) const { return static_cast<double>(first[j * stride]); }
};

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

// total += rows, one after another. Unit 0 only.
struct AccumulateBody {
  int32_t count;
  const double* rows;
  double* total;
  int64_t batch;
  HF_FN void operator()(int32_t, int64_t c) const {
    double sum = total[c];
    for (int32_t i = 0; i < count; ++i) sum = sum + rows[i * batch + c];
    total[c] = sum;
  }
};

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

// ------------------------------------------------------------------------------------------------------------- layout

// [link][batch] to [batch][link] and back. The few links that a block works on together fill whole sectors of memory.
struct ToRowsBody {
  const double* links;
  double* rows;
  int64_t count;
  int64_t batch;
  HF_FN void operator()(int32_t link, int64_t c) const { rows[c * count + link] = links[link * batch + c]; }
};
struct FromRowsBody {
  const double* rows;
  double* links;
  int64_t count;
  int64_t batch;
  HF_FN void operator()(int32_t link, int64_t c) const { links[link * batch + c] = rows[c * count + link]; }
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
