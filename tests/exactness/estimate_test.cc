// Errors that mean what they say: over many repetitions, deviations measured in claimed errors have variance 1.
#include "core/exact/estimate.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace haarflow {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
const double kNan = std::nan("");

// x_{i+1} = a x_i + sqrt(1 - a^2) noise: mean 0, variance 1, Gamma(t) = a^t, tau_int = (1 + a) / (2 (1 - a)).
std::vector<double> Ar1(double a, int n, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> chain(n);
  double x = normal(random);
  for (double& value : chain) {
    value = x;
    x = a * x + std::sqrt(1 - a * a) * normal(random);
  }
  return chain;
}

// Mean of squared pulls of `n` repetitions, expected 1 with standard deviation sqrt(2/n).
class Pulls {
 public:
  void Add(double value, double truth, double error) {
    ASSERT_GT(error, 0);
    ASSERT_TRUE(std::isfinite(error));
    const double pull = (value - truth) / error;
    sum_ += pull;
    squares_ += pull * pull;
    ++n_;
  }
  double mean() const { return sum_ / n_; }
  double mean_square() const { return squares_ / n_; }

 private:
  double sum_ = 0;
  double squares_ = 0;
  int n_ = 0;
};

TEST(GammaMethod, ErrorsOfAr1ChainsAreRight) {
  for (const double a : {0.0, 0.5, 0.9, 0.95}) {
    const double tau = (1 + a) / (2 * (1 - a));
    constexpr int kRepetitions = 200;
    Pulls mean;
    double tau_sum = 0, error_sum = 0, tau_square = 0, tau_error_sum = 0;
    const int n = 20000;
    for (int seed = 0; seed < kRepetitions; ++seed) {
      const auto estimate = GammaMethod(Ar1(a, n, 1000 + seed)).value();
      mean.Add(estimate.mean, 0, estimate.error);
      tau_sum += estimate.tau_int / kRepetitions;
      tau_square += estimate.tau_int * estimate.tau_int / kRepetitions;
      tau_error_sum += estimate.tau_int_error / kRepetitions;
      error_sum += estimate.error / kRepetitions;
    }
    EXPECT_NEAR(mean.mean_square(), 1, 4 * std::sqrt(2.0 / kRepetitions)) << "a = " << a;
    EXPECT_NEAR(mean.mean(), 0, 4 / std::sqrt(kRepetitions)) << "a = " << a;
    EXPECT_NEAR(tau_sum, tau, 0.03 * tau) << "a = " << a;
    EXPECT_NEAR(error_sum, std::sqrt(2 * tau / n), 0.03 * std::sqrt(2 * tau / n)) << "a = " << a;
    const double scatter = std::sqrt(tau_square - tau_sum * tau_sum);
    // Without correlations the formula's window is 1 and its error an upper bound.
    EXPECT_LT(scatter, 1.4 * tau_error_sum) << "a = " << a;
    EXPECT_GT(scatter, (a > 0 ? 0.7 : 0.2) * tau_error_sum) << "a = " << a;
  }
}

TEST(GammaMethod, ShortChainsAreCorrectedForTheirOwnMean) {
  // With N = 200 and tau = 9.5, without the C/N correction the error is about 5 % low on average; pulls show it.
  Pulls mean;
  double error_square = 0;
  constexpr int kRepetitions = 3000;
  for (int seed = 0; seed < kRepetitions; ++seed) {
    const auto estimate = GammaMethod(Ar1(0.5, 100, seed)).value();
    mean.Add(estimate.mean, 0, estimate.error);
    error_square += estimate.error * estimate.error / kRepetitions;
  }
  // Exact variance of the mean of 100 values: (1/N) [1 + 2 sum (1 - t/N) a^t].
  double variance = 1;
  for (int t = 1; t < 100; ++t) variance += 2 * (1 - t / 100.0) * std::pow(0.5, t);
  EXPECT_NEAR(error_square / (variance / 100), 1, 0.05);
}

