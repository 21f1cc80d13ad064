// haarflow thermo: free energies, at one point or along a parameter.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "client/commands.h"
#include "client/requests.h"
#include "client/summary.h"
#include "core/action/target.h"
#include "core/base/status.h"
#include "core/exact/thermodynamics.h"
#include "core/observable/observable.h"

namespace haarflow {
namespace {

std::string DerivativeName(const std::string& parameter) { return absl::StrCat("d log Z / d ", parameter); }

// One number of an answer: its key in JSON, and its name for people within the estimate.
struct Quantity {
  std::string key;
  v1::Estimate estimate;
};
Quantity MakeQuantity(const std::string& key, const std::string& name, double value, double error,
                      std::optional<double> exact) {
  Quantity quantity{.key = key};
  quantity.estimate.set_observable(name);
  quantity.estimate.set_value(value);
  quantity.estimate.set_error(error);
  if (exact.has_value()) quantity.estimate.set_exact(*exact);
  return quantity;
}

// All but the derivatives.
std::vector<Quantity> QuantitiesOf(const PartitionRun& run) {
  const v1::EstimatePartitionFunctionResponse& response = run.result;
  const v1::Thermodynamics& t = response.thermodynamics();
  double volume = 1;
  for (const uint32_t extent : run.header.target().lattice().shape()) volume *= extent;
  std::optional<double> log_z, free_energy, pressure, entropy;
  const std::optional<double> action = ExactExpectation(run.header.target(), "action");
  if (response.has_exact()) {
    log_z = response.exact();
    pressure = *log_z / volume;
    free_energy = -*pressure;
    if (action.has_value()) entropy = (*log_z + *action) / volume;
  }
  return {MakeQuantity("log_z", "log Z", response.log_z(), response.log_z_error(), log_z),
          MakeQuantity("free_energy_density", "free energy / V", t.free_energy_density(), t.free_energy_density_error(),
                       free_energy),
          MakeQuantity("pressure", "pressure", t.pressure(), t.pressure_error(), pressure),
          MakeQuantity("mean_action", "<S>", t.mean_action(), t.mean_action_error(), action),
          MakeQuantity("entropy_density", "entropy / V", t.entropy_density(), t.entropy_density_error(), entropy)};
}

Json ValueJson(const v1::Estimate& estimate) {
  LogZ value{estimate.value(), estimate.error(), std::nullopt};
  if (estimate.has_exact()) value.exact = estimate.exact();
  return LogZJson(value);
}

Json RunJson(const PartitionRun& run) {
  Json json = {{"run", HeaderJson(run.header)}, {"proposals", run.result.done()}};
  for (const Quantity& quantity : QuantitiesOf(run)) json[quantity.key] = ValueJson(quantity.estimate);
  for (const v1::Estimate& derivative : run.result.thermodynamics().derivatives()) {
    json["derivatives"][derivative.observable()] = ValueJson(derivative);
  }
  json.update(BoundsJson(run.result));
  json["quality"] = QualityJson(run.result.quality());
  return json;
}

std::string RunText(const PartitionRun& run, double error) {
  v1::ChainStatistics statistics;
  *statistics.mutable_quality() = run.result.quality();
  std::vector<v1::Estimate> quantities;
  for (const Quantity& quantity : QuantitiesOf(run)) quantities.push_back(quantity.estimate);
  for (v1::Estimate derivative : run.result.thermodynamics().derivatives()) {
    derivative.set_observable(DerivativeName(derivative.observable()));
    quantities.push_back(std::move(derivative));
  }
  return absl::StrCat(DescribeRun(run.header), "\n\n", EstimatesText(quantities, /*metropolis=*/false, "quantity"),
                      "\n", BoundsText(run.result), "\n",
                      StatisticsText(statistics, /*metropolis=*/false, std::nullopt),
                      ErrorReachedText(run.result, error));
}

// ---------------------------------------------------------------------------------------------------------------- scan

const v1::Estimate* DerivativeBy(const PartitionRun& run, const std::string& parameter) {
  for (const v1::Estimate& derivative : run.result.thermodynamics().derivatives()) {
    if (derivative.observable() == parameter) return &derivative;
  }
  return nullptr;
}

// log Z at the last point minus log Z at the first, twice: from log Z, and by thermodynamic integration.
struct Consistency {
  double difference = 0;
  double difference_error = 0;
  GridIntegral integral;
  double integral_error = 0;
  double pull = 0;
};

// Nothing where there are too few points, or errors are not known.
std::optional<Consistency> ConsistencyOf(const ScanSetting& scan, const std::vector<PartitionRun>& runs) {
  std::vector<double> derivative;
  for (const PartitionRun& run : runs) derivative.push_back(DerivativeBy(run, scan.name)->value());
  const auto integral = IntegrateGrid(scan.spacing(), derivative);
  if (!integral.ok()) return std::nullopt;
  Consistency c{.integral = *integral};
  const v1::EstimatePartitionFunctionResponse& first = runs.front().result;
  const v1::EstimatePartitionFunctionResponse& last = runs.back().result;
  c.difference = last.log_z() - first.log_z();
  c.difference_error = std::hypot(first.log_z_error(), last.log_z_error());
  double both = c.integral.truncation * c.integral.truncation;
  for (size_t i = 0; i < runs.size(); ++i) {
    const double error = std::abs(c.integral.weight[i]) * DerivativeBy(runs[i], scan.name)->error();
    c.integral_error = std::hypot(c.integral_error, error);
    // At the ends log Z and its derivative come from the same proposals: their errors add up at worst.
    const bool end = i == 0 || i + 1 == runs.size();
    both += std::pow(error + (end ? runs[i].result.log_z_error() : 0), 2);
  }
  if (!(both > 0) || !std::isfinite(both)) return std::nullopt;
  c.pull = (c.difference - c.integral.value) / std::sqrt(both);
  return c;
}

std::string ConsistencyText(const ScanSetting& scan, const Consistency& c) {
  return absl::StrCat("\nlog Z(", Significant(scan.to, 6), ") - log Z(", Significant(scan.from, 6),
                      ") = ", ValueWithError(c.difference, c.difference_error), "; the integral of ",
                      DerivativeName(scan.name), " is ", ValueWithError(c.integral.value, c.integral_error),
                      ", exact to about ", Significant(c.integral.truncation, 1), " (pull ", Pull(c.pull, 1, 0), ")\n");
}

Json ConsistencyJson(const Consistency& c) {
  return {
      {"log_z_difference", {{"value", c.difference}, {"error", c.difference_error}}},
      {"integral", {{"value", c.integral.value}, {"error", c.integral_error}, {"truncation", c.integral.truncation}}},
      {"pull", c.pull}};
}

std::string ScanText(const ScanSetting& scan, const std::vector<PartitionRun>& runs) {
  std::vector<std::vector<std::string>> rows = {
      {scan.name, "log Z", "free energy / V", "entropy / V", DerivativeName(scan.name), "ESS", "reliable"}};
  std::string reasons;
  for (size_t i = 0; i < runs.size(); ++i) {
    const v1::EstimatePartitionFunctionResponse& r = runs[i].result;
    const v1::Thermodynamics& t = r.thermodynamics();
    const v1::Estimate& derivative = *DerivativeBy(runs[i], scan.name);
    const std::string value = Significant(scan.value(static_cast<int>(i)), 6);
    rows.push_back({value, ValueWithError(r.log_z(), r.log_z_error()),
                    ValueWithError(t.free_energy_density(), t.free_energy_density_error()),
                    ValueWithError(t.entropy_density(), t.entropy_density_error()),
                    ValueWithError(derivative.value(), derivative.error()), Percent(r.quality().ess()),
                    r.quality().reliable() ? "yes" : "no"});
    if (!r.quality().reliable()) {
      absl::StrAppend(&reasons, scan.name, " = ", value, " is not reliable: ", r.quality().unreliable_reason(), "\n");
    }
  }
  return Table(rows, {true, true, true, true, true, true, false}) + (reasons.empty() ? "" : "\n" + reasons);
}

absl::StatusOr<std::vector<PartitionRun>> RunScan(const Globals& globals, const Client& client,
                                                  const ThermoOptions& options, const std::stop_token& stop) {
  const ScanSetting& scan = *options.scan;
  ASSIGN_OR_RETURN(const v1::Target target, TargetOf(client, options.log_z.draw));
  ASSIGN_OR_RETURN(v1::EstimatePartitionFunctionRequest request, PartitionRequest(client, options.log_z));
  std::vector<PartitionRun> runs;
  for (int i = 0; i < scan.points; ++i) {
    ASSIGN_OR_RETURN(*request.mutable_target(), WithSettings(target, {{scan.name, scan.value(i)}}));
    // Points are independent of each other.
    if (options.log_z.draw.seed.has_value()) request.set_seed(*options.log_z.draw.seed + static_cast<uint64_t>(i));
    const std::string remark = absl::StrCat(scan.name, " = ", Significant(scan.value(i), 6), ": ");
    ASSIGN_OR_RETURN(PartitionRun run, EstimatePartition(globals, client, request, remark, stop));
    if (DerivativeBy(run, scan.name) == nullptr) {
      return absl::DataLossError(absl::StrCat("the server sent no derivative by ", scan.name));
    }
    runs.push_back(std::move(run));
  }
  return runs;
}

absl::StatusOr<ExitCode> RunThermoScan(const Globals& globals, const Client& client, const ThermoOptions& options,
                                       const std::stop_token& stop) {
  const ScanSetting& scan = *options.scan;
  ASSIGN_OR_RETURN(const std::vector<PartitionRun> runs, RunScan(globals, client, options, stop));
  const std::optional<Consistency> consistency = ConsistencyOf(scan, runs);
  ExitCode code = kExitOk;
  for (const PartitionRun& run : runs) {
    if (code == kExitOk) code = CodeForQuality(run.result.quality(), options.log_z.draw.require_reliable);
  }
  if (globals.json) {
    Json points = Json::array();
    for (size_t i = 0; i < runs.size(); ++i) {
      Json point = {{scan.name, scan.value(static_cast<int>(i))}};
      point.update(RunJson(runs[i]));
      points.push_back(std::move(point));
    }
    Json json = {{"scan", scan.name}, {"points", std::move(points)}};
    if (consistency.has_value()) json["consistency"] = ConsistencyJson(*consistency);
    PrintJson(json);
    return code;
  }
  Print(absl::StrCat(DescribeRun(runs.front().header), " and ", runs.size() - 1, " further points, ",
                     Grouped(runs.front().result.done()), " proposals at the first\n\n", ScanText(scan, runs),
                     consistency.has_value() ? ConsistencyText(scan, *consistency) : ""));
  return code;
}

}  // namespace

absl::StatusOr<ExitCode> RunThermo(const Globals& globals, const ThermoOptions& options, const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const auto client, ConnectTo(globals));
  if (options.scan.has_value()) return RunThermoScan(globals, *client, options, stop);
  ASSIGN_OR_RETURN(const v1::EstimatePartitionFunctionRequest request, PartitionRequest(*client, options.log_z));
  ASSIGN_OR_RETURN(const PartitionRun run, EstimatePartition(globals, *client, request, "", stop));
  if (globals.json) {
    PrintJson(RunJson(run));
  } else {
    Print(RunText(run, options.log_z.error));
  }
  return CodeForQuality(run.result.quality(), options.log_z.draw.require_reliable);
}

}  // namespace haarflow
