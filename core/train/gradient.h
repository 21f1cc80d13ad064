// Gradients of the reverse Kullback-Leibler divergence E_q[log q + S] with respect to a flow's parameters: the
// interface, and the fused CPU kernels behind it (the LibTorch implementation, an independent one, is
// core/train/torch_gradient.h).
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/flow/parameters.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

struct TrainingBatch {
  uint64_t seed = 0;
  uint64_t first_index = 0;
  int64_t n = 0;  // a multiple of 16
  double beta = 0;
  bool path_gradient = false;
};

struct BatchResult {
  std::vector<double> log_q;
  std::vector<double> action;
};

class GradientSource {
 public:
  virtual ~GradientSource() = default;
  // Draws the batch with `parameters`, and overwrites `gradient` (same size) with that of mean(log q + S).
  virtual absl::Status Evaluate(absl::Span<const double> parameters, const TrainingBatch& batch,
                                std::vector<double>* gradient, BatchResult* result) = 0;
};

// Runs on `threads` threads. Deterministic for a given number of threads: partial sums are added in a fixed order.
absl::StatusOr<std::unique_ptr<GradientSource>> MakeFusedGradient(const U1FlowPlan& plan, int threads);

}  // namespace haarflow
