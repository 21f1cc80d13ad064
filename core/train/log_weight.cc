#include "core/train/log_weight.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/on_threads.h"
#include "core/base/status.h"
#include "core/exact/weights.h"
#include "core/flow/loop_scratch.h"
#include "core/kernel/cpu/isa.h"
#include "core/kernel/cpu/loop_isa.h"
#include "core/train/cholesky.h"

namespace haarflow {
namespace {

using kernel::kMatrixLanes;
constexpr uint32_t kTrainingPurpose = 5;  // NoisePurpose::kTraining

class LoopLogWeights final : public LogWeightSource {
 public:
  LoopLogWeights(LoopFlowPlan plan, int32_t integration_steps, int threads)
      : plan_(std::move(plan)),
        tables_(plan_, integration_steps),
        kernels_(*kernel::LoopKernelsFor(kernel::BestInstructionSet())) {
    for (int t = 0; t < threads; ++t) scratch_.push_back(std::make_unique<LoopScratch>(plan_, tables_.view()));
  }
  int64_t parameters() const override { return plan_.layout.size(); }

  absl::Status Evaluate(absl::Span<const double> parameters, uint64_t seed, uint64_t first_index, int64_t n,
                        const std::array<double, 3>& action, bool with_jacobian, LogWeights* out) override {
    tables_.Set(parameters);
    out->log_weight.assign(n, 0);
    out->jacobian.assign(with_jacobian ? n * plan_.layout.size() : 0, 0);
    const auto threads = static_cast<int64_t>(scratch_.size());
    std::vector<double> smallest(threads, 1.0);
    OnThreads(threads, [&](int64_t t) {
      for (int64_t first = t * kMatrixLanes; first < n; first += threads * kMatrixLanes) {
        smallest[t] =
            std::min(smallest[t], Tile(scratch_[t]->work, seed, first_index, first, action, with_jacobian, out));
      }
    });
    out->smallest_determinant = *std::min_element(smallest.begin(), smallest.end());
    return absl::OkStatus();
  }

 private:
  double Tile(const kernel::LoopTrainWorkspace& work, uint64_t seed, uint64_t first_index, int64_t first,
              const std::array<double, 3>& action, bool with_jacobian, LogWeights* out) const {
    uint64_t seeds[kMatrixLanes], index[kMatrixLanes];
    for (int i = 0; i < kMatrixLanes; ++i) {
      seeds[i] = seed;
      index[i] = first_index + static_cast<uint64_t>(first + i);
    }
    double log_det[kMatrixLanes], s[kMatrixLanes], smallest[kMatrixLanes];
    const hf_loop_flow& flow = tables_.view();
    if (with_jacobian) {
      kernels_.train_tile(flow, action.data(), seeds, index, work, log_det, s, smallest);
    } else {
      kernels_.haar_tile(flow, kTrainingPurpose, seeds, index, work.forward.links);
      kernels_.map_tile(flow, work.forward, log_det, smallest);
      kernels_.action_tile(flow, action.data(), work.forward.links, work.forward.product, s);
    }
    const int64_t p = plan_.layout.size();
    for (int i = 0; i < kMatrixLanes; ++i) {
      out->log_weight[first + i] = log_det[i] - s[i];
      if (!with_jacobian) continue;
      tables_.ToParameters(work.gradient + i, kMatrixLanes, out->jacobian.data() + (first + i) * p);
    }
    return *std::min_element(smallest, smallest + kMatrixLanes);
  }

  const LoopFlowPlan plan_;
  LoopFlowTables tables_;
  const kernel::LoopKernels& kernels_;
  std::vector<std::unique_ptr<LoopScratch>> scratch_;
};

struct Moments {
  double mean = 0;
  double variance = 0;
  bool finite = true;
};
Moments MomentsOf(const std::vector<double>& x) {
  Moments m;
  for (double v : x) {
    m.finite = m.finite && std::isfinite(v);
    m.mean += v / static_cast<double>(x.size());
  }
  for (double v : x) m.variance += (v - m.mean) * (v - m.mean) / static_cast<double>(x.size());
  return m;
}

}  // namespace

std::unique_ptr<LogWeightSource> MakeLoopLogWeights(LoopFlowPlan plan, int threads, int32_t integration_steps) {
  return std::make_unique<LoopLogWeights>(std::move(plan), integration_steps, threads);
}

absl::StatusOr<GaussNewtonResult> GaussNewtonStep(LogWeightSource* source, uint64_t seed, uint64_t first_index,
                                                  int64_t n, const std::array<double, 3>& action, double least_damping,
                                                  double* damping, std::vector<double>* parameters) {
  constexpr int kTries = 6;
  LogWeights at;
  RETURN_IF_ERROR(source->Evaluate(*parameters, seed, first_index, n, action, true, &at));
  const Moments before = MomentsOf(at.log_weight);
  if (!before.finite) {
    return absl::AbortedError(
        absl::StrCat("a log w is not finite (smallest determinant of a link ", at.smallest_determinant,
                     "): the map folds, or a force is too large; use more sweeps or integration_steps, a smaller beta "
                     "to begin with, or a larger damping"));
  }
  const int64_t p = source->parameters();
  std::vector<double> mean(p, 0.0), covariance(p * p, 0.0), slope(p, 0.0);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t k = 0; k < p; ++k) mean[k] += at.jacobian[i * p + k] / static_cast<double>(n);
  }
  for (int64_t i = 0; i < n; ++i) {
    double* row = at.jacobian.data() + i * p;
    const double r = at.log_weight[i] - before.mean;
    for (int64_t k = 0; k < p; ++k) row[k] -= mean[k];
    for (int64_t k = 0; k < p; ++k) {
      slope[k] -= row[k] * r / static_cast<double>(n);
      const double scaled = row[k] / static_cast<double>(n);
      for (int64_t l = 0; l <= k; ++l) covariance[k * p + l] += scaled * row[l];
    }
  }
  if (!std::all_of(slope.begin(), slope.end(), [](double s) { return std::isfinite(s); })) {
    return absl::AbortedError("a derivative of log w is not finite: a link has more loops than its tape has room for");
  }
  GaussNewtonResult result;
  result.mean = before.mean;
  result.variance = result.variance_after = before.variance;
  result.smallest_determinant = at.smallest_determinant;
  WeightStatistics weights;
  for (double w : at.log_weight) weights.Add(w);
  result.ess = weights.Ess();
  double largest = 0;
  for (int64_t k = 0; k < p; ++k) largest = std::max(largest, covariance[k * p + k]);
  for (int attempt = 0; attempt < kTries && !result.taken; ++attempt) {
    std::vector<double> matrix = covariance, step = slope;
    for (int64_t k = 0; k < p; ++k) matrix[k * p + k] += *damping * covariance[k * p + k] + 1e-12 * largest;
    if (SolveCholesky(&matrix, &step)) {
      std::vector<double> moved = *parameters;
      for (int64_t k = 0; k < p; ++k) moved[k] += step[k];
      LogWeights there;
      RETURN_IF_ERROR(source->Evaluate(moved, seed, first_index, n, action, false, &there));
      const Moments after = MomentsOf(there.log_weight);
      if (after.finite && after.variance < before.variance) {
        *parameters = std::move(moved);
        result.taken = true;
        result.variance_after = after.variance;
        *damping = std::max(least_damping, 0.5 * *damping);
        break;
      }
    }
    *damping *= 4;
  }
  return result;
}

}  // namespace haarflow