TEST(GammaMethod, WhiteNoiseHasTauIntOneHalf) {
  const auto estimate = GammaMethod(Ar1(0, 100000, 3)).value();
  EXPECT_NEAR(estimate.tau_int, 0.5, 0.02);
  EXPECT_NEAR(estimate.error, std::sqrt(1.0 / 100000), 0.02 * std::sqrt(1.0 / 100000));
  EXPECT_LE(estimate.window, 3);
}

TEST(GammaMethod, LongWindowsAreRightAndCheap) {
  // tau_int = 199.5: windows of several hundred, from the Fourier transform.
  const double a = 0.995;
  Pulls mean;
  double tau = 0;
  for (int seed = 0; seed < 50; ++seed) {
    const auto estimate = GammaMethod(Ar1(a, 100000, seed)).value();
    EXPECT_GT(estimate.window, 200);
    mean.Add(estimate.mean, 0, estimate.error);
    tau += estimate.tau_int / 50;
  }
  EXPECT_NEAR(tau, (1 + a) / (2 * (1 - a)), 20);
  EXPECT_NEAR(mean.mean_square(), 1, 4 * std::sqrt(2.0 / 50));
  // One step in the middle: correlated over the whole chain, hopeless, but answered at once.
  std::vector<double> step(1 << 20, 0.0);
  for (size_t i = step.size() / 2; i < step.size(); ++i) step[i] = 1;
  const auto hopeless = GammaMethod(step).value();
  EXPECT_GT(hopeless.tau_int, 1e5);
  EXPECT_GT(hopeless.error, 0.2);
}

TEST(GammaMethod, WindowedSumsAreThoseOfADirectComputation) {
  const std::vector<double> chain = Ar1(0.99, 3000, 17);
  const auto estimate = GammaMethod(chain).value();
  ASSERT_GT(estimate.window, 100);
  const double n = 3000;
  double mean = 0;
  for (double x : chain) mean += x / n;
  std::vector<double> gamma;
  for (int64_t t = 0; t <= estimate.window; ++t) {
    double sum = 0;
    for (size_t i = 0; i + t < chain.size(); ++i) sum += (chain[i] - mean) * (chain[i + t] - mean);
    gamma.push_back(sum / (n - static_cast<double>(t)));
  }
  const auto total = [&] {
    double sum = gamma[0];
    for (size_t t = 1; t < gamma.size(); ++t) sum += 2 * gamma[t];
    return sum;
  };
  const double bias = total() / n;
  for (double& g : gamma) g += bias;
  EXPECT_NEAR(estimate.error, std::sqrt(total() / n), 1e-12);
  EXPECT_NEAR(estimate.tau_int, total() / (2 * gamma[0]), 1e-9);
}

TEST(GammaMethod, AConstantChainHasNoErrorAndALargeOffsetCostsNothing) {
  const auto constant = GammaMethod(std::vector<double>(100, 0.1)).value();
  EXPECT_EQ(constant.mean, 0.1);
  EXPECT_EQ(constant.error, 0);
  EXPECT_EQ(constant.tau_int, 0.5);
  std::vector<double> chain = Ar1(0.8, 5000, 1);
  const auto plain = GammaMethod(chain).value();
  for (double& x : chain) x += 1e7;
  const auto moved = GammaMethod(chain).value();
  EXPECT_NEAR(moved.mean - 1e7, plain.mean, 1e-8);
  EXPECT_NEAR(moved.error, plain.error, 1e-8);
  EXPECT_EQ(moved.window, plain.window);
}

TEST(GammaMethod, AnAlternatingChainDoesNotClaimAnErrorOfZero) {
  std::vector<double> chain(64);
  for (size_t i = 0; i < chain.size(); ++i) chain[i] = i % 2 == 0 ? 1 : -1;
  EXPECT_GT(GammaMethod(chain).value().error, 0);
}

TEST(GammaMethod, RefusesShortChainsAndValuesThatAreNotFinite) {
  EXPECT_EQ(GammaMethod(std::vector<double>(7, 1.0)).status().code(), absl::StatusCode::kInvalidArgument);
  std::vector<double> chain = Ar1(0, 20, 1);
  chain[10] = kNan;
  EXPECT_EQ(GammaMethod(chain).status().code(), absl::StatusCode::kInvalidArgument);
}

