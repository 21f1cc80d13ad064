// Every coupling layer against its full Jacobian by automatic differentiation, both ways, with its symmetries; and the
// fused kernels against it.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <numbers>

#include "core/flow/u1_flow.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "tests/reference/test_specs.h"

namespace haarflow {
namespace {

using testing::SpecOptions;

struct Case {
  std::string name;
  SpecOptions options;
  std::vector<int64_t> mask_period;  // in array order: translations by it commute with the flow
};

std::vector<Case> Cases() {
  std::vector<Case> cases;
  const std::vector<std::pair<std::string, std::string>> maps = {
      {"Spline", "spline { bins: 5 }"},
      {"SharpSpline", "spline { bins: 5 sharp: true }"},
      {"Moebius1", "moebius { components: 1 }"},
      {"Moebius3", "moebius { components: 3 }"},
      {"NonCompact1", "non_compact_projection { components: 1 }"},
      {"NonCompact2", "non_compact_projection { components: 2 }"}};
  for (const auto& [name, map] : maps) {
    Case c{"Stripes" + name, {}, {4, 4}};
    c.options.shape = {4, 8};
    c.options.layers = 8;
    c.options.map = map;
    cases.push_back(c);
  }
  Case staggered{"Staggered", {}, {4, 4}};
  staggered.options.shape = {8, 4};
  staggered.options.layers = 8;
  staggered.options.masks = testing::StaggeredMasks();
  staggered.options.activation = "ACTIVATION_TANH";
  cases.push_back(staggered);
  Case decimation{"BlockDecimation", {}, {4, 4}};
  decimation.options.shape = {4, 8};
  decimation.options.layers = 1;
  decimation.options.masks = "masks { direction: 0 plane: 1 sublattices { offset: [2, 0] stride: [4, 4] } }";
  decimation.options.active_loop = "width: 4 height: 2";
  decimation.options.features =
      "features { width: 4 height: 4 aligned: true offset_across: -2 }\n"
      "features { width: 4 height: 4 aligned: true offset_across: -2 windings: 3 }";
  decimation.options.network = "hidden: [8] kernel: [1, 1]";
  decimation.options.activation = "ACTIVATION_LEAKY_RELU";
  cases.push_back(decimation);
  Case three{"ThreeDimensions", {}, {4, 2, 2}};
  three.options.shape = {8, 2, 2};
  three.options.layers = 2;
  three.options.masks =
      "masks { direction: 0 plane: 2 sublattices { offset: [1, 0, 0] stride: [4, 2, 1] } }\n"
      "masks { direction: 1 plane: 2 sublattices { offset: [2, 0, 1] stride: [4, 1, 2] } }";
  three.options.network = "hidden: [4] kernel: [3, 1]";
  cases.push_back(three);
  return cases;
}

class EveryLayer : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    spec_ = *ParseSpec(testing::SpecText(GetParam().options));
    plan_ = std::make_unique<U1FlowPlan>(*PlanU1Flow(spec_));
    parameters_ = testing::RandomParameters(U1ParameterLayout(*plan_), 1.0);
    flow_ = std::make_unique<TorchU1Flow>(*plan_);
    flow_->SetWeights(parameters_);
  }

  at::Tensor RandomLinks(int64_t batch, uint64_t seed = 1) const {
    at::Tensor links = at::empty({plan_->lattice.links(), batch}, at::kDouble);
    for (int64_t i = 0; i < links.numel(); ++i) {
      links.data_ptr<double>()[i] =
          (UniformNoise(seed, NoisePurpose::kInitial, 0, static_cast<uint32_t>(i)) - 0.5) * 2 * std::numbers::pi;
    }
    return links;
  }

  // log|det| of the full matrix d links' / d links by automatic differentiation, one configuration.
  double FullLogDet(const at::Tensor& links, const std::function<at::Tensor(const at::Tensor&)>& map) const {
    at::Tensor x = links.detach().clone().set_requires_grad(true);
    const at::Tensor y = map(x);
    std::vector<at::Tensor> rows;
    for (int64_t i = 0; i < y.size(0); ++i) {
      rows.push_back(torch::autograd::grad({y[i][0]}, {x}, {}, /*retain_graph=*/true)[0].squeeze(1));
    }
    return std::get<1>(at::_linalg_slogdet(at::stack(rows))).item<double>();
  }

