// haarflow measure, haarflow logz: estimates computed where the fields are.
#include "absl/strings/str_cat.h"
#include "client/commands.h"
#include "client/progress.h"
#include "client/requests.h"
#include "client/summary.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

constexpr uint64_t kDefaultMeasureSteps = 10000;

}  // namespace

absl::StatusOr<ExitCode> RunMeasure(const Globals& globals, const MeasureOptions& options,
                                    const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const auto client, ConnectTo(globals));
  v1::MeasureRequest request;
  RETURN_IF_ERROR(FillDraw(*client, options.draw, &request));
  request.set_count(options.draw.count > 0 ? options.draw.count : kDefaultMeasureSteps);
  request.set_mode(options.mode);
  if (options.burn_in.has_value()) request.set_burn_in(*options.burn_in);
  std::vector<std::string> observables = options.observables;
  if (observables.empty()) {
    ASSIGN_OR_RETURN(const v1::Target target, TargetOf(*client, options.draw));
    observables = DefaultMeasurements(target);
  }
  for (const std::string& name : observables) request.add_observables(name);

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
  ASSIGN_OR_RETURN(const v1::EstimatePartitionFunctionRequest request, PartitionRequest(*client, options));
  ASSIGN_OR_RETURN(const PartitionRun run, EstimatePartition(globals, *client, request, "", stop));
  const v1::EstimatePartitionFunctionResponse& response = run.result;
  const LogZ log_z = LogZOf(response);
  if (globals.json) {
    Json json = {{"run", HeaderJson(run.header)},
                 {"proposals", response.done()},
                 {"log_z", LogZJson(log_z)},
                 {"quality", QualityJson(response.quality())}};
    json.update(BoundsJson(response));
    if (options.error > 0) json["error_reached"] = response.error_reached();
    PrintJson(json);
  } else {
    v1::ChainStatistics statistics;
    *statistics.mutable_quality() = response.quality();
    Print(absl::StrCat(DescribeRun(run.header), "\n\n", StatisticsText(statistics, /*metropolis=*/false, log_z), "\n",
                       BoundsText(response), ErrorReachedText(response, options.error)));
  }
  return CodeForQuality(response.quality(), options.draw.require_reliable);
}

}  // namespace haarflow