// Two correlated chains of means 2 and 3: A = 2 + x, B = 3 + (x + y)/2.
std::vector<std::vector<double>> TwoChains(double a, int n, uint64_t seed) {
  std::vector<std::vector<double>> chains = {Ar1(a, n, seed), Ar1(a, n, seed + 1000000)};
  for (int i = 0; i < n; ++i) {
    chains[1][i] = 3 + 0.5 * (chains[0][i] + chains[1][i]);
    chains[0][i] += 2;
  }
  return chains;
}
const FunctionOfMeans kRatio = {[](absl::Span<const double> means) { return means[0] / means[1]; },
                                [](absl::Span<const double> means) {
                                  return std::vector<double>{1 / means[1], -means[0] / (means[1] * means[1])};
                                }};

TEST(GammaMethod, ErrorsOfFunctionsOfMeansAreRight) {
  Pulls ratio;
  constexpr int kRepetitions = 300;
  double tau = 0;
  for (int seed = 0; seed < kRepetitions; ++seed) {
    const auto estimate = GammaMethodOfFunction(TwoChains(0.8, 10000, seed), kRatio).value();
    ratio.Add(estimate.mean, 2.0 / 3, estimate.error);
    tau += estimate.tau_int / kRepetitions;
  }
  EXPECT_NEAR(ratio.mean_square(), 1, 4 * std::sqrt(2.0 / kRepetitions));
  EXPECT_NEAR(ratio.mean(), 0, 4 / std::sqrt(kRepetitions));
  EXPECT_NEAR(tau, 4.5, 0.2);
}

TEST(GammaMethod, AFunctionThatIsAMeanIsThatMean) {
  const std::vector<std::vector<double>> chains = TwoChains(0.5, 5000, 1);
  const FunctionOfMeans second = {[](absl::Span<const double> means) { return means[1]; },
                                  [](absl::Span<const double>) {
                                    return std::vector<double>{0, 1};
                                  }};
  const auto function = GammaMethodOfFunction(chains, second).value();
  const auto plain = GammaMethod(chains[1]).value();
  EXPECT_NEAR(function.mean, plain.mean, 1e-12);
  EXPECT_EQ(function.error, plain.error);
  EXPECT_EQ(function.tau_int, plain.tau_int);
  const std::vector<std::vector<double>> uneven = {std::vector<double>(20, 1.0), std::vector<double>(19, 1.0)};
  EXPECT_FALSE(GammaMethodOfFunction(uneven, kRatio).ok());
  const std::vector<std::vector<double>> zero = {Ar1(0, 20, 1), std::vector<double>(20, 0.0)};
  EXPECT_FALSE(GammaMethodOfFunction(zero, kRatio).ok()) << "the gradient is not finite";
}

TEST(ExpandChain, RepeatsEveryValueByItsMultiplicity) {
  const std::vector<double> value = {1, 2, 3};
  const std::vector<uint64_t> multiplicity = {2, 1, 3};
  EXPECT_EQ(ExpandChain(value, multiplicity), (std::vector<double>{1, 1, 2, 3, 3, 3}));
}

TEST(WeightedMean, ErrorsCoverTheTruth) {
  // x ~ N(0,1) with log w = s x: the weighted law is N(s, 1), so the mean of x is s.
  const double s = 0.7;
  constexpr int kRepetitions = 400;
  Pulls mean;
  for (int seed = 0; seed < kRepetitions; ++seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal;
    std::vector<double> value(4096), log_weight(4096);
    for (size_t i = 0; i < value.size(); ++i) {
      value[i] = normal(random);
      log_weight[i] = s * value[i] + 5000;  // the normalisation must not matter
    }
    const auto estimate = WeightedMean(value, log_weight).value();
    mean.Add(estimate.mean, s, estimate.error);
  }
  EXPECT_NEAR(mean.mean_square(), 1, 4 * std::sqrt(2.0 / kRepetitions));
  EXPECT_NEAR(mean.mean(), 0, 0.35);
}

