// Perfect samplers of two-dimensional gauge theories: the exact solution, maps that invert, names that fix bits.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <random>
#include <string>
#include <vector>

#include "core/action/bessel.h"
#include "core/action/u1_flux_tree.h"
#include "core/action/u1_wilson.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "core/model/spec.h"
#include "core/observable/observable.h"
#include "gtest/gtest.h"
#include "tests/exactness/perfect_model.h"
#include "tests/reference/determinant.h"
#include "tests/reference/tier.h"
#include "tests/reference/u1_reference.h"

namespace haarflow {
namespace {

using testing::Draw;
using testing::Mean;
using testing::ModelOf;

using std::numbers::pi;

v1::ModelSpec SpecOf(int64_t ny, int64_t nx, double beta) {
  v1::ModelSpec spec;
  spec.set_name("perfect");
  spec.set_spec_version(1);
  spec.mutable_target()->mutable_lattice()->add_shape(static_cast<uint32_t>(ny));
  spec.mutable_target()->mutable_lattice()->add_shape(static_cast<uint32_t>(nx));
  spec.mutable_target()->mutable_u1_wilson()->set_beta(beta);
  spec.mutable_prior()->mutable_perfect();
  return spec;
}

// The largest distance between an empirical distribution and U(0, 1), times sqrt(n): above 2.2 once in 10^4.
double Kolmogorov(std::vector<double> u) {
  std::sort(u.begin(), u.end());
  double distance = 0;
  const auto n = static_cast<double>(u.size());
  for (size_t i = 0; i < u.size(); ++i) {
    distance = std::max({distance, static_cast<double>(i + 1) / n - u[i], u[i] - static_cast<double>(i) / n});
  }
  return distance * std::sqrt(n);
}

struct Case {
  int64_t ny, nx;
  double beta;
  int64_t n;
};

TEST(PerfectU1, EveryProposalHasTheWeightZ) {
  for (const Case& c : {Case{8, 8, 1, 200}, Case{16, 16, 7, 100}, Case{5, 3, 2, 200}, Case{2, 2, 3, 200},
                        Case{2, 64, 0, 20}, Case{64, 63, 4, 5}, Case{16, 16, 1000, 10}, Case{8, 9, -3, 50}}) {
    const auto spec = SpecOf(c.ny, c.nx, c.beta);
    const auto model = ModelOf(spec);
    v1::Target positive = spec.target();
    positive.mutable_u1_wilson()->set_beta(std::abs(c.beta));
    const double log_z = *ExactLogZ(positive);
    Proposals p = Draw(*model, spec.target(), 0, c.n);
    const reference::Shape shape = {c.ny, c.nx};
    for (int64_t i = 0; i < p.n; ++i) {
      EXPECT_NEAR(p.LogWeight(i), log_z, 1e-10 * std::max(1.0, std::abs(log_z)));
      const reference::Field field(p.Field(i), p.Field(i) + p.field_size);
      EXPECT_NEAR(p.action[i], reference::Action(shape, c.beta, field), 1e-11 * (1 + std::abs(p.action[i])));
      for (double link : field) EXPECT_TRUE(link >= -pi && link < pi) << link;
    }
    // Density says the same.
    const std::vector<double> log_q = p.log_q;
    ASSERT_TRUE(model->Density(spec.target(), &p).ok());
    EXPECT_EQ(p.log_q, log_q);
  }
}

TEST(PerfectU1, AgreesWithTheExactSolution) {
  for (const Case& c : {Case{8, 8, 1, 20000}, Case{8, 8, 2, 20000}, Case{8, 8, 7, 20000}, Case{16, 16, 1, 4000},
                        Case{16, 16, 2, 4000}, Case{16, 16, 7, 4000}, Case{5, 7, 0.5, 10000}, Case{3, 3, 3, 20000}}) {
    const auto spec = SpecOf(c.ny, c.nx, c.beta);
    const auto model = ModelOf(spec);
    const std::vector<std::string> names = {"plaquette",
                                            "charge",
                                            "charge_squared",
                                            "wilson_loop_2x2",
                                            "wilson_loop_1x2",
                                            "charge_probability_0",
                                            "charge_probability_1",
                                            "charge_probability_2"};
    const ObservableSet set = *ObservableSet::Create(spec.target(), names);
    std::vector<Mean> mean(names.size());
    std::vector<double> value(names.size());
    const int64_t n = testing::Length(c.n, 50 * c.n), piece = 1000;
    for (int64_t first = 0; first < n; first += piece) {
      const Proposals p = Draw(*model, spec.target(), first, piece);
      for (int64_t i = 0; i < p.n; ++i) {
        set.Evaluate(p.Field(i), value.data());
        for (size_t o = 0; o < names.size(); ++o) mean[o].Add(value[o]);
      }
    }
    for (size_t o = 0; o < names.size(); ++o) {
      if (*ExactExpectation(spec.target(), names[o]) < 1e-3 && names[o] == "charge_probability_2")
        continue;  // too rare
      EXPECT_GT(mean[o].error(), 0) << names[o];
      EXPECT_NEAR(mean[o].mean(), *ExactExpectation(spec.target(), names[o]), 4 * mean[o].error())
          << names[o] << " beta = " << c.beta << " " << c.ny << "x" << c.nx;
    }
  }
}

// The distribution function of a block's flux, density f_A(x) f_{V-A}(x) / f_V(0): sums of cosines, integrated.
class BlockFlux {
 public:
  BlockFlux(const std::vector<double>& ratio, int64_t area, int64_t volume) : below_(kSteps + 1, 0.0) {
    const auto f = [&](int64_t a, double y) {
      double sum = 1;
      for (size_t n = 1; n < ratio.size(); ++n) {
        sum += 2 * std::pow(ratio[n], static_cast<double>(a)) * std::cos(static_cast<double>(n) * y);
      }
      return sum;
    };
    for (int i = 0; i < kSteps; ++i) {
      const double y = -pi + 2 * pi * (i + 0.5) / kSteps;
      below_[i + 1] = below_[i] + f(area, y) * f(volume - area, y);
    }
  }
  double operator()(double x) const {
    const double at = std::clamp((x + pi) / (2 * pi), 0.0, 1.0) * kSteps;
    const int i = std::min(static_cast<int>(at), kSteps - 1);
    return (below_[i] + (at - i) * (below_[i + 1] - below_[i])) / below_[kSteps];
  }

