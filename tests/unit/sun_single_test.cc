// The theory of a single SU(N) matrix: targets, exact solution, observables, derivatives; and the specs of spectral
// flows.
#include "core/action/sun_single.h"

#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/action/derivatives.h"
#include "core/action/target.h"
#include "core/flow/spectral_plan.h"
#include "core/group/sun_group.h"
#include "core/model/spec.h"
#include "core/observable/observable.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace haarflow {
namespace {

using ::testing::HasSubstr;

v1::Target TargetOf(uint32_t colours, double beta, double c1, double c2, double c3) {
  v1::Target target;
  target.mutable_sun_matrix()->set_colours(colours);
  target.mutable_sun_matrix()->set_beta(beta);
  target.mutable_sun_matrix()->set_c1(c1);
  target.mutable_sun_matrix()->set_c2(c2);
  target.mutable_sun_matrix()->set_c3(c3);
  return target;
}
std::string Refusal(const v1::Target& target) { return std::string(ValidateTarget(target).message()); }

TEST(SunSingle, IsATargetWithoutALattice) {
  const v1::Target target = TargetOf(3, 9, 0.5, -0.25, 1);
  ASSERT_TRUE(ValidateTarget(target).ok());
  EXPECT_EQ(CanonicalTarget(target), "haarflow target 1\nsun_matrix colours=3 b1=4.5 b2=-2.25 b3=9\n");
  EXPECT_EQ(DescribeTarget(target), "single SU(3) matrix, beta = 9, c1 = 0.5, c2 = -0.25, c3 = 1");
  EXPECT_EQ(FieldShape(target), (std::vector<int64_t>{3, 3, 2}));
  EXPECT_EQ(FieldConvention(target), 3u);
  EXPECT_FALSE(IsGauge(target));
  EXPECT_EQ(LatticeOf(target)->links(), 1);
  // Only the products beta c_n matter.
  EXPECT_EQ(TargetDigest(target), TargetDigest(TargetOf(3, 4.5, 1, -0.5, 2)));
  EXPECT_TRUE(SameFields(target, TargetOf(3, 1, 1, 0, 0)));
  EXPECT_FALSE(SameFields(target, TargetOf(2, 1, 1, 0, 0)));
  v1::Target changed = target;
  ASSERT_TRUE(SetTheoryParameter("c2", 0.75, &changed).ok());
  EXPECT_EQ(changed.sun_matrix().c2(), 0.75);
}

TEST(SunSingle, WhatIsNoTargetIsRefused) {
  EXPECT_THAT(Refusal(TargetOf(4, 1, 1, 0, 0)), HasSubstr("target.sun_matrix.colours is 4"));
  EXPECT_THAT(Refusal(TargetOf(2, 1001, 1, 0, 0)), HasSubstr("target.sun_matrix.beta is 1001"));
  EXPECT_THAT(Refusal(TargetOf(2, 1, 1, 11, 0)), HasSubstr("target.sun_matrix.c2 is 11"));
  EXPECT_THAT(Refusal(TargetOf(2, 1, 1, 0, std::numeric_limits<double>::quiet_NaN())), HasSubstr(".c3 is nan"));
  v1::Target lattice = TargetOf(2, 1, 1, 0, 0);
  lattice.mutable_lattice()->add_shape(4);
  EXPECT_THAT(Refusal(lattice), HasSubstr("leave the lattice out"));
}

// targets.md section 1.2.
TEST(SunSingle, LogZIsThatOfTheReference) {
  const struct {
    double beta;
    std::array<double, 3> c;
    double su2, su3;
  } cases[] = {{1, {1, 0, 0}, 0.12249919306911404, 0.02930942047292031},
               {1, {0.17, -0.65, 1.22}, 0.6669373964047579, 0.5480027480723091},
               {1, {0.98, -0.63, -0.21}, 0.5032927828965854, 0.01780844256358391},
               {5, {1, 0, 0}, 2.2756512986715203, 0.8470568054154379},
               {5, {0.17, -0.65, 1.22}, 5.874117556936245, 4.277816570974431},
               {5, {0.98, -0.63, -0.21}, 3.8760839299987024, 1.4891583775936723},
               {9, {1, 0, 0}, 5.43412437045113, 2.758397424192837},
               {9, {0.17, -0.65, 1.22}, 11.679620866061727, 8.762445511685842},
               {9, {0.98, -0.63, -0.21}, 7.680335012047977, 3.9238584558833582}};
  for (const auto& c : cases) {
    EXPECT_NEAR(ExactLogZ(TargetOf(2, c.beta, c.c[0], c.c[1], c.c[2])).value(), c.su2, 1e-11);
    EXPECT_NEAR(ExactLogZ(TargetOf(3, c.beta, c.c[0], c.c[1], c.c[2])).value(), c.su3, 1e-11);
  }
  EXPECT_NEAR(ExactLogZ(TargetOf(3, 0, 1, 1, 1)).value(), 0, 1e-14);
  // Too sharp for the sum: nothing rather than a wrong number.
  EXPECT_FALSE(SolveSunSingle(3, {1000000, 0, 10000000}).has_value());
}

TEST(SunSingle, MeansAreDerivativesOfLogZ) {
  for (const uint32_t colours : {2u, 3u}) {
    const v1::Target target = TargetOf(colours, 3, 0.5, -0.6, 0.7);
    const auto derivatives = *ActionDerivatives::Create(target);
    ASSERT_EQ(derivatives.parameters(), (std::vector<std::string>{"beta", "c1", "c2", "c3"}));
    const auto parameters = TheoryParameters(target);
    for (size_t i = 0; i < 4; ++i) {
      const auto& [name, value] = parameters[i];
      double log_z[2];
      for (int side = 0; side < 2; ++side) {
        v1::Target moved = target;
        ASSERT_TRUE(SetTheoryParameter(name, value + (side == 0 ? -1e-4 : 1e-4), &moved).ok());
        log_z[side] = ExactLogZ(moved).value();
      }
      double mean = 0;
      for (const auto& term : derivatives.terms(i)) {
        mean -= term.coefficient * ExactExpectation(target, term.observable).value();
      }
      EXPECT_NEAR((log_z[1] - log_z[0]) / 2e-4, mean, 1e-7) << colours << " " << name;
    }
  }
}

template <int N>
void ExpectObservables() {
  const v1::Target target = TargetOf(N, 2, 0.3, 0.4, -0.5);
  const GroupMatrix<N> u = HaarMatrix<N>(3, NoisePurpose::kInitial, 0, 0);
  std::vector<double> field;
  for (const auto& z : u) field.insert(field.end(), {z.real(), z.imag()});
  const double t1 = Trace<N>(u).real() / N, t2 = Trace<N>(Multiply<N>(u, u)).real() / N;
  const double t3 = Trace<N>(Multiply<N>(u, Multiply<N>(u, u))).real() / N;
  const auto set = *ObservableSet::Create(target, {"trace_1", "trace_2", "trace_3", "action"});
  double values[4];
  set.Evaluate(field.data(), values);
  EXPECT_NEAR(values[0], t1, 1e-14);
  EXPECT_NEAR(values[1], t2, 1e-14);
  EXPECT_NEAR(values[2], t3, 1e-14);
  EXPECT_NEAR(values[3], -2 * (0.3 * t1 + 0.4 * t2 - 0.5 * t3), 1e-14);
  double slope[4];
  ActionDerivatives::Create(target)->Evaluate(field.data(), slope);
  EXPECT_NEAR(slope[0], values[3] / 2, 1e-14);
  EXPECT_NEAR(slope[3], -2 * t3, 1e-14);
  EXPECT_THAT(std::string(ObservableSet::Create(target, {"trace_4"}).status().message()), HasSubstr("trace_3, action"));
}
TEST(SunSingle, ObservablesAreTracesOfPowers) {
  ExpectObservables<2>();
  ExpectObservables<3>();
}

// ------------------------------------------------------------------------------------------------------------ specs

constexpr char kNetwork[] = "network { kernel: 1 precision: PRECISION_FLOAT64 } ";
std::string SpecText(const std::string& target, const std::string& stack) {
  return "name: \"a\" spec_version: 1 target { " + target +
         " } prior { uniform {} } layers { spectral_coupling_stack { " + stack + " } }";
}
std::string SpecRefusal(const std::string& target, const std::string& stack) {
  const auto spec = ParseSpec(SpecText(target, stack));
  EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument) << stack;
  return std::string(spec.status().message());
}
constexpr char kSingle[] = "sun_matrix { colours: 3 beta: 1 c1: 1 }";
constexpr char kLinks[] = "lattice { shape: [4, 4] } sun_wilson { colours: 2 beta: 1 }";
constexpr char kMask[] = "masks { direction: 0 plane: 1 sublattices { offset: [0, 0] stride: [2, 2] } } ";

