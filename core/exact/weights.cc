#include "core/exact/weights.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"

namespace haarflow {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
constexpr double kMinEffectiveSamples = 1000;
constexpr double kMaxWeightShare = 0.01;
constexpr double kMaxOddSigma = 6;
// n equal weights have ESS x n = n up to the rounding of two logarithms: that must not decide at the boundary.
constexpr double kRoundingSlack = 1e-9;

// The first condition of the `reliable` rule that fails, with its numbers; empty when all hold.
std::string WhyUnreliable(const WeightStatistics& weights) {
  const double effective = weights.Ess() * static_cast<double>(weights.samples());
  if (!(effective >= kMinEffectiveSamples * (1 - kRoundingSlack))) {
    return absl::StrCat("ESS x n = ", effective, " is below ", kMinEffectiveSamples, " (ESS ", weights.Ess(), ", n ",
                        weights.samples(), ")");
  }
  const double share = weights.MaxWeightShare();
  if (!(share <= kMaxWeightShare * (1 + kRoundingSlack))) {
    return absl::StrCat("the largest weight is ", 100 * share, " % of the sum, more than ", 100 * kMaxWeightShare,
                        " %");
  }
  const uint64_t invalid = weights.sums().invalid_weights;
  if (invalid > 0) {
    return absl::StrCat(invalid, invalid == 1 ? " weight was" : " weights were", " NaN or +inf");
  }
  // Signs whose mean is 0: the weighted mean of n of them has the variance sum w^2 / (sum w)^2. After a resume, what
  // earlier parts saw counts as balanced: that can hide a defect for a while, never make one up.
  const double odd = weights.sums().odd_mean;
  const double sigma = std::abs(odd) * std::sqrt(effective);
  if (sigma > kMaxOddSigma) {
    return absl::StrCat("a Z2-odd observable is off: the model misses a mode (a sign that averages to 0 has mean ", odd,
                        ", ", sigma, " sigma away)");
  }
  return "";
}

}  // namespace

double LogAddExp(double a, double b) {
  const double high = std::max(a, b);
  const double low = std::min(a, b);
  if (std::isnan(a) || std::isnan(b)) return std::numeric_limits<double>::quiet_NaN();
  // Covers (-inf, -inf) and +inf, where high - low would be NaN.
  if (std::isinf(high)) return high;
  return high + std::log1p(std::exp(low - high));
}

void WeightStatistics::Add(double log_weight, double odd) {
  if (std::isnan(log_weight) || log_weight == std::numeric_limits<double>::infinity()) {
    ++sums_.invalid_weights;
    return;
  }
  if (log_weight == kMinusInfinity) {
    ++sums_.zero_weights;
    return;
  }
  ++sums_.finite;
  const double log_sum_before = sums_.log_sum;
  sums_.log_sum = LogAddExp(sums_.log_sum, log_weight);
  if (odd != 0 || sums_.odd_mean != 0) {
    sums_.odd_mean =
        sums_.odd_mean * std::exp(log_sum_before - sums_.log_sum) + odd * std::exp(log_weight - sums_.log_sum);
  }
  sums_.log_sum_squared = LogAddExp(sums_.log_sum_squared, 2 * log_weight);
  sums_.max = std::max(sums_.max, log_weight);
  sums_.sum_log += log_weight;
  sums_.sum_squared_log += log_weight * log_weight;
}

double WeightStatistics::Ess() const {
  if (sums_.finite == 0) return 0;
  const double ess = std::exp(2 * sums_.log_sum - sums_.log_sum_squared) / static_cast<double>(samples());
  return std::isnan(ess) ? 0 : std::min(ess, 1.0);
}

double WeightStatistics::MaxWeightShare() const {
  if (sums_.finite == 0) return 0;
  return std::min(std::exp(sums_.max - sums_.log_sum), 1.0);
}

double WeightStatistics::LogZ() const {
  if (samples() == 0) return kMinusInfinity;
  return sums_.log_sum - std::log(static_cast<double>(samples()));
}

double WeightStatistics::LogZError() const {
  const double ess = Ess();
  if (ess == 0) return std::numeric_limits<double>::infinity();
  return std::sqrt((1 / ess - 1) / static_cast<double>(samples()));
}

double WeightStatistics::MeanLogWeight() const {
  if (sums_.finite == 0 || sums_.zero_weights > 0) return kMinusInfinity;
  return sums_.sum_log / static_cast<double>(sums_.finite);
}

v1::EnsembleQuality WeightStatistics::Quality() const {
  v1::EnsembleQuality quality;
  quality.set_samples(samples());
  quality.set_ess(Ess());
  quality.set_max_weight_share(MaxWeightShare());
  quality.set_zero_weights(sums_.zero_weights);
  quality.set_invalid_weights(sums_.invalid_weights);
  quality.set_unreliable_reason(WhyUnreliable(*this));
  quality.set_reliable(quality.unreliable_reason().empty());
  return quality;
}

}  // namespace haarflow
