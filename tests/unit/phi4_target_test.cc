// Scalar targets: what is valid, what is the same density, how it is named.
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "core/action/target.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"

namespace haarflow {
namespace {

using ::testing::HasSubstr;
using Parameters = std::vector<std::pair<std::string, double>>;

v1::Target Target(const std::string& text) {
  v1::Target target;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &target)) << text;
  return target;
}
v1::Target Scalar(const std::string& theory, const std::string& shape = "shape: 8 shape: 8") {
  return Target("lattice { " + shape + " } phi4 { " + theory + " }");
}
std::string Refusal(const v1::Target& target) {
  const absl::Status status = ValidateTarget(target);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << target.ShortDebugString();
  return std::string(status.message());
}

TEST(Phi4Target, FormsOfTheSameDensityHaveTheSameDigest) {
  // Tutorial form, the same with an explicit 1, one component named: all one target.
  const v1::Target tutorial = Scalar("mass { m2: -4 lambda: 8 }");
  EXPECT_EQ(CanonicalTarget(tutorial),
            "haarflow target 1\nphi4 components=1 hop=2 quadratic=0 quartic=8\nlattice 8x8 periodic\n");
  for (const char* same :
       {"mass { m2: -4 lambda: 8 normalisation: 1 }", "components: 1 mass { m2: -4 lambda: 8 }",
        "mass { m2: -4 lambda: 8 normalisation: -0 }", "mass { m2: 0 lambda: 8 normalisation: 1 } "}) {
    const bool equal = std::string(same).find("m2: 0") == std::string::npos;
    EXPECT_EQ(TargetDigest(Scalar(same)) == TargetDigest(tutorial), equal) << same;
  }
  // hop 0.5, quadratic 0.75, quartic 0.125 as hopping and as mass form: c = 1/4, c (4 + m2) = 3/4.
  EXPECT_EQ(CanonicalTarget(Scalar("hopping { kappa: 0.25 lambda: 0.125 }")),
            CanonicalTarget(Scalar("mass { m2: -1 lambda: 0.125 normalisation: 0.25 }")));
  // In three dimensions the same mass is another quadratic coupling.
  EXPECT_NE(CanonicalTarget(Scalar("hopping { kappa: 0.25 lambda: 0.125 }", "shape: 8 shape: 8 shape: 8")),
            CanonicalTarget(Scalar("mass { m2: -1 lambda: 0.125 normalisation: 0.25 }", "shape: 8 shape: 8 shape: 8")));
  // Explicit periodic boundaries are the default.
  EXPECT_EQ(TargetDigest(Scalar("mass { m2: -4 lambda: 8 }",
                                "shape: 8 shape: 8 boundary: BOUNDARY_PERIODIC boundary: BOUNDARY_PERIODIC")),
            TargetDigest(tutorial));
}

TEST(Phi4Target, DifferentDensitiesHaveDifferentDigests) {
  const std::vector<v1::Target> targets = {Scalar("mass { m2: -4 lambda: 8 }"),
                                           Scalar("mass { m2: -4 lambda: 8.000000000000002 }"),
                                           Scalar("mass { m2: -3.9999999999999996 lambda: 8 }"),
                                           Scalar("mass { m2: -4 lambda: 8 normalisation: 0.5 }"),
                                           Scalar("components: 2 mass { m2: -4 lambda: 8 }"),
                                           Scalar("mass { m2: -4 lambda: 8 }", "shape: 8 shape: 16"),
                                           Scalar("mass { m2: -4 lambda: 8 }", "shape: 16 shape: 8"),
                                           Scalar("hopping { kappa: 0.25 lambda: 8 }"),
                                           Scalar("hopping { kappa: -0.25 lambda: 8 }")};
  for (size_t i = 0; i < targets.size(); ++i) {
    EXPECT_TRUE(ValidateTarget(targets[i]).ok());
    for (size_t j = 0; j < i; ++j) EXPECT_NE(TargetDigest(targets[i]), TargetDigest(targets[j])) << i << " " << j;
  }
}

TEST(Phi4Target, TheDigestOfTheGaugeTheoryIsWhatItWas) {
  EXPECT_EQ(CanonicalTarget(Target("lattice { shape: 16 shape: 16 } u1_wilson { beta: 2 }")),
            "haarflow target 1\nu1_wilson beta=2\nlattice 16x16 periodic\n");
}