  // The largest difference between the full Jacobian and the layers' own log-Jacobians times `factor` (1, or a planted
  // bias).
  double WorstMismatch(double factor) const {
    double worst = 0;
    at::Tensor links = RandomLinks(1);
    for (int layer = 0; layer < flow_->layers(); ++layer) {
      const auto [y, log_det] = flow_->LayerForward(layer, links);
      const double full = FullLogDet(links, [&](const at::Tensor& x) { return flow_->LayerForward(layer, x).first; });
      worst = std::max(worst, std::abs(full - factor * log_det.item<double>()));
      links = y.detach();
    }
    return worst;
  }

  v1::ModelSpec spec_;
  std::unique_ptr<U1FlowPlan> plan_;
  std::vector<double> parameters_;
  std::unique_ptr<TorchU1Flow> flow_;
};

TEST_P(EveryLayer, ReportsTheLogDeterminantOfItsFullJacobian) { EXPECT_LT(WorstMismatch(1.0), 1e-10); }

TEST_P(EveryLayer, APlantedBiasOfOnePercentIsSeen) { EXPECT_GT(WorstMismatch(1.01), 1e-4); }

TEST_P(EveryLayer, InverseReportsTheLogDeterminantOfItsFullJacobian) {
  at::Tensor links = RandomLinks(1, 2);
  for (int layer = 0; layer < flow_->layers(); ++layer) {
    const auto [y, log_det] = flow_->LayerInverse(layer, links);
    const double full = FullLogDet(links, [&](const at::Tensor& x) { return flow_->LayerInverse(layer, x).first; });
    EXPECT_NEAR(full, log_det.item<double>(), 1e-9) << layer;
    links = y.detach();
  }
}

TEST_P(EveryLayer, RoundTripReturnsLinksAndOppositeLogDeterminant) {
  const at::Tensor links = RandomLinks(16);
  const auto [y, forward] = flow_->Forward(links);
  EXPECT_GT((y - links).abs().max().item<double>(), 0.1);
  const auto [x, back] = flow_->Inverse(y);
  EXPECT_LT(WrapAngles(x - links).abs().max().item<double>(), 1e-10);
  EXPECT_LT((forward + back).abs().max().item<double>(), 1e-9);
}

TEST_P(EveryLayer, IsGaugeEquivariant) {
  const at::Tensor links = RandomLinks(4);
  const Lattice& lattice = plan_->lattice;
  at::Tensor shift = at::zeros_like(links);
  for (int mu = 0; mu < lattice.dims(); ++mu) {
    for (int64_t site = 0; site < lattice.volume(); ++site) {
      for (int64_t b = 0; b < 4; ++b) {
        const auto alpha = [&](int64_t s) {
          return 6 * UniformNoise(5, NoisePurpose::kInitial, static_cast<uint64_t>(b), static_cast<uint32_t>(s));
        };
        shift[lattice.Link(mu, site)][b] = alpha(site) - alpha(lattice.Shift(site, mu, 1));
      }
    }
  }
  const auto [y, log_det] = flow_->Forward(links);
  const auto [y_shifted, log_det_shifted] = flow_->Forward(WrapAngles(links + shift));
  EXPECT_LT(WrapAngles(y_shifted - y - shift).abs().max().item<double>(), 1e-11);
  EXPECT_LT((log_det_shifted - log_det).abs().max().item<double>(), 1e-11);
  // One layer: no accumulation.
  const auto one = flow_->LayerForward(0, links).first,
             one_shifted = flow_->LayerForward(0, WrapAngles(links + shift)).first;
  EXPECT_LT(WrapAngles(one_shifted - one - shift).abs().max().item<double>(), 1e-12);
}

TEST_P(EveryLayer, CommutesWithTranslationsByTheMaskPeriod) {
  const Lattice& lattice = plan_->lattice;
  const at::Tensor links = RandomLinks(4);
  bool moved = false;
  for (int axis = 0; axis < lattice.dims(); ++axis) {
    const int64_t period = GetParam().mask_period[axis];
    if (period % lattice.shape()[axis] == 0) continue;
    moved = true;
    std::vector<int64_t> shape = {lattice.dims()};
    shape.insert(shape.end(), lattice.shape().begin(), lattice.shape().end());
    shape.push_back(4);
    const auto roll = [&](const at::Tensor& t) {
      return t.view(shape).roll({period}, {axis + 1}).reshape({lattice.links(), 4});
    };
    const auto [y, log_det] = flow_->Forward(links);
    const auto [rolled, log_det_rolled] = flow_->Forward(roll(links));
    EXPECT_LT(WrapAngles(rolled - roll(y)).abs().max().item<double>(), 1e-11);
    EXPECT_LT((log_det - log_det_rolled).abs().max().item<double>(), 1e-11);
  }
  EXPECT_TRUE(moved) << "the lattice is one period: nothing was tested";
}

