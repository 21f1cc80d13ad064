// Wilson-loop flows in continuous time: the integrated divergence against the full Jacobian by differences, at fourth
// order; inverse, symmetries, derivatives with respect to the numbers, the terms of the trivialising condition.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <complex>
#include <memory>
#include <string>
#include <vector>

#include "tests/exactness/loop_fields.h"
#include "tests/reference/loop_specs.h"

namespace haarflow {
namespace {

using kernel::kMatrixLanes;
using testing::Conjugated;
using testing::Dagger;
using testing::Distance;
using testing::Fields;
using testing::Flow;
using testing::FullLogDeterminant;
using testing::GaugeTransformed;
using testing::Matrix;
using testing::SetFields;
using testing::Times;
using testing::Translated;
using Lanes = std::array<double, kMatrixLanes>;

struct Case {
  const char* name;
  int colours;
  const char* shape;
  const char* classes;
  double size;
  int steps;  // that a full Jacobian can be had for
};
class ContinuousLoop : public ::testing::TestWithParam<Case> {
 protected:
  static std::unique_ptr<Flow> Make(int32_t steps, const char* isa = kernel::BestInstructionSet(), double size = 1) {
    const Case& c = GetParam();
    return std::make_unique<Flow>(testing::ContinuousLoopSpec(c.colours, c.shape, 2.0, 2, c.classes), c.size * size,
                                  steps, isa);
  }
};

// log q is that of the equation, which the computed map follows to fourth order: so far must its Jacobian be from it.
TEST_P(ContinuousLoop, DivergenceIsThatOfTheFullJacobian) {
  double error[2];
  for (int i = 0; i < 2; ++i) {
    const auto flow = Make(GetParam().steps << i);
    const std::vector<Matrix> field = Fields(*flow, 3);
    const double log_det = flow->Map()[3];
    EXPECT_GT(std::abs(log_det), 0.1);
    error[i] = std::abs(FullLogDeterminant(flow.get(), field) - log_det);
  }
  EXPECT_LT(error[1], 1e-4);
  EXPECT_GT(error[0] / error[1], 10);
}

TEST_P(ContinuousLoop, IsOfFourthOrder) {
  const auto exact = Make(64);
  const Lanes log_det = exact->Map();
  double distance[2], difference[2] = {};
  for (int i = 0; i < 2; ++i) {
    const auto flow = Make(4 << i);
    const Lanes of_flow = flow->Map();
    distance[i] = Distance(Fields(*flow, 0), Fields(*exact, 0));
    for (int lane = 0; lane < kMatrixLanes; ++lane) difference[i] += std::abs(of_flow[lane] - log_det[lane]);
  }
  EXPECT_GT(distance[0] / distance[1], 11);
  EXPECT_GT(difference[0] / difference[1], 11);
  EXPECT_LT(distance[1], 1e-4);
}

TEST_P(ContinuousLoop, RunsBackAndStaysInTheGroup) {
  for (const char* isa : {"baseline", "avx2", "avx512"}) {
    if (kernel::LoopKernelsFor(isa) == nullptr) continue;
    const auto flow = Make(64, isa);
    const std::vector<Matrix> field = Fields(*flow, 5);
    const Lanes forward = flow->Map();
    const std::vector<Matrix> image = Fields(*flow, 5);
    EXPECT_GT(Distance(field, image), 0.03);
    for (const Matrix& u : image) {
      const Matrix one = Times(u, Dagger(u, flow->n_), flow->n_);
      for (int i = 0; i < flow->n_ * flow->n_; ++i) {
        EXPECT_LT(std::abs(one[i] - (i % (flow->n_ + 1) == 0 ? 1.0 : 0.0)), 1e-13);
      }
    }
    const Lanes inverse = flow->Inverse();
    EXPECT_LT(Distance(field, Fields(*flow, 5)), 1e-7);
    for (int i = 0; i < kMatrixLanes; ++i) EXPECT_NEAR(forward[i], inverse[i], 1e-6);
  }
}

TEST_P(ContinuousLoop, KnowsGaugeTransformationsTranslationsAndConjugation) {
  const auto flow = Make(4);
  const Lattice& lattice = flow->plan_->lattice;
  const int n = flow->n_;
  std::vector<Matrix> field = Fields(*flow, 0), gauge;
  for (int64_t x = 0; x < lattice.volume(); ++x) gauge.push_back(flow->Get(x, 7));  // Haar matrices
  const auto transform = [&](const std::vector<Matrix>& u) { return GaugeTransformed(lattice, gauge, u, n); };
  const auto translate = [&](const std::vector<Matrix>& u) { return Translated(lattice, u, 1); };
  SetFields(flow.get(), 1, transform(field));
  SetFields(flow.get(), 2, Conjugated(field));
  SetFields(flow.get(), 3, translate(field));
  const Lanes log_det = flow->Map();
  const std::vector<Matrix> image = Fields(*flow, 0);
  EXPECT_GT(Distance(image, field), 0.03);
  EXPECT_LT(Distance(Fields(*flow, 1), transform(image)), 1e-12);
  EXPECT_LT(Distance(Fields(*flow, 2), Conjugated(image)), 1e-12);
  EXPECT_LT(Distance(Fields(*flow, 3), translate(image)), 1e-12);
  for (int lane = 1; lane < 4; ++lane) EXPECT_NEAR(log_det[lane], log_det[0], 1e-11);
}

constexpr double kCouplings[3] = {2.0, -0.05, 0};
struct Address {
  uint64_t seed[kMatrixLanes], index[kMatrixLanes];
  Address() {
    for (int i = 0; i < kMatrixLanes; ++i) {
      seed[i] = 3;
      index[i] = static_cast<uint64_t>(10 + i);
    }
  }
};

// d log w / d parameters of every lane, [parameters][lanes], and log w.
std::vector<double> Gradient(Flow* flow, const double* couplings, Lanes* log_weight = nullptr) {
  const Address at;
  double log_det[kMatrixLanes], action[kMatrixLanes], smallest[kMatrixLanes];
  flow->kernels_.train_tile(flow->view(), couplings, at.seed, at.index, flow->train_, log_det, action, smallest);
  const size_t p = flow->parameters_.size();
  std::vector<double> gradient(p * kMatrixLanes), of_lane(p);
  for (int i = 0; i < kMatrixLanes; ++i) {
    flow->tables_->ToParameters(flow->train_.gradient + i, kMatrixLanes, of_lane.data());
    for (size_t k = 0; k < p; ++k) gradient[k * kMatrixLanes + i] = of_lane[k];
    if (log_weight != nullptr) (*log_weight)[i] = log_det[i] - action[i];
  }
  return gradient;
}

Lanes LogWeight(Flow* flow, const std::vector<double>& parameters) {
  const Address at;
  flow->tables_->Set(parameters);
  flow->kernels_.haar_tile(flow->view(), 5, at.seed, at.index, flow->work_.links);
  Lanes w = flow->Map(), s{};
  flow->kernels_.action_tile(flow->view(), kCouplings, flow->work_.links, flow->work_.product, s.data());
  for (int i = 0; i < kMatrixLanes; ++i) w[i] -= s[i];
  return w;
}

// Of the integrated log w, whatever the number of steps.
TEST_P(ContinuousLoop, GradientWithRespectToNumbers) {
  const auto flow = Make(3);
  Lanes at_centre{};
  const std::vector<double> gradient = Gradient(flow.get(), kCouplings, &at_centre);
  const Lanes centre = LogWeight(flow.get(), flow->parameters_);
  for (int i = 0; i < kMatrixLanes; ++i) EXPECT_NEAR(centre[i], at_centre[i], 1e-11);
  double largest = 0;
  for (size_t k = 0; k < flow->parameters_.size(); ++k) {
    constexpr double kStep = 1e-3;
    Lanes slope{};
    for (const auto& [shift, weight] : {std::pair(-2, 1.0), {-1, -8.0}, {1, 8.0}, {2, -1.0}}) {
      std::vector<double> moved = flow->parameters_;
      moved[k] += shift * kStep;
      const Lanes w = LogWeight(flow.get(), moved);
      for (int i = 0; i < kMatrixLanes; ++i) slope[i] += weight / (12 * kStep) * w[i];
    }
    for (int i = 0; i < kMatrixLanes; ++i) {
      EXPECT_NEAR(gradient[k * kMatrixLanes + i], slope[i], 2e-6 * (1 + std::abs(slope[i])))
          << "parameter " << k << " lane " << i;
      largest = std::max(largest, std::abs(slope[i]));
    }
  }
  EXPECT_GT(largest, 1);
}

// Where all numbers are 0 the field stands still: d log w / d c_k is div F_k - F_k . grad S, and without an action div
// F_k; in between the condition is linear in t.
TEST_P(ContinuousLoop, TrivialisingConditionOfEveryClass) {
  constexpr int32_t kSteps = 4;
  const auto flow = Make(kSteps, kernel::BestInstructionSet(), 0);
  constexpr double kNothing[3] = {0, 0, 0};
  const std::vector<double> divergence = Gradient(flow.get(), kNothing), whole = Gradient(flow.get(), kCouplings);
  const Address at;
  double minus_action[(kSteps + 1) * kMatrixLanes], log_det[kMatrixLanes];
  flow->kernels_.trivialising_tile(flow->view(), kCouplings, at.seed, at.index, flow->train_, minus_action, log_det);
  const int classes = flow->plan_->classes();
  const Lanes w = LogWeight(flow.get(), flow->parameters_);
  double largest = 0;
  for (int n = 0; n <= kSteps; ++n) {
    const double t = static_cast<double>(n) / kSteps;
    for (int i = 0; i < kMatrixLanes; ++i) {
      EXPECT_NEAR(minus_action[n * kMatrixLanes + i], w[i], 1e-11);
      for (int k = 0; k < classes; ++k) {
        const double term =
            flow->plan_->class_scale[k] * flow->train_.gradient[(2 * n * classes + k) * kMatrixLanes + i];
        const size_t constant = static_cast<size_t>(k) * kMatrixLanes + i;
        EXPECT_NEAR(term, (1 - t) * divergence[constant] + t * whole[constant], 1e-10 * (1 + std::abs(term)));
        largest = std::max(largest, std::abs(whole[constant] - divergence[constant]));
      }
    }
  }
  EXPECT_GT(largest, 1);
}

const std::string kIndependentAndJoined = std::string(testing::kIndependentLoops) + testing::kJoinedLoops;

INSTANTIATE_TEST_SUITE_P(
    Groups, ContinuousLoop,
    ::testing::Values(Case{"SU2", 2, "shape: [4, 3]", testing::kLoopClasses2d, 0.15, 4},
                      Case{"SU3", 3, "shape: [3, 4]", testing::kLoopClasses2d, 0.15, 4},
                      Case{"SU2_sums", 2, "shape: [4, 3]", testing::kIndependentLoops, 0.12, 4},
                      Case{"SU3_joined", 3, "shape: [4, 4]", kIndependentAndJoined.c_str(), 0.08, 4},
                      Case{"SU2_3d", 2, "shape: [2, 3, 2]", testing::kLoopClasses4d, 0.1, 4},
                      Case{"SU3_4d", 3, "shape: [2, 2, 2, 2]", testing::kManyLoopClasses4d, 0.06, 2}),
    [](const auto& i) { return std::string(i.param.name); });

}  // namespace
}  // namespace haarflow