TEST(Phi4Target, ErrorsNameTheFieldAndTheRemedy) {
  EXPECT_THAT(Refusal(Scalar("")), HasSubstr("target.phi4.form is not set"));
  EXPECT_THAT(Refusal(Scalar("components: 3 mass { m2: 1 }")), HasSubstr("target.phi4.components is 3"));
  EXPECT_THAT(Refusal(Scalar("mass { m2: -4 lambda: -1 }")), HasSubstr("target.phi4.mass.lambda is -1"));
  EXPECT_THAT(Refusal(Scalar("mass { m2: 2e6 lambda: 1 }")), HasSubstr("target.phi4.mass.m2 is 2e+06"));
  EXPECT_THAT(Refusal(Scalar("mass { m2: nan lambda: 1 }")), HasSubstr("target.phi4.mass.m2 is nan"));
  EXPECT_THAT(Refusal(Scalar("mass { m2: 1 lambda: inf }")), HasSubstr("target.phi4.mass.lambda is inf"));
  EXPECT_THAT(Refusal(Scalar("mass { m2: 1 lambda: 1 normalisation: -1 }")), HasSubstr("mass.normalisation is -1"));
  EXPECT_THAT(Refusal(Scalar("hopping { kappa: inf lambda: 1 }")), HasSubstr("target.phi4.hopping.kappa is inf"));
  EXPECT_THAT(Refusal(Scalar("hopping { kappa: 0.1 lambda: -0.1 }")), HasSubstr("target.phi4.hopping.lambda is -0.1"));
  // Bounded from below: m2 > 0, or 2 d |kappa| < 1, where lambda is 0.
  EXPECT_THAT(Refusal(Scalar("mass { m2: 0 }")), HasSubstr("positive m2"));
  EXPECT_THAT(Refusal(Scalar("hopping { kappa: 0.25 }")), HasSubstr("bounded from below"));
  EXPECT_THAT(Refusal(Scalar("hopping { kappa: -0.25 }")), HasSubstr("bounded from below"));
  EXPECT_THAT(Refusal(Scalar("mass { m2: -1 lambda: 1e-12 }")), HasSubstr("too small"));
  EXPECT_THAT(Refusal(Scalar("mass { m2: 1 }", "shape: 1 shape: 8")), HasSubstr("target.lattice.shape[0] is 1"));
  EXPECT_THAT(Refusal(Scalar("mass { m2: 1 }", "shape: 8 boundary: BOUNDARY_ANTIPERIODIC")), HasSubstr("boundary[0]"));
  EXPECT_THAT(Refusal(Target("lattice { shape: 8 } u1_wilson { beta: 1 }")), HasSubstr("gauge theories need 2 to 4"));
  EXPECT_THAT(Refusal(Target("lattice { shape: 8 }")), HasSubstr("target.theory is not set"));
  v1::Target newer = Scalar("mass { m2: 1 }");
  newer.mutable_phi4()
      ->mutable_mass()
      ->GetReflection()
      ->MutableUnknownFields(newer.mutable_phi4()->mutable_mass())
      ->AddVarint(99, 1);
  EXPECT_THAT(Refusal(newer), HasSubstr("target.phi4.mass has the unknown field number 99"));
}

TEST(Phi4Target, ValidOnesAreOneToFourDimensional) {
  for (const char* shape :
       {"shape: 2", "shape: 2 shape: 2", "shape: 3 shape: 4 shape: 5", "shape: 2 shape: 3 shape: 2 shape: 3"}) {
    EXPECT_TRUE(ValidateTarget(Scalar("mass { m2: 1 }", shape)).ok()) << shape;
    EXPECT_TRUE(ValidateTarget(Scalar("components: 2 mass { m2: -1 lambda: 0.5 }", shape)).ok()) << shape;
  }
  EXPECT_TRUE(ValidateTarget(Scalar("hopping { kappa: 0.2499 }")).ok());
  EXPECT_TRUE(ValidateTarget(Scalar("hopping { kappa: 0.2499 }", "shape: 8")).ok());
  EXPECT_FALSE(ValidateTarget(Scalar("hopping { kappa: 0.2499 }", "shape: 8 shape: 8 shape: 8")).ok());
}

