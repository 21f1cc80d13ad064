#include "core/train/trivialising_regression.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "core/base/on_threads.h"
#include "core/base/status.h"
#include "core/exact/weights.h"
#include "core/flow/loop_scratch.h"
#include "core/kernel/cpu/isa.h"
#include "core/train/cholesky.h"

namespace haarflow {
namespace {

using kernel::kMatrixLanes;
// Of every diagonal element: classes are nearly dependent at strong coupling.
constexpr double kRidge = 1e-7;

// The mean over fields is subtracted from every column of [n][columns].
void Centre(int64_t n, int64_t columns, double* values) {
  for (int64_t k = 0; k < columns; ++k) {
    double mean = 0;
    for (int64_t i = 0; i < n; ++i) mean += values[i * columns + k] / static_cast<double>(n);
    for (int64_t i = 0; i < n; ++i) values[i * columns + k] -= mean;
  }
}

// Normal equations of all times: matrix [modes][classes]^2, right side [modes][classes].
struct Equations {
  std::vector<double> matrix, right;
};
Equations Assemble(const LoopFlowPlan& plan, int64_t n, const std::vector<double>& modes_at,
                   const TrivialisingTerms& fields) {
  const int64_t classes = plan.classes(), modes = plan.time_modes, p = modes * classes;
  const auto times = static_cast<int64_t>(fields.minus_action.size()) / n;
  Equations e{std::vector<double>(p * p, 0.0), std::vector<double>(p, 0.0)};
  for (int64_t t = 0; t < times; ++t) {
    std::vector<double> covariance(classes * classes, 0.0), slope(classes, 0.0);
    for (int64_t i = 0; i < n; ++i) {
      const double* x = fields.terms.data() + (t * n + i) * classes;
      for (int64_t k = 0; k < classes; ++k) {
        slope[k] -= x[k] * fields.minus_action[t * n + i] / static_cast<double>(n);
        for (int64_t l = 0; l < classes; ++l) covariance[k * classes + l] += x[k] * x[l] / static_cast<double>(n);
      }
    }
    const double* mode = modes_at.data() + 2 * t * modes;
    for (int64_t a = 0; a < p; ++a) {
      e.right[a] += mode[a / classes] * slope[a % classes];
      for (int64_t b = 0; b < p; ++b) {
        e.matrix[a * p + b] += mode[a / classes] * mode[b / classes] * covariance[a % classes * classes + b % classes];
      }
    }
  }
  return e;
}

double Residual(const LoopFlowPlan& plan, int64_t n, const std::vector<double>& modes_at,
                const TrivialisingTerms& fields, const std::vector<double>& parameters) {
  const int64_t classes = plan.classes(), modes = plan.time_modes;
  const auto times = static_cast<int64_t>(fields.minus_action.size()) / n;
  double sum = 0;
  for (int64_t t = 0; t < times; ++t) {
    std::vector<double> c(classes, 0.0);
    for (int64_t a = 0; a < modes * classes; ++a) {
      c[a % classes] += modes_at[2 * t * modes + a / classes] * parameters[a];
    }
    for (int64_t i = 0; i < n; ++i) {
      double r = fields.minus_action[t * n + i];
      for (int64_t k = 0; k < classes; ++k) r += c[k] * fields.terms[(t * n + i) * classes + k];
      sum += r * r / static_cast<double>(n * times);
    }
  }
  return sum;
}

}  // namespace

TrivialisingTerms DrawTrivialisingTerms(const LoopFlowPlan& plan, int32_t integration_steps,
                                        const std::vector<double>& parameters, uint64_t seed, uint64_t first_index,
                                        int64_t n, const std::array<double, 3>& action, int threads) {
  LoopFlowTables tables(plan, integration_steps);
  tables.Set(parameters);
  const kernel::LoopKernels& kernels = *kernel::LoopKernelsFor(kernel::BestInstructionSet());
  const int64_t steps = tables.view().integration_steps, times = steps + 1, classes = plan.classes();
  TrivialisingTerms out;
  out.log_weight.resize(n);
  out.minus_action.resize(times * n);
  out.terms.resize(times * n * classes);
  OnThreads(threads, [&](int64_t thread) {
    LoopScratch scratch(plan, tables.view());
    std::vector<double> minus_action(times * kMatrixLanes);
    for (int64_t first = thread * kMatrixLanes; first < n; first += threads * kMatrixLanes) {
      uint64_t seeds[kMatrixLanes], index[kMatrixLanes];
      double log_det[kMatrixLanes];
      for (int i = 0; i < kMatrixLanes; ++i) {
        seeds[i] = seed;
        index[i] = first_index + static_cast<uint64_t>(first + i);
      }
      kernels.trivialising_tile(tables.view(), action.data(), seeds, index, scratch.work, minus_action.data(), log_det);
      for (int64_t i = 0; i < kMatrixLanes; ++i) {
        out.log_weight[first + i] = log_det[i] + minus_action[steps * kMatrixLanes + i];
        for (int64_t t = 0; t < times; ++t) {
          out.minus_action[t * n + first + i] = minus_action[t * kMatrixLanes + i];
          for (int64_t k = 0; k < classes; ++k) {
            out.terms[(t * n + first + i) * classes + k] =
                plan.class_scale[k] * scratch.work.gradient[(2 * t * classes + k) * kMatrixLanes + i];
          }
        }
      }
    }
  });
  return out;
}

absl::StatusOr<RegressionResult> TrivialisingRegressionStep(const LoopFlowPlan& plan, int32_t integration_steps,
                                                            uint64_t seed, uint64_t first_index, int64_t n,
                                                            const std::array<double, 3>& action, int threads,
                                                            std::vector<double>* parameters) {
  return SolveTrivialisingRegression(
      plan, integration_steps,
      DrawTrivialisingTerms(plan, integration_steps, *parameters, seed, first_index, n, action, threads), parameters);
}

absl::StatusOr<RegressionResult> SolveTrivialisingRegression(const LoopFlowPlan& plan, int32_t integration_steps,
                                                             TrivialisingTerms fields,
                                                             std::vector<double>* parameters) {
  const auto n = static_cast<int64_t>(fields.log_weight.size());
  RegressionResult result;
  WeightStatistics weights;
  for (double w : fields.log_weight) {
    if (!std::isfinite(w)) {
      return absl::AbortedError(
          "a log w is not finite: a force is too large; use more integration_steps or a smaller "
          "beta to begin with");
    }
    weights.Add(w);
    result.mean += w / static_cast<double>(n);
  }
  result.ess = weights.Ess();
  for (int32_t t = 0; t <= integration_steps; ++t) {
    Centre(n, plan.classes(), fields.terms.data() + t * n * plan.classes());
    Centre(n, 1, fields.minus_action.data() + t * n);
  }
  const std::vector<double> modes_at = TimeModes(integration_steps, plan.time_modes);
  Equations e = Assemble(plan, n, modes_at, fields);
  const int64_t p = plan.layout.size();
  double largest = 0;
  for (int64_t a = 0; a < p; ++a) largest = std::max(largest, e.matrix[a * p + a]);
  for (int64_t a = 0; a < p; ++a) e.matrix[a * p + a] += kRidge * e.matrix[a * p + a] + 1e-14 * largest;
  result.residual = Residual(plan, n, modes_at, fields, *parameters);
  if (!SolveCholesky(&e.matrix, &e.right)) {
    return absl::AbortedError(
        "the classes' terms are not independent on these fields; use more batch or fewer classes");
  }
  *parameters = std::move(e.right);
  result.residual_after = Residual(plan, n, modes_at, fields, *parameters);
  return result;
}

}  // namespace haarflow
