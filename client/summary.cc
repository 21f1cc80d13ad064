#include "client/summary.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/action/target.h"
#include "core/exact/estimate.h"
#include "core/observable/observable.h"

namespace haarflow {

absl::Status RunColumns::Add(const SampleRow& row) {
  if (has_last_ && row.index == last_index_) {
    multiplicity_.back() += row.multiplicity;
    return absl::OkStatus();
  }
  has_last_ = true;
  last_index_ = row.index;
  multiplicity_.push_back(row.multiplicity);
  log_weight_.push_back(row.log_weight);
  observables_.resize(row.observables.size());
  for (size_t k = 0; k < observables_.size(); ++k) observables_[k].push_back(row.observables[k]);
  return absl::OkStatus();
}

std::vector<v1::Estimate> EstimateObservables(const v1::SampleHeader& header, const RunColumns& columns) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const bool target_ok = ValidateTarget(header.target()).ok();
  std::vector<v1::Estimate> out;
  for (int k = 0; k < header.observables_size() && k < columns.observables().size(); ++k) {
    const std::vector<double>& values = columns.observables()[k];
    v1::Estimate estimate;
    estimate.set_observable(header.observables(k));
    estimate.set_value(kNan);
    estimate.set_error(kNan);
    if (IsMetropolis(header)) {
      const std::vector<double> chain = ExpandChain(values, columns.multiplicity());
      const auto gamma = GammaMethod(chain);
      if (gamma.ok()) {
        estimate.set_value(gamma->mean);
        estimate.set_error(gamma->error);
        estimate.set_tau_int(gamma->tau_int);
        estimate.set_tau_int_error(gamma->tau_int_error);
      } else if (!chain.empty()) {
        double sum = 0;
        for (const double value : chain) sum += value;
        estimate.set_value(sum / static_cast<double>(chain.size()));
      }
    } else if (const auto mean = WeightedMean(values, columns.log_weight()); mean.ok()) {
      estimate.set_value(mean->mean);
      estimate.set_error(mean->error);
    }
    if (target_ok) {
      if (const auto exact = ExactExpectation(header.target(), estimate.observable())) estimate.set_exact(*exact);
    }
    out.push_back(std::move(estimate));
  }
  return out;
}

namespace {

std::optional<double> ExactOf(const v1::Estimate& estimate) {
  return estimate.has_exact() ? std::optional<double>(estimate.exact()) : std::nullopt;
}

// The exact value with a few digits more than the error can see.
std::string ExactText(const std::optional<double>& exact, double error) {
  if (!exact.has_value()) return "-";
  if (!IsStatistical(*exact, error)) return Significant(*exact, 13);
  const int decimals = std::min(12, std::max(2, 3 - static_cast<int>(std::floor(std::log10(error)))));
  return absl::StrFormat("%.*f", decimals, *exact);
}

}  // namespace

std::string EstimatesText(const std::vector<v1::Estimate>& estimates, bool metropolis, const std::string& what) {
  if (estimates.empty()) return "";
  std::vector<std::vector<std::string>> rows = {{what, "value", "exact", "pull"}};
  if (metropolis) rows[0].push_back("tau_int");
  for (const v1::Estimate& estimate : estimates) {
    std::vector<std::string> row = {estimate.observable(), ValueWithError(estimate.value(), estimate.error()),
                                    ExactText(ExactOf(estimate), estimate.error()),
                                    Pull(estimate.value(), estimate.error(), ExactOf(estimate))};
    if (metropolis) row.push_back(ValueWithError(estimate.tau_int(), estimate.tau_int_error()));
    rows.push_back(std::move(row));
  }
  return Table(rows, {false, true, true, true, true});
}

Json EstimatesJson(const std::vector<v1::Estimate>& estimates, bool metropolis) {
  Json list = Json::array();
  for (const v1::Estimate& estimate : estimates) {
    Json json = {{"observable", estimate.observable()}, {"value", estimate.value()}, {"error", estimate.error()}};
    if (metropolis) {
      json["tau_int"] = estimate.tau_int();
      json["tau_int_error"] = estimate.tau_int_error();
    }
    if (estimate.has_exact()) {
      json["exact"] = estimate.exact();
      if (IsStatistical(estimate.value(), estimate.error()))
        json["pull"] = (estimate.value() - estimate.exact()) / estimate.error();
    }
    list.push_back(std::move(json));
  }
  return list;
}

Json LogZJson(const LogZ& log_z) {
  Json json = {{"value", log_z.value}, {"error", log_z.error}};
  if (log_z.exact.has_value()) {
    json["exact"] = *log_z.exact;
    if (IsStatistical(log_z.value, log_z.error)) json["pull"] = (log_z.value - *log_z.exact) / log_z.error;
  }
  return json;
}

LogZ LogZOf(const v1::EstimatePartitionFunctionResponse& response) {
  LogZ log_z{response.log_z(), response.log_z_error(), std::nullopt};
  if (response.has_exact()) log_z.exact = response.exact();
  return log_z;
}

std::string BoundsText(const v1::EstimatePartitionFunctionResponse& response) {
  const v1::Thermodynamics& thermodynamics = response.thermodynamics();
  return absl::StrCat(
      "E_q[log w] = ", ValueWithError(response.mean_log_weight(), response.mean_log_weight_error()),
      " <= log Z <= E_p[log w] = ",
      ValueWithError(thermodynamics.mean_log_weight_target(), thermodynamics.mean_log_weight_target_error()),
      "\nThe bias of log mean w, about ", Significant(response.bias(), 2), ", is corrected for.\n");
}

Json BoundsJson(const v1::EstimatePartitionFunctionResponse& response) {
  const v1::Thermodynamics& thermodynamics = response.thermodynamics();
  return {
      {"mean_log_weight", {{"value", response.mean_log_weight()}, {"error", response.mean_log_weight_error()}}},
      {"mean_log_weight_target",
       {{"value", thermodynamics.mean_log_weight_target()}, {"error", thermodynamics.mean_log_weight_target_error()}}},
      {"bias", response.bias()}};
}

std::string ErrorReachedText(const v1::EstimatePartitionFunctionResponse& response, double error) {
  if (error == 0 || response.error_reached()) return "";
  return absl::StrCat("The error asked for, ", Significant(error, 2), ", was not reached with ",
                      Grouped(response.done()), " proposals: give more with -n\n");
}

std::string StatisticsText(const v1::ChainStatistics& statistics, bool metropolis, const std::optional<LogZ>& log_z) {
  const v1::EnsembleQuality& quality = statistics.quality();
  std::vector<std::vector<std::string>> rows;
  if (log_z.has_value()) {
    std::string text = ValueWithError(log_z->value, log_z->error);
    if (log_z->exact.has_value()) {
      absl::StrAppend(&text, "   exact ", ExactText(log_z->exact, log_z->error), "   pull ",
                      Pull(log_z->value, log_z->error, log_z->exact));
    }
    rows.push_back({"log Z", text});
  }
  if (metropolis && statistics.proposals() > 0) {
    rows.push_back(
        {"acceptance", absl::StrCat(Percent(quality.acceptance()), " of ", Grouped(statistics.proposals()),
                                    " proposals, longest rejection run ", Grouped(quality.longest_rejection_run()))});
  }
  rows.push_back(
      {"ESS", absl::StrCat(Percent(quality.ess()), " over ", Grouped(quality.samples()), " proposals, largest weight ",
                           Significant(100 * quality.max_weight_share(), 2), " % of the sum")});
  rows.push_back({"reliable", ReliableText(quality)});
  return Table(rows, {false, false});
}

}  // namespace haarflow
