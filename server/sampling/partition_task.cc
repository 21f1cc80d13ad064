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
      stop_(std::min(plan_.minimum, plan_.maximum), plan_.maximum, plan_.error) {}

Task::Want PartitionTask::Demand() {
  if (finished()) return {};
  if (draining()) {
    Fail(absl::UnavailableError(absl::StrCat("the server is draining, ", done_proposals_,
                                             " proposals were done; ask another server with the same seed")));
    return {};
  }
  const uint64_t n = std::min(stop_.next_look() - done_proposals_, kMaxDemand);
  return {plan_.seed, plan_.first_index + done_proposals_, static_cast<int64_t>(n)};
}

void PartitionTask::Consume(const Proposals& proposals, int64_t offset, int64_t n) {
  if (finished()) return;
  for (int64_t i = offset; i < offset + n; ++i) estimator_.Add(proposals.LogWeight(i));
  done_proposals_ += static_cast<uint64_t>(n);
  observer().OnProgress(model(), static_cast<uint64_t>(n), 0, 0);
  if (done_proposals_ < stop_.next_look()) {
    if (done_proposals_ >= reported_ + kProgressEvery) {
      reported_ = done_proposals_;
      Progress(Message());
    }
    return;
  }
  const double error = estimator_.LogZError();
  auto message = Message();
  if (!stop_.ShouldStop(done_proposals_, error)) {
    Progress(std::move(message));
    return;
  }
  message->set_final(true);
  message->set_error_reached(plan_.error > 0 && error <= plan_.error);
  Finish(std::move(message), absl::OkStatus());
}

std::unique_ptr<v1::EstimatePartitionFunctionResponse> PartitionTask::Message() const {
  auto message = std::make_unique<v1::EstimatePartitionFunctionResponse>();
  message->set_done(done_proposals_);
  message->set_log_z(estimator_.LogZ());
  message->set_log_z_error(estimator_.LogZError());
  message->set_mean_log_weight(estimator_.MeanLogWeight());
  message->set_mean_log_weight_error(estimator_.MeanLogWeightError());
  *message->mutable_quality() = estimator_.weights().Quality();
  if (const auto exact = ExactLogZ(target())) message->set_exact(*exact);
  return message;
}

}  // namespace haarflow
