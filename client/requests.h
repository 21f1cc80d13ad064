// Requests and the calls that several commands share. Private to client/.
#pragma once

#include <stop_token>
#include <string>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "client/commands.h"
#include "core/base/status.h"

namespace haarflow {

// The target of a model with the settings of the command line.
absl::StatusOr<v1::Target> TargetOf(const Client& client, const DrawOptions& draw);

// Model, seed, first index, and the target where it is not the model's own.
template <typename Request>
absl::Status FillDraw(const Client& client, const DrawOptions& draw, Request* request) {
  request->set_model(draw.model);
  if (draw.seed.has_value()) request->set_seed(*draw.seed);
  request->set_first_index(draw.first_index);
  if (draw.bulk) request->set_priority(v1::PRIORITY_BULK);
  if (draw.settings.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(*request->mutable_target(), TargetOf(client, draw));
  return absl::OkStatus();
}

// What the user sees of a call that he stopped.
absl::Status Interrupted(const absl::Status& status, const std::stop_token& stop);

// One EstimatePartitionFunction call with its progress bar; `remark` stands before the estimate so far.
struct PartitionRun {
  v1::SampleHeader header;
  v1::EstimatePartitionFunctionResponse result;
};
absl::StatusOr<PartitionRun> EstimatePartition(const Globals& globals, const Client& client,
                                               const v1::EstimatePartitionFunctionRequest& request,
                                               const std::string& remark, const std::stop_token& stop);
// The request of `logz` and `thermo`.
absl::StatusOr<v1::EstimatePartitionFunctionRequest> PartitionRequest(const Client& client, const LogZOptions& options);

}  // namespace haarflow
