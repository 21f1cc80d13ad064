// Theories on the command line: parameters, what models serve, free energies, scalar files.
#include <cmath>

#include "tests/service/cli_fixture.h"

namespace haarflow::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

FakeRunOptions Scalars() {
  FakeRunOptions options;
  options.scalar_components = 1;
  return options;
}

class ScalarCliTest : public CliTest {
 protected:
  ScalarCliTest() : CliTest(Scalars()) {}
};

TEST_F(ScalarCliTest, ParametersAreSetByNameOneAtATime) {
  ASSERT_EQ(Haarflow("sample --set lambda=6.5 --set m2=-3.5 fake -n 10 -o a.h5").exit_code, 0);
  const v1::Target target = service_.requests().back().target();
  EXPECT_EQ(target.phi4().mass().lambda(), 6.5);
  EXPECT_EQ(target.phi4().mass().m2(), -3.5);
  EXPECT_EQ(target.lattice().shape_size(), 2);
  ASSERT_EQ(Haarflow("logz fake --set lambda=7").exit_code, 0);
  EXPECT_EQ(service_.partition_requests().back().target().phi4().mass().lambda(), 7);
  EXPECT_EQ(service_.partition_requests().back().target().phi4().mass().m2(), -4);
  const Outcome unknown = Haarflow("measure fake --set beta=2");
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("'beta'"));
  EXPECT_THAT(unknown.err, HasSubstr("m2, lambda, normalisation"));
}

