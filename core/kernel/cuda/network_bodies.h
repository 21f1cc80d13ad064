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

// Parameter j of one configuration.
template <class T>
struct ParameterRow {
  const T* first;
  int64_t stride;
  HF_FN double operator()(int j) const { return static_cast<double>(first[j * stride]); }
};

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

// [element][batch] to [batch][element] and back. The few elements that a block works on together fill whole sectors of
// memory.
struct ToRowsBody {
  const double* elements;
  double* rows;
  int64_t count;
  int64_t batch;
  HF_FN void operator()(int32_t element, int64_t c) const { rows[c * count + element] = elements[element * batch + c]; }
};
struct FromRowsBody {
  const double* rows;
  double* elements;
  int64_t count;
  int64_t batch;
  HF_FN void operator()(int32_t element, int64_t c) const { elements[element * batch + c] = rows[c * count + element]; }
};

}  // namespace haarflow::HF_ISA