 private:
  static constexpr int kSteps = 2000;
  std::vector<double> below_;
};

// Fluxes of blocks that the tree does not know, of odd shapes and across its own.
TEST(PerfectU1, BlockFluxesHaveTheirDistribution) {
  for (double beta : {1.0, 2.0, 7.0}) {
    const auto spec = SpecOf(8, 8, beta);
    const auto model = ModelOf(spec);
    const std::vector<double> ratio = BesselRatios(beta);
    const Proposals p = Draw(*model, spec.target(), 0, testing::Length(3000, 100000));
    struct Block {
      int64_t y, x, height, width;
    };
    for (const Block& b : {Block{0, 0, 1, 1}, Block{7, 7, 1, 1}, Block{3, 3, 2, 1}, Block{3, 3, 2, 2},
                           Block{2, 7, 3, 3}, Block{6, 1, 4, 8}, Block{1, 2, 5, 3}}) {
      const BlockFlux distribution(ratio, b.height * b.width, 64);
      std::vector<double> u;
      for (int64_t i = 0; i < p.n; ++i) {
        const reference::Field field(p.Field(i), p.Field(i) + p.field_size);
        double flux = 0;
        for (int64_t y = 0; y < b.height; ++y) {
          for (int64_t x = 0; x < b.width; ++x) {
            flux += reference::LoopAngle({8, 8}, field, {b.y + y, b.x + x}, 0, 1, 1, 1);
          }
        }
        u.push_back(distribution(std::remainder(flux, 2 * pi)));
      }
      EXPECT_LT(Kolmogorov(u), 2.2) << "beta = " << beta << ", " << b.height << "x" << b.width;
    }
  }
}

TEST(PerfectU1, HolonomiesAndLinksAreUniform) {
  const auto spec = SpecOf(3, 5, 4);
  const auto model = ModelOf(spec);
  const Proposals p = Draw(*model, spec.target(), 0, testing::Length(20000, 1000000));
  std::vector<std::vector<double>> u(5 + p.field_size);
  for (int64_t i = 0; i < p.n; ++i) {
    const double* link = p.Field(i);
    const auto add = [&](int64_t k, double angle) { u[k].push_back(std::remainder(angle, 2 * pi) / (2 * pi) + 0.5); };
    double along_x = 0, along_y = 0;
    for (int x = 0; x < 5; ++x) along_x += link[5 + x];
    for (int y = 0; y < 3; ++y) along_y += link[15 + 5 * y + 2];
    add(0, along_x);
    add(1, along_y);
    add(2, along_x + along_y);
    add(3, along_x - along_y);
    add(4, link[0] + 2 * link[17]);
    for (int64_t k = 0; k < p.field_size; ++k) add(5 + k, link[k]);
  }
  // 35 tests.
  for (size_t k = 0; k < u.size(); ++k) EXPECT_LT(Kolmogorov(u[k]), 2.4) << k;
}

TEST(PerfectU1, BitsDependOnTheNameAlone) {
  const auto spec = SpecOf(6, 5, 3);
  const auto model = ModelOf(spec), again = ModelOf(spec);
  const Proposals all = Draw(*model, spec.target(), 10, 50);
  for (int64_t i : {0, 1, 17, 49}) {
    const Proposals one = Draw(*again, spec.target(), 10 + static_cast<uint64_t>(i), 1);
    EXPECT_TRUE(std::equal(one.field.begin(), one.field.end(), all.Field(i)));
    EXPECT_EQ(one.log_q[0], all.log_q[i]);
  }
  EXPECT_NE(Draw(*model, spec.target(), 10, 1, 4).field, Draw(*model, spec.target(), 10, 1, 3).field);
}

// A model of its own for every beta; other lattices are other fields.
TEST(PerfectU1, ServesEveryBeta) {
  const auto spec = SpecOf(6, 6, 2);
  const auto model = ModelOf(spec);
  for (double beta : {-2.0, 0.0, 0.3, 2.0, 6.0, 50.0}) {
    v1::Target target = spec.target();
    target.mutable_u1_wilson()->set_beta(beta);
    EXPECT_TRUE(model->Serves(target));
    const Proposals p = Draw(*model, target, 0, 40);
    const auto own = SpecOf(6, 6, beta);
    const Proposals same = Draw(*ModelOf(own), target, 0, 40);
    EXPECT_EQ(p.field, same.field);
    EXPECT_EQ(p.log_q, same.log_q);
    for (int64_t i = 1; i < p.n; ++i) EXPECT_NEAR(p.LogWeight(i), p.LogWeight(0), 1e-11);
  }
  // On an odd number of sites negative couplings are not served, but weighted.
  const auto odd = ModelOf(SpecOf(3, 3, 0.2));
  v1::Target target = odd->target();
  target.mutable_u1_wilson()->set_beta(-0.2);
  EXPECT_FALSE(odd->Serves(target));
  const Proposals p = Draw(*odd, target, 0, 20000);
  Mean weight;
  for (int64_t i = 0; i < p.n; ++i) weight.Add(std::exp(p.LogWeight(i)));
  // Z = sum_n (-1)^{nV} I_n^V.
  const std::vector<double> ratio = BesselRatios(0.2);
  double z = 1;
  for (size_t n = 1; n < ratio.size(); ++n) z += (n % 2 == 0 ? 2 : -2) * std::pow(ratio[n], 9);
  EXPECT_NEAR(weight.mean(), z * std::exp(9 * LogBesselI0(0.2, ratio)), 4 * weight.error());
  EXPECT_LT(weight.error(), 0.02);
}

TEST(FluxTree, InvertsAndHasTheDensityOfItsPlaquettes) {
  for (double beta : {0.3, 2.0, 7.0, 100.0, 1000.0}) {
    const Lattice lattice = *Lattice::Create({3, 4});
    const std::vector<double> ratio = BesselRatios(beta);
    const U1FluxTree tree = *U1FluxTree::Create(lattice, ratio);
    ASSERT_EQ(tree.splits(), 11);
    std::mt19937_64 random(7);
    std::uniform_real_distribution<double> unit(0, 1);
    const auto uniforms_of = [&](const std::vector<double>& angle) {
      std::vector<double> u(11);
      tree.Uniforms(angle.data(), u.data());
      return u;
    };
    for (int trial = 0; trial < 20; ++trial) {
      std::vector<double> u(11), angle(12), flux(12);
      for (double& x : u) x = unit(random);
      tree.Angles(u.data(), angle.data(), flux.data());
      double sum = 0;
      for (double a : angle) sum += a;
      EXPECT_NEAR(std::remainder(sum, 2 * pi), 0, 1e-12);
      const std::vector<double> back = uniforms_of(angle);
      for (int i = 0; i < 11; ++i) EXPECT_NEAR(back[i], u[i], 1e-13);
      // The Jacobian du / d(first V - 1 angles), by differences, is the density exp(beta sum cos) / (I_0^V f_V(0)) with
      // dtheta / 2 pi.
      const double step = 2e-4 / std::sqrt(1 + beta);
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
          jacobian[i][k] =
              (8 * (shifted[2][i] - shifted[1][i]) - (shifted[3][i] - shifted[0][i])) / (12 * step) * 2 * pi;
        }
      }
      double expected = -12 * LogBesselI0(beta, ratio), norm = 1;
      for (double a : angle) expected += beta * std::cos(a);
      for (size_t n = 1; n < ratio.size(); ++n) norm += 2 * std::pow(ratio[n], 12);
      EXPECT_NEAR(testing::LogDeterminant(jacobian), expected - std::log(norm), 1e-6) << "beta = " << beta;
    }
  }
}

