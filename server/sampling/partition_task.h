// One EstimatePartitionFunction stream: log Z to a requested error or number of proposals, and on request what follows
// from it and the action. Looks at its error only at doublings of n. Jackknife and exact values in the epilogue.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/action/derivatives.h"
#include "core/exact/estimate.h"
#include "core/exact/thermodynamics.h"
#include "server/sampling/progress_task.h"
#include "server/sampling/scan.h"

namespace haarflow {

class PartitionTask final : public ProgressTask<v1::EstimatePartitionFunctionResponse> {
 public:
  // A checked request (request.h).
  struct Plan {
    ResolvedModel resolved;
    uint64_t seed = 0;
    uint64_t first_index = 0;
    double error = 0;                              // 0: none requested
    uint64_t minimum = 4096;                       // first look
    uint64_t maximum = 0;                          // proposals at most
    std::optional<ActionDerivatives> derivatives;  // of the target, where thermodynamics was asked for
  };
  explicit PartitionTask(Plan plan);

  Want Demand() override;
  void Consume(const Proposals& proposals, int64_t offset, int64_t n) override;
  bool needs_epilogue() const override { return drawn_ && !cancelled(); }
  void Epilogue() override;
  int64_t reservation_bytes() const override { return 64 << 10; }
  int64_t sample_count() const override { return static_cast<int64_t>(plan_.maximum); }

 private:
  void Look(const Proposals& proposals, int64_t i);
  v1::Thermodynamics ThermodynamicsNow() const;
  std::unique_ptr<v1::EstimatePartitionFunctionResponse> Message() const;

  const Plan plan_;
  PartitionEstimator estimator_;
  std::optional<ThermodynamicsEstimator> thermodynamics_;
  std::vector<double> row_;  // dS / d parameter
  DoublingStop stop_;
  bool drawn_ = false;
  uint64_t done_proposals_ = 0;
  uint64_t reported_ = 0;
};

}  // namespace haarflow
