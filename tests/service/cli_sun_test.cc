// SU(N) gauge theory on the command line, against a fake service.
#include <cmath>

#include "tests/service/cli_fixture.h"

namespace haarflow::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

FakeRunOptions Matrices(int colours, const std::vector<uint32_t>& lattice) {
  FakeRunOptions options;
  options.colours = colours;
  options.lattice = lattice;
  return options;
}

class Su3CliTest : public CliTest {
 protected:
  Su3CliTest() : CliTest(Matrices(3, {4, 6})) {}
};
class Su2CliTest : public CliTest {
 protected:
  Su2CliTest() : CliTest(Matrices(2, {2, 2, 3, 2})) {}
};

TEST_F(Su3CliTest, ModelsAreDescribed) {
  EXPECT_THAT(Haarflow("models").out, HasSubstr("SU(3) Wilson, beta = 5"));
  const Json json = Json::parse(Haarflow("--json models").out)["models"][0];
  EXPECT_EQ(json["theory"], "sun_wilson");
  EXPECT_EQ(json["colours"], 3);
  EXPECT_EQ(json["theory_parameters"], (Json{{"beta", 5.0}, {"rectangle", 0.0}}));
  EXPECT_EQ(json["target"], "SU(3) Wilson, beta = 5, 4x6");
}

TEST_F(Su3CliTest, ParametersAreSetByNameAndColoursAreNone) {
  ASSERT_EQ(Haarflow("logz fake --set beta=5.5 --set rectangle=-0.331").exit_code, 0);
  const v1::Target target = service_.partition_requests().back().target();
  EXPECT_EQ(target.sun_wilson().colours(), 3u);
  EXPECT_EQ(target.sun_wilson().beta(), 5.5);
  EXPECT_EQ(target.sun_wilson().rectangle(), -0.331);
  const Outcome refused = Haarflow("logz fake --set colours=2");
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("beta, rectangle"));
}

TEST_F(Su3CliTest, ThermoShowsBothDerivativesAndScans) {
  const Outcome text = Haarflow("thermo fake");
  ASSERT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("d log Z / d beta"));
  EXPECT_THAT(text.out, HasSubstr("d log Z / d rectangle"));
  EXPECT_EQ(Haarflow("thermo fake --scan beta=1:2:6").exit_code, 0);
  EXPECT_EQ(service_.partition_requests().back().target().sun_wilson().beta(), 2);
}

TEST_F(Su3CliTest, FilesAreWrittenResumedAndExtended) {
  ASSERT_EQ(Haarflow("sample fake -n 60 -o whole.npy").exit_code, 0);
  EXPECT_THAT(service_.requests().back().observables(), ElementsAre("plaquette", "polyakov_abs"));
  service_.SetTroubles({{.after_chunks = 4, .end = grpc::Status(grpc::StatusCode::INTERNAL, "on fire")}});
  EXPECT_EQ(Haarflow("sample fake -n 60 -o a.npy").exit_code, 4);
  const Outcome resumed = Haarflow("sample fake -o a.npy --resume");
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_EQ(Slurp(Path("a.npy")), Slurp(Path("whole.npy")));
  ASSERT_EQ(Haarflow("sample fake -n 31 -o b.h5").exit_code, 0);
  const Outcome longer = Haarflow("--json sample fake -n 60 -o b.h5 --resume");
  ASSERT_EQ(longer.exit_code, 0) << longer.err;
  EXPECT_EQ(Json::parse(longer.out)["steps"], 60);
}

std::vector<std::string> Measured(const Outcome& outcome) {
  std::vector<std::string> names;
  const Json json = Json::parse(outcome.out);
  for (const auto& estimate : json["observables"]) names.push_back(estimate["observable"]);
  return names;
}

TEST_F(Su3CliTest, TwoDimensionsAreMeasuredByLoops) {
  EXPECT_THAT(Measured(Haarflow("measure fake --json")),
              ElementsAre("plaquette", "polyakov_abs", "wilson_loop_2x2", "polyakov_real"));
  EXPECT_THAT(Measured(Haarflow("measure fake --json --set rectangle=-0.1")),
              ElementsAre("plaquette", "rectangle", "polyakov_abs", "wilson_loop_2x2", "polyakov_real"));
}

TEST_F(Su2CliTest, FourDimensionsHaveACharge) {
  EXPECT_THAT(Measured(Haarflow("measure fake --json")),
              ElementsAre("plaquette", "polyakov_abs", "charge_squared", "polyakov_real"));
  EXPECT_THAT(Haarflow("models").out, HasSubstr("SU(2) Wilson, beta = 5"));
}

}  // namespace
}  // namespace haarflow::testing