// One plaquette of a pair has von Mises' distribution exp(kappa cos(x - phi/2)), kappa = 2 beta cos(phi/2), by its
// Fourier series.
double VonMisesDistribution(double kappa, double mean, double x) {
  const std::vector<double> ratio = BesselRatios(kappa);
  double sum = (x + pi) / (2 * pi);
  for (size_t n = 1; n < ratio.size(); ++n) {
    const auto k = static_cast<double>(n);
    sum += ratio[n] * (std::sin(k * (x - mean)) + std::sin(k * (pi + mean))) / (k * pi);
  }
  return sum;
}

TEST(FluxTree, TablesAreAccurate) {
  for (double beta : {0.1, 1.0, 3.0, 7.0, 20.0, 300.0}) {
    const U1FluxTree tree = *U1FluxTree::Create(*Lattice::Create({2, 2}), BesselRatios(beta));
    std::mt19937_64 random(9);
    std::uniform_real_distribution<double> unit(0, 1);
    double u[3], angle[4], flux[4], worst = 0;
    for (int trial = 0; trial < 2000; ++trial) {
      for (double& x : u) x = unit(random);
      tree.Angles(u, angle, flux);
      // The second split is that of the first row, sites 0 and 1.
      const double phi = std::remainder(angle[0] + angle[1], 2 * pi);
      const double exact = VonMisesDistribution(2 * beta * std::cos(phi / 2), phi / 2, angle[0]);
      worst = std::max(worst, std::abs(u[1] - exact));
    }
    EXPECT_LT(worst, 1e-12) << beta;
  }
}

