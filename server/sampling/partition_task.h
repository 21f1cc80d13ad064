// One EstimatePartitionFunction stream: log Z to a requested error or number of proposals. Looks at its error only at
// doublings of n.
#pragma once

#include <memory>

#include "core/exact/estimate.h"
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
    double error = 0;         // 0: none requested
    uint64_t minimum = 4096;  // first look
    uint64_t maximum = 0;     // proposals at most
  };
  explicit PartitionTask(Plan plan);

  Want Demand() override;
  void Consume(const Proposals& proposals, int64_t offset, int64_t n) override;
  int64_t reservation_bytes() const override { return 64 << 10; }

 private:
  std::unique_ptr<v1::EstimatePartitionFunctionResponse> Message() const;

  const Plan plan_;
  PartitionEstimator estimator_;
  DoublingStop stop_;
  uint64_t done_proposals_ = 0;
  uint64_t reported_ = 0;
};

}  // namespace haarflow
