// Specs of SU(N) theories: what parses, and which layers and priors their links take.
#include <string>

#include "core/model/spec.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace haarflow {
namespace {

using ::testing::HasSubstr;

std::string SpecText(const std::string& rest, const std::string& action = "colours: 3 beta: 5") {
  return "name: \"su3\" spec_version: 1 target { lattice { shape: 4 shape: 4 } sun_wilson { " + action + " } } " + rest;
}
std::string Refusal(const std::string& text) {
  const auto spec = ParseSpec(text);
  EXPECT_EQ(spec.status().code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(spec.status().message());
}

TEST(SunSpec, HaarMeasureIsAModelsPrior) {
  const auto spec = ParseSpec(SpecText("prior { uniform {} }"));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->target().sun_wilson().colours(), 3u);
  EXPECT_TRUE(ServesTarget(*spec, spec->target()));
  v1::Target other = spec->target();
  other.mutable_sun_wilson()->set_beta(6);
  EXPECT_FALSE(ServesTarget(*spec, other));
  EXPECT_TRUE(ParseSpec(SpecText("prior { uniform {} }", "colours: 2 beta: 2 rectangle: -0.083")).ok());
}

TEST(SunSpec, WhatIsOfOtherFieldsIsRefused) {
  EXPECT_THAT(Refusal(SpecText("prior { uniform {} }", "beta: 5")), HasSubstr("target.sun_wilson.colours is 0"));
  EXPECT_THAT(Refusal(SpecText("prior { gaussian {} }")), HasSubstr("links use prior { uniform {} }"));
  EXPECT_THAT(Refusal(SpecText("")), HasSubstr("links use prior { uniform {} }"));
  EXPECT_THAT(Refusal(SpecText("prior { uniform {} } layers { u1_coupling_stack { layers: 1 } }")),
              HasSubstr("layers[0].u1_coupling_stack transforms U(1) links; the target has SU(3) links"));
  EXPECT_THAT(Refusal(SpecText("prior { uniform {} } layers { scalar_heat_bath {} }", "colours: 2 beta: 1")),
              HasSubstr("layers[0].scalar_heat_bath draws scalars; the target has SU(2) links"));
  EXPECT_THAT(Refusal(SpecText("prior { uniform {} } layers { scalar_coupling_stack {} }")),
              HasSubstr("the target has SU(3) links"));
  EXPECT_THAT(Refusal(SpecText("prior { uniform {} } layers { scalar_continuous_flow {} }")),
              HasSubstr("the target has SU(3) links"));
}

}  // namespace
}  // namespace haarflow
