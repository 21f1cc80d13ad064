#include "server/sampling/partition_task.h"

#include <algorithm>
#include <utility>

#include "core/base/noise.h"
#include "core/base/status.h"
#include "core/observable/observable.h"
#include "server/sampling/sample_task.h"

namespace haarflow {
namespace {

constexpr uint64_t kMaxDemand = 1 << 16;
constexpr uint64_t kProgressEvery = 4096;

std::unique_ptr<v1::EstimatePartitionFunctionResponse> First(const PartitionTask::Plan& plan) {
  auto response = std::make_unique<v1::EstimatePartitionFunctionResponse>();
  *response->mutable_header() = StreamHeader(plan.resolved, ReweightedScan(plan.seed, plan.first_index), plan.maximum);
  return response;
}

}  // namespace

PartitionTask::PartitionTask(Plan plan)
    : ProgressTask(plan.resolved, First(plan)),
      plan_(std::move(plan)),
      stop_(std::min(plan_.minimum, plan_.maximum), plan_.maximum, plan_.error) {
  if (!plan_.derivatives.has_value()) return;
  thermodynamics_.emplace(model().sampler->lattice().volume(), plan_.derivatives->parameters());
  row_.resize(plan_.derivatives->parameters().size());
}

Task::Want PartitionTask::Demand() {
  if (finished()) return {};
  if (draining()) {
    Fail(absl::UnavailableError(absl::StrCat(WhyDraining(), ", ", done_proposals_,
                                             " proposals were done; ask another server with the same seed")));
    return {};
  }
  const uint64_t n = std::min(stop_.next_look() - done_proposals_, kMaxDemand);
  return {plan_.seed, plan_.first_index + done_proposals_, static_cast<int64_t>(n)};
}

void PartitionTask::Consume(const Proposals& proposals, int64_t offset, int64_t n) {
  if (finished()) return;
  for (int64_t i = offset; i < offset + n; ++i) Look(proposals, i);
  done_proposals_ += static_cast<uint64_t>(n);
  observer().OnProgress(model(), {.proposals = static_cast<uint64_t>(n)});
  if (done_proposals_ < stop_.next_look()) {
    if (done_proposals_ >= reported_ + kProgressEvery) {
      reported_ = done_proposals_;
      Progress(Message());
    }
    return;
  }
  if (!stop_.ShouldStop(done_proposals_, estimator_.LogZError())) {
    Progress(Message());
    return;
  }
  drawn_ = true;
  StopDrawing();
}

void PartitionTask::Look(const Proposals& proposals, int64_t i) {
  const double log_weight = proposals.LogWeight(i);
  const double* field = proposals.Field(i);
  estimator_.Add(log_weight, OddSign(field));
  if (!thermodynamics_.has_value()) return;
  plan_.derivatives->Evaluate(field, row_.data());
  thermodynamics_->Add(log_weight, proposals.action[i], row_);
}

std::unique_ptr<v1::EstimatePartitionFunctionResponse> PartitionTask::Message() const {
  auto message = std::make_unique<v1::EstimatePartitionFunctionResponse>();
  message->set_done(done_proposals_);
  message->set_log_z(estimator_.LogZ());
  message->set_log_z_error(estimator_.LogZError());
  message->set_bias(estimator_.LogZBias());
  message->set_mean_log_weight(estimator_.MeanLogWeight());
  message->set_mean_log_weight_error(estimator_.MeanLogWeightError());
  *message->mutable_quality() = estimator_.weights().Quality();
  AddReservations(message->mutable_quality());
  return message;
}

v1::Thermodynamics PartitionTask::ThermodynamicsNow() const {
  v1::Thermodynamics result = thermodynamics_->Result();
  for (int k = 0; k < result.derivatives_size(); ++k) {
    double exact = 0;
    bool known = true;
    for (const ActionDerivatives::Term& term : plan_.derivatives->terms(static_cast<size_t>(k))) {
      const auto mean = ExactExpectation(target(), term.observable);
      known = known && mean.has_value();
      if (known) exact -= term.coefficient * *mean;
    }
    if (known) result.mutable_derivatives(k)->set_exact(exact);
  }
  return result;
}

void PartitionTask::Epilogue() {
  auto message = Message();
  message->set_final(true);
  message->set_error_reached(plan_.error > 0 && message->log_z_error() <= plan_.error);
  if (const auto exact = ExactLogZ(target())) message->set_exact(*exact);
  if (thermodynamics_.has_value()) *message->mutable_thermodynamics() = ThermodynamicsNow();
  Finish(std::move(message), absl::OkStatus());
}

}  // namespace haarflow
