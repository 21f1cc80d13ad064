// Gradients of spectral flows against differences: the reparameterisation estimator is the derivative of mean(log q +
// S); the path gradient that of mean(log q' + S), log q' the density at fixed parameters of fields that move with them.
// Training: single matrices with three couplings.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "core/observable/observable.h"
#include "core/train/evaluate.h"
#include "core/train/gradient.h"
#include "core/train/trainer.h"
#include "tests/exactness/spectral_flow.h"
#include "tests/reference/spectral_specs.h"

namespace haarflow {
namespace {

using kernel::kTile;
using testing::Fields;
using testing::PerField;
using testing::SpectralFlow;
using testing::SpectralOptions;
using testing::SpectralSpec;

// mean(log q + S) over one tile: fields of the training noise moved by `moving`, log q by `density`.
template <int N>
double Loss(SpectralFlow<N>* moving, SpectralFlow<N>* density, uint64_t first) {
  PerField log_det, back;
  const Fields<N> image = moving->Map(moving->Haar(5, first, NoisePurpose::kTraining), false, &log_det);
  density->Map(image, true, &back);
  const PerField action = moving->Action(image);
  double sum = 0;
  for (int i = 0; i < kTile; ++i) sum += (moving == density ? -log_det[i] : back[i]) + action[i];
  return sum / kTile;
}

template <int N>
void ExpectGradient(const std::string& text, bool path) {
  SpectralFlow<N> flow(text), fixed(text);
  const auto source = *MakeSpectralGradient(flow.plan(), 1);
  TrainingBatch batch;
  batch.seed = 5;
  batch.first_index = 32;
  batch.n = kTile;
  batch.action = ActionNumbers(flow.spec().target());
  batch.path_gradient = path;
  std::vector<double> gradient;
  BatchResult result;
  const std::vector<double> centre = flow.parameters();
  ASSERT_TRUE(source->Evaluate(centre, batch, &gradient, &result).ok());
  double mean = 0;
  for (int i = 0; i < kTile; ++i) mean += (result.log_q[i] + result.action[i]) / kTile;
  EXPECT_NEAR(mean, Loss<N>(&flow, &flow, batch.first_index), 1e-10);
  // A direction that touches every parameter, and single ones.
  const size_t n = centre.size();
  double largest = 0;
  for (size_t k = 0; k < 24; ++k) {
    std::vector<double> direction(n, 0.0);
    for (size_t i = 0; i < n; ++i) {
      if (k < 4 || i == (k * 7919) % n)
        direction[i] = k < 4 ? std::cos(1.3 * static_cast<double>((k + 1) * (i + 1))) : 1;
    }
    const double step = k < 4 ? 1e-5 : 1e-4;
    double loss[2], expected = 0;
    for (int side = 0; side < 2; ++side) {
      std::vector<double> parameters = centre;
      for (size_t i = 0; i < n; ++i) parameters[i] += (side == 0 ? -step : step) * direction[i];
      flow.SetParameters(parameters);
      loss[side] = Loss<N>(&flow, path ? &fixed : &flow, batch.first_index);
    }
    for (size_t i = 0; i < n; ++i) expected += gradient[i] * direction[i];
    EXPECT_NEAR((loss[1] - loss[0]) / (2 * step), expected, 2e-6 * (1 + std::abs(expected))) << "direction " << k;
    largest = std::max(largest, std::abs(expected));
  }
  EXPECT_GT(largest, 0.1);
}

template <class T>
class SpectralGradientTest : public ::testing::Test {
 public:
  static constexpr int N = T::value;
};
using Colours = ::testing::Types<std::integral_constant<int, 2>, std::integral_constant<int, 3>>;
TYPED_TEST_SUITE(SpectralGradientTest, Colours);

TYPED_TEST(SpectralGradientTest, IsTheDerivativeOfTheLoss) {
  constexpr int N = TestFixture::N;
  const std::string theory = "sun_wilson { colours: " + std::to_string(N) + " beta: 3 rectangle: -0.1 }";
  for (const double power : {0.0, 0.5}) {
    for (const bool path : {false, true}) {
      SpectralOptions options;
      options.layers = 3;
      options.towards_mirror = power;
      SCOPED_TRACE(::testing::Message() << "power " << power << (path ? ", path" : ""));
      ExpectGradient<N>(SpectralSpec(N, "shape: [4, 4]", theory, options), path);
    }
  }
}

TYPED_TEST(SpectralGradientTest, OfASingleMatrix) {
  constexpr int N = TestFixture::N;
  SpectralOptions options;
  options.layers = 2;
  const std::string theory = "sun_matrix { colours: " + std::to_string(N) + " beta: 5 c1: 0.17 c2: -0.65 c3: 1.22 }";
  ExpectGradient<N>(SpectralSpec(N, "", theory, options), false);
  ExpectGradient<N>(SpectralSpec(N, "", theory, options), true);
}

// Several threads and a batch of several tiles give the same bits as one thread.
TYPED_TEST(SpectralGradientTest, ThreadsShareABatch) {
  constexpr int N = TestFixture::N;
  SpectralFlow<N> flow(
      SpectralSpec(N, "shape: [4, 4]", "sun_wilson { colours: " + std::to_string(N) + " beta: 3 }", {}));
  TrainingBatch batch;
  batch.n = 3 * kTile;
  batch.action = {3, 0, 0};
  std::vector<double> one, three;
  BatchResult a, b;
  ASSERT_TRUE((*MakeSpectralGradient(flow.plan(), 1))->Evaluate(flow.parameters(), batch, &one, &a).ok());
  ASSERT_TRUE((*MakeSpectralGradient(flow.plan(), 3))->Evaluate(flow.parameters(), batch, &three, &b).ok());
  EXPECT_EQ(a.log_q, b.log_q);
  EXPECT_EQ(one, three);
}

// Any flow gives log Z, this one has random weights.
TYPED_TEST(SpectralGradientTest, LogZOfTheTorus) {
  constexpr int N = TestFixture::N;
  SpectralOptions options;
  options.layers = 2;
  options.towards_mirror = 0.5;
  const std::string text =
      SpectralSpec(N, "shape: [4, 4]",
                   "sun_wilson { colours: " + std::to_string(N) + " beta: " + (N == 2 ? "0.7" : "1.2") + " }", options);
  SpectralFlow<N> flow(text, 0.3);
  TensorMap weights;
  for (const ParameterBlock& block : flow.plan().layout.blocks()) {
    const double* values = flow.parameters().data() + block.offset;
    weights[block.name] = Tensor::FromDoubles(Tensor::Type::kFloat64, block.shape, {values, values + block.size});
  }
  const auto card = *EvaluateModel(flow.spec(), weights, 65536, 123, 1);
  EXPECT_GT(card.quality().ess(), 0.02);
  EXPECT_LT(card.log_z_error(), 0.05);
  EXPECT_NEAR(card.log_z(), ExactLogZ(flow.spec().target()).value(), 4 * card.log_z_error());
}

TYPED_TEST(SpectralGradientTest, TrainsASingleMatrix) {
  constexpr int N = TestFixture::N;
  const std::string text =
      "name: \"single\" spec_version: 1 target { sun_matrix { colours: " + std::to_string(N) +
      " beta: 9 c1: 0.17 c2: -0.65 c3: 1.22 } } prior { uniform {} } layers { spectral_coupling_stack { layers: 1 "
      "network { kernel: 1 precision: PRECISION_FLOAT64 } map { bins: 16 " +
      (N == 3 ? "ratio_bins: 12 ratio_nodes: 12" : "") +
      " } } } training { seed: 4 evaluation_samples: 8192 phases { steps: 600 batch: 128 learning_rate: 0.05 schedule: "
      "LEARNING_RATE_SCHEDULE_COSINE final_learning_rate_factor: 0.02 estimator: GRADIENT_ESTIMATOR_PATH clip_norm: 10 "
      "} }";
  const auto trainer = *Trainer::Create(text, {});
  ASSERT_TRUE(trainer->Run().ok());
  const auto spec = *ParseSpec(text);
  const auto card = *EvaluateModel(spec, trainer->Weights(), 16384, 77, 1);
  const double exact = ExactLogZ(spec.target()).value();
  EXPECT_GT(card.quality().ess(), N == 2 ? 0.99 : 0.95);
  EXPECT_NEAR(card.log_z(), exact, 4 * card.log_z_error());
  EXPECT_NEAR(exact, N == 2 ? 11.6796208661 : 8.7624455117, 1e-9);  // targets.md 1.2
  EXPECT_LT(card.mean_log_weight(), exact);
}

}  // namespace
}  // namespace haarflow
