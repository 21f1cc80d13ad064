// The CPU kernels: elementary functions, addressed noise, bits that depend on nothing but the name, forward against
// inverse.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numbers>

#include "core/base/noise.h"
#include "core/kernel/cpu/isa.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "tests/reference/test_specs.h"

namespace haarflow {
namespace {

using testing::SpecOptions;
constexpr double kPi = std::numbers::pi;

std::vector<std::string> InstructionSets() {
  std::vector<std::string> sets;
  for (const char* name : {"baseline", "avx2", "avx512"}) {
    if (kernel::IsaKernelsFor(name) != nullptr) sets.push_back(name);
  }
  return sets;
}

class EveryInstructionSet : public ::testing::TestWithParam<std::string> {
 protected:
  const kernel::IsaKernels& isa() const { return *kernel::IsaKernelsFor(GetParam().c_str()); }
  const hf_kernels& table() const { return **CpuKernelsFor(GetParam()); }

  // Largest |f(x) - exact| / (|exact| or 1e-300 + floor) over a grid.
  double WorstRelativeError(int what, double low, double high, double (*exact)(double), double floor) const {
    constexpr int n = 1 << 14;
    std::vector<double> x(n), y(n);
    for (int i = 0; i < n; ++i) x[i] = low + (high - low) * i / (n - 1);
    isa().elementary(what, n, x.data(), y.data());
    double worst = 0;
    for (int i = 0; i < n; ++i)
      worst = std::max(worst, std::abs(y[i] - exact(x[i])) / std::max(std::abs(exact(x[i])), floor));
    return worst;
  }
};

TEST_P(EveryInstructionSet, ElementaryFunctionsAreAccurateToTwoUlp) {
  constexpr double ulp = 0x1p-52;
  EXPECT_LT(WorstRelativeError(
                0, -700, 700, [](double x) { return std::exp(x); }, 0),
            2 * ulp);
  EXPECT_LT(WorstRelativeError(
                0, -1, 1, [](double x) { return std::exp(x); }, 0),
            2 * ulp);
  EXPECT_LT(WorstRelativeError(
                1, 1e-3, 10, [](double x) { return std::log(x); }, 0.1),
            2 * ulp);
  EXPECT_LT(WorstRelativeError(
                1, 1e-200, 1e200, [](double x) { return std::log(x); }, 0.1),
            2 * ulp);
  EXPECT_LT(WorstRelativeError(
                2, -200, 200, [](double x) { return std::sin(x); }, 1e-3),
            4 * ulp);
  EXPECT_LT(WorstRelativeError(
                3, -200, 200, [](double x) { return std::cos(x); }, 1e-3),
            4 * ulp);
  EXPECT_LT(WorstRelativeError(
                2, -4, 4, [](double x) { return std::sin(x); }, 1e-6),
            2 * ulp);
  EXPECT_LT(WorstRelativeError(
                4, -50, 50, [](double x) { return std::atan(x); }, 1e-6),
            2 * ulp);
  EXPECT_LT(WorstRelativeError(
                6, -80, 80, [](double x) { return std::exp(static_cast<double>(static_cast<float>(x))); }, 0),
            0x1p-22);
}

TEST_P(EveryInstructionSet, WrappedAnglesLieInTheHalfOpenInterval) {
  std::vector<double> x = {kPi,
                           -kPi,
                           std::nextafter(kPi, 4),
                           std::nextafter(-kPi, -4),
                           3 * kPi,
                           -3 * kPi,
                           0,
                           1e-300,
                           5 * kPi,
                           100,
                           -100,
                           2 * kPi,
                           -2 * kPi,
                           kPi / 2,
                           199,
                           -199};
  std::vector<double> y(x.size());
  isa().elementary(5, static_cast<int64_t>(x.size()), x.data(), y.data());
  for (size_t i = 0; i < x.size(); ++i) {
    EXPECT_GE(y[i], -kPi) << x[i];
    EXPECT_LT(y[i], kPi) << x[i];
    EXPECT_NEAR(std::remainder(y[i] - x[i], 2 * kPi), 0, 1e-13) << x[i];
  }
}

std::shared_ptr<const Model> MakeModel(const SpecOptions& options, const hf_kernels& kernels, double scale = 1.0) {
  const auto spec = ParseSpec(testing::SpecText(options));
  EXPECT_TRUE(spec.ok()) << spec.status();
  const auto plan = PlanU1Flow(*spec);
  EXPECT_TRUE(plan.ok()) << plan.status();
  const ParameterLayout layout = U1ParameterLayout(*plan);
  auto model = Model::Create(*spec, testing::ToTensors(layout, testing::RandomParameters(layout, scale)), kernels, 0);
  EXPECT_TRUE(model.ok()) << model.status();
  return *model;
}

Proposals Draw(const Model& model, const std::vector<uint64_t>& seed, const std::vector<uint64_t>& index) {
  Proposals p;
  const absl::Status status = model.Draw(model.target(), seed, index, &p);
  EXPECT_TRUE(status.ok()) << status;
  return p;
}

TEST_P(EveryInstructionSet, ThePriorIsTheAddressedNoiseBitForBit) {
  SpecOptions options;
  options.layers = 1;
  options.network = "kernel: [1]";
  auto spec = *ParseSpec(testing::SpecText(options));
  spec.clear_layers();
  const auto model = *Model::Create(spec, {}, table(), 0);
  const std::vector<uint64_t> seeds = {0, 1, 0xFFFFFFFFFFFFFFFFu, 0x0123456789ABCDEFu};
  const std::vector<uint64_t> indices = {0, 5, kMaxSampleIndex, uint64_t{1} << 40};
  const Proposals p = Draw(*model, seeds, indices);
  for (size_t i = 0; i < seeds.size(); ++i) {
    EXPECT_EQ(p.log_q[i], 0.0);
    for (int64_t link = 0; link < p.field_size; ++link) {
      const double u = UniformNoise(seeds[i], NoisePurpose::kPrior, indices[i], static_cast<uint32_t>(link));
      ASSERT_EQ(p.Field(static_cast<int64_t>(i))[link], (u - 0.5) * 2 * kPi);
    }
  }
}

TEST_P(EveryInstructionSet, ADrawIsTheSameBitForBitInEveryBatchAndSlot) {
  for (const bool float64 : {false, true}) {
    SpecOptions options;
    options.shape = {8, 4};
    options.layers = 8;
    options.float64 = float64;
    const auto model = MakeModel(options, table());
    constexpr int64_t kMany = 4096;
    std::vector<uint64_t> seeds(kMany, 42), indices(kMany);
    for (int64_t i = 0; i < kMany; ++i) indices[i] = static_cast<uint64_t>(i);
    const Proposals whole = Draw(*model, seeds, indices);
    for (int64_t first = 0; first < 64; first += 7) {
      const Proposals seven =
          Draw(*model, std::vector<uint64_t>(7, 42), {indices.begin() + first, indices.begin() + first + 7});
      for (int64_t i = 0; i < 7; ++i) {
        ASSERT_EQ(std::memcmp(seven.Field(i), whole.Field(first + i), sizeof(double) * whole.field_size), 0);
        ASSERT_EQ(seven.log_q[i], whole.log_q[first + i]);
        ASSERT_EQ(seven.action[i], whole.action[first + i]);
      }
    }
    const Proposals one = Draw(*model, {42}, {1234});
    EXPECT_EQ(std::memcmp(one.Field(0), whole.Field(1234), sizeof(double) * whole.field_size), 0);
    EXPECT_EQ(one.log_q[0], whole.log_q[1234]);
    // Every slot of a tile, beside neighbours of other seeds.
    for (int slot = 0; slot < 16; ++slot) {
      std::vector<uint64_t> s(16), n(16);
      for (int i = 0; i < 16; ++i) s[i] = 1000 + static_cast<uint64_t>(i), n[i] = static_cast<uint64_t>(i * i);
      s[slot] = 42, n[slot] = 77;
      const Proposals p = Draw(*model, s, n);
      ASSERT_EQ(std::memcmp(p.Field(slot), whole.Field(77), sizeof(double) * whole.field_size), 0) << slot;
      ASSERT_EQ(p.log_q[slot], whole.log_q[77]);
    }
  }
}

TEST_P(EveryInstructionSet, TheInverseFindsTheDensityOfTheForwardMap) {
  for (const char* map : {"spline { bins: 8 }", "moebius { components: 1 }", "moebius { components: 3 }",
                          "non_compact_projection { components: 1 }", "non_compact_projection { components: 2 }"}) {
    for (const bool float64 : {false, true}) {
      SpecOptions options;
      options.layers = 8;
      options.map = map;
      options.float64 = float64;
      options.masks = testing::StaggeredMasks();
      const auto model = MakeModel(options, table());
      std::vector<uint64_t> seeds(50, 3), indices(50);
      for (uint64_t i = 0; i < 50; ++i) indices[i] = i;
      const Proposals drawn = Draw(*model, seeds, indices);
      Proposals back = drawn;
      ASSERT_TRUE(model->Density(model->target(), &back).ok());
      for (int64_t i = 0; i < drawn.n; ++i) {
        EXPECT_NEAR(back.log_q[i], drawn.log_q[i], float64 ? 1e-9 : 2e-5) << map;
        EXPECT_EQ(back.action[i], drawn.action[i]);
      }
    }
  }
}

// With one active link in the whole lattice q is a density of that link alone: it must integrate to 1 over the circle,
// far more precisely than a float32 network computes, because the transform and its Jacobian use the same numbers in
// float64.
TEST_P(EveryInstructionSet, TheDensityOfOneLinkIntegratesToOne) {
  for (const char* map :
       {"spline { bins: 6 }", "moebius { components: 3 }", "non_compact_projection { components: 2 }"}) {
    SpecOptions options;
    options.layers = 1;
    options.float64 = false;
    options.map = map;
    options.masks = "masks { direction: 1 plane: 0 sublattices { offset: [1, 2] stride: [4, 4] } }";
    const auto model = MakeModel(options, table(), 1.2);
    const auto plan = *PlanU1Flow(model->spec());
    const int32_t link = plan.layers[0].active_links[0];
    const Proposals start = Draw(*model, {9}, {0});
    constexpr int kPoints = 200000;
    Proposals grid;
    grid.Resize(kPoints, start.field_size);
    for (int i = 0; i < kPoints; ++i) {
      std::copy_n(start.field.data(), start.field_size, grid.field.data() + i * start.field_size);
      grid.field[static_cast<size_t>(i) * start.field_size + link] = -kPi + (i + 0.5) * 2 * kPi / kPoints;
    }
    ASSERT_TRUE(model->Density(model->target(), &grid).ok());
    double sum = 0, least = 1e9, most = 0;
    for (int i = 0; i < kPoints; ++i) {
      const double q = std::exp(grid.log_q[i]);
      sum += q / kPoints;
      least = std::min(least, q);
      most = std::max(most, q);
    }
    EXPECT_NEAR(sum, 1, 1e-8) << map;
    EXPECT_GT(most / least, 1.5) << map << ": the test needs a map that is not the identity";
  }
}

INSTANTIATE_TEST_SUITE_P(Isa, EveryInstructionSet, ::testing::ValuesIn(InstructionSets()),
                         [](const auto& i) { return i.param; });

}  // namespace
}  // namespace haarflow
