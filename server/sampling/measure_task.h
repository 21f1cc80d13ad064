// One Measure stream: observables of a chain (Gamma method) or of weighted proposals (jackknife), and functions of
// their means, evaluated where the fields are. Errors are estimated in the epilogue, off the device's thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/observable/derived.h"
#include "core/observable/observable.h"
#include "server/sampling/progress_task.h"
#include "server/sampling/scan.h"

namespace haarflow {

// What was asked for: one column of values, or a function of the means of several.
struct MeasuredQuantity {
  std::string name;
  std::vector<size_t> columns;
  std::optional<DerivedObservable> derived;
};

class MeasureTask final : public ProgressTask<v1::MeasureResponse> {
 public:
  // A checked request (request.h).
  struct Plan {
    ResolvedModel resolved;
    Scan scan;
    uint64_t count = 0;
    ObservableSet columns;
    std::vector<MeasuredQuantity> quantities;  // in the order of the request
  };
  explicit MeasureTask(Plan plan);

  Want Demand() override;
  void Consume(const Proposals& proposals, int64_t offset, int64_t n) override;
  bool needs_epilogue() const override { return drawn_ && !cancelled(); }
  void Epilogue() override;
  int64_t reservation_bytes() const override;
  int64_t sample_count() const override { return static_cast<int64_t>(plan_.count); }

 private:
  uint64_t Done() const;
  uint64_t Remaining() const;
  void Look(const Proposals& proposals, int64_t i);
  void Record(const double* field);
  void ReportProgress();
  v1::ChainStatistics StatisticsNow() const;
  absl::StatusOr<v1::Estimate> EstimateOf(const MeasuredQuantity& quantity) const;
  absl::StatusOr<v1::Estimate> EstimateOfFunction(const MeasuredQuantity& quantity) const;

  const Plan plan_;
  Scan scan_;
  std::vector<double> open_field_;
  std::vector<double> row_;
  std::vector<std::vector<double>> values_;  // [column][configuration]
  std::vector<uint64_t> multiplicity_;       // METROPOLIS
  std::vector<double> log_weight_;           // REWEIGHTED
  uint64_t reported_ = 0;
  uint64_t looked_ = 0;
  bool drawn_ = false;
};

}  // namespace haarflow
