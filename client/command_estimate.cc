// haarflow measure, haarflow logz: estimates computed where the fields are.
#include <chrono>

#include "absl/strings/str_cat.h"
#include "client/commands.h"
#include "client/progress.h"
#include "client/summary.h"
#include "core/base/status.h"
#include "core/observable/observable.h"

namespace haarflow {
namespace {

constexpr uint64_t kDefaultMeasureSteps = 10000;
constexpr uint64_t kDefaultLogZSamples = 65536;
constexpr uint64_t kMostLogZSamples = 100'000'000;

template <typename Request>
absl::Status Fill(const Client& client, const DrawOptions& draw, Request* request) {
  request->set_model(draw.model);
  if (draw.seed.has_value()) request->set_seed(*draw.seed);
  request->set_first_index(draw.first_index);
  if (!draw.beta.has_value()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const v1::GetModelResponse model, client.GetModel(draw.model));
  ASSIGN_OR_RETURN(*request->mutable_target(), TargetWithBeta(model.model().target(), *draw.beta));
  return absl::OkStatus();
}

// What the user sees of a cancelled call.
absl::Status Interrupted(const absl::Status& status, const std::stop_token& stop) {
  if (stop.stop_requested()) return absl::CancelledError("interrupted");
  return status;
}

}  // namespace

absl::StatusOr<ExitCode> RunMeasure(const Globals& globals, const MeasureOptions& options,
                                    const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const auto client, ConnectTo(globals));
  v1::MeasureRequest request;
  RETURN_IF_ERROR(Fill(*client, options.draw, &request));
  request.set_count(options.draw.count > 0 ? options.draw.count : kDefaultMeasureSteps);
  request.set_mode(options.mode);
  if (options.burn_in.has_value()) request.set_burn_in(*options.burn_in);
  for (const std::string& name : options.observables) request.add_observables(name);

  StreamOptions stream;
  stream.stop = stop;
  v1::SampleHeader header;
  ProgressBar progress(globals.progress, "steps", request.count());
  auto result = client->Measure(request, stream, [&](const v1::MeasureResponse& response) {
    if (response.has_header()) header = response.header();
    progress.Update(response.done());
    return true;
  });
  progress.Finish();
  if (!result.ok()) return Interrupted(result.status(), stop);
  const v1::MeasureResponse& response = *result;
  if (response.estimates_size() != request.observables_size()) {
    return absl::DataLossError(absl::StrCat("the server sent ", response.estimates_size(), " estimates for ",
                                            request.observables_size(), " observables"));
  }
  const bool metropolis = options.mode != v1::SAMPLE_MODE_REWEIGHTED;
  const std::vector<v1::Estimate> estimates(response.estimates().begin(), response.estimates().end());
  if (globals.json) {
    PrintJson({{"run", HeaderJson(header)},
               {"count", response.done()},
               {"observables", EstimatesJson(estimates, metropolis)},
               {"statistics", StatisticsJson(response.statistics())}});
  } else {
    Print(absl::StrCat(DescribeRun(header), "\n", Grouped(response.done()), metropolis ? " chain steps" : " proposals",
                       "\n\n", EstimatesText(estimates, metropolis), "\n",
                       StatisticsText(response.statistics(), metropolis, std::nullopt)));
  }
  return CodeForQuality(response.statistics().quality(), options.draw.require_reliable);
}

absl::StatusOr<ExitCode> RunLogZ(const Globals& globals, const LogZOptions& options, const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const auto client, ConnectTo(globals));
  v1::EstimatePartitionFunctionRequest request;
  RETURN_IF_ERROR(Fill(*client, options.draw, &request));
  request.set_error(options.error);
  const uint64_t samples = options.error > 0 ? kMostLogZSamples : kDefaultLogZSamples;
  request.set_samples(options.draw.count > 0 ? options.draw.count : samples);

  StreamOptions stream;
  stream.stop = stop;
  v1::SampleHeader header;
  ProgressBar progress(globals.progress, "proposals", request.samples());
  auto result =
      client->EstimatePartitionFunction(request, stream, [&](const v1::EstimatePartitionFunctionResponse& response) {
        if (response.has_header()) header = response.header();
        if (options.error > 0 && response.log_z_error() > 0) {
          // The error falls as 1/sqrt(n): where it will be reached, at the next doubling.
          const double ratio = response.log_z_error() / options.error;
          const double needed = static_cast<double>(response.done()) * ratio * ratio;
          if (needed < static_cast<double>(request.samples())) progress.SetTotal(static_cast<uint64_t>(needed));
        }
        progress.SetRemark(ValueWithError(response.log_z(), response.log_z_error()));
        progress.Update(response.done());
        return true;
      });
  progress.Finish();
  if (!result.ok()) return Interrupted(result.status(), stop);
  const v1::EstimatePartitionFunctionResponse& response = *result;
  if (!response.final()) return absl::DataLossError("the server ended the call without a final estimate");

  LogZ log_z{response.log_z(), response.log_z_error(), std::nullopt};
  if (response.has_exact()) log_z.exact = response.exact();
  if (globals.json) {
    Json json = {
        {"run", HeaderJson(header)},
        {"proposals", response.done()},
        {"log_z", LogZJson(log_z)},
        {"mean_log_weight", {{"value", response.mean_log_weight()}, {"error", response.mean_log_weight_error()}}},
        {"quality", QualityJson(response.quality())}};
    if (options.error > 0) json["error_reached"] = response.error_reached();
    PrintJson(json);
  } else {
    v1::ChainStatistics statistics;
    *statistics.mutable_quality() = response.quality();
    std::string text =
        absl::StrCat(DescribeRun(header), "\n\n", StatisticsText(statistics, /*metropolis=*/false, log_z), "\n",
                     "E_q[log w] = ", ValueWithError(response.mean_log_weight(), response.mean_log_weight_error()),
                     " bounds log Z from below.\n");
    if (options.error > 0 && !response.error_reached()) {
      absl::StrAppend(&text, "The error asked for, ", Significant(options.error, 2), ", was not reached with ",
                      Grouped(response.done()), " proposals: give more with -n\n");
    }
    Print(text);
  }
  return CodeForQuality(response.quality(), options.draw.require_reliable);
}

}  // namespace haarflow