TEST(SpectralSpec, ParsesForMatricesAndLinks) {
  const std::string map3 = "map { bins: 4 ratio_bins: 4 ratio_nodes: 1 }";
  EXPECT_TRUE(ParseSpec(SpecText(kSingle, absl::StrCat("layers: 2 ", kNetwork, map3))).ok());
  const auto links = ParseSpec(SpecText(kLinks, absl::StrCat("layers: 2 ", kMask, kNetwork, "map { bins: 4 }")));
  ASSERT_TRUE(links.ok()) << links.status();
  EXPECT_TRUE(PlanSpectralFlow(*links).ok());
}

TEST(SpectralSpec, WhatDoesNotFitIsRefused) {
  const std::string rest3 = absl::StrCat(kNetwork, "map { bins: 4 ratio_bins: 4 ratio_nodes: 1 }");
  const std::string rest2 = absl::StrCat(kNetwork, "map { bins: 4 }");
  EXPECT_THAT(SpecRefusal(kSingle, absl::StrCat("layers: 1 ", kMask, rest3)), HasSubstr("a single matrix takes none"));
  EXPECT_THAT(SpecRefusal(kSingle, "layers: 1 towards_mirror: 0.5 " + rest3), HasSubstr("a single matrix takes none"));
  EXPECT_THAT(SpecRefusal(kSingle, "layers: 1 " + rest2), HasSubstr(".map.ratio_bins is 0"));
  EXPECT_THAT(SpecRefusal(kLinks, absl::StrCat("layers: 1 ", kMask, rest3)), HasSubstr("SU(2) have no ratio"));
  EXPECT_THAT(SpecRefusal(kLinks, "layers: 1 " + rest2), HasSubstr(".masks has 0 entries"));
  EXPECT_THAT(SpecRefusal(kLinks, absl::StrCat("layers: 1 ", kMask, "towards_mirror: 5 ", rest2)),
              HasSubstr(".towards_mirror is 5; it must be in [-4, 4]"));
  EXPECT_THAT(
      SpecRefusal(kLinks, absl::StrCat("layers: 1 ", kMask, "network { kernel: 3 precision: PRECISION_FLOAT32 } ",
                                       "map { bins: 4 }")),
      HasSubstr("without features use 1"));
  EXPECT_THAT(SpecRefusal(kLinks, absl::StrCat("layers: 0 ", kMask, rest2)), HasSubstr(".layers is 0"));
  EXPECT_THAT(SpecRefusal("lattice { shape: [4, 4] } u1_wilson { beta: 1 }", absl::StrCat("layers: 1 ", kMask, rest2)),
              HasSubstr("transforms SU(N) matrices; the target has U(1) links"));
  EXPECT_THAT(
      std::string(ParseSpec("name: \"a\" spec_version: 1 target { sun_matrix { colours: 2 } } prior { perfect {} }")
                      .status()
                      .message()),
      HasSubstr("perfect samplers are for gauge fields"));
  EXPECT_THAT(
      std::string(ParseSpec("name: \"a\" spec_version: 1 target { sun_matrix { colours: 2 } } prior { uniform {} "
                            "} layers { loop_flow {} }")
                      .status()
                      .message()),
      HasSubstr("transforms SU(N) links; the target is an SU(2) matrix"));
}

// Masks whose loops share a link name it.
TEST(SpectralSpec, ActiveLoopsHaveOneActiveLink) {
  const std::string dense = "masks { direction: 0 plane: 1 sublattices { offset: [0, 0] stride: [1, 2] } } ";
  const auto spec = ParseSpec(SpecText(kLinks, absl::StrCat("layers: 1 ", dense, kNetwork, "map { bins: 4 }")));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_THAT(std::string(PlanSpectralFlow(*spec).status().message()), HasSubstr("contains 2 active links"));
  // Two rows above: the plaquette is free, a 1 x 2 mirror image meets the next row.
  const std::string rows = "masks { direction: 0 plane: 1 sublattices { offset: [0, 0] stride: [4, 2] } } ";
  const auto wide = ParseSpec(SpecText(kLinks, absl::StrCat("layers: 1 ", rows, "active_loop { width: 1 height: 4 } ",
                                                            "towards_mirror: 0.5 ", kNetwork, "map { bins: 4 }")));
  ASSERT_TRUE(wide.ok()) << wide.status();
  EXPECT_THAT(std::string(PlanSpectralFlow(*wide).status().message()), HasSubstr("active links instead of one"));
}

}  // namespace
}  // namespace haarflow