TEST(Phi4Target, FieldShapesHaveComponentsFirst) {
  EXPECT_EQ(FieldShape(Scalar("mass { m2: 1 }", "shape: 3 shape: 4")), (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(FieldShape(Scalar("components: 2 mass { m2: 1 }", "shape: 3 shape: 4")), (std::vector<int64_t>{2, 3, 4}));
  EXPECT_EQ(FieldShape(Scalar("components: 2 mass { m2: 1 }", "shape: 3")), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(FieldSize(Scalar("components: 2 mass { m2: 1 }", "shape: 3 shape: 4")), 24);
  EXPECT_EQ(FieldShape(Target("lattice { shape: 3 shape: 4 } u1_wilson { beta: 1 }")), (std::vector<int64_t>{2, 3, 4}));
}

TEST(Phi4Target, SameFieldsIsAboutFieldsNotCouplings) {
  const v1::Target a = Scalar("mass { m2: 1 }", "shape: 2 shape: 8");
  EXPECT_TRUE(SameFields(a, Scalar("hopping { kappa: 0.1 lambda: 3 }", "shape: 2 shape: 8")));
  EXPECT_FALSE(SameFields(a, Scalar("mass { m2: 1 }", "shape: 8 shape: 2")));
  EXPECT_FALSE(SameFields(a, Scalar("components: 2 mass { m2: 1 }", "shape: 2 shape: 8")));
  EXPECT_FALSE(SameFields(a, Scalar("components: 2 mass { m2: 1 }", "shape: 8")));  // also [2, 8], but O(2) on a chain
  EXPECT_FALSE(
      SameFields(Scalar("components: 2 mass { m2: 1 }"), Target("lattice { shape: 8 shape: 8 } u1_wilson {}")));
}

TEST(Phi4Target, ParametersAreReadAndSetByName) {
  v1::Target mass = Scalar("mass { m2: -4 lambda: 8 }");
  EXPECT_EQ(TheoryParameters(mass), (Parameters{{"m2", -4}, {"lambda", 8}, {"normalisation", 0}}));
  EXPECT_TRUE(SetTheoryParameter("lambda", 6.5, &mass).ok());
  EXPECT_EQ(mass.phi4().mass().lambda(), 6.5);
  const absl::Status refused = SetTheoryParameter("kappa", 1, &mass);
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("m2, lambda, normalisation"));
  EXPECT_TRUE(mass.phi4().has_mass());
  v1::Target hopping = Scalar("hopping { kappa: 0.25 lambda: 0.022 }");
  EXPECT_EQ(TheoryParameters(hopping), (Parameters{{"kappa", 0.25}, {"lambda", 0.022}}));
  EXPECT_TRUE(SetTheoryParameter("kappa", 0.3, &hopping).ok());
  EXPECT_EQ(hopping.phi4().hopping().kappa(), 0.3);
  v1::Target gauge = Target("lattice { shape: 8 shape: 8 } u1_wilson { beta: 2 }");
  EXPECT_EQ(TheoryParameters(gauge), (Parameters{{"beta", 2}, {"theta_imaginary", 0}}));
  EXPECT_TRUE(SetTheoryParameter("beta", 1.5, &gauge).ok());
  EXPECT_EQ(gauge.u1_wilson().beta(), 1.5);
  v1::Target none;
  EXPECT_TRUE(TheoryParameters(none).empty());
  EXPECT_FALSE(SetTheoryParameter("beta", 1, &none).ok());
  EXPECT_EQ(none.theory_case(), v1::Target::THEORY_NOT_SET);
}

TEST(Phi4Target, DescriptionsAreForPeople) {
  EXPECT_EQ(DescribeTarget(Scalar("mass { m2: -4 lambda: 8 }")), "phi^4, m2 = -4, lambda = 8, 8x8");
  EXPECT_EQ(DescribeTheory(Scalar("mass { m2: -4 lambda: 8 normalisation: 0.5 }")),
            "phi^4, m2 = -4, lambda = 8, normalisation = 0.5");
  EXPECT_EQ(DescribeTarget(Scalar("components: 2 hopping { kappa: 0.25 lambda: 0.022 }", "shape: 8 shape: 64")),
            "O(2) phi^4, kappa = 0.25, lambda = 0.022, 8x64");
  EXPECT_EQ(DescribeTarget(Target("lattice { shape: 16 shape: 16 } u1_wilson { beta: 2 }")),
            "U(1) Wilson, beta = 2, 16x16");
}

}  // namespace
}  // namespace haarflow
