#include "server/sampling/measure_task.h"

#include <algorithm>
#include <cmath>
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
  for (const MeasuredQuantity& quantity : plan.quantities) response->mutable_header()->add_observables(quantity.name);
  response->set_count(plan.count);
  return response;
}

void SetChainEstimate(const ChainEstimate& gamma, v1::Estimate* estimate) {
  estimate->set_value(gamma.mean);
  estimate->set_error(gamma.error);
  estimate->set_tau_int(gamma.tau_int);
  estimate->set_tau_int_error(gamma.tau_int_error);
}

}  // namespace

MeasureTask::MeasureTask(Plan plan)
    : ProgressTask(plan.resolved, First(plan)),
      plan_(std::move(plan)),
      scan_(plan_.scan),
      row_(plan_.columns.size()),
      values_(plan_.columns.size()) {}

int64_t MeasureTask::reservation_bytes() const {
  // Values, weights or multiplicities, and one expanded chain; vectors grow by doubling.
  const int64_t columns = static_cast<int64_t>(plan_.columns.size()) + 2;
  return 2 * 8 * static_cast<int64_t>(plan_.count) * columns + model().sampler->field_size() * 8 + (64 << 10);
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
    Fail(absl::UnavailableError(absl::StrCat(WhyDraining(), ", ", Done(), " of ", plan_.count,
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
  const auto looked = static_cast<uint64_t>(n);
  const bool chain = std::holds_alternative<MetropolisChain>(scan_);
  observer().OnProgress(model(), {.proposals = looked,
                                  .chain_proposals = chain ? looked : 0,
                                  .accepted = accepted() - accepted_before,
                                  .configurations = 0});
  if (finished()) return;
  if (Remaining() > 0) {
    ReportProgress();
    return;
  }
  if (auto* open = std::get_if<MetropolisChain>(&scan_)) {
    if (const auto closed = open->Flush()) {
      Record(open_field_.data());
      multiplicity_.push_back(closed->multiplicity);
    }
  }
  drawn_ = true;
  StopDrawing();
}

void MeasureTask::Look(const Proposals& proposals, int64_t i) {
  const double log_weight = proposals.LogWeight(i);
  const double odd = OddSign(proposals.Field(i));
  auto* chain = std::get_if<MetropolisChain>(&scan_);
  if (chain == nullptr) {
    if (!std::get<ReweightedScan>(scan_).Look(log_weight, odd)) return;
    Record(proposals.Field(i));
    log_weight_.push_back(log_weight);
    return;
  }
  const MetropolisChain::Event event = chain->Look(log_weight, odd);
  if (event.closed.has_value()) {
    Record(open_field_.data());
    multiplicity_.push_back(event.closed->multiplicity);
  }
  if (event.accepted) {
    open_field_.assign(proposals.Field(i), proposals.Field(i) + proposals.field_size);
  }
  if (!chain->has_open_state() && ++looked_ >= kMaxProposalsWithoutState) {
    Fail(absl::FailedPreconditionError(absl::StrCat("none of ", looked_, " proposals of model ", model().name(),
                                                    " has a finite weight: no chain can start")));
  }
}

void MeasureTask::Record(const double* field) {
  plan_.columns.Evaluate(field, row_.data());
  for (size_t k = 0; k < row_.size(); ++k) values_[k].push_back(row_[k]);
}

v1::ChainStatistics MeasureTask::StatisticsNow() const {
  v1::ChainStatistics statistics = Statistics(scan_);
  AddReservations(statistics.mutable_quality());
  return statistics;
}

void MeasureTask::ReportProgress() {
  const uint64_t done = Done();
  if (done < reported_ + std::max<uint64_t>(1, plan_.count / kProgressMessages)) return;
  reported_ = done;
  auto response = std::make_unique<v1::MeasureResponse>();
  response->set_done(done);
  response->set_count(plan_.count);
  *response->mutable_statistics() = StatisticsNow();
  Progress(std::move(response));
}

absl::StatusOr<v1::Estimate> MeasureTask::EstimateOf(const MeasuredQuantity& quantity) const {
  if (quantity.derived.has_value()) return EstimateOfFunction(quantity);
  v1::Estimate estimate;
  estimate.set_observable(quantity.name);
  const std::vector<double>& values = values_[quantity.columns[0]];
  if (std::holds_alternative<MetropolisChain>(scan_)) {
    ASSIGN_OR_RETURN(const ChainEstimate gamma, GammaMethod(ExpandChain(values, multiplicity_)));
    SetChainEstimate(gamma, &estimate);
  } else {
    ASSIGN_OR_RETURN(const WeightedEstimate mean, WeightedMean(values, log_weight_));
    estimate.set_value(mean.mean);
    estimate.set_error(mean.error);
  }
  if (const auto exact = ExactExpectation(target(), quantity.name)) estimate.set_exact(*exact);
  return estimate;
}

// NaN where noise makes the function undefined.
absl::StatusOr<v1::Estimate> MeasureTask::EstimateOfFunction(const MeasuredQuantity& quantity) const {
  const DerivedObservable& derived = *quantity.derived;
  const auto value = [&](absl::Span<const double> means) { return derived.Value(means); };
  const auto gradient = [&](absl::Span<const double> means) { return derived.Gradient(means); };
  std::vector<std::vector<double>> columns;
  std::vector<double> exact;
  for (size_t k = 0; k < quantity.columns.size(); ++k) {
    columns.push_back(values_[quantity.columns[k]]);
    if (const auto mean = ExactExpectation(target(), derived.primaries()[k])) exact.push_back(*mean);
  }
  v1::Estimate estimate;
  estimate.set_observable(quantity.name);
  if (std::holds_alternative<MetropolisChain>(scan_)) {
    for (std::vector<double>& column : columns) column = ExpandChain(column, multiplicity_);
    if (const auto gamma = GammaMethodOfFunction(columns, {value, gradient}); gamma.ok()) {
      SetChainEstimate(*gamma, &estimate);
    } else {
      SetChainEstimate({.mean = std::nan(""), .error = std::nan("")}, &estimate);
    }
  } else {
    ASSIGN_OR_RETURN(const WeightedEstimate mean, WeightedFunction(columns, log_weight_, value));
    estimate.set_value(mean.mean);
    estimate.set_error(mean.error);
  }
  if (exact.size() == columns.size() && std::isfinite(value(exact))) estimate.set_exact(value(exact));
  return estimate;
}

void MeasureTask::Epilogue() {
  auto response = std::make_unique<v1::MeasureResponse>();
  response->set_done(Done());
  response->set_count(plan_.count);
  *response->mutable_statistics() = StatisticsNow();
  for (const MeasuredQuantity& quantity : plan_.quantities) {
    if (cancelled()) return;
    auto estimate = EstimateOf(quantity);
    if (!estimate.ok()) {
      Finish(nullptr, Annotate(estimate.status(), quantity.name));
      return;
    }
    *response->add_estimates() = *std::move(estimate);
  }
  Finish(std::move(response), absl::OkStatus());
}

}  // namespace haarflow
