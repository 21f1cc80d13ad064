// Scalar flows as they are served: the map against a plain-loop one, its density against a full Jacobian, its
// symmetries, the heat bath, and the bits of a proposal.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <functional>
#include <utility>

#include "core/exact/estimate.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "tests/reference/determinant.h"
#include "tests/reference/scalar_flow_reference.h"
#include "tests/reference/scalar_specs.h"

namespace haarflow {
namespace {

using testing::ScalarOptions;

struct Flow {
  explicit Flow(const ScalarOptions& options, double scale = 2, int served_steps = 6,
                const hf_kernels& kernels = CpuKernels())
      : spec(testing::ScalarSpec(options)),
        plan(PlanScalarFlow(spec).value()),
        parameters(testing::RandomScalarParameters(plan, scale)),
        steps(served_steps) {
    model = Model::Create(spec, testing::ToScalarTensors(plan, parameters, steps), kernels, 0).value();
  }
  Proposals Draw(int n, uint64_t seed = 9) const {
    std::vector<uint64_t> seeds(n, seed), index(n);
    for (int i = 0; i < n; ++i) index[i] = static_cast<uint64_t>(i);
    Proposals p;
    EXPECT_TRUE(model->Draw(spec.target(), seeds, index, &p).ok());
    return p;
  }
  double LogQ(const std::vector<double>& field) const {
    Proposals p;
    p.Resize(1, static_cast<int64_t>(field.size()));
    p.field = field;
    EXPECT_TRUE(model->Density(spec.target(), &p).ok());
    return p.log_q[0];
  }
  // Whether the flow acts on the site of element e: with a heat bath on even ones.
  bool Acts(int64_t e) const {
    int64_t sum = 0;
    for (int64_t x : Displacement(plan.lattice, e % plan.lattice.volume())) sum += x;
    return !plan.heat_bath || sum % 2 == 0;
  }
  v1::ModelSpec spec;
  ScalarFlowPlan plan;
  std::vector<double> parameters;
  int steps;
  std::shared_ptr<const Model> model;
};

ScalarOptions Case(std::vector<int> shape, const std::string& theory = "", const std::string& layers = "") {
  ScalarOptions options;
  options.shape = std::move(shape);
  if (!theory.empty()) options.theory = theory;
  if (!layers.empty()) options.layers = layers;
  return options;
}

const std::vector<ScalarOptions>& Cases() {
  static const std::vector<ScalarOptions> cases = {
      Case({4, 4}),
      Case({6, 4}),
      Case({5, 3}),
      Case({8}, "hopping { kappa: 0.2 lambda: 0.5 }"),
      Case({4, 2, 4}),
      Case({2, 4, 2, 3}),
      Case({4, 4}, "components: 2 mass { m2: -1 lambda: 1 normalisation: 0.5 }"),
      Case({4, 6}, "", testing::kHeatBath),
      Case({4, 4, 2}, "mass { m2: 0.5 lambda: 0.3 }", testing::kHeatBath),
      Case({16, 3}),
  };
  return cases;
}

// The plan's kernels by displacement, with Chebyshev polynomials as cos(n arccos x).
reference::ScalarFlow Written(const Flow& flow) {
  reference::ScalarFlow out;
  const ScalarFlowPlan& plan = flow.plan;
  out.shape.assign(plan.lattice.shape().begin(), plan.lattice.shape().end());
  out.components = plan.components;
  out.even_sites_only = plan.heat_bath;
  const int64_t volume = plan.lattice.volume();
  for (int64_t k = 0; k < volume; ++k) {
    const int32_t orbit = plan.spectrum_orbit[plan.orbits.of_site[k]];
    out.sigma.push_back(std::exp(flow.parameters[plan.layout.blocks()[0].offset + orbit]));
  }
  const ScalarContinuousPlan& layer = *plan.layers[0].continuous;
  const double* kernel = flow.parameters.data() + plan.layout.blocks()[1].offset;
  const double* frequency = flow.parameters.data() + plan.layout.blocks()[2].offset;
  out.frequency = {0};
  out.frequency.insert(out.frequency.end(), frequency, frequency + layer.frequencies);
  for (int i = 0; i <= 2 * flow.steps; ++i) {
    const double x = static_cast<double>(i) / flow.steps - 1;
    auto& at_time = out.kernel.emplace_back();
    for (int f = 0; f < layer.features(); ++f) {
      std::vector<double>& k = at_time.emplace_back(volume, 0.0);
      for (int64_t d = 0; d < volume; ++d) {
        for (size_t o = 0; o < layer.orbits.size(); ++o) {
          if (layer.orbits[o] != plan.orbits.of_site[d]) continue;
          for (int n = 0; n < layer.time_modes; ++n) {
            k[d] += kernel[(f * layer.orbits.size() + o) * layer.time_modes + n] * std::cos(n * std::acos(x));
          }
        }
      }
    }
  }
  return out;
}

TEST(ScalarFlow, IsTheWrittenOutMap) {
  for (const ScalarOptions& options : Cases()) {
    const Flow flow(options);
    SCOPED_TRACE(testing::ScalarSpecText(options));
    const reference::ScalarFlow written = Written(flow);
    const Proposals drawn = flow.Draw(3);
    const int64_t size = flow.model->field_size();
    double moved = 0;
    for (int i = 0; i < 3; ++i) {
      std::vector<double> z(size);
      for (int64_t e = 0; e < size; ++e) {
        if (!flow.Acts(e)) continue;
        z[e] = NormalNoise(9, NoisePurpose::kPrior, static_cast<uint64_t>(i), static_cast<uint32_t>(e));
      }
      const auto prior = reference::Prior(written, z);
      const auto mapped = reference::Integrate(written, prior.field);
      for (int64_t e = 0; e < size; ++e) {
        if (!flow.Acts(e)) continue;
        EXPECT_NEAR(drawn.Field(i)[e], mapped.field[e], 1e-11) << e;
        moved = std::max(moved, std::abs(mapped.field[e] - prior.field[e]));
      }
      if (!flow.plan.heat_bath) {
        EXPECT_NEAR(drawn.log_q[i], prior.log_q + mapped.log_q, 1e-10);
      } else {
        // What remains of log q is the density of the odd sites: see the heat bath's own tests.
        EXPECT_LT(std::abs(drawn.log_q[i] - prior.log_q - mapped.log_q), 10.0 * static_cast<double>(size));
      }
    }
    EXPECT_GT(moved, 0.05);
  }
}

// log |det d out / d in| of a map by central differences of sixth order and Gaussian elimination.
double LogDeterminantOf(const std::function<std::vector<double>(const std::vector<double>&)>& map,
                        const std::vector<double>& at) {
  const size_t n = at.size();
  const double h = 3e-4;
  std::vector<std::vector<double>> jacobian(n, std::vector<double>(n));
  for (size_t j = 0; j < n; ++j) {
    for (const auto& [offset, weight] : {std::pair{1, 45.0}, {2, -9.0}, {3, 1.0}}) {
      auto up = at, down = at;
      up[j] += offset * h;
      down[j] -= offset * h;
      const auto a = map(up), b = map(down);
      for (size_t i = 0; i < n; ++i) jacobian[i][j] += weight * (a[i] - b[i]) / (60 * h);
    }
  }
  return testing::LogDeterminant(std::move(jacobian));
}

// The integrated divergence against the full Jacobian of the discrete map: they agree up to the integration error,
// which falls with the fourth power of the step.
TEST(ScalarFlow, LogDensityApproachesTheFullJacobianAtFourthOrder) {
  for (const auto& [options, scale] :
       {std::pair{Case({4, 4}), 1.5}, {Case({2, 3}, "components: 2 mass { m2: -1 lambda: 1 }"), 4}}) {
    std::vector<double> error;
    for (const int steps : {8, 16, 32}) {
      const Flow flow(options, scale, steps);
      const reference::ScalarFlow written = Written(flow);
      double square = 0;
      for (int k = 0; k < 2; ++k) {
        std::vector<double> start(flow.model->field_size());
        for (size_t i = 0; i < start.size(); ++i) start[i] = std::sin(1.0 + k + 2.3 * static_cast<double>(i));
        const double jacobian = LogDeterminantOf(
            [&](const std::vector<double>& x) { return reference::Integrate(written, x).field; }, start);
        const auto end = reference::Integrate(written, start);
        square += (end.log_q + jacobian) * (end.log_q + jacobian) / 2;
      }
      error.push_back(std::sqrt(square));
      std::printf("%d steps: log q against the full Jacobian, rms error %.3e\n", steps, error.back());
    }
    EXPECT_LT(error[2], 5e-6);
    EXPECT_GT(error[0], 1e-5);  // there was something to see
    for (int i = 0; i < 2; ++i) EXPECT_NEAR(std::log2(error[i] / error[i + 1]), 4, 0.5) << i;
  }
}

TEST(ScalarFlow, BackwardsItFindsTheSameDensityUpToTheIntegrationError) {
  for (const ScalarOptions& options : Cases()) {
    SCOPED_TRACE(testing::ScalarSpecText(options));
    std::vector<double> error;
    for (const int steps : {4, 8, 16}) {
      const Flow flow(options, 2, steps);
      const Proposals drawn = flow.Draw(16);
      Proposals again = drawn;
      ASSERT_TRUE(flow.model->Density(flow.spec.target(), &again).ok());
      double worst = 0;
      for (int i = 0; i < 16; ++i) {
        worst = std::max(worst, std::abs(again.log_q[i] - drawn.log_q[i]));
        EXPECT_NEAR(again.action[i], drawn.action[i], 1e-11 * (1 + std::abs(drawn.action[i])));
      }
      error.push_back(worst);
    }
    EXPECT_LT(error[2], 2e-4);
    EXPECT_LT(error[2], error[0] / 40 + 1e-11);
  }
}

// Site images under a reflection of the last axis about site 0, a translation by one (two with a heat bath: it keeps
// the sublattices), and the exchange of the last two axes.
std::vector<double> Transformed(const Lattice& lattice, const std::vector<double>& field, int which, int64_t shift) {
  std::vector<double> out(field.size());
  const int64_t volume = lattice.volume();
  for (size_t e = 0; e < field.size(); ++e) {
    const int64_t component = static_cast<int64_t>(e) / volume, site = static_cast<int64_t>(e) % volume;
    const int64_t extent = lattice.extent(0), x = site % extent;
    int64_t to = site;
    if (which == 0) to = site - x + (extent - x) % extent;
    if (which == 1) to = lattice.Shift(site, 0, shift);
    if (which == 2) to = site - site % (extent * extent) + x * extent + site / extent % extent;
    out[component * volume + to] = field[e];
  }
  return out;
}

TEST(ScalarFlow, HasTheSymmetriesOfTheLatticeAndTheField) {
  for (const ScalarOptions& options : Cases()) {
    SCOPED_TRACE(testing::ScalarSpecText(options));
    const Flow flow(options);
    const Lattice& lattice = flow.model->lattice();
    const Proposals drawn = flow.Draw(1);
    const std::vector<double> field(drawn.Field(0), drawn.Field(0) + drawn.field_size);
    const double log_q = flow.LogQ(field);
    std::vector<double> negated = field;
    for (double& x : negated) x = -x;
    EXPECT_NEAR(flow.LogQ(negated), log_q, 1e-12 * std::abs(log_q) + 1e-12);
    for (int which = 0; which < 3; ++which) {
      if (which == 2 && (lattice.dims() < 2 || lattice.extent(0) != lattice.extent(1))) continue;
      const auto image = Transformed(lattice, field, which, flow.plan.heat_bath ? 2 : 1);
      EXPECT_NEAR(flow.LogQ(image), log_q, 1e-12 * std::abs(log_q) + 1e-11) << which;
    }
    auto shuffled = field;
    std::swap(shuffled[0], shuffled[1]);  // no symmetry: the density notices
    EXPECT_GT(std::abs(flow.LogQ(shuffled) - log_q), 1e-6);
    if (flow.plan.components == 2) {  // rotations of O(2)
      auto rotated = field;
      const int64_t v = lattice.volume();
      for (int64_t x = 0; x < v; ++x) {
        rotated[x] = 0.6 * field[x] - 0.8 * field[v + x];
        rotated[v + x] = 0.8 * field[x] + 0.6 * field[v + x];
      }
      EXPECT_NEAR(flow.LogQ(rotated), log_q, 1e-11);
    }
  }
}

TEST(ScalarFlow, BatchSlotAndInstructionSetDoNotChangeAProposal) {
  for (const ScalarOptions& options : Cases()) {
    SCOPED_TRACE(testing::ScalarSpecText(options));
    const Flow flow(options);
    const Proposals many = flow.Draw(37);
    const int64_t size = many.field_size;
    for (const uint64_t index : {0u, 5u, 16u, 36u}) {
      Proposals one;
      ASSERT_TRUE(flow.model->Draw(flow.spec.target(), {9}, {index}, &one).ok());
      EXPECT_EQ(one.log_q[0], many.log_q[index]);
      EXPECT_EQ(one.action[0], many.action[index]);
      EXPECT_TRUE(std::equal(one.Field(0), one.Field(0) + size, many.Field(static_cast<int64_t>(index))));
    }
    for (const char* isa : {"baseline", "avx2", "avx512"}) {
      const auto kernels = CpuKernelsFor(isa);
      if (!kernels.ok()) continue;
      const Proposals other = Flow(options, 2, 6, **kernels).Draw(16);
      for (int64_t i = 0; i < 16; ++i) EXPECT_NEAR(other.log_q[i], many.log_q[i], 1e-9) << isa;
      for (int64_t e = 0; e < 16 * size; ++e) EXPECT_NEAR(other.field[e], many.field[e], 1e-10) << isa;
    }
  }
}

// ----------------------------------------------------------------------------------------------------------- heat bath

// An identity flow of a Gaussian marginal, then the heat bath: exp(-S) integrated over a 2 x 2 lattice by brute force
// is what its weights must average to, and <phi^2> likewise on odd and on even sites.
TEST(ScalarHeatBath, GivesTheExactPartitionFunctionAndMoments) {
  for (const std::string theory :
       {"mass { m2: -2 lambda: 1.3 }", "hopping { kappa: 0.4 lambda: 0.7 }", "mass { m2: 1 lambda: 0 }"}) {
    SCOPED_TRACE(theory);
    const Flow flow(Case({2, 2}, theory, testing::kHeatBath), 0);
    // Brute force over four sites on a grid.
    const auto numbers = ActionNumbers(flow.spec.target());
    const double hop = numbers[0], a = numbers[1], l = numbers[2];
    const double range = 4.2, h = 0.15;
    const int points = static_cast<int>(2 * range / h) + 1;
    double z = 0, square = 0;
    for (int i = 0; i < points; ++i) {
      for (int j = 0; j < points; ++j) {
        const double p = -range + i * h, q = -range + j * h;  // the two even sites; odd sites see 2 (p + q)
        double inner = 0;
        for (int k = 0; k < points; ++k) {
          const double x = -range + k * h;
          inner += h * std::exp(hop * 2 * (p + q) * x - a * x * x - l * x * x * x * x);
        }
        const double w = h * h * inner * inner * std::exp(-a * (p * p + q * q) - l * (p * p * p * p + q * q * q * q));
        z += w;
        square += w * 0.5 * (p * p + q * q);
      }
    }
    const int n = 100000;
    const Proposals p = flow.Draw(n);
    std::vector<double> log_weight(n), even(n), odd(n);
    PartitionEstimator partition;
    for (int i = 0; i < n; ++i) {
      log_weight[i] = p.LogWeight(i);
      partition.Add(log_weight[i]);
      const double* f = p.Field(i);
      even[i] = 0.5 * (f[0] * f[0] + f[3] * f[3]);
      odd[i] = 0.5 * (f[1] * f[1] + f[2] * f[2]);
    }
    EXPECT_LT(partition.LogZError(), 0.02);
    EXPECT_LT(std::abs(partition.LogZ() - std::log(z)), 4 * partition.LogZError());
    for (const auto& values : {even, odd}) {
      const auto estimate = WeightedMean(values, log_weight).value();
      EXPECT_LT(std::abs(estimate.mean - square / z), 4 * estimate.error);
      EXPECT_LT(estimate.error, 0.03 * square / z);
    }
  }
}

// log q of a drawn field is the density of even sites plus that of each odd site given its neighbours, by quadrature.
TEST(ScalarHeatBath, DensityIsTheConditionalOne) {
  const Flow flow(Case({4, 4}, "mass { m2: -3 lambda: 2 }", testing::kHeatBath));
  const auto numbers = ActionNumbers(flow.spec.target());
  const Lattice& lattice = flow.model->lattice();
  const Proposals p = flow.Draw(8);
  const reference::ScalarFlow written = Written(flow);
  for (int i = 0; i < 8; ++i) {
    const double* field = p.Field(i);
    std::vector<double> z(16);
    double expected = 0;
    for (int64_t x = 0; x < 16; ++x) {
      if ((lattice.Coordinate(x, 0) + lattice.Coordinate(x, 1)) % 2 == 0) {
        z[x] = NormalNoise(9, NoisePurpose::kPrior, static_cast<uint64_t>(i), static_cast<uint32_t>(x));
        continue;
      }
      double b = 0;
      for (int mu = 0; mu < 2; ++mu) b += field[lattice.Shift(x, mu, 1)] + field[lattice.Shift(x, mu, -1)];
      b *= numbers[0];
      const auto exponent = [&](double y) { return b * y - numbers[1] * y * y - numbers[2] * y * y * y * y; };
      double sum = 0;
      for (int k = -4000; k <= 4000; ++k) sum += 1e-3 * std::exp(exponent(1e-3 * k));
      expected += exponent(field[x]) - std::log(sum);
    }
    const auto prior = reference::Prior(written, z);
    expected += prior.log_q + reference::Integrate(written, prior.field).log_q;
    EXPECT_NEAR(p.log_q[i], expected, 1e-9);
  }
}

TEST(ScalarHeatBath, RefusesWhatWouldMixTheSublattices) {
  const Flow flow(Case({4, 4}, "", testing::kHeatBath));
  ScalarFlowTables tables(flow.plan, 4);
  tables.Set(flow.parameters, {1.0}, ActionNumbers(flow.spec.target()).data());
  hf_scalar_flow view = tables.view();
  void* handle = nullptr;
  ASSERT_EQ(CpuKernels().scalar_flow_create(&view, 0, &handle), HF_OK);
  CpuKernels().flow_destroy(handle);
  std::vector<double> sigma(view.prior.sigma, view.prior.sigma + 16);
  sigma[1] *= 1.01;
  view.prior.sigma = sigma.data();
  EXPECT_EQ(CpuKernels().scalar_flow_create(&view, 0, &handle), HF_INVALID);
}

// --------------------------------------------------------------------------------------------------------- conditional

TEST(ScalarConditional, EveryTargetOfTheIntervalHasItsOwnFlow) {
  ScalarOptions options = Case({4, 4}, "mass { m2: -1 lambda: 1.5 }");
  options.more = "conditioning { parameter: \"lambda\" low: 1 high: 2 degree: 2 }";
  const Flow flow(options);
  v1::Target target = flow.spec.target();
  const auto log_q = [&](double lambda) {
    EXPECT_TRUE(SetTheoryParameter("lambda", lambda, &target).ok());
    Proposals p;
    EXPECT_TRUE(flow.model->Draw(target, {4, 4}, {0, 1}, &p).ok());
    return p.log_q;
  };
  EXPECT_TRUE(flow.model->Serves(target));
  const auto at_one = log_q(1), at_middle = log_q(1.5), at_two = log_q(2);
  EXPECT_NE(at_one, at_middle);
  EXPECT_NE(at_two, at_middle);
  EXPECT_EQ(log_q(1), at_one);
  // Outside of the interval: the flow of the model's own target, exact by its weights.
  EXPECT_EQ(log_q(2.5), at_middle);
  EXPECT_FALSE(flow.model->Serves(target));
  // The tables at the ends are the sums of Chebyshev coefficients with signs: T_n(-1) = (-1)^n.
  const auto modes = flow.plan.ConditioningModes(flow.spec.target());
  ASSERT_EQ(modes.size(), 3u);
  EXPECT_DOUBLE_EQ(modes[1], 0);
  EXPECT_DOUBLE_EQ(modes[2], -1);
}

}  // namespace
}  // namespace haarflow
