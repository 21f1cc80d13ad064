// Loop flows of SU(N) links: the log-Jacobian against the full Jacobian by differences, the inverse, symmetries,
// derivatives with respect to coefficients; planted errors are caught.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <complex>
#include <memory>
#include <set>
#include <vector>

#include "core/flow/loop_plan.h"
#include "core/kernel/cpu/loop_isa.h"
#include "core/kernel/tiles.h"
#include "tests/exactness/loop_fields.h"
#include "tests/reference/loop_specs.h"

namespace haarflow {
namespace {

using kernel::kMatrixLanes;
using testing::Conjugated;
using testing::Dagger;
using testing::Distance;
using testing::Exp;
using testing::Fields;
using testing::Flow;
using testing::FullLogDeterminant;
using testing::GaugeTransformed;
using testing::Generators;
using testing::LogDeterminant;
using testing::Matrix;
using testing::SetFields;
using testing::Times;
using testing::Translated;
using Complex = std::complex<double>;

struct Case {
  const char* name;
  int colours;
  const char* shape;
  std::string classes;
  double size;
};
class LoopFlowTest : public ::testing::TestWithParam<Case> {
 protected:
  static std::string Spec(int sweeps) {
    const Case& c = GetParam();
    return testing::LoopSpec(c.colours, c.shape, 2.0, sweeps, c.classes);
  }
};

TEST_P(LoopFlowTest, LogDeterminantIsThatOfTheFullJacobian) {
  Flow flow(Spec(1), GetParam().size);
  const std::vector<Matrix> field = Fields(flow, 3);
  const double log_det = flow.Map()[3];
  EXPECT_GT(std::abs(log_det), 0.1);
  EXPECT_GT(flow.smallest[3], 0.05);
  EXPECT_LT(flow.smallest[3], 0.95);
  EXPECT_NEAR(FullLogDeterminant(&flow, field), log_det, 1e-7);
}

TEST_P(LoopFlowTest, InverseFindsTheFieldAndTheSameDeterminant) {
  for (const char* isa : {"baseline", "avx2", "avx512"}) {
    if (kernel::LoopKernelsFor(isa) == nullptr) continue;
    Flow flow(Spec(2), GetParam().size, 0, isa);
    const std::vector<Matrix> field = Fields(flow, 5);
    const auto forward = flow.Map();
    const std::vector<Matrix> image = Fields(flow, 5);
    EXPECT_GT(Distance(field, image), 0.1);
    for (const Matrix& u : image) {
      const Matrix one = Times(u, Dagger(u, flow.n_), flow.n_);
      for (int i = 0; i < flow.n_ * flow.n_; ++i)
        EXPECT_LT(std::abs(one[i] - (i % (flow.n_ + 1) == 0 ? 1.0 : 0.0)), 1e-13);
    }
    const auto inverse = flow.Inverse();
    EXPECT_LT(Distance(field, Fields(flow, 5)), 1e-12);
    for (int i = 0; i < kMatrixLanes; ++i) EXPECT_NEAR(forward[i], inverse[i], 1e-11);
  }
}

TEST_P(LoopFlowTest, IsGaugeCovariantAndKnowsConjugation) {
  Flow flow(Spec(2), GetParam().size);
  const Lattice& lattice = flow.plan_->lattice;
  const int n = flow.n_;
  std::vector<Matrix> field = Fields(flow, 0), gauge;
  for (int64_t x = 0; x < lattice.volume(); ++x) gauge.push_back(flow.Get(x, 7));  // Haar matrices
  const auto transform = [&](const std::vector<Matrix>& u) { return GaugeTransformed(lattice, gauge, u, n); };
  // A translation by the masks' period.
  const auto translate = [&](const std::vector<Matrix>& u) {
    const bool is_staggered = lattice.dims() == 2 || GetParam().classes.starts_with(testing::kStaggered);
    return Translated(lattice, u, is_staggered ? 4 : 2);
  };
  SetFields(&flow, 1, transform(field));
  SetFields(&flow, 2, Conjugated(field));
  SetFields(&flow, 3, translate(field));
  const auto log_det = flow.Map();
  const std::vector<Matrix> image = Fields(flow, 0);
  EXPECT_LT(Distance(Fields(flow, 1), transform(image)), 1e-12);
  EXPECT_LT(Distance(Fields(flow, 2), Conjugated(image)), 1e-12);
  EXPECT_LT(Distance(Fields(flow, 3), translate(image)), 1e-12);
  for (int lane = 1; lane < 4; ++lane) EXPECT_NEAR(log_det[lane], log_det[0], 1e-11);
}

// Every lane of the gradient against differences of log w.
TEST_P(LoopFlowTest, GradientWithRespectToCoefficients) {
  Flow flow(Spec(2), GetParam().size);
  const double couplings[3] = {2.0, -0.05, 0};
  uint64_t seed[kMatrixLanes], index[kMatrixLanes];
  for (int i = 0; i < kMatrixLanes; ++i) {
    seed[i] = 3;
    index[i] = static_cast<uint64_t>(10 + i);
  }
  double log_det[kMatrixLanes], action[kMatrixLanes], smallest[kMatrixLanes];
  flow.kernels_.train_tile(flow.view(), couplings, seed, index, flow.train_, log_det, action, smallest);
  const std::vector<double> gradient(flow.train_.gradient,
                                     flow.train_.gradient + flow.parameters_.size() * kMatrixLanes);
  const auto log_weight = [&](const std::vector<double>& parameters) {
    flow.tables_->Set(parameters);
    flow.kernels_.haar_tile(flow.view(), 5, seed, index, flow.work_.links);
    std::array<double, kMatrixLanes> w{}, s{};
    flow.kernels_.map_tile(flow.view(), flow.work_, w.data(), smallest);
    flow.kernels_.action_tile(flow.view(), couplings, flow.work_.links, flow.work_.product, s.data());
    for (int i = 0; i < kMatrixLanes; ++i) w[i] -= s[i];
    return w;
  };
  const auto centre = log_weight(flow.parameters_);
  for (int i = 0; i < kMatrixLanes; ++i) EXPECT_NEAR(centre[i], log_det[i] - action[i], 1e-11);
  double largest = 0;
  for (size_t k = 0; k < flow.parameters_.size(); ++k) {
    constexpr double kStep = 1e-3;
    std::array<double, kMatrixLanes> slope{};
    for (const auto& [shift, weight] : {std::pair(-2, 1.0), {-1, -8.0}, {1, 8.0}, {2, -1.0}}) {
      std::vector<double> moved = flow.parameters_;
      moved[k] += shift * kStep;
      const auto w = log_weight(moved);
      for (int i = 0; i < kMatrixLanes; ++i) slope[i] += weight / (12 * kStep) * w[i];
    }
    const double scale = flow.plan_->class_scale[k % flow.plan_->class_scale.size()];
    for (int i = 0; i < kMatrixLanes; ++i) {
      const double analytic = scale * gradient[k * kMatrixLanes + i];
      EXPECT_NEAR(analytic, slope[i], 2e-6 * (1 + std::abs(slope[i]))) << "parameter " << k << " lane " << i;
      largest = std::max(largest, std::abs(slope[i]));
    }
  }
  EXPECT_GT(largest, 1);
}

// Every link once a sweep; a mask looks the same from each of its links, and masks of one direction alike.
TEST(LinkMasks, CoverTheLinksAndAreTranslatesOfEachOther) {
  const auto rows = v1::LINK_MASK_FAMILY_STAGGERED_ROWS, parity = v1::LINK_MASK_FAMILY_TRANSVERSE_PARITY;
  const std::pair<std::vector<int64_t>, v1::LinkMaskFamily> cases[] = {{{4, 4}, rows},      {{8, 4}, rows},
                                                                       {{4, 8, 4}, rows},   {{4, 4, 8, 4}, rows},
                                                                       {{2, 4, 2}, parity}, {{2, 2, 4, 2}, parity}};
  for (const auto& [shape, family] : cases) {
    const Lattice lattice = *Lattice::Create(shape);
    const auto masks = *LinkMasks(lattice, family);
    const auto seen_from = [&](const std::vector<int64_t>& sites, int64_t origin) {
      std::set<int64_t> seen;
      for (int64_t site : sites) {
        for (int mu = 0; mu < lattice.dims(); ++mu) {
          site = lattice.Shift(site, mu, -lattice.Coordinate(origin, lattice.AxisOf(mu)));
        }
        seen.insert(site);
      }
      return seen;
    };
    std::vector<int> passes(lattice.links(), 0);
    std::vector<std::set<int64_t>> view(lattice.dims());
    for (const LinkMaskSites& mask : masks) {
      for (int64_t site : mask.sites) {
        ++passes[lattice.Link(mask.mu, site)];
        const auto seen = seen_from(mask.sites, site);
        if (view[mask.mu].empty()) view[mask.mu] = seen;
        EXPECT_EQ(seen, view[mask.mu]) << lattice.ToString();
      }
    }
    EXPECT_EQ(passes, std::vector<int>(lattice.links(), 1));
    if (family != rows) continue;
    // No active link is two plaquettes apart from another one.
    for (const LinkMaskSites& mask : masks) {
      const std::set<int64_t> sites(mask.sites.begin(), mask.sites.end());
      for (int nu = 0; nu < lattice.dims(); ++nu) {
        for (int rho = 0; rho < lattice.dims(); ++rho) {
          if (nu == mask.mu || rho == mask.mu) continue;
          for (int64_t sign : {1, -1}) {
            if (nu == rho && sign == -1) continue;
            EXPECT_FALSE(sites.contains(lattice.Shift(lattice.Shift(mask.sites[0], nu, 1), rho, sign)));
          }
        }
      }
    }
  }
}

// Of a link in two dimensions.
Matrix StapleSum(const Lattice& lattice, const std::vector<Matrix>& u, int64_t link, int n) {
  const int mu = static_cast<int>(link / lattice.volume()), nu = 1 - mu;
  const int64_t x = link % lattice.volume(), ahead = lattice.Shift(x, mu, 1), below = lattice.Shift(x, nu, -1);
  const auto at = [&](int direction, int64_t site) { return u[lattice.Link(direction, site)]; };
  Matrix sum = Times(Times(at(nu, ahead), Dagger(at(mu, lattice.Shift(x, nu, 1)), n), n), Dagger(at(nu, x), n), n);
  const Matrix down =
      Times(Times(Dagger(at(nu, lattice.Shift(below, mu, 1)), n), Dagger(at(mu, below), n), n), at(nu, below), n);
  for (int e = 0; e < n * n; ++e) sum[e] += down[e];
  return sum;
}

// U' = exp(-1/2 P(c/N U V)) U with staples V, links one by one: the plaquette's flow written out. P is half of what is
// anti-Hermitian, its trace removed; `everywhere`: from every element, as a public code has it.
class WrittenOut {
 public:
  WrittenOut(const Flow& flow, bool everywhere) : flow_(flow), n_(flow.n_), everywhere_(everywhere) {}