TEST_P(EveryLayer, FusedKernelsDrawTheSameFieldsAndDensities) {
  const auto model = Model::Create(spec_, testing::ToTensors(U1ParameterLayout(*plan_), parameters_), CpuKernels(), 0);
  ASSERT_TRUE(model.ok()) << model.status();
  constexpr int64_t kBatch = 20;
  std::vector<uint64_t> seed(kBatch, 11), index(kBatch);
  at::Tensor prior = at::empty({plan_->lattice.links(), kBatch}, at::kDouble);
  for (int64_t b = 0; b < kBatch; ++b) {
    index[b] = static_cast<uint64_t>(3 * b);
    for (int64_t link = 0; link < prior.size(0); ++link) {
      prior.data_ptr<double>()[link * kBatch + b] =
          (UniformNoise(11, NoisePurpose::kPrior, index[b], static_cast<uint32_t>(link)) - 0.5) * 2 * std::numbers::pi;
    }
  }
  Proposals p;
  ASSERT_TRUE((*model)->Draw(spec_.target(), seed, index, &p).ok());
  const auto [y, log_det] = flow_->Forward(prior);
  const at::Tensor action = flow_->Action(spec_.target().u1_wilson().beta(), y);
  const at::Tensor drawn = at::from_blob(p.field.data(), {kBatch, p.field_size}, at::kDouble).t();
  EXPECT_LT(WrapAngles(drawn - y).abs().max().item<double>(), 1e-10);
  for (int64_t b = 0; b < kBatch; ++b) {
    EXPECT_NEAR(p.log_q[b], -log_det[b].item<double>(), 1e-10);
    EXPECT_NEAR(p.action[b], action[b].item<double>(), 1e-10);
  }
}

INSTANTIATE_TEST_SUITE_P(Masks, EveryLayer, ::testing::ValuesIn(Cases()), [](const auto& i) { return i.param.name; });

TEST(PlanU1Flow, RefusesAnActiveLoopWithTwoActiveLinks) {
  SpecOptions options;
  options.masks = "masks { direction: 0 plane: 1 sublattices { offset: [0, 0] stride: [1, 1] } }";
  const auto plan = PlanU1Flow(*ParseSpec(testing::SpecText(options)));
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(plan.status().message()), ::testing::HasSubstr("layers.0.0"));
}

TEST(PlanU1Flow, BoundsItsTablesBeforeItAllocatesThem) {
  SpecOptions options;
  options.shape = {1024, 1024};
  options.network = "hidden: [4] kernel: [31, 31]";
  const auto plan = PlanU1Flow(*ParseSpec(testing::SpecText(options)));
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(plan.status().message()), ::testing::HasSubstr("2^28"));
}

TEST(PlanU1Flow, ArithmeticFloorOfTheOrientationNetworks) {
  // 16 striped layers, features of plaquettes, 8 bins: 1,026 and 9,288 multiply-adds per site and layer, counting
  // masked inputs as work.
  for (const auto& [network, floor] : std::vector<std::pair<std::string, double>>{
           {"hidden: [8, 8] kernel: [3, 3, 3]", 1026}, {"hidden: [32, 32] kernel: [3, 3, 3]", 9288}}) {
    SpecOptions options;
    options.shape = {16, 16};
    options.layers = 16;
    options.features = "features { width: 1 height: 1 }";
    options.network = network;
    options.map = "spline { bins: 8 }";
    const auto plan = *PlanU1Flow(*ParseSpec(testing::SpecText(options)));
    const double per_site_and_layer = static_cast<double>(plan.multiply_adds()) / 16 / 256;
    EXPECT_LE(per_site_and_layer, floor);
    EXPECT_GE(per_site_and_layer, 0.85 * floor);  // taps on masked loops are skipped
  }
}

}  // namespace
}  // namespace haarflow
