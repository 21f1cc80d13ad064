// log w of a flow's proposals with its derivatives: what Gauss-Newton steps on the variance of log w are made from.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/flow/loop_plan.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

struct LogWeights {
  std::vector<double> log_weight;  // [n]; NaN where the map folds
  std::vector<double> jacobian;    // [n][parameters]: d log w / d parameter at fixed noise
  double smallest_determinant = 1;
};

class LogWeightSource {
 public:
  virtual ~LogWeightSource() = default;
  virtual int64_t parameters() const = 0;
  // Proposals first_index .. first_index + n - 1 of `seed` (purpose kTraining); n a multiple of 8.
  virtual absl::Status Evaluate(absl::Span<const double> parameters, uint64_t seed, uint64_t first_index, int64_t n,
                                const std::array<double, 3>& action, bool with_jacobian, LogWeights* out) = 0;
};

// Of a loop flow, on `threads` threads; the result does not depend on their number. `integration_steps`: of continuous
// ones, whose log w and derivatives are those of the integrated map, exactly.
std::unique_ptr<LogWeightSource> MakeLoopLogWeights(LoopFlowPlan plan, int threads, int32_t integration_steps = 0);

// One damped step (Levenberg and Marquardt) on the variance of log w over the same n fields: solves (A + damping
// diag(A)) delta = -g, A and g the covariances of the Jacobian with itself and with log w, and takes the step if the
// variance becomes smaller; the damping then halves (not below `least_damping`), else it grows fourfold and the step is
// tried again, a few times.
struct GaussNewtonResult {
  bool taken = false;
  double variance = 0;  // before the step
  double variance_after = 0;
  double mean = 0;  // of log w, before
  double ess = 0;
  double smallest_determinant = 1;
};
// ABORTED when a log w is not finite.
absl::StatusOr<GaussNewtonResult> GaussNewtonStep(LogWeightSource* source, uint64_t seed, uint64_t first_index,
                                                  int64_t n, const std::array<double, 3>& action, double least_damping,
                                                  double* damping, std::vector<double>* parameters);

}  // namespace haarflow
