#include "core/exact/thermodynamics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "core/base/status.h"
#include "core/exact/jackknife.h"

namespace haarflow {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr size_t kLogZ = 0, kLogWeight = 1, kAction = 2, kFirstDerivative = 3;  // of Means(), one more than of moments

}  // namespace

ThermodynamicsEstimator::ThermodynamicsEstimator(int64_t volume, std::vector<std::string> parameters)
    : volume_(static_cast<double>(volume)), parameters_(std::move(parameters)), bin_(kBins, Zero()) {}

ThermodynamicsEstimator::Sums ThermodynamicsEstimator::Zero() const {
  return {.moment = std::vector<double>(2 + parameters_.size(), 0.0)};
}

void ThermodynamicsEstimator::Add(double log_weight, double action, absl::Span<const double> derivatives) {
  if (std::isnan(log_weight) || log_weight == kInfinity) return;
  Sums& sums = bin_[next_bin_];
  next_bin_ = (next_bin_ + 1) % kBins;
  ++sums.samples;
  if (log_weight == -kInfinity) return;
  row_.assign({log_weight, log_weight, action});
  row_.insert(row_.end(), derivatives.begin(), derivatives.end());
  if (reference_.empty()) reference_ = row_;
  if (sums.weight == 0 || log_weight > sums.log_scale) {
    const double shrink = sums.weight == 0 ? 0 : std::exp(sums.log_scale - log_weight);
    sums.weight *= shrink;
    for (double& moment : sums.moment) moment *= shrink;
    sums.log_scale = log_weight;
  }
  const double weight = std::exp(log_weight - sums.log_scale);
  sums.weight += weight;
  for (size_t k = 0; k < sums.moment.size(); ++k) sums.moment[k] += weight * (row_[k + 1] - reference_[k + 1]);
}

ThermodynamicsEstimator::Sums ThermodynamicsEstimator::Combine(const Sums& a, const Sums& b) {
  if (a.weight == 0 || b.weight == 0) {
    Sums sum = a.weight == 0 ? b : a;
    sum.samples = a.samples + b.samples;
    return sum;
  }
  const Sums& high = a.log_scale >= b.log_scale ? a : b;
  const Sums& low = a.log_scale >= b.log_scale ? b : a;
  const double shrink = std::exp(low.log_scale - high.log_scale);
  Sums sum = high;
  sum.samples += low.samples;
  sum.weight += shrink * low.weight;
  for (size_t k = 0; k < sum.moment.size(); ++k) sum.moment[k] += shrink * low.moment[k];
  return sum;
}

std::vector<double> ThermodynamicsEstimator::Means(const Sums& sums) const {
  if (reference_.empty()) return std::vector<double>(1 + sums.moment.size(), std::nan(""));
  std::vector<double> means = {sums.log_scale - reference_[kLogZ] +
                               std::log(sums.weight / static_cast<double>(sums.samples))};
  for (const double moment : sums.moment) means.push_back(moment / sums.weight);
  return means;
}

v1::Thermodynamics ThermodynamicsEstimator::Result() const {
  const Sums all = std::accumulate(bin_.begin(), bin_.end(), Zero(), Combine);
  const std::vector<double> means = Means(all);
  std::vector<std::vector<double>> leave_out;
  for (const Sums& sums : LeaveOneOut(bin_, Zero(), Combine)) leave_out.push_back(Means(sums));
  const std::vector<double> reference = reference_.empty() ? means : reference_;
  // The jackknife of sum_k coefficient[k] means[k].
  const auto estimate = [&](std::initializer_list<std::pair<size_t, double>> coefficients) {
    const auto value = [&](const std::vector<double>& of) {
      double sum = 0;
      for (const auto& [k, coefficient] : coefficients) sum += coefficient * of[k];
      return sum;
    };
    if (all.samples < 2 * kBins) return Jackknife{value(means) + value(reference), kInfinity};
    std::vector<double> values;
    for (const std::vector<double>& of : leave_out) values.push_back(value(of));
    Jackknife jackknife = JackknifeOf(value(means), values);
    jackknife.corrected += value(reference);
    return jackknife;
  };
  v1::Thermodynamics result;
  const Jackknife bound = estimate({{kLogWeight, 1}});
  result.set_mean_log_weight_target(bound.corrected);
  result.set_mean_log_weight_target_error(bound.error);
  const Jackknife pressure = estimate({{kLogZ, 1 / volume_}});
  result.set_free_energy_density(-pressure.corrected);
  result.set_free_energy_density_error(pressure.error);
  result.set_pressure(pressure.corrected);
  result.set_pressure_error(pressure.error);
  const Jackknife action = estimate({{kAction, 1}});
  result.set_mean_action(action.corrected);
  result.set_mean_action_error(action.error);
  const Jackknife entropy = estimate({{kLogZ, 1 / volume_}, {kAction, 1 / volume_}});
  result.set_entropy_density(entropy.corrected);
  result.set_entropy_density_error(entropy.error);
  for (size_t k = 0; k < parameters_.size(); ++k) {
    const Jackknife derivative = estimate({{kFirstDerivative + k, -1}});
    v1::Estimate* out = result.add_derivatives();
    out->set_observable(parameters_[k]);
    out->set_value(derivative.corrected);
    out->set_error(derivative.error);
  }
  return result;
}

absl::StatusOr<GridIntegral> IntegrateGrid(double spacing, absl::Span<const double> function) {
  constexpr std::array<double, 3> kFourthOrder = {3. / 8, 7. / 6, 23. / 24};
  constexpr std::array<double, 3> kThirdOrder = {5. / 12, 13. / 12, 1};
  const size_t n = function.size();
  if (n < 2 * kFourthOrder.size()) {
    return absl::InvalidArgumentError(absl::StrCat("integral over ", n, " points; at least 6 are needed"));
  }
  GridIntegral integral;
  for (size_t i = 0; i < n; ++i) {
    const size_t from_end = std::min(i, n - 1 - i);
    const bool end = from_end < kFourthOrder.size();
    const double weight = spacing * (end ? kFourthOrder[from_end] : 1);
    const double lower = spacing * (end ? kThirdOrder[from_end] : 1);
    integral.weight.push_back(weight);
    integral.value += weight * function[i];
    integral.truncation += (weight - lower) * function[i];
  }
  integral.truncation = std::abs(integral.truncation);
  return integral;
}

}  // namespace haarflow
