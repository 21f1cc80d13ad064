// Perfect samplers of two-dimensional SU(2) and SU(3): the exact solution, predicted rejection rates, fields that are
// what they say.
#include "core/action/sun_perfect.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <memory>
#include <string>
#include <vector>

#include "core/action/sun_torus.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "core/model/spec.h"
#include "core/observable/observable.h"
#include "gtest/gtest.h"
#include "tests/exactness/perfect_model.h"
#include "tests/reference/tier.h"

namespace haarflow {
namespace {

using testing::Draw;
using testing::Mean;
using testing::ModelOf;

v1::ModelSpec SpecOf(uint32_t colours, int64_t ny, int64_t nx, double beta) {
  v1::ModelSpec spec;
  spec.set_name("perfect");
  spec.set_spec_version(1);
  spec.mutable_target()->mutable_lattice()->add_shape(static_cast<uint32_t>(ny));
  spec.mutable_target()->mutable_lattice()->add_shape(static_cast<uint32_t>(nx));
  spec.mutable_target()->mutable_sun_wilson()->set_colours(colours);
  spec.mutable_target()->mutable_sun_wilson()->set_beta(beta);
  spec.mutable_prior()->mutable_perfect();
  return spec;
}

struct Case {
  uint32_t colours;
  int64_t ny, nx;
  double beta;
  int64_t n;
};

TEST(PerfectSun, EveryProposalHasTheWeightZ) {
  for (const Case& c : {Case{2, 8, 8, 2.2, 20}, Case{3, 8, 8, 6, 20}, Case{3, 5, 3, 4, 20}, Case{2, 2, 2, 1.8, 20},
                        Case{3, 2, 7, 0, 20}, Case{2, 31, 30, 2.7, 2}, Case{2, 4, 5, -2.2, 20}}) {
    const auto spec = SpecOf(c.colours, c.ny, c.nx, c.beta);
    const auto model = ModelOf(spec);
    v1::Target positive = spec.target();
    positive.mutable_sun_wilson()->set_beta(std::abs(c.beta));
    const double log_z = *ExactLogZ(positive);
    Proposals p = Draw(*model, spec.target(), 0, c.n);
    for (int64_t i = 0; i < p.n; ++i) EXPECT_NEAR(p.LogWeight(i), log_z, 1e-10 * std::max(1.0, std::abs(log_z)));
    const std::vector<double> log_q = p.log_q;
    ASSERT_TRUE(model->Density(spec.target(), &p).ok());
    EXPECT_EQ(p.log_q, log_q);
  }
}

// Unitary, of determinant 1.
TEST(PerfectSun, LinksAreInTheGroup) {
  for (const Case& c : {Case{2, 16, 16, 2.7, 5}, Case{3, 16, 16, 5, 5}}) {
    const int n = static_cast<int>(c.colours);
    const auto spec = SpecOf(c.colours, c.ny, c.nx, c.beta);
    const Proposals p = Draw(*ModelOf(spec), spec.target(), 0, c.n);
    const int numbers = 2 * n * n;
    for (size_t at = 0; at < p.field.size(); at += numbers) {
      const auto u = [&](int i, int j) {
        return std::complex<double>(p.field[at + 2 * (n * i + j)], p.field[at + 2 * (n * i + j) + 1]);
      };
      for (int i = 0; i < n; ++i) {
        for (int j = 0; j < n; ++j) {
          std::complex<double> product = 0;
          for (int k = 0; k < n; ++k) product += u(i, k) * std::conj(u(j, k));
          ASSERT_LT(std::abs(product - (i == j ? 1.0 : 0.0)), 1e-13);
        }
      }
      const std::complex<double> determinant = n == 2 ? u(0, 0) * u(1, 1) - u(0, 1) * u(1, 0)
                                                      : u(0, 0) * (u(1, 1) * u(2, 2) - u(1, 2) * u(2, 1)) -
                                                            u(0, 1) * (u(1, 0) * u(2, 2) - u(1, 2) * u(2, 0)) +
                                                            u(0, 2) * (u(1, 0) * u(2, 1) - u(1, 1) * u(2, 0));
      ASSERT_LT(std::abs(determinant - 1.0), 1e-13);
    }
  }
}

// Against targets.md 1.2, which a second implementation computed, and against the torus of small lattices, where the
// closure matters.
TEST(PerfectSun, AgreesWithTheExactSolution) {
  for (const Case& c :
       {Case{2, 8, 8, 1.8, 3000}, Case{2, 8, 8, 2.7, 3000}, Case{3, 8, 8, 4, 1000}, Case{3, 8, 8, 6, 1000},
        Case{2, 16, 16, 2.2, 800}, Case{3, 16, 16, 5, 300}, Case{2, 2, 2, 4, 20000}, Case{3, 2, 2, 6, 4000},
        Case{3, 3, 2, 8, 2000}, Case{2, 2, 3, 12, 10000}}) {
    const auto spec = SpecOf(c.colours, c.ny, c.nx, c.beta);
    const auto model = ModelOf(spec);
    std::vector<std::string> names = {"plaquette", "polyakov_real", "polyakov_imag", "polyakov_correlator_1"};
    if (c.ny > 2 && c.nx > 2) names.insert(names.end(), {"wilson_loop_1x2", "wilson_loop_2x2"});
    if (c.colours == 2) names.erase(names.begin() + 2);
    const ObservableSet set = *ObservableSet::Create(spec.target(), names);
    std::vector<Mean> mean(names.size());
    std::vector<double> value(names.size());
    const int64_t n = testing::Length(c.n, 50 * c.n), piece = 100;
    for (int64_t first = 0; first < n; first += piece) {
      const Proposals p = Draw(*model, spec.target(), first, piece);
      for (int64_t i = 0; i < p.n; ++i) {
        set.Evaluate(p.Field(i), value.data());
        for (size_t o = 0; o < names.size(); ++o) mean[o].Add(value[o]);
      }
    }
    for (size_t o = 0; o < names.size(); ++o) {
      const auto exact = ExactExpectation(spec.target(), names[o]);
      ASSERT_TRUE(exact.has_value()) << names[o];
      EXPECT_NEAR(mean[o].mean(), *exact, 4 * mean[o].error())
          << names[o] << " SU(" << c.colours << ") beta = " << c.beta << " " << c.ny << "x" << c.nx;
    }
  }
}

TEST(PerfectSun, TakesAsManyAttemptsAsPredicted) {
  for (const Case& c : {Case{2, 8, 8, 2.2, 4000}, Case{3, 4, 4, 5, 4000}, Case{2, 2, 2, 3, 4000}}) {
    const Lattice lattice = *Lattice::Create({c.ny, c.nx});
    const auto sampler = *SunPerfectSampler::Create(lattice, static_cast<int>(c.colours), c.beta);
    std::vector<double> links(2 * lattice.volume() * 2 * c.colours * c.colours), work;
    Mean holonomies;
    std::vector<Mean> attempts;
    for (int64_t i = 0; i < testing::Length(c.n, 50 * c.n); ++i) {
      const auto effort = sampler->DrawCounting(9, static_cast<uint64_t>(i), links.data(), &work);
      holonomies.Add(static_cast<double>(effort.holonomies));
      attempts.resize(effort.attempts.size());
      for (size_t k = 0; k < attempts.size(); ++k) attempts[k].Add(static_cast<double>(effort.attempts[k]));
    }
    EXPECT_NEAR(holonomies.mean(), sampler->MeanHolonomies(), 4 * holonomies.error() + 1e-3);
    int64_t rest = lattice.volume();
    for (size_t k = 0; k < attempts.size(); ++k) {
      rest /= 2;
      // Where attempts are many their distribution has a long tail.
      EXPECT_NEAR(attempts[k].mean(), sampler->MeanAttempts(rest), 5 * attempts[k].error() + 1e-3) << rest;
    }
    EXPECT_EQ(rest, 1);
  }
}

// Single links are Haar distributed: moments of the trace.
TEST(PerfectSun, LinksAreHaarDistributed) {
  for (uint32_t colours : {2u, 3u}) {
    const auto spec = SpecOf(colours, 3, 4, 3);
    const Proposals p = Draw(*ModelOf(spec), spec.target(), 0, testing::Length(5000, 200000));
    const int numbers = static_cast<int>(2 * colours * colours);
    for (const int64_t link : {0, 3, 11, 12, 20, 23}) {
      Mean re, im, square, entry;
      for (int64_t i = 0; i < p.n; ++i) {
        const double* u = p.Field(i) + link * numbers;
        double trace_re = 0, trace_im = 0;
        for (uint32_t k = 0; k < colours; ++k) {
          trace_re += u[2 * (k * colours + k)];
          trace_im += u[2 * (k * colours + k) + 1];
        }
        re.Add(trace_re);
        im.Add(trace_im);
        square.Add(trace_re * trace_re + trace_im * trace_im);
        entry.Add(u[2] * u[2] + u[3] * u[3]);
      }
      EXPECT_NEAR(re.mean(), 0, 4 * re.error());
      EXPECT_NEAR(im.mean(), 0, 4 * im.error() + 1e-15);
      EXPECT_NEAR(square.mean(), 1, 4 * square.error());
      EXPECT_NEAR(entry.mean(), 1.0 / colours, 4 * entry.error());
    }
  }
}

TEST(PerfectSun, BitsDependOnTheNameAlone) {
  for (uint32_t colours : {2u, 3u}) {
    const auto spec = SpecOf(colours, 6, 5, 3);
    const auto model = ModelOf(spec), again = ModelOf(spec);
    const Proposals all = Draw(*model, spec.target(), 10, 50);
    for (int64_t i : {0, 1, 17, 49}) {
      const Proposals one = Draw(*again, spec.target(), 10 + static_cast<uint64_t>(i), 1);
      EXPECT_TRUE(std::equal(one.field.begin(), one.field.end(), all.Field(i)));
      EXPECT_EQ(one.log_q[0], all.log_q[i]);
    }
    EXPECT_NE(Draw(*model, spec.target(), 10, 1, 4).field, Draw(*model, spec.target(), 10, 1, 3).field);
  }
}

// Every beta of the plaquette action; with rectangles by weights.
TEST(PerfectSun, ServesEveryBeta) {
  const auto spec = SpecOf(3, 4, 4, 3);
  const auto model = ModelOf(spec);
  v1::Target target = spec.target();
  target.mutable_sun_wilson()->set_beta(5);
  EXPECT_TRUE(model->Serves(target));
  const Proposals p = Draw(*model, target, 0, 20);
  EXPECT_EQ(p.field, Draw(*ModelOf(SpecOf(3, 4, 4, 5)), target, 0, 20).field);
  for (int64_t i = 0; i < p.n; ++i) EXPECT_NEAR(p.LogWeight(i), *ExactLogZ(target), 1e-11);

  v1::Target improved = spec.target();
  improved.mutable_sun_wilson()->set_beta(2);
  improved.mutable_sun_wilson()->set_rectangle(-1.0 / 12);
  EXPECT_FALSE(model->Serves(improved));
  const Proposals weighted = Draw(*model, improved, 0, 50);
  for (int64_t i = 0; i < weighted.n; ++i) {
    // The model's own density.
    EXPECT_NEAR(
        weighted.log_q[i] + *ExactLogZ(spec.target()),
        3.0 / 3 * 16 * 3 *
            [&] {
              const ObservableSet set = *ObservableSet::Create(spec.target(), {"plaquette"});
              double plaquette;
              set.Evaluate(weighted.Field(i), &plaquette);
              return plaquette;
            }(),
        1e-10);
  }
}

TEST(PerfectSunSpec, RefusesWhatItCannotDraw) {
  EXPECT_TRUE(ValidateSpec(SpecOf(3, 7, 3, 6)).ok());
  const auto wrong = [](const char* what, uint32_t colours, double beta, double rectangle) {
    v1::ModelSpec spec = SpecOf(colours, 5, 5, beta);
    spec.mutable_target()->mutable_sun_wilson()->set_rectangle(rectangle);
    const absl::Status status = ValidateSpec(spec);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << what;
    EXPECT_NE(status.message().find(what), std::string::npos) << status;
  };
  wrong("rectangle", 3, 5, -1.0 / 12);
  wrong("SU(3) takes 0..24", 3, 30, 0);
  wrong("SU(3) takes 0..24", 3, -1, 0);
  wrong("beta >= 0", 2, -1, 0);
}

}  // namespace
}  // namespace haarflow
