// What a run says: observables with honest errors beside exact values, log Z, quality.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/output.h"
#include "core/io/sample_rows.h"
#include "haarflow/v1/sampler.pb.h"

namespace haarflow {

// The columns of a run in memory, without its fields; neighbours of one index joined.
class RunColumns {
 public:
  absl::Status Add(const SampleRow& row);
  const std::vector<uint64_t>& multiplicity() const { return multiplicity_; }
  const std::vector<double>& log_weight() const { return log_weight_; }
  const std::vector<std::vector<double>>& observables() const { return observables_; }

 private:
  bool has_last_ = false;
  uint64_t last_index_ = 0;
  std::vector<uint64_t> multiplicity_;
  std::vector<double> log_weight_;
  std::vector<std::vector<double>> observables_;
};

// METROPOLIS: Gamma method on the expanded chain. REWEIGHTED: ratio of means with jackknife error. Observables for
// which there are too few rows come without an error (NaN). Exact values where they are known.
std::vector<v1::Estimate> EstimateObservables(const v1::SampleHeader& header, const RunColumns& columns);

// A table for people: value, exact, pull, tau_int. `what` heads the first column.
std::string EstimatesText(const std::vector<v1::Estimate>& estimates, bool metropolis,
                          const std::string& what = "observable");
Json EstimatesJson(const std::vector<v1::Estimate>& estimates, bool metropolis);

struct LogZ {
  double value = 0;
  double error = 0;
  std::optional<double> exact;
};
Json LogZJson(const LogZ& log_z);
LogZ LogZOf(const v1::EstimatePartitionFunctionResponse& response);
// "E_q[log w] = ... <= log Z <= E_p[log w] = ...", and the bias that was corrected for.
std::string BoundsText(const v1::EstimatePartitionFunctionResponse& response);
// mean_log_weight, mean_log_weight_target, bias.
Json BoundsJson(const v1::EstimatePartitionFunctionResponse& response);
// A line where the error asked for (0: none) was not reached.
std::string ErrorReachedText(const v1::EstimatePartitionFunctionResponse& response, double error);
// "acceptance ..., ESS ..., log Z ..., reliable ..." as aligned lines.
std::string StatisticsText(const v1::ChainStatistics& statistics, bool metropolis, const std::optional<LogZ>& log_z);

}  // namespace haarflow
