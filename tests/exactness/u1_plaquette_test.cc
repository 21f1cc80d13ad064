// U(1) plaquette actions with a theta term, Villain's and Manton's: exact solutions, the flux tree's map and density,
// perfect samplers, other models' weights, HMC.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <numbers>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/action/gauss_legendre.h"
#include "core/action/target.h"
#include "core/action/u1_flux_tree.h"
#include "core/action/u1_torus.h"
#include "core/mcmc/hmc.h"
#include "core/model/spec.h"
#include "core/observable/derived.h"
#include "core/observable/observable.h"
#include "tests/exactness/perfect_model.h"
#include "tests/reference/determinant.h"
#include "tests/reference/tier.h"
#include "tests/reference/u1_reference.h"

namespace haarflow {
namespace {

using std::numbers::pi;
using testing::Draw;
using testing::Mean;
using testing::ModelOf;
using Form = U1Plaquette::Form;

v1::Target TargetOf(int64_t ny, int64_t nx, const U1Plaquette& plaquette) {
  v1::Target target;
  target.mutable_lattice()->add_shape(static_cast<uint32_t>(ny));
  target.mutable_lattice()->add_shape(static_cast<uint32_t>(nx));
  v1::U1WilsonAction* action = target.mutable_u1_wilson();
  action->set_beta(plaquette.beta);
  action->set_theta_imaginary(plaquette.theta_imaginary);
  if (plaquette.form == Form::kVillain) action->set_form(v1::U1_ACTION_FORM_VILLAIN);
  if (plaquette.form == Form::kManton) action->set_form(v1::U1_ACTION_FORM_MANTON);
  return target;
}

v1::ModelSpec PerfectSpec(int64_t ny, int64_t nx, const U1Plaquette& plaquette) {
  v1::ModelSpec spec;
  spec.set_name("perfect");
  spec.set_spec_version(1);
  *spec.mutable_target() = TargetOf(ny, nx, plaquette);
  spec.mutable_prior()->mutable_perfect();
  return spec;
}

// s(x), written down once more.
double PlainAction(const U1Plaquette& p, double angle) {
  const double x = std::remainder(angle, 2 * pi);
  if (p.form == Form::kWilson) return -p.beta * std::cos(x);
  if (p.form == Form::kManton) return p.beta * x * x / 2;
  double weight = 0;
  for (int n = -60; n <= 60; ++n) weight += std::exp(-p.beta / 2 * (x - 2 * pi * n) * (x - 2 * pi * n));
  return -std::log(weight);
}

double ReferenceAction(int64_t ny, int64_t nx, const U1Plaquette& p, const reference::Field& field) {
  double action = 0, charge = 0;
  for (int64_t y = 0; y < ny; ++y) {
    for (int64_t x = 0; x < nx; ++x) {
      const double angle = reference::LoopAngle({ny, nx}, field, {y, x}, 0, 1, 1, 1);
      action += PlainAction(p, angle);
      charge += std::remainder(angle, 2 * pi) / (2 * pi);
    }
  }
  return action - p.theta_imaginary * charge;
}

// Smooth and broken weights, narrow and wide, odd and even areas.
const U1Plaquette kActions[] = {
    {Form::kWilson, 2, 1},       {Form::kWilson, 0.3, -4},  {Form::kWilson, 7, 2.5},   {Form::kWilson, 12, 3},
    {Form::kWilson, 40, -5},     {Form::kWilson, 2, 1e-3},  {Form::kWilson, 1, 10},    {Form::kVillain, 1.5, 0},
    {Form::kVillain, 0.05, 0.5}, {Form::kVillain, 2, -1.5}, {Form::kVillain, 20, 0.7}, {Form::kManton, 0.4, 0},
    {Form::kManton, 2, 0},       {Form::kManton, 1, 2},     {Form::kManton, 30, 1},    {Form::kWilson, 0, 0.5},
};

class EveryAction : public ::testing::TestWithParam<U1Plaquette> {};
INSTANTIATE_TEST_SUITE_P(All, EveryAction, ::testing::ValuesIn(kActions),
                         [](const auto& info) { return "Case" + std::to_string(info.index); });

// int w dp / 2 pi and the like over one plaquette's circle.
template <typename F>
std::complex<double> Average(const U1Plaquette& p, const F& f) {
  static const GaussLegendre rule(1200);
  std::complex<double> sum = 0;
  for (size_t i = 0; i < rule.node.size(); ++i) {
    const double x = pi * (2 * rule.node[i] - 1);
    sum += rule.weight[i] * std::exp(p.theta_imaginary * x / (2 * pi) - PlainAction(p, x)) * f(x);
  }
  return sum;
}

TEST_P(EveryAction, CharactersAreTheIntegralsOfTheWeight) {
  const U1Plaquette& p = GetParam();
  const U1PlaquetteTorus torus = *U1PlaquetteTorus::Create(64, p);
  const double norm = Average(p, [](double) { return 1.0; }).real();
  for (int n : {0, 1, 2, 5, 11}) {
    if (n >= static_cast<int>(torus.ratio().size())) continue;
    const auto c = Average(p, [n](double x) { return std::polar(1.0, n * x); }) / norm;
    EXPECT_LT(std::abs(torus.ratio()[n] - c), 1e-14) << n;  // rounding of 1200 terms
  }
  EXPECT_NEAR(p.LogWeight(0.7), p.theta_imaginary * 0.7 / (2 * pi) - PlainAction(p, 0.7), 1e-13 * (1 + p.beta));
  const double h = 1e-5;
  U1Plaquette up = p, down = p;
  up.beta += h;
  down.beta -= h;
  if (down.beta > 0) {
    EXPECT_NEAR(p.BetaDerivative(2.1), (up.Action(2.1) - down.Action(2.1)) / (2 * h),
                1e-5 * (1 + 1 / (p.beta * p.beta)));
  }
}

// Three plaquettes on a sphere of three: Z as a two-dimensional integral, p_3 = -p_1 - p_2 mod 2 pi, in pieces without
// the jump.
TEST_P(EveryAction, PartitionFunctionIsTheIntegralOverPlaquettes) {
  const U1Plaquette& p = GetParam();
  const GaussLegendre rule(120);
  // Narrow weights: where they are.
  const double reach = std::min(pi, 12 / std::sqrt(std::max(p.beta, 1e-9)));
  const auto weight = [&](double x) { return std::exp(p.LogWeight(x) - p.LogWeight(0)); };
  double z = 0;
  for (double side : {-1.0, 1.0}) {
    for (size_t i = 0; i < rule.node.size(); ++i) {
      const double a = side * reach * rule.node[i];
      // p_3 = -a - b leaves [-pi, pi) at b = side pi - a.
      const double ends[3] = {-reach, std::clamp(side * pi - a, -reach, reach), reach};
      for (int piece = 0; piece < 2; ++piece) {
        const double length = ends[piece + 1] - ends[piece];
        for (size_t k = 0; k < rule.node.size(); ++k) {
          const double b = ends[piece] + length * rule.node[k];
          z += rule.weight[i] * reach * rule.weight[k] * length * weight(a) * weight(b) *
               weight(std::remainder(-a - b, 2 * pi)) / (4 * pi * pi);
        }
      }
    }
  }
  const double log_z = std::log(z) + 3 * p.LogWeight(0);
  EXPECT_NEAR(U1PlaquetteTorus::Create(3, p)->LogZ(), log_z, 1e-9);
}

TEST_P(EveryAction, ExactValuesAreSlopesAndAddUp) {
  const U1Plaquette& p = GetParam();
  const int64_t v = 36;
  const U1PlaquetteTorus torus = *U1PlaquetteTorus::Create(v, p);
  const auto shifted = [&](double beta, double theta) {
    U1Plaquette moved = p;
    moved.beta += beta;
    moved.theta_imaginary += theta;
    return U1PlaquetteTorus::Create(v, moved)->LogZ();
  };
  const double h = 1e-3 * (p.form == Form::kVillain && p.beta < 0.1 ? 0.01 : 1);
  const double slope = (shifted(0, h) - shifted(0, -h)) / (2 * h);
  const double bend = (shifted(0, h) - 2 * torus.LogZ() + shifted(0, -h)) / (h * h);
  EXPECT_NEAR(torus.Charge(), slope, 3e-6 * (1 + std::abs(slope)));
  if (h == 1e-3) {
    EXPECT_NEAR(torus.ChargeSquared() - slope * slope, bend, 1e-5);
  }
  if (p.beta > h) {
    EXPECT_NEAR(-torus.Energy() * v, (shifted(h, 0) - shifted(-h, 0)) / (2 * h),
                1e-4 * (1 + std::abs(torus.Energy() * v)));
  }
  double sum = 0, first = 0, second = 0, cosine = 0;
  for (int64_t q = -v / 2; q <= v / 2; ++q) {
    const double probability = torus.ChargeProbability(q), x = static_cast<double>(q);
    sum += probability;
    first += x * probability;
    second += x * x * probability;
    cosine += std::cos(0.7 * x) * probability;
  }
  EXPECT_NEAR(sum, 1, 1e-11);
  EXPECT_NEAR(first, torus.Charge(), 1e-9);
  EXPECT_NEAR(second, torus.ChargeSquared(), 1e-8);
  EXPECT_NEAR(cosine, torus.ChargeCosine(0.7), 1e-10);
  if (p.form == Form::kWilson) {
    EXPECT_NEAR(torus.Energy(), -torus.Plaquette(), 1e-13);
  }
  EXPECT_NEAR(torus.WilsonLoop(1), torus.Plaquette(), 1e-13);
}

// A theta term multiplies P(Q) by exp(theta_I Q).
TEST(U1PlaquetteTorus, ThetaTiltsTheDistributionOfTheCharge) {
  const U1PlaquetteTorus plain = *U1PlaquetteTorus::Create(64, {Form::kWilson, 2, 0});
  const U1PlaquetteTorus tilted = *U1PlaquetteTorus::Create(64, {Form::kWilson, 2, 1.5});
  for (int64_t q = -3; q <= 5; ++q) {
    const double expected =
        plain.ChargeProbability(q) * std::exp(1.5 * static_cast<double>(q) + plain.LogZ() - tilted.LogZ());
    EXPECT_NEAR(tilted.ChargeProbability(q), expected, 1e-12);
  }
}

TEST(U1PlaquetteTorus, AgreesWithTheCharacterExpansionOfWilsonsAction) {
  for (double beta : {0.0, 0.5, 2.0, 7.0, 60.0, 1000.0}) {
    for (int64_t volume : {int64_t{4}, int64_t{15}, int64_t{256}, int64_t{1} << 20}) {
      const U1Torus known = *U1Torus::Create(volume, beta);
      const U1PlaquetteTorus torus = *U1PlaquetteTorus::Create(volume, {Form::kWilson, beta, 0});
      const auto v = static_cast<double>(volume);
      EXPECT_NEAR(torus.LogZ(), known.LogZ(), 4e-15 * v * (1 + beta) + 1e-12);
      EXPECT_NEAR(torus.Plaquette(), known.Plaquette(), 1e-12);
      EXPECT_NEAR(torus.WilsonLoop(3), known.WilsonLoop(3), 1e-12);
      EXPECT_NEAR(torus.ChargeSquared(), known.ChargeSquared(), 1e-9 * (1 + known.ChargeSquared()));
      if (volume <= 256 && beta <= 7) {
        EXPECT_NEAR(torus.ChargeProbability(1), known.ChargeProbability(1), 1e-10) << volume << " " << beta;
      }
    }
  }
}

TEST_P(EveryAction, TheTreeInvertsAndHasTheDensityOfItsPlaquettes) {
  const U1Plaquette& p = GetParam();
  const Lattice lattice = *Lattice::Create({3, 4});
  const U1PlaquetteTorus torus = *U1PlaquetteTorus::Create(12, p);
  const U1FluxTree tree = *U1FluxTree::Create(lattice, p, torus);
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> unit(0, 1);
  const auto uniforms_of = [&](const std::vector<double>& angle) {
    std::vector<double> u(11);
    tree.Uniforms(angle.data(), u.data());
    return u;
  };
  int compared = 0;
  for (int trial = 0; trial < 20; ++trial) {
    std::vector<double> u(11), angle(12), flux(12);
    for (double& x : u) x = unit(random);
    tree.Angles(u.data(), angle.data(), flux.data());
    double sum = 0;
    for (double a : angle) sum += a;
    EXPECT_NEAR(std::remainder(sum, 2 * pi), 0, 1e-12);
    const std::vector<double> back = uniforms_of(angle);
    for (int i = 0; i < 11; ++i) EXPECT_NEAR(back[i], u[i], 1e-12);
    // The Jacobian du / d(first V - 1 angles), by differences, is the density prod w(theta_P) / Z with dtheta / 2 pi.
    // Not across the jump.
    const double step = 1e-3 / std::sqrt(1 + p.beta);
    bool near = false;
    for (double a : angle) near = near || pi - std::abs(a) < 4 * step;
    if (near) continue;
    std::vector<std::vector<double>> jacobian(11, std::vector<double>(11));
    for (int k = 0; k < 11; ++k) {
      std::vector<double> shifted[4];
      const double steps[4] = {-2, -1, 1, 2};
      for (int s = 0; s < 4; ++s) {
        std::vector<double> moved = angle;
        moved[k] += steps[s] * step;
        moved[11] -= steps[s] * step;
        shifted[s] = uniforms_of(moved);
      }
      for (int i = 0; i < 11; ++i) {
        jacobian[i][k] = (8 * (shifted[2][i] - shifted[1][i]) - (shifted[3][i] - shifted[0][i])) / (12 * step) * 2 * pi;
      }
    }
    double expected = -torus.LogZ();
    for (double a : angle) expected += p.LogWeight(a);
    EXPECT_NEAR(testing::LogDeterminant(jacobian), expected, 2e-7) << "trial " << trial;
    ++compared;
  }
  EXPECT_GT(compared, 10);
}

// The distribution function of one plaquette of a pair against quadrature: tables are right to 1e-13 of the whole.
TEST_P(EveryAction, TablesAreAccurate) {
  const U1Plaquette& p = GetParam();
  const U1FluxTree tree = *U1FluxTree::Create(*Lattice::Create({2, 2}), p, *U1PlaquetteTorus::Create(4, p));
  std::mt19937_64 random(9);
  std::uniform_real_distribution<double> unit(0, 1);
  const GaussLegendre rule(400);
  double worst = 0;
  for (int trial = 0; trial < 200; ++trial) {
    double u[3], angle[4], flux[4];
    for (double& x : u) x = unit(random);
    tree.Angles(u, angle, flux);
    // The second split is that of the first row, sites 0 and 1: the density w(x) w(phi - x), which jumps at x = -pi and
    // where phi - x does.
    const double phi = std::remainder(angle[0] + angle[1], 2 * pi), jump = phi > 0 ? phi - pi : phi + pi;
    const auto integral = [&](double from, double to) {
      double sum = 0;
      for (size_t i = 0; i < rule.node.size(); ++i) {
        const double x = from + (to - from) * rule.node[i];
        sum += (to - from) * rule.weight[i] *
               std::exp(p.LogWeight(x) + p.LogWeight(U1PrincipalAngle(phi - x)) - 2 * p.LogWeight(0));
      }
      return sum;
    };
    const auto below = [&](double x) { return x < jump ? integral(-pi, x) : integral(-pi, jump) + integral(jump, x); };
    worst = std::max(worst, std::abs(below(angle[0]) / below(pi) - u[1]));
  }
  EXPECT_LT(worst, 1e-12);
}

TEST_P(EveryAction, EveryProposalHasTheWeightZ) {
  const U1Plaquette& p = GetParam();
  for (const auto& [ny, nx] : {std::pair<int64_t, int64_t>{8, 8}, {5, 3}, {2, 2}, {16, 12}}) {
    const v1::ModelSpec spec = PerfectSpec(ny, nx, p);
    ASSERT_TRUE(ValidateSpec(spec).ok()) << ValidateSpec(spec);
    const auto model = ModelOf(spec);
    const double log_z = *ExactLogZ(spec.target());
    Proposals drawn = Draw(*model, spec.target(), 0, 20);
    const ObservableSet set = *ObservableSet::Create(spec.target(), {"action"});
    for (int64_t i = 0; i < drawn.n; ++i) {
      EXPECT_NEAR(drawn.log_q[i], -drawn.action[i] - log_z, 1e-12 * (1 + std::abs(log_z)));
      const reference::Field field(drawn.Field(i), drawn.Field(i) + drawn.field_size);
      const double action = ReferenceAction(ny, nx, p, field);
      EXPECT_NEAR(drawn.action[i], action, 1e-11 * (1 + std::abs(action)));
      double observed = 0;
      set.Evaluate(drawn.Field(i), &observed);
      EXPECT_NEAR(observed, drawn.action[i], 1e-11 * (1 + std::abs(action)));
    }
    const std::vector<double> log_q = drawn.log_q;
    ASSERT_TRUE(model->Density(spec.target(), &drawn).ok());
    EXPECT_EQ(drawn.log_q, log_q);
  }
}

const std::vector<std::string> kObservables = {"plaquette",
                                               "energy",
                                               "action",
                                               "charge",
                                               "charge_squared",
                                               "charge_probability_0",
                                               "charge_probability_1",
                                               "charge_cos_0.5",
                                               "charge_cos_3",
                                               "wilson_loop_2x2"};

constexpr size_t kCharge = 3;  // and its square next

// Fields of `model` weighted to `target`, in units of errors.
void ExpectExactMeans(const Model& model, const v1::Target& target, int64_t n, double bound) {
  const ObservableSet set = *ObservableSet::Create(target, kObservables);
  const Proposals p = Draw(model, target, 0, n);
  const double log_z = *ExactLogZ(target);
  std::vector<double> exact;
  for (const std::string& name : kObservables) exact.push_back(*ExactExpectation(target, name));
  // Of w / Z and (w / Z) (O - <O>): linear, with plain errors.
  std::vector<Mean> mean(kObservables.size() + 1);
  std::vector<double> value(kObservables.size());
  double square = 0;
  for (int64_t i = 0; i < p.n; ++i) {
    const double w = std::exp(p.LogWeight(i) - log_z);
    square += w * w;
    set.Evaluate(p.Field(i), value.data());
    mean.back().Add(w);
    for (size_t o = 0; o < value.size(); ++o) mean[o].Add(w * (value[o] - exact[o]));
  }
  const double ess = mean.back().sum * mean.back().sum / (static_cast<double>(n) * square);
  if (model.spec().prior().has_perfect()) {
    EXPECT_GT(ess, 0.999);
  } else {
    EXPECT_GT(ess * static_cast<double>(n), 1000);
  }
  EXPECT_NEAR(mean.back().mean(), 1, 4 * mean.back().error() + 1e-9);
  for (size_t o = 0; o < value.size(); ++o) {
    // Charges that hardly occur, or hardly change: no error can be had from the sample.
    const double drawn = static_cast<double>(n), first = exact[kCharge], variance = exact[kCharge + 1] - first * first;
    const bool probability = kObservables[o].starts_with("charge_probability");
    if (kObservables[o].starts_with("charge") && variance * drawn < 30) continue;
    if (probability && exact[o] * (1 - exact[o]) * drawn < 30) continue;
    EXPECT_NEAR(mean[o].mean(), 0, bound * mean[o].error() + 1e-9) << kObservables[o] << ", " << DescribeTarget(target);
  }
}

TEST_P(EveryAction, ThePerfectSamplerAgreesWithTheExactSolution) {
  for (const auto& [ny, nx, n] : {std::tuple<int64_t, int64_t, int64_t>{8, 8, 2000}, {16, 16, 500}, {3, 5, 3000}}) {
    const v1::ModelSpec spec = PerfectSpec(ny, nx, GetParam());
    ExpectExactMeans(*ModelOf(spec), spec.target(), testing::Length(n, 50 * n), 4.5);
  }
}

// One model serves them all, and draws the fields that a model of the target's own draws.
TEST(U1PlaquetteModels, APerfectModelServesEveryForm) {
  const auto model = ModelOf(PerfectSpec(6, 6, {Form::kWilson, 2, 0}));
  for (const U1Plaquette& p :
       {U1Plaquette{Form::kWilson, 2, 1}, U1Plaquette{Form::kVillain, 1.5, 0}, U1Plaquette{Form::kManton, 1, 2}}) {
    const v1::Target target = TargetOf(6, 6, p);
    EXPECT_TRUE(model->Serves(target));
    const Proposals drawn = Draw(*model, target, 0, 10);
    EXPECT_EQ(drawn.field, Draw(*ModelOf(PerfectSpec(6, 6, p)), target, 0, 10).field);
  }
  v1::Target negative = TargetOf(6, 6, {Form::kWilson, -2, 0});
  EXPECT_TRUE(model->Serves(negative));
  negative.mutable_u1_wilson()->set_theta_imaginary(1);
  EXPECT_FALSE(model->Serves(negative));
}

// A uniform prior without layers stands for every flow of links: kernels know Wilson's action alone.
TEST(U1PlaquetteModels, OtherModelsAreWeightedByTheActionAskedFor) {
  v1::ModelSpec spec = PerfectSpec(4, 4, {Form::kWilson, 0.2, 0});
  spec.mutable_prior()->mutable_uniform();
  const auto model = ModelOf(spec);
  for (const U1Plaquette& p : {U1Plaquette{Form::kWilson, 0.3, 1.5}, U1Plaquette{Form::kVillain, 0.25, 0},
                               U1Plaquette{Form::kManton, 0.15, -1}}) {
    const v1::Target target = TargetOf(4, 4, p);
    EXPECT_FALSE(model->Serves(target));
    ExpectExactMeans(*model, target, testing::Length(20000, 1000000), 4.5);
    Proposals drawn = Draw(*model, target, 0, 4);
    const auto action = drawn.action;
    ASSERT_TRUE(model->Density(target, &drawn).ok());
    EXPECT_EQ(drawn.action, action);
  }
}

TEST(U1PlaquetteModels, HmcKnowsTheThetaTerm) {
  U1HmcOptions options;
  options.chains = 64;
  options.steps = 4;
  options.step_size = 0.25;
  options.instantons = true;
  options.theta_imaginary = 1.2;
  const v1::Target target = TargetOf(6, 6, {Form::kWilson, 2, 1.2});
  U1Hmc hmc = *U1Hmc::Create(*Lattice::Create({6, 6}), 2, options);
  const ObservableSet set = *ObservableSet::Create(target, kObservables);
  std::vector<Mean> mean(kObservables.size());
  std::vector<double> value(kObservables.size());
  for (int i = 0; i < 100; ++i) hmc.Trajectory();
  const int trajectories = testing::Length(300, 10000);
  std::vector<std::vector<double>> chain(hmc.chains(), std::vector<double>(kObservables.size()));
  for (int i = 0; i < trajectories; ++i) {
    hmc.Trajectory();
    for (int c = 0; c < hmc.chains(); ++c) {
      set.Evaluate(hmc.Field(c).data(), value.data());
      for (size_t o = 0; o < value.size(); ++o) chain[c][o] += value[o] / trajectories;
    }
  }
  // Chains are independent: their scatter is the error.
  for (const auto& values : chain) {
    for (size_t o = 0; o < values.size(); ++o) mean[o].Add(values[o]);
  }
  for (size_t o = 0; o < kObservables.size(); ++o) {
    EXPECT_NEAR(mean[o].mean(), *ExactExpectation(target, kObservables[o]), 4.5 * mean[o].error()) << kObservables[o];
  }
  options.theta_imaginary = 1;
  EXPECT_FALSE(U1Hmc::Create(*Lattice::Create({4, 4, 4}), 2, options).ok());
}

TEST(U1PlaquetteModels, LogOfTheCosineIsAFreeEnergyDifference) {
  const v1::Target target = TargetOf(8, 8, {Form::kWilson, 2, 0});
  ASSERT_TRUE(IsDerivedObservable(target, "log_charge_cos_0.5"));
  const DerivedObservable derived = *DerivedObservable::Create(target, "log_charge_cos_0.5");
  ASSERT_EQ(derived.primaries(), std::vector<std::string>{"charge_cos_0.5"});
  EXPECT_EQ(derived.Value({0.25}), std::log(0.25));
  EXPECT_EQ(derived.Gradient({0.25})[0], 4);
  for (const char* wrong : {"log_charge_cos_", "log_charge_cos_0.50", "log_charge_cos_-1", "log_charge_cos_nan"}) {
    EXPECT_FALSE(DerivedObservable::Create(target, wrong).ok()) << wrong;
  }
  for (const char* wrong : {"charge_cos_.5", "charge_cos_1e400", "charge_cos_+1", "charge_cos_2000"}) {
    EXPECT_FALSE(ObservableSet::Create(target, {wrong}).ok()) << wrong;
  }
}

TEST(U1PlaquetteTarget, HasOneTextAndRefusesWhatItCannotBe) {
  v1::Target target = TargetOf(16, 16, {Form::kWilson, 2, 0});
  target.mutable_u1_wilson()->set_form(v1::U1_ACTION_FORM_WILSON);
  EXPECT_EQ(CanonicalTarget(target), "haarflow target 1\nu1_wilson beta=2\nlattice 16x16 periodic\n");
  target = TargetOf(16, 16, {Form::kVillain, 2, 0.5});
  EXPECT_EQ(CanonicalTarget(target),
            "haarflow target 1\nu1_villain beta=2 theta_imaginary=0.5\nlattice 16x16 periodic\n");
  EXPECT_EQ(DescribeTarget(target), "U(1) Villain, beta = 2, theta_imaginary = 0.5, 16x16");
  EXPECT_EQ(DescribeTheory(TargetOf(4, 4, {Form::kManton, 2, 0})), "U(1) Manton, beta = 2");
  EXPECT_TRUE(SetTheoryParameter("theta_imaginary", -1, &target).ok());
  EXPECT_EQ(target.u1_wilson().theta_imaginary(), -1);
  EXPECT_FALSE(SameForm(target, TargetOf(16, 16, {Form::kWilson, 2, 0.5})));
  const auto refused = [](v1::Target wrong, const char* what) {
    EXPECT_THAT(std::string(ValidateTarget(wrong).message()), ::testing::HasSubstr(what));
  };
  refused(TargetOf(4, 4, {Form::kVillain, 0, 0}), "Villain");
  refused(TargetOf(4, 4, {Form::kManton, -1, 0}), "Manton");
  refused(TargetOf(4, 4, {Form::kWilson, 1, 101}), "theta_imaginary is 101");
  refused(TargetOf(4, 4, {Form::kWilson, 1, std::nan("")}), "theta_imaginary is nan");
  v1::Target deep = TargetOf(4, 4, {Form::kWilson, 1, 1});
  deep.mutable_lattice()->add_shape(4);
  refused(deep, "two dimensions");
  deep.mutable_u1_wilson()->clear_theta_imaginary();
  EXPECT_TRUE(ValidateTarget(deep).ok());
  EXPECT_THAT(std::string(SetTheoryParameter("theta_imaginary", 1, &deep).message()),
              ::testing::HasSubstr("it has beta"));
  v1::Target other = TargetOf(4, 4, {Form::kWilson, 1, 0});
  other.mutable_u1_wilson()->set_form(static_cast<v1::U1ActionForm>(9));
  refused(other, "not a U1ActionForm");
  v1::ModelSpec spec = PerfectSpec(4, 4, {Form::kWilson, 1, 1});
  spec.mutable_prior()->mutable_uniform();
  spec.add_layers()->mutable_u1_coupling_stack()->set_layers(1);
  EXPECT_THAT(std::string(ValidateSpec(spec).message()), ::testing::HasSubstr("Wilson's action alone"));
}

}  // namespace
}  // namespace haarflow