TEST(WeightedFunction, ErrorsCoverTheTruthOfAVariance) {
  // The weighted law is N(s, 1) as above; f = <x^2> - <x>^2 = 1, of two strongly correlated means.
  const double s = 0.7;
  constexpr int kRepetitions = 400;
  Pulls variance;
  for (int seed = 0; seed < kRepetitions; ++seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal;
    std::vector<std::vector<double>> columns(2, std::vector<double>(4096));
    std::vector<double> log_weight(4096);
    for (size_t i = 0; i < log_weight.size(); ++i) {
      const double x = normal(random);
      columns[0][i] = x;
      columns[1][i] = x * x;
      log_weight[i] = s * x - 3000;
    }
    const auto estimate = WeightedFunction(columns, log_weight, [](absl::Span<const double> means) {
                            return means[1] - means[0] * means[0];
                          }).value();
    variance.Add(estimate.mean, 1, estimate.error);
  }
  EXPECT_NEAR(variance.mean_square(), 1, 4 * std::sqrt(2.0 / kRepetitions));
  EXPECT_NEAR(variance.mean(), 0, 0.35);
}

TEST(WeightedMean, EqualWeightsGiveTheOrdinaryStandardError) {
  const std::vector<double> value = Ar1(0, 128, 7);
  const auto estimate = WeightedMean(value, std::vector<double>(128, -3.0), 128).value();
  double mean = 0, square = 0;
  for (double x : value) mean += x / 128;
  for (double x : value) square += (x - mean) * (x - mean);
  EXPECT_NEAR(estimate.mean, mean, 1e-14);
  EXPECT_NEAR(estimate.error, std::sqrt(square / (128.0 * 127.0)), 1e-13);
}

TEST(WeightedMean, ZeroWeightsDropOutAndASingleWeightHasNoError) {
  const auto two = WeightedMean(std::vector<double>{1, 5, 3}, std::vector<double>{0, -kInf, 0}).value();
  EXPECT_DOUBLE_EQ(two.mean, 2);
  const auto one = WeightedMean(std::vector<double>{1, 5, 3}, std::vector<double>{-kInf, 0, -kInf}).value();
  EXPECT_DOUBLE_EQ(one.mean, 5);
  EXPECT_EQ(one.error, kInf);
}

