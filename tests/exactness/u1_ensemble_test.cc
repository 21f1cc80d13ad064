// Ensembles of the two-dimensional torus: independent samplers against the exact solution, with errors.
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "core/exact/estimate.h"
#include "core/exact/weights.h"
#include "core/observable/observable.h"
#include "gtest/gtest.h"
#include "tests/reference/u1_reference.h"

namespace haarflow {
namespace {

v1::Target TargetOf(const reference::Shape& shape, double beta) {
  v1::Target target;
  for (int64_t extent : shape) target.mutable_lattice()->add_shape(static_cast<uint32_t>(extent));
  target.mutable_u1_wilson()->set_beta(beta);
  return target;
}

TEST(PerfectSampler, AgreesWithTheExactSolution) {
  struct Case {
    reference::Shape shape;
    double beta;
    int samples;
  };
  for (const Case& c :
       {Case{{8, 8}, 2, 20000}, Case{{4, 7}, 3, 20000}, Case{{16, 16}, 5, 3000}, Case{{3, 3}, 0.7, 20000}}) {
    std::mt19937_64 random(11);
    const v1::Target target = TargetOf(c.shape, c.beta);
    const std::vector<std::string> names = {"plaquette",       "charge",          "charge_squared",
                                            "wilson_loop_2x2", "wilson_loop_1x2", "charge_probability_1"};
    const ObservableSet set = ObservableSet::Create(target, names).value();
    std::vector<double> sum(names.size(), 0.0), square(names.size(), 0.0), value(names.size());
    for (int i = 0; i < c.samples; ++i) {
      const auto links = reference::PerfectSample2d(c.shape, c.beta, &random);
      set.Evaluate(links.data(), value.data());
      for (size_t o = 0; o < names.size(); ++o) {
        sum[o] += value[o] / c.samples;
        square[o] += value[o] * value[o] / c.samples;
      }
    }
    for (size_t o = 0; o < names.size(); ++o) {
      const double error = std::sqrt((square[o] - sum[o] * sum[o]) / c.samples);
      EXPECT_GT(error, 0) << names[o];
      EXPECT_NEAR(sum[o], ExactExpectation(target, names[o]).value(), 4 * error) << names[o] << " beta = " << c.beta;
    }
  }
}

// What plaquettes do not see: loops around the torus are uniform by the U(1) center symmetry, links by gauge symmetry.
TEST(PerfectSampler, HolonomiesAndLinksAreUniform) {
  constexpr int kSamples = 20000;
  constexpr int kNx = 5, kNy = 3;
  std::mt19937_64 random(13);
  double around_x = 0, around_y = 0, link_x = 0, link_y = 0;
  for (int i = 0; i < kSamples; ++i) {
    const auto links = reference::PerfectSample2d({kNy, kNx}, 4, &random);
    double x_loop = 0, y_loop = 0;
    for (int x = 0; x < kNx; ++x) x_loop += links[x];
    for (int y = 0; y < kNy; ++y) y_loop += links[kNx * kNy + y * kNx];
    around_x += std::cos(x_loop) / kSamples;
    around_y += std::cos(y_loop) / kSamples;
    link_x += std::cos(links[7]) / kSamples;
    link_y += std::cos(links[kNx * kNy + 7]) / kSamples;
  }
  const double error = std::sqrt(0.5 / kSamples);  // <cos^2> = 1/2
  for (double mean : {around_x, around_y, link_x, link_y}) EXPECT_NEAR(mean, 0, 4 * error);
}

// An untrained flow: uniform links, w = exp(-S). ESS -> Z(beta)^2 / Z(2 beta) at any volume, log mean w -> log Z.
TEST(UniformPrior, HasTheKnownEffectiveSampleSizeAndPartitionFunction) {
  const reference::Shape shape = {4, 4};
  const v1::Target target = TargetOf(shape, 0.5);
  const double log_z = ExactLogZ(target).value();
  const double ess = std::exp(2 * log_z - ExactLogZ(TargetOf(shape, 1)).value());
  EXPECT_NEAR(ess, 0.16446727038629, 1e-12);

  const ObservableSet set = ObservableSet::Create(target, {"action", "plaquette"}).value();
  std::mt19937_64 random(12);
  constexpr int kBatches = 64;
  constexpr int kSamples = 8192;
  double mean = 0, square = 0;
  PartitionEstimator partition;
  std::vector<double> plaquette, log_weight;
  for (int b = 0; b < kBatches; ++b) {
    WeightStatistics weights;
    for (int i = 0; i < kSamples; ++i) {
      double value[2];
      const auto links = reference::RandomField(shape, &random);
      set.Evaluate(links.data(), value);
      weights.Add(-value[0]);
      partition.Add(-value[0]);
      log_weight.push_back(-value[0]);
      plaquette.push_back(value[1]);
    }
    mean += weights.Ess() / kBatches;
    square += weights.Ess() * weights.Ess() / kBatches;
  }
  const double error = std::sqrt((square - mean * mean) / kBatches);
  EXPECT_LT(error, 0.004);
  EXPECT_NEAR(mean, ess, 4 * error);
  EXPECT_NEAR(partition.LogZ(), log_z, 4 * partition.LogZError());
  EXPECT_LT(partition.LogZError(), 0.01);
  EXPECT_NEAR(partition.weights().LogZError(), partition.LogZError(), 0.3 * partition.LogZError());
  const auto reweighted = WeightedMean(plaquette, log_weight).value();
  EXPECT_NEAR(reweighted.mean, ExactExpectation(target, "plaquette").value(), 4 * reweighted.error);
  EXPECT_LT(reweighted.error, 0.002);
}

}  // namespace
}  // namespace haarflow