  Matrix Force(const std::vector<Matrix>& u, int64_t link, double c) const {
    Matrix w = Times(u[link], StapleSum(flow_.plan_->lattice, u, link, n_), n_);
    for (auto& e : w) e *= c / n_;
    const Matrix dagger = Dagger(w, n_);
    Matrix f(n_ * n_);
    Complex trace = 0;
    for (int e = 0; e < n_ * n_; ++e) f[e] = 0.5 * (w[e] - dagger[e]);
    for (int i = 0; i < n_; ++i) trace += f[i * n_ + i] / static_cast<double>(n_);
    for (int e = 0; e < n_ * n_; ++e) f[e] = -0.5 * (f[e] - (everywhere_ || e % (n_ + 1) == 0 ? trace : 0.0));
    return f;
  }

  // Moves the field; returns sum of log det(1 + H): the Jacobian to first order in the force, by differences.
  double Map(std::vector<Matrix>* u) const {
    const auto generators = Generators(n_);
    const auto dim = generators.size();
    const double c = flow_.parameters_[0];
    double first_order = 0;
    for (const LoopStepPlan& step : flow_.plan_->steps) {
      for (int32_t link : step.links) {
        std::vector<std::vector<double>> block(dim, std::vector<double>(dim));
        const Matrix centre = (*u)[link];
        for (size_t b = 0; b < dim; ++b) {
          constexpr double kStep = 1e-5;
          Matrix forces[2];
          for (int s = 0; s < 2; ++s) {
            Matrix x = generators[b];
            for (auto& e : x) e *= s == 0 ? -kStep : kStep;
            (*u)[link] = Times(Exp(x, n_), centre, n_);
            forces[s] = Force(*u, link, c);
          }
          (*u)[link] = centre;
          for (size_t a = 0; a < dim; ++a) {
            Complex trace = 0;
            const Matrix low = Times(generators[a], forces[0], n_), high = Times(generators[a], forces[1], n_);
            for (int i = 0; i < n_; ++i) trace += (high[i * n_ + i] - low[i * n_ + i]) / (2 * kStep);
            block[a][b] = (a == b ? 1.0 : 0.0) - 2 * trace.real();
          }
        }
        first_order += LogDeterminant(block);
        (*u)[link] = Times(Exp(Force(*u, link, c), n_), centre, n_);
      }
    }
    return first_order;
  }

