#include "server/sampling/measure_task.h"

#include <algorithm>
#include <utility>

#include "core/base/noise.h"
#include "core/base/status.h"
#include "core/exact/estimate.h"
#include "server/sampling/sample_task.h"

namespace haarflow {
namespace {

constexpr int64_t kMaxDemand = 1 << 16;
constexpr uint64_t kProgressMessages = 100;
constexpr uint64_t kMaxProposalsWithoutState = 1 << 16;

std::unique_ptr<v1::MeasureResponse> First(const MeasureTask::Plan& plan) {
  auto response = std::make_unique<v1::MeasureResponse>();
  *response->mutable_header() = StreamHeader(plan.resolved, plan.scan, plan.count);
  for (const std::string& name : plan.observables.names()) response->mutable_header()->add_observables(name);
  response->set_count(plan.count);
  return response;
}

}  // namespace

MeasureTask::MeasureTask(Plan plan)
    : ProgressTask(plan.resolved, First(plan)),
      plan_(std::move(plan)),
      scan_(plan_.scan),
      row_(plan_.observables.size()),
      values_(plan_.observables.size()) {}

int64_t MeasureTask::reservation_bytes() const {
  // Values, weights or multiplicities, and one expanded chain; vectors grow by doubling.
  const int64_t columns = static_cast<int64_t>(plan_.observables.size()) + 2;
  return 2 * 8 * static_cast<int64_t>(plan_.count) * columns + plan_.resolved.model->sampler->lattice().links() * 8 +
         (64 << 10);
}

uint64_t MeasureTask::Done() const {
  const auto* chain = std::get_if<MetropolisChain>(&scan_);
  return chain != nullptr ? chain->steps() : std::get<ReweightedScan>(scan_).proposals();
}

uint64_t MeasureTask::Remaining() const {
  const auto* chain = std::get_if<MetropolisChain>(&scan_);
  return plan_.count - Done() + (chain != nullptr ? chain->burn_in_left() : 0);
}

Task::Want MeasureTask::Demand() {
  if (finished()) return {};
  if (draining()) {
    Fail(absl::UnavailableError(absl::StrCat("the server is draining, ", Done(), " of ", plan_.count,
                                             " steps were done; ask another server with the same seed")));
    return {};
  }
  const uint64_t index_room = kMaxSampleIndex + 1 - NextIndex(scan_);
  if (index_room == 0) {
    Fail(absl::OutOfRangeError("the sample indices of this seed, 0 to 2^56 - 1, are used up"));
    return {};
  }
  const uint64_t n = std::min({Remaining(), static_cast<uint64_t>(kMaxDemand), index_room});
  return {Seed(scan_), NextIndex(scan_), static_cast<int64_t>(n)};
}

void MeasureTask::Consume(const Proposals& proposals, int64_t offset, int64_t n) {
  if (finished()) return;
  const auto accepted = [this] {
    const auto* chain = std::get_if<MetropolisChain>(&scan_);
    return chain != nullptr ? chain->Statistics().accepted() : 0;
  };
  const uint64_t accepted_before = accepted();
  for (int64_t i = offset; i < offset + n && !finished(); ++i) Look(proposals, i);
  observer().OnProgress(model(), static_cast<uint64_t>(n), accepted() - accepted_before, 0);
  if (finished()) return;
  if (Remaining() > 0) {
    ReportProgress();
    return;
  }
  if (auto* chain = std::get_if<MetropolisChain>(&scan_)) {
    if (const auto closed = chain->Flush()) {
      Record(open_field_.data());
      multiplicity_.push_back(closed->multiplicity);
    }
  }
  drawn_ = true;
  StopDrawing();
}

void MeasureTask::Look(const Proposals& proposals, int64_t i) {
  const double log_weight = proposals.LogWeight(i);
  auto* chain = std::get_if<MetropolisChain>(&scan_);
  if (chain == nullptr) {
    if (!std::get<ReweightedScan>(scan_).Look(log_weight)) return;
    Record(proposals.Field(i));
    log_weight_.push_back(log_weight);
    return;
  }
  const MetropolisChain::Event event = chain->Look(log_weight);
  if (event.closed.has_value()) {
    Record(open_field_.data());
    multiplicity_.push_back(event.closed->multiplicity);
  }
  if (event.accepted) {
    open_field_.assign(proposals.Field(i), proposals.Field(i) + model().sampler->lattice().links());
  }
  if (!chain->has_open_state() && ++looked_ >= kMaxProposalsWithoutState) {
    Fail(absl::FailedPreconditionError(absl::StrCat("none of ", looked_, " proposals of model ", model().name(),
                                                    " has a finite weight: no chain can start")));
  }
}

void MeasureTask::Record(const double* field) {
  plan_.observables.Evaluate(field, row_.data());
  for (size_t k = 0; k < row_.size(); ++k) values_[k].push_back(row_[k]);
}

void MeasureTask::ReportProgress() {
  const uint64_t done = Done();
  if (done < reported_ + std::max<uint64_t>(1, plan_.count / kProgressMessages)) return;
  reported_ = done;
  auto response = std::make_unique<v1::MeasureResponse>();
  response->set_done(done);
  response->set_count(plan_.count);
  *response->mutable_statistics() = Statistics(scan_);
  Progress(std::move(response));
}

absl::StatusOr<v1::Estimate> MeasureTask::EstimateOf(size_t observable) const {
  v1::Estimate estimate;
  const std::string& name = plan_.observables.names()[observable];
  estimate.set_observable(name);
  if (std::holds_alternative<MetropolisChain>(scan_)) {
    ASSIGN_OR_RETURN(const ChainEstimate gamma, GammaMethod(ExpandChain(values_[observable], multiplicity_)));
    estimate.set_value(gamma.mean);
    estimate.set_error(gamma.error);
    estimate.set_tau_int(gamma.tau_int);
    estimate.set_tau_int_error(gamma.tau_int_error);
  } else {
    ASSIGN_OR_RETURN(const WeightedEstimate mean, WeightedMean(values_[observable], log_weight_));
    estimate.set_value(mean.mean);
    estimate.set_error(mean.error);
  }
  if (const auto exact = ExactExpectation(target(), name)) estimate.set_exact(*exact);
  return estimate;
}

void MeasureTask::Epilogue() {
  auto response = std::make_unique<v1::MeasureResponse>();
  response->set_done(Done());
  response->set_count(plan_.count);
  *response->mutable_statistics() = Statistics(scan_);
  for (size_t k = 0; k < plan_.observables.size(); ++k) {
    if (cancelled()) return;
    auto estimate = EstimateOf(k);
    if (!estimate.ok()) {
      Finish(nullptr, Annotate(estimate.status(), plan_.observables.names()[k]));
      return;
    }
    *response->add_estimates() = *std::move(estimate);
  }
  Finish(std::move(response), absl::OkStatus());
}

}  // namespace haarflow
