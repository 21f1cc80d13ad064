// A flow that misses a mode looks perfect to its own weights; the sign of an observable that averages to 0 tells.
#include <cmath>
#include <random>
#include <string>

#include "core/exact/weights.h"
#include "gtest/gtest.h"

namespace haarflow {
namespace {

TEST(WeightStatistics, AMissedModeIsUnreliableAndABalancedOneIsNot) {
  // q has the mode + alone; its weights look perfect.
  WeightStatistics missed, balanced, few;
  std::mt19937_64 random(8);
  std::normal_distribution<double> normal(0, 0.3);
  for (int i = 0; i < 20000; ++i) {
    const double log_weight = 5000 + normal(random);
    const double sign = random() % 2 == 0 ? 1 : -1;
    missed.Add(log_weight, 1);
    balanced.Add(log_weight, sign);
    if (i < 900) few.Add(log_weight, 1);
  }
  EXPECT_FALSE(missed.Quality().reliable());
  EXPECT_NE(missed.Quality().unreliable_reason().find("a Z2-odd observable is off: the model misses a mode"),
            std::string::npos);
  EXPECT_NEAR(missed.sums().odd_mean, 1, 1e-8);
  EXPECT_TRUE(balanced.Quality().reliable()) << balanced.Quality().unreliable_reason();
  EXPECT_EQ(few.Quality().unreliable_reason().find("Z2"), std::string::npos) << "too few to say";
}

TEST(WeightStatistics, WeightsThatRestoreTheBalanceAreReliableAndTheMeanIsNormal) {
  // q prefers the mode + by 3 : 1, its weights know: E[w s] = 0. The mean in sigmas has variance 1.
  double squares = 0;
  for (int seed = 0; seed < 400; ++seed) {
    WeightStatistics weights;
    std::mt19937_64 random(seed);
    double sum = 0, odd_sum = 0;
    for (int i = 0; i < 4000; ++i) {
      const bool plus = random() % 4 != 0;
      weights.Add(std::log(plus ? 1.0 / 3 : 1.0), plus ? 1 : -1);
      sum += plus ? 1.0 / 3 : 1;
      odd_sum += plus ? 1.0 / 3 : -1;
    }
    EXPECT_TRUE(weights.Quality().reliable()) << weights.Quality().unreliable_reason();
    EXPECT_NEAR(weights.sums().odd_mean, odd_sum / sum, 1e-12);
    squares += std::pow(weights.sums().odd_mean, 2) * weights.Ess() * static_cast<double>(weights.samples()) / 400;
  }
  EXPECT_NEAR(squares, 1, 4 * std::sqrt(2.0 / 400));
}

}  // namespace
}  // namespace haarflow
