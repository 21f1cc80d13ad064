// Continuous loop flows by regression on the condition of trivialising flows (arXiv:0907.5491): no descent, no
// derivatives through the integrator.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/flow/loop_plan.h"

namespace haarflow {

// What a regression looks at, of n fields and times t = i / integration_steps, times = integration_steps + 1.
struct TrivialisingTerms {
  std::vector<double> log_weight;    // [n]
  std::vector<double> minus_action;  // [times][n]
  std::vector<double> terms;         // [times][n][classes]: div F_k - t F_k . grad S
};
// Of the flow with `parameters`; n a multiple of 8. The number of threads changes no bit.
TrivialisingTerms DrawTrivialisingTerms(const LoopFlowPlan& plan, int32_t integration_steps,
                                        const std::vector<double>& parameters, uint64_t seed, uint64_t first_index,
                                        int64_t n, const std::array<double, 3>& action, int threads);

// Fields of the flow with `parameters`, n of them from first_index on, n a multiple of 8; then `parameters` become
// those that minimise the variance of -S + sum_k c_k(t) (div F_k - t F_k . grad S) over these fields, summed over the
// times t = i / integration_steps.
struct RegressionResult {
  double mean = 0;  // of log w, before
  double ess = 0;
  // The variance, averaged over times, before and after; without a flow it is that of S.
  double residual = 0;
  double residual_after = 0;
};
// The step from terms that were drawn with `parameters`. ABORTED when a log w is not finite, or when the classes are
// not independent.
absl::StatusOr<RegressionResult> SolveTrivialisingRegression(const LoopFlowPlan& plan, int32_t integration_steps,
                                                             TrivialisingTerms fields, std::vector<double>* parameters);
// Both.
absl::StatusOr<RegressionResult> TrivialisingRegressionStep(const LoopFlowPlan& plan, int32_t integration_steps,
                                                            uint64_t seed, uint64_t first_index, int64_t n,
                                                            const std::array<double, 3>& action, int threads,
                                                            std::vector<double>* parameters);

}  // namespace haarflow
