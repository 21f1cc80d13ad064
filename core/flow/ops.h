// Differentiable LibTorch operations on fields stored configurations innermost: [element, batch].
#pragma once

#include <ATen/core/Tensor.h>

#include <utility>

#include "core/flow/u1_plan.h"

namespace haarflow {

// Angles of closed paths: links [links, B] -> [loops, B], the signed sums (not wrapped).
class LoopSum {
 public:
  explicit LoopSum(const LoopTable& loops);
  at::Tensor operator()(const at::Tensor& links) const;

 private:
  int64_t loops_;
  at::Tensor link_, loop_, sign_;
};

// One convolution at the sites that are needed: rows [inputs x rows_per_tap, B] -> [sites x out_channels, B],
// activated. Weight [taps, in, out] and bias [out] have the rows' dtype.
class SparseConvolution {
 public:
  explicit SparseConvolution(const StagePlan& stage);
  at::Tensor operator()(const at::Tensor& rows, const at::Tensor& weight, const at::Tensor& bias) const;

 private:
  int64_t sites_, rows_per_tap_, weight_blocks_, out_channels_;
  int32_t activation_;
  at::Tensor input_, weight_, site_;
};

// Circle maps as one operator with its own derivative (core/kernel/circle_map.h): angles [n, B] in [-pi, pi),
// parameters [n, parameters, B], both float64 -> mapped angles in [-pi, pi) and log-derivatives, [n, B]. Differentiable
// once in both arguments.
std::pair<at::Tensor, at::Tensor> CircleMap(int32_t map, int32_t pieces, const at::Tensor& angle,
                                            const at::Tensor& parameters);
// The inverse map and the log-derivative of the inverse.
std::pair<at::Tensor, at::Tensor> CircleMapInverse(int32_t map, int32_t pieces, const at::Tensor& angle,
                                                   const at::Tensor& parameters);

// Representative in [-pi, pi); derivative 1.
at::Tensor WrapAngles(const at::Tensor& angle);

}  // namespace haarflow
