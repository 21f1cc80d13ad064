// The training steps of loop flows.
#include <utility>

#include "core/action/target.h"
#include "core/base/status.h"
#include "core/train/ranked.h"
#include "core/train/trainer.h"
#include "core/train/trivialising_regression.h"

namespace haarflow {
namespace {

constexpr double kLeastDamping = 1e-4;  // of Gauss-Newton steps

}  // namespace

absl::Status Trainer::GaussNewton(const v1::TrainingPhase& phase, uint64_t step_in_phase) {
  const LoopFlowPlan& plan = *flow_->loop_plan();
  const v1::GaussNewton& settings = phase.gauss_newton();
  const v1::Target target = LoopPhaseTarget(spec_, phase);
  const int sweeps = settings.sweeps() == 0 ? plan.sweeps : static_cast<int>(settings.sweeps());
  if (log_weights_of_ != &phase) {
    ASSIGN_OR_RETURN(LoopFlowPlan of_phase, PlanLoopFlow(spec_, target, sweeps));
    if (options_.crew != nullptr) {
      log_weights_ =
          MakeRankedLogWeights(spec_, target, sweeps, IntegrationSteps(phase), of_phase.layout.size(), options_.crew);
    } else {
      log_weights_ = MakeLoopLogWeights(std::move(of_phase), options_.threads, IntegrationSteps(phase));
    }
    log_weights_of_ = &phase;
  }
  if (step_in_phase == 0 && settings.damping() > 0) damping_ = settings.damping();
  const std::vector<double> before = plan.SumSweeps(parameters_, sweeps);
  std::vector<double> numbers = before;
  ASSIGN_OR_RETURN(const GaussNewtonResult result,
                   GaussNewtonStep(log_weights_.get(), spec_.training().seed(), next_index_, phase.batch(),
                                   ActionNumbers(target), kLeastDamping, &damping_, &numbers));
  next_index_ += phase.batch();
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] -= before[i];
  plan.AddToSweeps(numbers, sweeps, &parameters_);
  average_ = parameters_;
  progress_.loss = -result.mean;
  progress_.ess = result.ess;
  return absl::OkStatus();
}

absl::Status Trainer::TrivialisingRegression(const v1::TrainingPhase& phase) {
  const v1::Target target = LoopPhaseTarget(spec_, phase);
  ASSIGN_OR_RETURN(const LoopFlowPlan plan, PlanLoopFlow(spec_, target));
  const int32_t steps = IntegrationSteps(phase);
  const uint64_t seed = spec_.training().seed();
  TrivialisingTerms terms;
  if (options_.crew != nullptr) {
    ASSIGN_OR_RETURN(terms, RankedTerms(spec_, target, steps, parameters_, seed, next_index_, phase.batch(),
                                        ActionNumbers(target), options_.crew));
  } else {
    terms = DrawTrivialisingTerms(plan, steps, parameters_, seed, next_index_, phase.batch(), ActionNumbers(target),
                                  options_.threads);
  }
  ASSIGN_OR_RETURN(const RegressionResult result,
                   SolveTrivialisingRegression(plan, steps, std::move(terms), &parameters_));
  next_index_ += phase.batch();
  average_ = parameters_;
  progress_.loss = -result.mean;
  progress_.ess = result.ess;
  return absl::OkStatus();
}

}  // namespace haarflow