TEST_F(ScalarCliTest, AModelIsDescribedWithWhatItServesAndWhatIsKnownAgainstIt) {
  v1::Conditioning* interval = service_.info()->add_conditioning();
  interval->set_parameter("lambda");
  interval->set_low(4);
  interval->set_high(8);
  v1::ModelCard* card = service_.info()->mutable_card();
  card->set_unreliable_reason("log Z is short by log 2");
  card->set_steps(12);
  card->set_log_q_error_mean(0.00012);
  card->set_log_q_error_sigma(0.00034);
  card->set_forward_samples(4096);
  card->set_forward_ess(0.4321);
  v1::ConditionalQuality* end = card->add_conditional();
  *end->mutable_target() = service_.run().Header(1).target();
  end->mutable_target()->mutable_phi4()->mutable_mass()->set_lambda(4.5);
  end->set_ess(0.9876);
  end->set_ess_error(0.0011);
  const std::string models = Haarflow("models").out;
  EXPECT_THAT(models, HasSubstr("phi^4, m2 = -4, lambda = 8; lambda 4 to 8"));
  EXPECT_THAT(models, HasSubstr("unreliable: log Z is short by log 2"));
  const std::string text = Haarflow("model fake").out;
  for (const char* part : {"lambda 4 to 8", "no: log Z is short by log 2", "12 Runge-Kutta steps", "0.00012 +- 0.00034",
                           "0.4321 over 4,096 fields of the target", "4.5  0.9876(11)"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  const Json json = Json::parse(Haarflow("--json models").out)["models"][0];
  EXPECT_EQ(json["theory"], "phi4");
  EXPECT_EQ(json["theory_parameters"]["lambda"], 8);
  EXPECT_EQ(json["conditioning"][0]["high"], 8);
  EXPECT_EQ(json["card"]["steps"], 12);
  EXPECT_EQ(json["card"]["unreliable_reason"], "log Z is short by log 2");
  EXPECT_EQ(json["card"]["conditional"][0]["theory_parameters"]["lambda"], 4.5);
}

TEST_F(ScalarCliTest, WhatIsMeasuredWithoutBeingAskedDependsOnTheTheory) {
  const Json json = Json::parse(Haarflow("measure fake --json").out);
  std::vector<std::string> names;
  for (const auto& estimate : json["observables"]) names.push_back(estimate["observable"]);
  EXPECT_THAT(names, ElementsAre("phi_squared", "energy", "magnetisation_abs", "susceptibility", "binder_cumulant",
                                 "correlation_length"));
  ASSERT_EQ(Haarflow("sample fake -n 10 -o a.h5").exit_code, 0);
  EXPECT_THAT(service_.requests().back().observables(),
              ElementsAre("phi_squared", "energy", "magnetisation_abs", "susceptibility"));
}

TEST_F(ScalarCliTest, AScalarFileIsResumedAndExtended) {
  ASSERT_EQ(Haarflow("sample fake -n 100 -o whole.npy --observables phi_squared").exit_code, 0);
  service_.SetTroubles({{.after_chunks = 4, .end = grpc::Status(grpc::StatusCode::INTERNAL, "on fire")}});
  EXPECT_EQ(Haarflow("sample fake -n 100 -o a.npy --observables phi_squared").exit_code, 4);
  EXPECT_EQ(Haarflow("sample fake -o a.npy --resume --set lambda=7").exit_code, 2) << "it is another target";
  ASSERT_EQ(Haarflow("sample fake -o a.npy --resume --set lambda=8").exit_code, 0);
  EXPECT_EQ(Slurp(Path("a.npy")), Slurp(Path("whole.npy")));
  EXPECT_EQ(Slurp(Path("a.table.npy")), Slurp(Path("whole.table.npy")));
  ASSERT_EQ(Haarflow("sample fake -n 51 -o b.h5").exit_code, 0);
  const Outcome longer = Haarflow("--json sample fake -n 100 -o b.h5 --resume");
  ASSERT_EQ(longer.exit_code, 0) << longer.err;
  EXPECT_EQ(Json::parse(longer.out)["steps"], 100);
}

TEST_F(CliTest, LogZShowsBothBoundsAndTheBias) {
  const std::string text = Haarflow("logz fake").out;
  EXPECT_THAT(text, HasSubstr("E_q[log w] = 52.7254(42) <= log Z <= E_p[log w] = 52.7349(43)"));
  EXPECT_THAT(text, HasSubstr("-0.00013"));
  const Json json = Json::parse(Haarflow("logz fake --json").out);
  EXPECT_EQ(json["mean_log_weight_target"]["value"], 52.7349);
  EXPECT_EQ(json["bias"], -0.000125);
}

TEST_F(CliTest, ThermoSaysItAllInOneCall) {
  const Outcome text = Haarflow("thermo fake");
  EXPECT_EQ(text.exit_code, 0) << text.err;
  for (const char* part : {"52.7301(42)", "-2.19710(18)", "1.2500(25)", "d log Z / d beta", "12.0000(10)",
                           "E_p[log w] = 52.7349(43)", "reliable  yes"}) {
    EXPECT_THAT(text.out, HasSubstr(part));
  }
  EXPECT_TRUE(service_.partition_requests().back().thermodynamics());
  EXPECT_FALSE(service_.partition_requests().back().has_target());
  const Json json = Json::parse(Haarflow("thermo fake --json -n 5000 --set beta=2.5").out);
  EXPECT_EQ(json["proposals"], 5000);
  EXPECT_EQ(json["entropy_density"]["value"], 1.25);
  EXPECT_EQ(json["derivatives"]["beta"]["value"], 18.75);
  EXPECT_EQ(json["mean_log_weight_target"]["value"], 52.7349);
}

TEST_F(CliTest, AScanIsATableWithItsOwnCheck) {
  const Outcome text = Haarflow("thermo fake --scan beta=1:2:11 --seed 7 -n 300");
  ASSERT_EQ(text.exit_code, 0) << text.err;
  EXPECT_EQ(service_.partition_requests().size(), 11u);
  for (int i = 0; i < 11; ++i) {
    const v1::EstimatePartitionFunctionRequest request = service_.partition_requests()[i];
    EXPECT_NEAR(request.target().u1_wilson().beta(), 1 + 0.1 * i, 1e-12);
    EXPECT_EQ(request.seed(), 7u + i);
    EXPECT_EQ(request.samples(), 300u);
  }
  EXPECT_THAT(text.out, HasSubstr("free energy / V"));
  EXPECT_THAT(text.out, HasSubstr("log Z(2) - log Z(1) = 7.0000(59); the integral of d log Z / d beta is 7.000"));
  EXPECT_THAT(text.out, Not(HasSubstr("not reliable")));
  const Json json = Json::parse(Haarflow("thermo fake --scan beta=1:2:11 --json").out);
  EXPECT_EQ(json["points"].size(), 11u);
  EXPECT_EQ(json["points"][10]["beta"], 2);
  EXPECT_NEAR(json["consistency"]["integral"]["value"], 7, 1e-3);
  EXPECT_LT(std::abs(json["consistency"]["pull"].get<double>()), 1);
}

TEST_F(CliTest, AScanSaysWhichPointsAreNotReliableAndShortOnesClaimNoCheck) {
  const Outcome text = Haarflow("thermo fake --scan beta=2.5:3:3 --require-reliable");
  EXPECT_EQ(text.exit_code, 7);
  EXPECT_THAT(text.out, HasSubstr("beta = 3 is not reliable: too far away"));
  EXPECT_THAT(text.out, Not(HasSubstr("beta = 2.75 is")));
  EXPECT_THAT(text.out, Not(HasSubstr("the integral")));
}

}  // namespace
}  // namespace haarflow::testing
