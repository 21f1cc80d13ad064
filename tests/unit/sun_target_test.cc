// SU(N) targets: what is valid, how they are named, their parameters, and that nothing else of the schema breaks on
// them.
#include <cmath>
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

v1::Target Target(const std::string& theory, const std::string& shape = "shape: 16 shape: 16") {
  v1::Target target;
  const std::string text = "lattice { " + shape + " } " + theory;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &target)) << text;
  return target;
}
v1::Target Sun(const std::string& action, const std::string& shape = "shape: 16 shape: 16") {
  return Target("sun_wilson { " + action + " }", shape);
}
std::string Refusal(const v1::Target& target) {
  const absl::Status status = ValidateTarget(target);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << target.ShortDebugString();
  return std::string(status.message());
}

TEST(SunTarget, TheCanonicalTextNamesTheDensity) {
  const v1::Target plain = Sun("colours: 3 beta: 5");
  ASSERT_TRUE(ValidateTarget(plain).ok()) << ValidateTarget(plain);
  EXPECT_EQ(CanonicalTarget(plain),
            "haarflow target 1\nsun_wilson colours=3 beta=5 rectangle=0\nlattice 16x16 periodic\n");
  EXPECT_EQ(TargetDigest(plain), TargetDigest(Sun("colours: 3 beta: 5 rectangle: -0.0")));
  const std::vector<v1::Target> others = {Sun("colours: 2 beta: 5"),
                                          Sun("colours: 3 beta: 5.000000000000001"),
                                          Sun("colours: 3 beta: 5 rectangle: -0.331"),
                                          Sun("colours: 3 beta: 5", "shape: 16 shape: 8"),
                                          Sun("colours: 3 beta: 5", "shape: 16 shape: 16 shape: 16"),
                                          Target("u1_wilson { beta: 5 }")};
  for (const v1::Target& other : others) {
    EXPECT_TRUE(ValidateTarget(other).ok());
    EXPECT_NE(TargetDigest(other), TargetDigest(plain)) << other.ShortDebugString();
  }
}

TEST(SunTarget, ErrorsNameTheFieldAndTheRemedy) {
  for (const char* colours : {"0", "1", "4", "4294967295"}) {
    EXPECT_THAT(Refusal(Sun("beta: 1 colours: " + std::string(colours))),
                HasSubstr("target.sun_wilson.colours is " + std::string(colours)));
  }
  EXPECT_THAT(Refusal(Sun("beta: 1")), HasSubstr("give 2 or 3"));
  EXPECT_THAT(Refusal(Sun("colours: 3 beta: nan")), HasSubstr("target.sun_wilson.beta is nan"));
  EXPECT_THAT(Refusal(Sun("colours: 3 beta: -1001")), HasSubstr("target.sun_wilson.beta is -1001"));
  EXPECT_THAT(Refusal(Sun("colours: 2 beta: inf")), HasSubstr("target.sun_wilson.beta is inf"));
  EXPECT_THAT(Refusal(Sun("colours: 3 beta: 1 rectangle: 10.5")), HasSubstr("target.sun_wilson.rectangle is 10.5"));
  EXPECT_THAT(Refusal(Sun("colours: 3 beta: 1 rectangle: nan")), HasSubstr("target.sun_wilson.rectangle is nan"));
  EXPECT_THAT(Refusal(Sun("colours: 3 beta: 1", "shape: 8")), HasSubstr("gauge theories need 2 to 4"));
  EXPECT_THAT(Refusal(Sun("colours: 3 beta: 1", "shape: 1 shape: 8")), HasSubstr("target.lattice.shape[0] is 1"));
  EXPECT_THAT(Refusal(Sun("colours: 3 beta: 1",
                          "shape: 8 shape: 8 boundary: BOUNDARY_PERIODIC "
                          "boundary: BOUNDARY_ANTIPERIODIC")),
              HasSubstr("boundary[1]"));
  // 2^26 sites of a four-dimensional lattice: SU(2) has exactly 2^34 bytes, SU(3) more.
  const std::string large = "shape: 128 shape: 128 shape: 64 shape: 64";
  EXPECT_TRUE(ValidateTarget(Sun("colours: 2 beta: 1", large)).ok());
  EXPECT_THAT(Refusal(Sun("colours: 3 beta: 1", large)), HasSubstr("take a smaller lattice"));
  v1::Target newer = Sun("colours: 3 beta: 1");
  newer.mutable_sun_wilson()->GetReflection()->MutableUnknownFields(newer.mutable_sun_wilson())->AddVarint(99, 1);
  EXPECT_THAT(Refusal(newer), HasSubstr("target.sun_wilson has the unknown field number 99"));
}

