// Weight sums against brute force, and the rule that says whether an answer is reliable.
#include "core/exact/weights.h"

#include <cmath>
#include <random>
#include <vector>

#include "core/exact/estimate.h"
#include "gtest/gtest.h"

namespace haarflow {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
const double kNan = std::nan("");

WeightStatistics Of(const std::vector<double>& log_weights) {
  WeightStatistics weights;
  for (double w : log_weights) weights.Add(w);
  return weights;
}

TEST(LogAddExp, IsExactForInfinitiesAndDoesNotOverflow) {
  EXPECT_EQ(LogAddExp(-kInf, -kInf), -kInf);
  EXPECT_EQ(LogAddExp(-kInf, 3.5), 3.5);
  EXPECT_EQ(LogAddExp(3.5, -kInf), 3.5);
  EXPECT_EQ(LogAddExp(kInf, 1), kInf);
  EXPECT_EQ(LogAddExp(kInf, -kInf), kInf);
  EXPECT_EQ(LogAddExp(kInf, kInf), kInf);
  EXPECT_TRUE(std::isnan(LogAddExp(kNan, 0)));
  EXPECT_DOUBLE_EQ(LogAddExp(1e4, 1e4), 1e4 + std::log(2.0));
  EXPECT_DOUBLE_EQ(LogAddExp(-1e4, -1e4 - 1), -1e4 + std::log1p(std::exp(-1.0)));
  EXPECT_DOUBLE_EQ(LogAddExp(std::log(0.25), std::log(0.5)), std::log(0.75));
}

TEST(PartitionEstimator, TheErrorOfTheEssIsTheJackknifes) {
  std::mt19937_64 random(3);
  std::normal_distribution<double> normal;
  const size_t n = 4096;
  const size_t bins = PartitionEstimator::kBins;
  std::vector<double> log_weights(n);
  for (double& w : log_weights) w = normal(random) + 1000;
  PartitionEstimator estimator;
  for (double w : log_weights) estimator.Add(w);
  double sum = 0, squares = 0;
  for (size_t bin = 0; bin < bins; ++bin) {
    WeightStatistics rest;
    for (size_t i = 0; i < n; ++i) {
      if (i % bins != bin) rest.Add(log_weights[i]);
    }
    sum += rest.Ess();
    squares += rest.Ess() * rest.Ess();
  }
  const double b = static_cast<double>(bins);
  const double expected = std::sqrt((b - 1) * (squares / b - sum * sum / (b * b)));
  EXPECT_NEAR(estimator.EssError(), expected, 1e-6 * expected);
  PartitionEstimator few;
  for (size_t i = 0; i < 2 * bins - 1; ++i) few.Add(log_weights[i]);
  EXPECT_EQ(few.EssError(), kInf);
}

TEST(WeightStatistics, AgreesWithBruteForceAtAnyOffset) {
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  for (double offset : {0.0, 2000.0, -2000.0}) {
    std::vector<double> log_weights(5000);
    for (double& w : log_weights) w = normal(random);
    long double sum = 0, squares = 0, logs = 0, max = 0;
    for (double w : log_weights) {
      const long double x = std::exp(static_cast<long double>(w));
      sum += x;
      squares += x * x;
      logs += w;
      max = std::max(max, x);
    }
    const long double n = log_weights.size();
    for (double& w : log_weights) w += offset;
    const WeightStatistics weights = Of(log_weights);
    EXPECT_NEAR(weights.Ess(), static_cast<double>(sum * sum / (n * squares)), 1e-11);
    EXPECT_NEAR(weights.MaxWeightShare(), static_cast<double>(max / sum), 1e-11);
    EXPECT_NEAR(weights.LogZ(), static_cast<double>(std::log(sum / n)) + offset, 1e-10);
    EXPECT_NEAR(weights.LogZError(), static_cast<double>(std::sqrt((squares * n / (sum * sum) - 1) / n)), 1e-11);
    EXPECT_NEAR(weights.MeanLogWeight(), static_cast<double>(logs / n) + offset, 1e-10);
    EXPECT_EQ(weights.samples(), 5000u);
  }
}

TEST(WeightStatistics, ZeroWeightsCountAsSamplesAndInvalidOnesDoNot) {
  const WeightStatistics weights = Of({0, -kInf, kNan, 0, kInf, -kInf});
  EXPECT_EQ(weights.samples(), 4u);
  EXPECT_EQ(weights.sums().finite, 2u);
  EXPECT_EQ(weights.sums().zero_weights, 2u);
  EXPECT_EQ(weights.sums().invalid_weights, 2u);
  EXPECT_DOUBLE_EQ(weights.Ess(), 0.5);
  EXPECT_DOUBLE_EQ(weights.LogZ(), std::log(0.5));
  EXPECT_EQ(weights.MeanLogWeight(), -kInf);
}

TEST(WeightStatistics, WithoutAFiniteWeightNothingIsClaimed) {
  for (const WeightStatistics& weights : {WeightStatistics(), Of({-kInf, -kInf}), Of({kNan, kInf})}) {
    EXPECT_EQ(weights.Ess(), 0);
    EXPECT_EQ(weights.MaxWeightShare(), 0);
    EXPECT_EQ(weights.LogZ(), -kInf);
    EXPECT_EQ(weights.LogZError(), kInf);
    EXPECT_EQ(weights.MeanLogWeight(), -kInf);
    EXPECT_FALSE(weights.Quality().reliable());
  }
}

std::vector<double> Equal(int n) { return std::vector<double>(n, -123.456); }

TEST(WeightStatistics, ReliabilityFollowsItsRule) {
  struct Case {
    const char* what;
    std::vector<double> log_weights;
    std::string reason;  // begins with; empty when reliable
  };
  std::vector<double> heavy = Equal(3000);
  heavy.push_back(-123.456 + std::log(40.0));  // 40/3040 = 1.3 % of the sum, ESS x n = 2008
  std::vector<double> below = Equal(3000);
  below.push_back(-123.456 + std::log(30.0));  // 30/3030 = 0.99 %
  std::vector<double> invalid = Equal(3000);
  invalid.push_back(kNan);
  std::vector<double> infinite = Equal(3000);
  infinite.push_back(kInf);
  std::vector<double> zeros = Equal(1000);
  zeros.resize(100000, -kInf);
  for (const Case& c :
       {Case{"nothing", {}, "ESS x n"}, Case{"999 equal weights", Equal(999), "ESS x n"},
        Case{"1000 equal weights", Equal(1000), ""}, Case{"one heavy weight", heavy, "the largest weight"},
        Case{"one weight just below", below, ""}, Case{"NaN", invalid, "1 weight was NaN"},
        Case{"+inf", infinite, "1 weight was NaN"}, Case{"zero weights", zeros, ""}}) {
    const v1::EnsembleQuality quality = Of(c.log_weights).Quality();
    EXPECT_EQ(quality.reliable(), c.reason.empty()) << c.what;
    EXPECT_EQ(quality.unreliable_reason().substr(0, c.reason.size()), c.reason) << c.what;
    EXPECT_EQ(quality.unreliable_reason().empty(), c.reason.empty()) << c.what;
    EXPECT_EQ(quality.samples() + quality.invalid_weights(), c.log_weights.size()) << c.what;
  }
}

}  // namespace
}  // namespace haarflow