 private:
  const Flow& flow_;
  const int n_;
  const bool everywhere_;
};

TEST(LoopFlowWrittenOut, AgreesAndPlantedErrorsAreSeen) {
  for (int colours : {2, 3}) {
    Flow flow(testing::LoopSpec(colours, "shape: [4, 4]", 2.0, 1,
                                "classes { name: \"plaquette\" loops { steps: [1, 2, -1, -2] } }"),
              0.9);
    std::vector<Matrix> field = Fields(flow, 2), wrong = field;
    const double log_det = flow.Map()[2];
    const double first_order = WrittenOut(flow, false).Map(&field);
    EXPECT_LT(Distance(field, Fields(flow, 2)), 1e-12) << colours;
    // A hundred thousand times what LogDeterminantIsThatOfTheFullJacobian lets pass.
    EXPECT_GT(std::abs(first_order - log_det), 1e-2) << colours;
    if (colours == 3) {  // SU(2)'s anti-Hermitian part has no trace
      WrittenOut(flow, true).Map(&wrong);
      EXPECT_GT(Distance(wrong, Fields(flow, 2)), 1e-2);
    }
  }
}

// The flow of products of sums, and of joined loops, is that of their potential's gradient by differences.
TEST(LoopFlowWrittenOut, IndependentLoopsAreSumsOverTheLinksImages) {
  Flow flow(testing::LoopSpec(3, "shape: [4, 4]", 2.0, 1, R"(
    classes { name: "modulus" independent: true loops { steps: [1, 2, -1, -2] } loops { steps: [1, 2, -1, -2] conjugate: true } }
    classes { name: "cube" independent: true loops { steps: [1, 2, -1, -2] conjugate: true } loops { steps: [1, 2, -1, -2] }
              loops { steps: [1, 2, -1, -2] } }
    classes { name: "joined" independent: true joined: true loops { steps: [1, 2, -1, -2] } loops { steps: [1, 2, -1, -2] } }
  )"),
            0.3);
  std::vector<Matrix> field = Fields(flow, 2);
  flow.Map();
  const auto generators = Generators(3);
  const auto potential = [&](const Matrix& w) {
    const Complex trace = w[0] + w[4] + w[8];
    const Matrix square = Times(w, w, 3);
    return flow.parameters_[0] * std::norm(trace) / 9 + flow.parameters_[1] * (std::norm(trace) * trace).real() / 27 +
           flow.parameters_[2] * (square[0] + square[4] + square[8]).real() / 3;
  };
  for (const LoopStepPlan& step : flow.plan_->steps) {
    for (int32_t link : step.links) {
      const Matrix staples = StapleSum(flow.plan_->lattice, field, link, 3);
      Matrix force(9);
      for (const Matrix& t : generators) {
        constexpr double kStep = 1e-3;
        double slope = 0;
        for (const auto& [shift, weight] : {std::pair{-2, 1.0}, {-1, -8.0}, {1, 8.0}, {2, -1.0}}) {
          Matrix x = t;
          for (auto& e : x) e *= shift * kStep;
          slope += weight / (12 * kStep) * potential(Times(Times(Exp(x, 3), field[link], 3), staples, 3));
        }
        for (int e = 0; e < 9; ++e) force[e] += slope * t[e];
      }
      field[link] = Times(Exp(force, 3), field[link], 3);
    }
  }
  EXPECT_LT(Distance(field, Fields(flow, 2)), 1e-9);
}

// Staples that stand for links: those that pass an active link are left out.
TEST(LoopFlowWrittenOut, FatLinksAreSumsOverStaples) {
  Flow flow(testing::LoopSpec(3, "shape: [2, 2, 4]", 2.0, 1, R"(
    classes { name: "plaquette" loops { steps: [1, 2, -1, -2] } }
    classes { name: "sides" loops { steps: [1, 2, -1, -2] active_steps: [0] fat_steps: [1, 3] } }
    classes { name: "all" loops { steps: [1, 2, -1, -2] active_steps: [0] fat_steps: [1, 2, 3] } }
  )"),
            0.05);
  const Lattice& lattice = flow.plan_->lattice;
  std::vector<Matrix> field = Fields(flow, 2);
  flow.Map();
  const auto generators = Generators(3);
  const auto step = [&](int64_t site, int mu, bool backward) {
    const int64_t link = lattice.Link(mu, backward ? lattice.Shift(site, mu, -1) : site);
    return std::pair(link, backward ? Dagger(field[link], 3) : field[link]);
  };
  for (const LoopStepPlan& plan : flow.plan_->steps) {
    const std::set<int64_t> active(plan.links.begin(), plan.links.end());
    // From `site` along +-mu by a link's staples.
    const auto fat = [&](int64_t site, int mu, bool backward) {
      Matrix sum(9);
      for (int nu = 0; nu < lattice.dims(); ++nu) {
        for (bool down : {false, true}) {
          if (nu == mu) continue;
          const int64_t aside = lattice.Shift(site, nu, down ? -1 : 1),
                        end = lattice.Shift(aside, mu, backward ? -1 : 1);
          const auto a = step(site, nu, down), b = step(aside, mu, backward), c = step(end, nu, !down);
          if (active.contains(a.first) || active.contains(b.first) || active.contains(c.first)) continue;
          const Matrix path = Times(Times(a.second, b.second, 3), c.second, 3);
          for (int e = 0; e < 9; ++e) sum[e] += path[e];
        }
      }
      return sum;
    };
    for (int32_t link : plan.links) {
      const int mu = static_cast<int>(link / lattice.volume());
      const int64_t x = link % lattice.volume(), ahead = lattice.Shift(x, mu, 1);
      Matrix sum(9);  // the potential is Re tr(U sum)
      for (int nu = 0; nu < lattice.dims(); ++nu) {
        for (bool down : {false, true}) {
          if (nu == mu) continue;
          const int64_t corner = lattice.Shift(ahead, nu, down ? -1 : 1), other = lattice.Shift(x, nu, down ? -1 : 1);
          const Matrix right = step(ahead, nu, down).second, top = step(corner, mu, true).second;
          const Matrix left = step(other, nu, !down).second;
          const Matrix fat_right = fat(ahead, nu, down), fat_left = fat(other, nu, !down);
          const Matrix words[3] = {Times(Times(right, top, 3), left, 3), Times(Times(fat_right, top, 3), fat_left, 3),
                                   Times(Times(fat_right, fat(corner, mu, true), 3), fat_left, 3)};
          for (int k = 0; k < 3; ++k) {
            for (int e = 0; e < 9; ++e) sum[e] += flow.parameters_[k] / 3 * words[k][e];
          }
        }
      }
      Matrix force(9);
      const Matrix w = Times(field[link], sum, 3);
      for (const Matrix& t : generators) {
        const Matrix tw = Times(t, w, 3);
        for (int e = 0; e < 9; ++e) force[e] += (tw[0] + tw[4] + tw[8]).real() * t[e];
      }
      field[link] = Times(Exp(force, 3), field[link], 3);
    }
  }
  EXPECT_LT(Distance(field, Fields(flow, 2)), 1e-12);
}

// Rules of specs.
TEST(LoopFlowSpec, RefusesJoinedLoopsThatMeanNothing) {
  const auto refusal = [](int colours, const std::string& rules, const std::string& loops) {
    const v1::ModelSpec spec =
        testing::Parse(testing::LoopSpec(colours, "shape: [4, 4]", 2.0, 1, "classes { " + rules + " " + loops + " }"));
    return std::string(CheckLoopFlow(spec.layers(0).loop_flow(), spec.target(), "flow").message());
  };
  const std::string two = "loops { steps: [1, 2, -1, -2] } loops { steps: [1, 2, -1, -2] }";
  EXPECT_EQ(refusal(3, "independent: true joined: true", two), "");
  EXPECT_THAT(refusal(2, "independent: true joined: true", two), ::testing::HasSubstr("SU(2)"));
  EXPECT_THAT(refusal(3, "joined: true", two), ::testing::HasSubstr("independent"));
  EXPECT_THAT(refusal(3, "independent: true joined: true", "loops { steps: [1, 2, -1, -2] }"),
              ::testing::HasSubstr("two"));
  EXPECT_THAT(refusal(3, "independent: true joined: true",
                      "loops { steps: [1, 2, -1, -2] } loops { steps: [1, 2, -1, -2] conjugate: true }"),
              ::testing::HasSubstr("conjugate"));
  EXPECT_THAT(refusal(3, "independent: true", "loops { steps: [1, 2, -1, -2] start: [1, 0] }"),
              ::testing::HasSubstr("start"));
}

const std::string kAllIndependent3 = std::string(testing::kIndependentLoops) + testing::kJoinedLoops;

INSTANTIATE_TEST_SUITE_P(Groups, LoopFlowTest,
                         ::testing::Values(Case{"SU2", 2, "shape: [4, 4]", testing::kLoopClasses2d, 0.25},
                                           Case{"SU3", 3, "shape: [4, 4]", testing::kLoopClasses2d, 0.3},
                                           Case{"SU2_3d", 2, "shape: [2, 2, 2]", testing::kLoopClasses4d, 0.14},
                                           Case{"SU3_4d", 3, "shape: [2, 2, 2, 2]", testing::kLoopClasses4d, 0.08},
                                           Case{"SU2_independent", 2, "shape: [4, 4]", testing::kIndependentLoops, 0.3},
                                           Case{"SU3_independent", 3, "shape: [4, 4]", kAllIndependent3, 0.25},
                                           Case{"SU2_fat", 2, "shape: [4, 4]", testing::kFatLoops, 0.3},
                                           Case{"SU3_3d_fat", 3, "shape: [2, 2, 4]", testing::kFatLoops, 0.14},
                                           Case{"SU2_3d_staggered", 2, "shape: [4, 4, 4]",
                                                std::string(testing::kStaggered) + testing::kIndependentLoops, 0.05},
                                           Case{"SU3_3d_independent", 3, "shape: [2, 2, 2]", kAllIndependent3, 0.12}),
                         [](const auto& i) { return std::string(i.param.name); });

}  // namespace
}  // namespace haarflow
