// Gradients of Kullback-Leibler divergences with respect to a flow's parameters: the interface, and the fused CPU
// kernels behind it (the LibTorch implementation, an independent one, is core/train/torch_gradient.h).
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/flow/scalar_plan.h"
#include "core/flow/spectral_plan.h"
#include "core/flow/u1_plan.h"
#include "core/train/crew.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

struct TrainingBatch {
  uint64_t seed = 0;
  uint64_t first_index = 0;
  int64_t n = 0;                      // a multiple of 16
  std::array<double, 3> action = {};  // ActionNumbers (core/action/target.h); conditional flows draw their own
  bool path_gradient = false;
  // Continuous flows.
  int32_t integration_steps = 8;
  double kinetic_penalty = 0;
  // Scalars: not null for the forward divergence, mean(-log q) over these fields of the target, [n][field].
  const double* samples = nullptr;
  bool keep_fields = false;  // fill BatchResult.field, scalars only
};

struct BatchResult {
  std::vector<double> log_q;
  std::vector<double> action;
  double penalty = 0;         // mean of the kinetic penalty
  std::vector<double> field;  // [n][field] when asked for
};

class GradientSource {
 public:
  virtual ~GradientSource() = default;
  // Draws the batch with `parameters` (or takes its samples), and overwrites `gradient` (same size) with that of
  // mean(log q + S) + penalty (or mean(-log q) + penalty).
  virtual absl::Status Evaluate(absl::Span<const double> parameters, const TrainingBatch& batch,
                                std::vector<double>* gradient, BatchResult* result) = 0;
};

// A gradient whose batch may be shared out: pieces of the batch are the leaves of one TreeSum, whoever computes them.
class SharedGradient : public GradientSource {
 public:
  // Pieces of a batch of n, 16 fields each or, of large batches, some more: how many share the work at most.
  static int64_t Leaves(int64_t n);
  // The fields of a range of leaves.
  static Share Fields(int64_t n, Share leaves);
  // As Evaluate for the fields of `leaves` alone: `result` holds theirs, `sum` has Leaves(batch.n) leaves and gets
  // these, each the gradient and, as its last number, the penalty.
  virtual absl::Status EvaluateShare(absl::Span<const double> parameters, const TrainingBatch& batch, Share leaves,
                                     TreeSum* sum, BatchResult* result) = 0;
};

// Run on `threads` threads, whose number changes no bit.
absl::StatusOr<std::unique_ptr<SharedGradient>> MakeU1Gradient(const U1FlowPlan& plan, int threads);
absl::StatusOr<std::unique_ptr<SharedGradient>> MakeSpectralGradient(const SpectralFlowPlan& plan, int threads);
// A conditional flow is evaluated at parameters that are uniform in their intervals, the same for the 16 fields of a
// tile, by addressed noise.
absl::StatusOr<std::unique_ptr<SharedGradient>> MakeScalarGradient(const ScalarFlowPlan& plan, int threads);

}  // namespace haarflow
