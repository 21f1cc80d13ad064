#include "client/requests.h"

#include "client/progress.h"
#include "client/theory.h"

namespace haarflow {
namespace {

constexpr uint64_t kDefaultLogZSamples = 65536;
constexpr uint64_t kMostLogZSamples = 100'000'000;

}  // namespace

absl::Status Interrupted(const absl::Status& status, const std::stop_token& stop) {
  if (stop.stop_requested()) return absl::CancelledError("interrupted");
  return status;
}

absl::StatusOr<v1::Target> TargetOf(const Client& client, const DrawOptions& draw) {
  ASSIGN_OR_RETURN(const v1::GetModelResponse model, client.GetModel(draw.model));
  return WithSettings(model.model().target(), draw.settings);
}

absl::StatusOr<v1::EstimatePartitionFunctionRequest> PartitionRequest(const Client& client,
                                                                      const LogZOptions& options) {
  v1::EstimatePartitionFunctionRequest request;
  RETURN_IF_ERROR(FillDraw(client, options.draw, &request));
  request.set_error(options.error);
  const uint64_t samples = options.error > 0 ? kMostLogZSamples : kDefaultLogZSamples;
  request.set_samples(options.draw.count > 0 ? options.draw.count : samples);
  request.set_thermodynamics(true);
  return request;
}

absl::StatusOr<PartitionRun> EstimatePartition(const Globals& globals, const Client& client,
                                               const v1::EstimatePartitionFunctionRequest& request,
                                               const std::string& remark, const std::stop_token& stop) {
  StreamOptions stream;
  stream.stop = stop;
  PartitionRun run;
  ProgressBar progress(globals.progress, "proposals", request.samples());
  auto result =
      client.EstimatePartitionFunction(request, stream, [&](const v1::EstimatePartitionFunctionResponse& response) {
        if (response.has_header()) run.header = response.header();
        if (request.error() > 0 && response.log_z_error() > 0) {
          // The error falls as 1/sqrt(n): where it will be reached, at the next doubling.
          const double ratio = response.log_z_error() / request.error();
          const double needed = static_cast<double>(response.done()) * ratio * ratio;
          if (needed < static_cast<double>(request.samples())) progress.SetTotal(static_cast<uint64_t>(needed));
        }
        progress.SetRemark(remark + ValueWithError(response.log_z(), response.log_z_error()));
        progress.Update(response.done());
        return true;
      });
  progress.Finish();
  if (!result.ok()) return Interrupted(result.status(), stop);
  if (!result->final()) return absl::DataLossError("the server ended the call without a final estimate");
  run.result = *std::move(result);
  return run;
}

}  // namespace haarflow