// Another weight than Wilson's: the heat kernel, c_n = exp(-n^2 / (2 beta)); sums of its angles are wrapped Gaussians.
TEST(FluxTree, TakesOtherWeights) {
  std::vector<double> ratio;
  for (int n = 0; n < 20; ++n) ratio.push_back(std::exp(-n * n / 4.0));
  const U1FluxTree tree = *U1FluxTree::Create(*Lattice::Create({4, 6}), ratio);
  std::mt19937_64 random(8);
  std::uniform_real_distribution<double> unit(0, 1);
  std::vector<double> u(23), angle(24), flux(24);
  Mean first;
  for (int i = 0; i < 20000; ++i) {
    for (double& x : u) x = unit(random);
    tree.Angles(u.data(), angle.data(), flux.data());
    first.Add(std::cos(angle[7]));
  }
  // <cos> = sum_n (c_{n-1} + c_{n+1}) / 2 c_n^{V-1} / sum_n c_n^V.
  double sum = ratio[1], norm = 1;
  for (size_t n = 1; n + 1 < ratio.size(); ++n) {
    sum += (ratio[n - 1] + ratio[n + 1]) * std::pow(ratio[n], 23);
    norm += 2 * std::pow(ratio[n], 24);
  }
  EXPECT_NEAR(first.mean(), sum / norm, 4 * first.error());
  // Refused: growing, negative, not at its end.
  EXPECT_FALSE(U1FluxTree::Create(*Lattice::Create({4, 4}), std::vector<double>{1, 0.5, 0.6, 0}).ok());
  EXPECT_FALSE(U1FluxTree::Create(*Lattice::Create({4, 4}), std::vector<double>{1, -0.5, 0}).ok());
  EXPECT_FALSE(U1FluxTree::Create(*Lattice::Create({4, 4}), std::vector<double>{1, 0.5}).ok());
  EXPECT_FALSE(U1FluxTree::Create(*Lattice::Create({4, 4, 4}), ratio).ok());
}

TEST(PerfectSpec, RefusesWhatItCannotDraw) {
  EXPECT_TRUE(ValidateSpec(SpecOf(7, 3, 2)).ok());
  const auto wrong = [](const char* what, const auto& change) {
    v1::ModelSpec spec = SpecOf(5, 5, 2);
    change(&spec);
    const absl::Status status = ValidateSpec(spec);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << what;
    EXPECT_NE(status.message().find(what), std::string::npos) << status;
  };
  wrong("prior.perfect", [](v1::ModelSpec* s) { s->mutable_target()->mutable_lattice()->add_shape(4); });
  wrong("beta >= 0", [](v1::ModelSpec* s) { s->mutable_target()->mutable_u1_wilson()->set_beta(-1); });
  wrong("layers", [](v1::ModelSpec* s) { s->add_layers(); });
  wrong("conditioning", [](v1::ModelSpec* s) { s->add_conditioning()->set_parameter("beta"); });
  wrong("nothing to train", [](v1::ModelSpec* s) { s->mutable_training()->add_phases()->set_steps(1); });
  wrong("prior.perfect", [](v1::ModelSpec* s) { s->mutable_target()->mutable_phi4()->mutable_mass()->set_m2(1); });
  TensorMap weights;
  weights["a"] = Tensor::FromDoubles(Tensor::Type::kFloat64, {1}, {1});
  EXPECT_FALSE(Model::Create(SpecOf(4, 4, 2), weights, CpuKernels(), 0).ok());
}

}  // namespace
}  // namespace haarflow