TEST(SunTarget, TwoToFourDimensionsAreValid) {
  for (const char* shape : {"shape: 2 shape: 2", "shape: 3 shape: 4 shape: 5", "shape: 4 shape: 4 shape: 4 shape: 4"}) {
    EXPECT_TRUE(ValidateTarget(Sun("colours: 2 beta: -1.5", shape)).ok()) << shape;
    EXPECT_TRUE(ValidateTarget(Sun("colours: 3 beta: 6 rectangle: -0.0833", shape)).ok()) << shape;
  }
}

TEST(SunTarget, FieldsAreComplexMatrices) {
  EXPECT_EQ(FieldShape(Sun("colours: 3", "shape: 4 shape: 6")), (std::vector<int64_t>{2, 4, 6, 3, 3, 2}));
  EXPECT_EQ(FieldShape(Sun("colours: 2", "shape: 2 shape: 3 shape: 4 shape: 5")),
            (std::vector<int64_t>{4, 2, 3, 4, 5, 2, 2, 2}));
  EXPECT_EQ(FieldSize(Sun("colours: 3", "shape: 4 shape: 6")), 2 * 4 * 6 * 18);
  EXPECT_TRUE(IsGauge(Sun("colours: 3")));
  EXPECT_TRUE(IsGauge(Target("u1_wilson {}")));
  EXPECT_FALSE(IsGauge(Target("phi4 { mass { m2: 1 } }")));
  EXPECT_EQ(FieldConvention(Sun("colours: 3")), 3u);
  EXPECT_EQ(FieldConvention(Target("u1_wilson {}")), 1u);
  EXPECT_EQ(FieldConvention(Target("phi4 { mass { m2: 1 } }")), 2u);
}

TEST(SunTarget, SameFieldsIsAboutColoursAndLattice) {
  const v1::Target target = Sun("colours: 3 beta: 5");
  EXPECT_TRUE(SameFields(target, Sun("colours: 3 beta: -2 rectangle: 0.5")));
  EXPECT_FALSE(SameFields(target, Sun("colours: 2 beta: 5")));
  EXPECT_FALSE(SameFields(target, Sun("colours: 3 beta: 5", "shape: 8 shape: 16")));
  EXPECT_FALSE(SameFields(target, Target("u1_wilson { beta: 5 }")));
  // Equal array shapes, other theories: [2, 2, 2, 2, 2, 2] is no SU(2) field of a four-dimensional lattice.
  EXPECT_FALSE(SameFields(Sun("colours: 2", "shape: 2 shape: 2"), Target("phi4 { mass { m2: 1 } }")));
}

TEST(SunTarget, ParametersAreTheRealNumbers) {
  v1::Target target = Sun("colours: 3 beta: 5");
  EXPECT_EQ(TheoryParameters(target), (Parameters{{"beta", 5}, {"rectangle", 0}}));
  EXPECT_TRUE(SetTheoryParameter("beta", 6.5, &target).ok());
  EXPECT_TRUE(SetTheoryParameter("rectangle", -0.331, &target).ok());
  EXPECT_EQ(target.sun_wilson().beta(), 6.5);
  EXPECT_EQ(target.sun_wilson().rectangle(), -0.331);
  EXPECT_EQ(ActionNumbers(target), (std::array<double, 3>{6.5, -0.331, 0}));
  for (const char* name : {"colours", "m2", ""}) {
    const absl::Status refused = SetTheoryParameter(name, 2, &target);
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("it has beta, rectangle"));
  }
  EXPECT_EQ(target.sun_wilson().colours(), 3u);
}

TEST(SunTarget, DescriptionsAreForPeople) {
  EXPECT_EQ(DescribeTarget(Sun("colours: 3 beta: 5")), "SU(3) Wilson, beta = 5, 16x16");
  EXPECT_EQ(DescribeTheory(Sun("colours: 2 beta: 2.2")), "SU(2) Wilson, beta = 2.2");
  EXPECT_EQ(DescribeTarget(Sun("colours: 3 beta: 2.6 rectangle: -0.331", "shape: 4 shape: 4 shape: 4 shape: 8")),
            "SU(3) Wilson, beta = 2.6, rectangle = -0.331, 4x4x4x8");
}

}  // namespace
}  // namespace haarflow
