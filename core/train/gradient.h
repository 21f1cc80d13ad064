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

// Run on `threads` threads. Deterministic for a given number of threads: partial sums are added in a fixed order.
absl::StatusOr<std::unique_ptr<GradientSource>> MakeU1Gradient(const U1FlowPlan& plan, int threads);
absl::StatusOr<std::unique_ptr<GradientSource>> MakeSpectralGradient(const SpectralFlowPlan& plan, int threads);
// A conditional flow is evaluated at parameters that are uniform in their intervals, the same for the 16 fields of a
// tile, by addressed noise.
absl::StatusOr<std::unique_ptr<GradientSource>> MakeScalarGradient(const ScalarFlowPlan& plan, int threads);

}  // namespace haarflow
