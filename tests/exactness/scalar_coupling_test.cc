// Coupling layers of scalars, from the plan to the kernels, against a plain-loop reference with complex-step
// derivatives: fields, densities, full Jacobians, symmetries, and the gradients of the three losses.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "tests/exactness/scalar_coupling_flow.h"
#include "tests/reference/determinant.h"

namespace haarflow {
namespace {

using testing::Activation;
using testing::CouplingFlow;
using testing::CouplingStack;
using testing::DrawnField;
using testing::Field;
using testing::InstructionSets;
using testing::kCouplings;
using testing::kTile;
using testing::Largest;
using testing::LineMap;
using testing::RandomFields;
using testing::TrainLoss;
using Complex = std::complex<double>;
constexpr double kStep = 1e-100;  // imaginary: the derivative is the imaginary part over it

struct Case {
  std::string name;
  CouplingStack stack;
};

std::vector<Case> Cases() {
  const LineMap affine{LineMap::kAffine, 0, 0}, tanh{LineMap::kAffineTanh, 0, 0}, spline{LineMap::kSpline, 4, 2.5};
  return {{"Affine", {{4, 4}, 3, 0, {4, 3}, {3, 1, 3}, Activation::kSilu, affine, false}},
          {"AffineTanh", {{4, 4}, 4, 0, {4, 4}, {3, 3, 3}, Activation::kLeakyRelu, tanh, false}},
          {"AffineOdd", {{4, 6}, 2, 0, {5}, {3, 3}, Activation::kSilu, affine, true}},
          {"Spline", {{6, 4}, 2, 0, {5}, {5, 1}, Activation::kTanh, spline, false}},
          {"SplineOdd", {{4, 4}, 3, 0, {4, 4}, {3, 1, 3}, Activation::kSilu, spline, true}},
          {"ShellsAffineOdd", {{6, 6}, 3, 4, {6}, {1, 1}, Activation::kTanh, affine, true}},
          {"ShellsSplineOdd", {{4, 4}, 4, 2, {5, 4}, {1, 1, 1}, Activation::kSilu, spline, true}},
          {"ShellsOfUnequalExtents", {{4, 6}, 2, 5, {6}, {1, 1}, Activation::kSilu, spline, false}},
          {"ShellsIn4Dimensions", {{2, 2, 4, 4}, 2, 3, {4}, {1, 1}, Activation::kSilu, tanh, true}},
          {"Linear", {{8}, 3, 0, {}, {5}, Activation::kSilu, spline, true}},
          {"ThreeDimensions", {{2, 4, 2}, 2, 0, {3}, {3, 3}, Activation::kSilu, affine, false}}};
}

CouplingStack WithLayers(CouplingStack stack, int layers) {
  stack.layers = layers;
  return stack;
}

class EveryStack : public ::testing::TestWithParam<std::tuple<Case, std::string>> {
 protected:
  const CouplingStack& stack() const { return std::get<0>(GetParam()).stack; }
  const std::string& isa() const { return std::get<1>(GetParam()); }
};

TEST_P(EveryStack, DrawsTheFieldsAndDensitiesOfTheReference) {
  CouplingFlow flow(stack(), true, isa());
  double log_q[kTile];
  const std::vector<Field> fields = flow.Draw(7, log_q);
  for (int i = 0; i < kTile; ++i) {
    const Field start = DrawnField(flow, NoisePurpose::kPrior, testing::kDrawSeed, 7 + i);
    Field expected = start;
    const double l = stack().Flow(false, flow.parameters, &expected);
    EXPECT_LT(Largest(fields[i], expected), 1e-11);
    EXPECT_NEAR(log_q[i], flow.PriorLogDensity(start) - l, 1e-10);
    EXPECT_GT(Largest(expected, start), 0.1);
  }
}

TEST_P(EveryStack, TheInverseReturnsThePriorsFieldAndTheSameDensity) {
  CouplingFlow flow(stack(), true, isa());
  double log_q[kTile], back[kTile];
  const std::vector<Field> z = flow.Density(flow.Draw(7, log_q), back);
  for (int i = 0; i < kTile; ++i) {
    for (int64_t x = 0; x < flow.sites(); ++x) {
      ASSERT_NEAR(z[i][x], NormalNoise(testing::kDrawSeed, NoisePurpose::kPrior, 7 + i, static_cast<uint32_t>(x)),
                  1e-10);
    }
    EXPECT_NEAR(back[i], log_q[i], 1e-9);
  }
}

// The full Jacobian of the layers' inverse by central differences with one Richardson step, four columns a tile.
std::vector<Field> JacobianOfInverse(CouplingFlow* flow, const Field& field) {
  constexpr double kSize = 1e-4;
  constexpr double kAt[4] = {-2, -1, 1, 2}, kWeight[4] = {1.0 / 12, -8.0 / 12, 8.0 / 12, -1.0 / 12};
  const int64_t n = flow->sites();
  std::vector<Field> jacobian(n, Field(n));
  for (int64_t first = 0; first < n; first += 4) {
    std::vector<Field> moved(kTile, field);
    for (int i = 0; i < kTile; ++i) moved[i][std::min(first + i / 4, n - 1)] += kAt[i % 4] * kSize;
    const std::vector<Field> x = flow->Invert(moved).first;
    for (int i = 0; i < kTile && first + i / 4 < n; ++i) {
      for (int64_t r = 0; r < n; ++r) jacobian[r][first + i / 4] += kWeight[i % 4] / kSize * x[i][r];
    }
  }
  return jacobian;
}

TEST_P(EveryStack, ReportsTheLogDeterminantOfItsFullJacobian) {
  for (int layers : {1, stack().layers}) {
    CouplingFlow flow(WithLayers(stack(), layers), true, isa());
    const std::vector<Field> fields = RandomFields(flow.sites(), 3);
    const Field reported = flow.Invert(fields).second;
    for (int i : {0, 9}) {
      const double full = -testing::LogDeterminant(JacobianOfInverse(&flow, fields[i]));
      EXPECT_NEAR(full, reported[i], 1e-9) << layers;
      EXPECT_GT(std::abs(full - 1.01 * reported[i]), 1e-5) << "a planted bias of one percent is not seen";
    }
  }
}

TEST_P(EveryStack, ALayerMovesTheSitesOfOneColour) {
  CouplingFlow one(WithLayers(stack(), 1), true, isa()), all(stack(), true, isa());
  const std::vector<Field> fields = RandomFields(one.sites(), 4);
  const std::vector<Field> x = one.Invert(fields).first;
  for (int64_t site = 0; site < one.sites(); ++site) {
    int64_t sum = 0;
    for (int64_t c : stack().At(site)) sum += c;
    for (int i = 0; i < kTile; ++i) {
      if (sum % 2 == 1) {
        EXPECT_NE(x[i][site], fields[i][site]);
      } else {
        EXPECT_NEAR(x[i][site], fields[i][site], 1e-15 * std::abs(fields[i][site]));
      }
    }
  }
  for (size_t layer = 0; layer < all.plan().size(); ++layer) {
    for (int32_t site : all.plan()[layer].active_sites) EXPECT_TRUE(stack().Active(static_cast<int>(layer), site));
    EXPECT_EQ(2 * static_cast<int64_t>(all.plan()[layer].active_sites.size()), all.sites());
  }
}

// How much a flow differs from itself after a transformation of fields.
double Asymmetry(CouplingFlow* flow, const std::function<Field(const Field&)>& transform) {
  const std::vector<Field> fields = RandomFields(flow->sites(), 5);
  std::vector<Field> transformed, expected;
  for (const Field& field : fields) transformed.push_back(transform(field));
  const auto [x, l] = flow->Invert(fields);
  for (const Field& field : x) expected.push_back(transform(field));
  const auto [x_transformed, l_transformed] = flow->Invert(transformed);
  return std::max(Largest(x_transformed, expected), Largest(l, l_transformed));
}

using Coordinates = CouplingStack::Coordinates;
double Asymmetry(CouplingFlow* flow, const CouplingStack& stack, const std::function<Coordinates(Coordinates)>& move) {
  return Asymmetry(flow, [&](const Field& field) {
    Field moved(field.size());
    for (int64_t site = 0; site < stack.volume(); ++site) moved[stack.Site(move(stack.At(site)))] = field[site];
    return moved;
  });
}

TEST_P(EveryStack, HasTheSymmetriesThatItsSpecSays) {
  CouplingFlow flow(stack(), true, isa());
  const double flip = Asymmetry(&flow, [](Field field) {
    for (double& phi : field) phi = -phi;
    return field;
  });
  if (stack().odd) {
    EXPECT_LT(flip, 1e-12);
  } else {
    EXPECT_GT(flip, 1e-2);
  }
  const size_t dims = stack().shape.size();
  for (size_t a = 0; a < dims; ++a) {
    const size_t b = (a + 1) % dims;
    EXPECT_LT(Asymmetry(&flow, stack(), [&](Coordinates x) { return x[a] += 2, x; }), 1e-12);
    EXPECT_LT(Asymmetry(&flow, stack(), [&](Coordinates x) { return x[a] += 1, x[b] += 1, x; }), 1e-12);
    EXPECT_GT(Asymmetry(&flow, stack(), [&](Coordinates x) { return x[a] += 1, x; }), 1e-2)
        << "one step is no symmetry";
    const double reflection = Asymmetry(&flow, stack(), [&](Coordinates x) { return x[a] = -x[a], x; });
    const double exchange = Asymmetry(&flow, stack(), [&](Coordinates x) { return std::swap(x[a], x[b]), x; });
    if (stack().shells > 0) {
      EXPECT_LT(reflection, 1e-12);
      EXPECT_TRUE(exchange < 1e-12 || stack().shape[a] != stack().shape[b]) << exchange;
    } else if (stack().shape[a] > 2) {
      EXPECT_GT(reflection, 1e-3) << "convolutions with random weights are not symmetric";
    }
  }
}

TEST_P(EveryStack, ADrawIsTheSameBitForBitInEverySlotAndZeroWeightsAreTheIdentity) {
  for (const bool float64 : {true, false}) {
    CouplingFlow flow(stack(), float64, isa()), identity(stack(), float64, isa(), 0);
    double log_q[kTile], shifted[kTile];
    const std::vector<Field> fields = flow.Draw(100, log_q);
    for (int shift = 1; shift < kTile; ++shift) {
      const std::vector<Field> other = flow.Draw(100 - shift, shifted);
      ASSERT_EQ(std::memcmp(other[shift].data(), fields[0].data(), sizeof(double) * flow.sites()), 0);
      ASSERT_EQ(shifted[shift], log_q[0]);
    }
    const std::vector<Field> x = identity.Draw(100, log_q);
    for (int i = 0; i < kTile; ++i) {
      const Field start = DrawnField(identity, NoisePurpose::kPrior, testing::kDrawSeed, 100 + i);
      EXPECT_LT(Largest(x[i], start), 1e-14);
      EXPECT_NEAR(log_q[i], identity.PriorLogDensity(start), 1e-11);
    }
  }
}

// ---------------------------------------------------------------------------------------------------------- gradients

template <class T>
T Action(const CouplingStack& stack, const std::vector<T>& field) {
  T sum = 0;
  for (int64_t site = 0; site < stack.volume(); ++site) {
    const T square = field[site] * field[site];
    sum += kCouplings[1] * square + kCouplings[2] * square * square;
    for (size_t a = 0; a < stack.shape.size(); ++a) {
      Coordinates ahead(stack.shape.size());
      ahead[a] = 1;
      sum -= kCouplings[0] * field[site] * field[stack.Sum(site, ahead)];
    }
  }
  return sum;
}

// The mean over a tile of log q + S at fixed noise, and of -log q of fixed fields.
template <class T>
T ReverseLoss(const CouplingStack& stack, const CouplingFlow& flow, const std::vector<T>& parameters) {
  T sum = 0;
  for (int i = 0; i < kTile; ++i) {
    const Field start = DrawnField(flow, NoisePurpose::kTraining, testing::kTrainSeed, i);
    std::vector<T> field(start.begin(), start.end());
    const T l = stack.Flow(false, parameters, &field);
    sum += (flow.PriorLogDensity(start) - l + Action(stack, field)) / static_cast<double>(kTile);
  }
  return sum;
}
template <class T>
T ForwardLoss(const CouplingStack& stack, const CouplingFlow& flow, const std::vector<Field>& samples,
              const std::vector<T>& parameters) {
  T sum = 0;
  for (const Field& sample : samples) {
    std::vector<T> field(sample.begin(), sample.end());
    const T l = stack.Flow(true, parameters, &field);
    sum -= (flow.PriorLogDensity(field) - l) / static_cast<double>(kTile);
  }
  return sum;
}

// Along random directions in the space of all parameters.
constexpr uint64_t kDirections = 8;
double Direction(uint64_t d, size_t k) { return NormalNoise(10, NoisePurpose::kInitial, d, static_cast<uint32_t>(k)); }

template <class Loss>
std::vector<double> Derivatives(const std::vector<double>& parameters, const Loss& loss) {
  std::vector<double> result;
  for (uint64_t d = 0; d < kDirections; ++d) {
    std::vector<Complex> p;
    for (size_t k = 0; k < parameters.size(); ++k) p.emplace_back(parameters[k], kStep * Direction(d, k));
    result.push_back(loss(p).imag() / kStep);
  }
  return result;
}
std::vector<double> Project(const std::vector<double>& gradient) {
  std::vector<double> result(kDirections);
  for (uint64_t d = 0; d < kDirections; ++d) {
    for (size_t k = 0; k < gradient.size(); ++k) result[d] += gradient[k] * Direction(d, k);
  }
  return result;
}
double RelativeDifference(const std::vector<double>& a, const std::vector<double>& b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  EXPECT_GT(norm, 1e-6);
  return std::sqrt(difference / norm);
}

TEST_P(EveryStack, GradientsOfAllThreeLossesAreTheirDerivatives) {
  for (const bool float64 : {true, false}) {
    CouplingFlow flow(stack(), float64, isa());
    const double tolerance = float64 ? 1e-10 : 3e-4;
    double log_q[kTile], action[kTile];
    const auto gradient = [&](TrainLoss loss, const std::vector<Field>& samples) {
      return Project(flow.Gradient(loss, samples, log_q, action));
    };
    const auto mean = [](const double* values) {
      double sum = 0;
      for (int i = 0; i < kTile; ++i) sum += values[i] / kTile;
      return sum;
    };
    const auto reverse = [&](const auto& p) { return ReverseLoss(stack(), flow, p); };
    const std::vector<double> plain = Derivatives(flow.parameters, reverse);
    EXPECT_LT(RelativeDifference(gradient(TrainLoss::kReparameterisation, {}), plain), tolerance);
    EXPECT_NEAR(mean(log_q) + mean(action), reverse(flow.parameters), tolerance * 10);

    const std::vector<Field> samples = RandomFields(flow.sites(), 9);
    const auto forward = [&](const auto& p) { return ForwardLoss(stack(), flow, samples, p); };
    EXPECT_LT(RelativeDifference(gradient(TrainLoss::kForward, samples), Derivatives(flow.parameters, forward)),
              tolerance);
    EXPECT_NEAR(-mean(log_q), forward(flow.parameters), tolerance * 10);

    // The path gradient leaves out the derivative of log q at fixed fields, the negative of the forward loss of those
    // that were drawn.
    std::vector<Field> drawn;
    for (int i = 0; i < kTile; ++i) {
      drawn.push_back(DrawnField(flow, NoisePurpose::kTraining, testing::kTrainSeed, i));
      stack().Flow(false, flow.parameters, &drawn.back());
    }
    std::vector<double> path =
        Derivatives(flow.parameters, [&](const auto& p) { return ForwardLoss(stack(), flow, drawn, p); });
    for (size_t d = 0; d < path.size(); ++d) path[d] += plain[d];
    EXPECT_LT(RelativeDifference(gradient(TrainLoss::kPath, {}), path), tolerance);
    EXPECT_GT(RelativeDifference(path, plain), 1e-2);
    EXPECT_NEAR(mean(log_q) + mean(action), reverse(flow.parameters), tolerance * 10);
  }
}

INSTANTIATE_TEST_SUITE_P(Stacks, EveryStack,
                         ::testing::Combine(::testing::ValuesIn(Cases()), ::testing::ValuesIn(InstructionSets())),
                         [](const auto& i) { return std::get<0>(i.param).name + "_" + std::get<1>(i.param); });

// On two sites one layer moves one of them: its density at a fixed other one must integrate to 1, far more precisely
// than a float32 network computes, because the map and its Jacobian use the same numbers in float64.
TEST(ScalarCouplings, TheDensityOfOneSiteIntegratesToOne) {
  for (const std::string& isa : InstructionSets()) {
    for (const LineMap& map : {LineMap{LineMap::kAffine, 0, 0}, LineMap{LineMap::kSpline, 6, 2}}) {
      for (const bool odd : {false, true}) {
        CouplingFlow flow({{2}, 1, 0, {6}, {3, 1}, Activation::kSilu, map, odd}, false, isa, 1.5);
        constexpr int kPoints = 1 << 18;
        constexpr double kEnd = 15;
        double sum = 0, log_q[kTile];
        for (int first = 0; first < kPoints; first += kTile) {
          std::vector<Field> fields(kTile, Field{0.7, 0});
          for (int i = 0; i < kTile; ++i) fields[i][1] = kEnd * (2 * (first + i + 0.5) / kPoints - 1);
          flow.Density(fields, log_q);
          for (int i = 0; i < kTile; ++i) sum += std::exp(log_q[i]) * 2 * kEnd / kPoints;
        }
        const double other = std::exp(-0.5 * std::pow(0.7 / flow.sigma[0], 2)) / flow.sigma[0] / std::sqrt(2 * M_PI);
        EXPECT_NEAR(sum / other, 1, 1e-8) << isa << " " << map.kind << odd;
      }
    }
  }
}

// ------------------------------------------------------------------------------------------------------------- plans

absl::StatusOr<std::vector<ScalarCouplingPlan>> Plan(const CouplingStack& stack) {
  return PlanScalarCouplings(*Lattice::Create(stack.shape), testing::Message(stack, true), "layers.3");
}

TEST(PlanScalarCouplings, EvaluatesOnlyWhatActiveSitesNeed) {
  CouplingStack stack{{8, 8}, 4, 0, {5}, {3, 1}, Activation::kSilu, {LineMap::kAffine, 0, 0}, false};
  auto plan = *Plan(stack);
  ASSERT_EQ(plan.size(), 4);
  for (const ScalarCouplingPlan& layer : plan) {
    EXPECT_EQ(layer.feature_sites.size(), 32);
    EXPECT_EQ(layer.stages[0].sites, 32);
    EXPECT_EQ(layer.stages[0].tap_input.size(), 32 * 4) << "four of nine neighbours are frozen";
    EXPECT_EQ(layer.stages[1].tap_input.size(), 32);
  }
  EXPECT_EQ(plan[0].active_sites[0], 1);
  EXPECT_EQ(plan[1].active_sites[0], 0);
  EXPECT_EQ(plan[3].stages[1].name, "layers.3.3.conv1");
  stack.kernel = {1, 1};  // sees nothing: constant maps
  EXPECT_TRUE((*Plan(stack))[0].feature_sites.empty());
  stack.shells = 2;
  plan = *Plan(stack);
  EXPECT_EQ(plan[1].feature_begin, (*Plan(stack))[3].feature_begin);
  EXPECT_EQ(plan[1].feature_sites.size(), 32 * (4 + 8));
  EXPECT_EQ(plan[1].stages[0].in_channels, 2);
}

TEST(PlanScalarCouplings, RefusesMoreShellsThanTheLatticeHas) {
  const auto plan = Plan({{4, 4}, 1, 3, {}, {1}, Activation::kSilu, {LineMap::kAffine, 0, 0}, false});
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(plan.status().message()), ::testing::HasSubstr("4x4 has 2 orbits"));
}

TEST(PlanScalarCouplings, BoundsItsTablesBeforeItAllocatesThem) {
  CouplingStack stack{{1024, 1024}, 1, 0, {4}, {31, 31}, Activation::kSilu, {LineMap::kAffine, 0, 0}, false};
  for (const auto& [layers, kernel] : std::vector<std::pair<int, std::vector<int>>>{{1, {31, 31}}, {1024, {3, 1}}}) {
    stack.layers = layers;
    stack.kernel = kernel;
    const auto plan = Plan(stack);
    EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(plan.status().message()), ::testing::HasSubstr("2^28"));
  }
}

}  // namespace
}  // namespace haarflow