TEST(WeightedMean, RefusesWhatItCannotWeigh) {
  const auto code = [](std::vector<double> value, std::vector<double> weight) {
    return WeightedMean(value, weight).status().code();
  };
  EXPECT_EQ(code({1}, {0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({1, 2}, {0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({1, 2}, {0, kNan}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({1, 2}, {0, kInf}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({1, kNan}, {0, 0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({1, 2}, {-kInf, -kInf}), absl::StatusCode::kInvalidArgument);
}

TEST(PartitionEstimator, ErrorsOfLogNormalWeightsCoverTheTruth) {
  // log w ~ N(m, s^2): log Z = m + s^2/2, E[log w] = m, ESS -> exp(-s^2).
  const double m = 50, s = 0.8;
  constexpr int kRepetitions = 200;
  constexpr int kSamples = 8192;
  Pulls log_z, mean;
  double bias = 0;
  for (int seed = 0; seed < kRepetitions; ++seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<double> normal(m, s);
    PartitionEstimator estimator;
    for (int i = 0; i < kSamples; ++i) estimator.Add(normal(random));
    log_z.Add(estimator.LogZ(), m + s * s / 2, estimator.LogZError());
    mean.Add(estimator.MeanLogWeight(), m, estimator.MeanLogWeightError());
    bias += (estimator.LogZ() - m - s * s / 2) / kRepetitions;
  }
  EXPECT_NEAR(log_z.mean_square(), 1, 4 * std::sqrt(2.0 / kRepetitions));
  EXPECT_NEAR(mean.mean_square(), 1, 4 * std::sqrt(2.0 / kRepetitions));
  const double error = std::sqrt((std::exp(s * s) - 1) / kSamples);
  EXPECT_NEAR(bias, 0, 4 * error / std::sqrt(kRepetitions));
}

TEST(PartitionEstimator, TheJackknifeRemovesTheBiasOfTheLogarithm) {
  // Few samples: E[log mean w] - log Z = -(e^{s^2} - 1) / 2n = -1.7e-3 here, many times its error below.
  const double s = 0.8;
  constexpr int kRepetitions = 40000;
  constexpr int kSamples = 256;
  double plain = 0, corrected = 0, quoted = 0;
  std::mt19937_64 random(4);
  std::normal_distribution<double> normal(0, s);
  for (int r = 0; r < kRepetitions; ++r) {
    PartitionEstimator estimator;
    for (int i = 0; i < kSamples; ++i) estimator.Add(normal(random));
    plain += (estimator.weights().LogZ() - s * s / 2) / kRepetitions;
    corrected += (estimator.LogZ() - s * s / 2) / kRepetitions;
    quoted += estimator.LogZBias() / kRepetitions;
  }
  const double error = std::sqrt((std::exp(s * s) - 1) / kSamples / kRepetitions);
  EXPECT_LT(plain, -4 * error);
  EXPECT_NEAR(corrected, 0, 3 * error);
  // What is quoted is that bias, with its sign.
  EXPECT_NEAR(quoted, -(std::exp(s * s) - 1) / (2 * kSamples), 0.15 * std::abs(quoted));
  EXPECT_NEAR(plain, quoted, 3 * error);
}

TEST(PartitionEstimator, ClaimsNoErrorFromTooFewSamplesAndSkipsInvalidWeights) {
  PartitionEstimator estimator;
  for (int i = 0; i < 255; ++i) estimator.Add(1);
  EXPECT_EQ(estimator.LogZError(), kInf);
  estimator.Add(kNan);
  EXPECT_EQ(estimator.LogZError(), kInf);
  estimator.Add(1);
  EXPECT_NEAR(estimator.LogZError(), 0, 1e-10);
  EXPECT_NEAR(estimator.LogZ(), 1, 1e-10);
  EXPECT_EQ(estimator.weights().sums().invalid_weights, 1u);
}

TEST(DoublingStop, LooksOnlyAtDoublingsAndAtTheMaximum) {
  DoublingStop stop(100, 1000, 0.1);
  std::vector<uint64_t> looks;
  while (true) {
    const uint64_t n = stop.next_look();
    looks.push_back(n);
    if (stop.ShouldStop(n, 0.5)) break;
  }
  EXPECT_EQ(looks, (std::vector<uint64_t>{100, 200, 400, 800, 1000}));
}

TEST(DoublingStop, ALuckyMomentBetweenLooksDoesNotStop) {
  DoublingStop stop(100, 1000, 0.1);
  EXPECT_FALSE(stop.ShouldStop(99, 0.0));
  EXPECT_FALSE(stop.ShouldStop(100, 0.5));
  EXPECT_FALSE(stop.ShouldStop(150, 0.01));
  EXPECT_FALSE(stop.ShouldStop(200, kNan));
  EXPECT_TRUE(stop.ShouldStop(400, 0.1));
}

TEST(DoublingStop, WithoutARequestedErrorOnlyTheMaximumStopsAndNothingOverflows) {
  DoublingStop stop(uint64_t{1} << 62, ~uint64_t{0}, 0);
  EXPECT_FALSE(stop.ShouldStop(uint64_t{1} << 62, 0));
  EXPECT_EQ(stop.next_look(), uint64_t{1} << 63);
  EXPECT_FALSE(stop.ShouldStop(uint64_t{1} << 63, 0));
  EXPECT_EQ(stop.next_look(), ~uint64_t{0});
  EXPECT_TRUE(stop.ShouldStop(~uint64_t{0}, kInf));
  EXPECT_EQ(DoublingStop(100, 10, 0.1).next_look(), 10u);
}

}  // namespace
}  // namespace haarflow
