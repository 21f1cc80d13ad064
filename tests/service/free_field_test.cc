// The solvable scalar theory as a user sees it: a real server on a socket, a real client, models of a real store. The
// free field's own prior draws it exactly: ESS 1 and log Z to rounding; every observable against its closed form; and
// what is not the free field of that mass must show.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/action/target.h"
#include "core/kernel/kernels.h"
#include "core/observable/observable.h"
#include "server/registry/model_manager.h"
#include "tests/service/in_process_server.h"
#include "tests/service/pulls.h"
#include "tests/service/test_store.h"

namespace haarflow::testing {
namespace {

constexpr int kSeeds = 40;

class FreeField : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    store_ = new TestStore();
    store_->PublishFreeField("one", 8, "mass { m2: 1 }");
    store_->PublishFreeField("half", 8, "mass { m2: 1 normalisation: 0.5 }");
    store_->PublishFreeField("pair", 8, "components: 2 mass { m2: 1 }");
    store_->PublishFreeField("heavier", 4, "mass { m2: 1.5 }");  // the prior has mass 1: weights
    store_->PublishFreeField("interacting", 4, "mass { m2: 1 lambda: 0.3 }");
    server_ = new InProcessServer();
    ASSERT_TRUE(LoadStore(store_->Open(), CpuKernels(), 0, &server_->registry).ok());
    server_->Start();
    client_ = server_->client.get();
  }
  static void TearDownTestSuite() {
    delete server_;
    delete store_;
  }

  static v1::EstimatePartitionFunctionResponse Estimate(const std::string& model, uint64_t samples, uint64_t seed = 1,
                                                        const v1::Target* target = nullptr) {
    v1::EstimatePartitionFunctionRequest request;
    request.set_model(model);
    request.set_samples(samples);
    request.set_seed(seed);
    request.set_thermodynamics(true);
    if (target != nullptr) *request.mutable_target() = *target;
    auto result = client_->EstimatePartitionFunction(request, {}, nullptr);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *std::move(result) : v1::EstimatePartitionFunctionResponse();
  }
  static v1::Target TargetOf(const std::string& model) { return client_->GetModel(model)->model().target(); }

  static PullsByName MeasuredPulls(const std::string& model, v1::SampleMode mode,
                                   const std::vector<std::string>& observables) {
    PullsByName pulls;
    for (int seed = 0; seed < kSeeds; ++seed) {
      v1::MeasureRequest request;
      request.set_model(model);
      request.set_mode(mode);
      request.set_count(4000);
      request.set_seed(static_cast<uint64_t>(seed));
      for (const std::string& name : observables) request.add_observables(name);
      const auto result = client_->Measure(request, {}, nullptr);
      EXPECT_TRUE(result.ok()) << result.status();
      if (!result.ok()) break;
      EXPECT_TRUE(result->statistics().quality().reliable()) << result->statistics().quality().unreliable_reason();
      for (const v1::Estimate& estimate : result->estimates()) {
        EXPECT_TRUE(estimate.has_exact()) << estimate.observable();
        pulls[estimate.observable()].push_back((estimate.value() - estimate.exact()) / estimate.error());
      }
    }
    return pulls;
  }

  static inline TestStore* store_ = nullptr;
  static inline InProcessServer* server_ = nullptr;
  static inline Client* client_ = nullptr;
};

TEST_F(FreeField, HasEssOneAndLogZToRounding) {
  // Published digits: targets.md 1.3.
  for (const auto& [model, log_z] : {std::pair{"one", -11.6228852573}, {"half", 10.5578245206}}) {
    const v1::EstimatePartitionFunctionResponse answer = Estimate(model, 20000);
    EXPECT_NEAR(answer.log_z(), log_z, 1e-10) << model;
    EXPECT_NEAR(answer.log_z(), answer.exact(), 1e-12) << model;
    EXPECT_LT(answer.log_z_error(), 1e-12) << model;
    EXPECT_NEAR(answer.quality().ess(), 1, 1e-12) << model;
    EXPECT_TRUE(answer.quality().reliable()) << answer.quality().unreliable_reason();
    EXPECT_NEAR(answer.mean_log_weight(), log_z, 1e-10) << model;
    EXPECT_NEAR(answer.thermodynamics().mean_log_weight_target(), log_z, 1e-10) << model;
    EXPECT_NEAR(answer.thermodynamics().free_energy_density(), -log_z / 64, 1e-12) << model;
    EXPECT_NEAR(answer.bias(), 0, 1e-12) << model;
  }
  EXPECT_NEAR(Estimate("pair", 5000).log_z(), 2 * -11.6228852573, 2e-10);
}

TEST_F(FreeField, ItsChainAcceptsEverything) {
  v1::SampleRequest request;
  request.set_model("one");
  request.set_count(5000);
  request.set_seed(3);
  uint64_t configurations = 0;
  v1::SampleHeader header;
  v1::ChainStatistics statistics;
  const absl::Status status = client_->Sample(request, {}, [&](const v1::SampleResponse& response) {
    if (response.has_header()) header = response.header();
    if (response.has_summary()) statistics = response.summary().statistics();
    configurations += static_cast<uint64_t>(response.chunk().index_size());
    return true;
  });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(configurations, 5000u);
  EXPECT_THAT(header.shape(), ::testing::ElementsAre(8, 8));
  EXPECT_EQ(header.convention(), 2u);
  EXPECT_EQ(statistics.quality().acceptance(), 1);
  EXPECT_NEAR(statistics.log_z(), *ExactLogZ(header.target()), 1e-12);
}

// The open state's field is drawn again from its name when a chain goes on.
TEST_F(FreeField, AnInteractingChainCutAndResumedIsTheUnbrokenOne) {
  struct Chain {
    std::string steps;  // the field of every step
    std::string token;
    uint64_t configurations = 0;
  };
  const auto run = [](const v1::SampleRequest& request) {
    Chain chain;
    const absl::Status status = client_->Sample(request, {}, [&](const v1::SampleResponse& response) {
      const v1::SampleChunk& chunk = response.chunk();
      const size_t bytes = 16 * sizeof(double);
      for (int i = 0; i < chunk.index_size(); ++i) {
        for (uint64_t n = 0; n < chunk.multiplicity(i); ++n) chain.steps += chunk.payload().substr(i * bytes, bytes);
      }
      chain.configurations += static_cast<uint64_t>(chunk.index_size());
      if (response.has_summary()) chain.token = response.summary().resume_token();
      return true;
    });
    EXPECT_TRUE(status.ok()) << status;
    return chain;
  };
  v1::SampleRequest request;
  request.set_model("interacting");
  request.set_seed(11);
  request.set_count(1000);
  const Chain whole = run(request);
  EXPECT_LT(whole.configurations, 950u) << "nothing was rejected: a poor test";
  for (const uint64_t cut : {1, 333, 998, 999}) {
    request.set_count(cut);
    const Chain first = run(request);
    v1::SampleRequest rest;
    rest.set_resume_token(first.token);
    rest.set_count(1000 - cut);
    EXPECT_TRUE(first.steps + run(rest).steps == whole.steps) << cut;
  }
}

TEST_F(FreeField, EveryObservableHasItsClosedForm) {
  const std::vector<std::string> observables = {"phi_squared",
                                                "phi_fourth",
                                                "neighbour_sum",
                                                "energy",
                                                "action",
                                                "magnetisation_abs",
                                                "magnetisation",
                                                "susceptibility",
                                                "two_point_0",
                                                "two_point_1",
                                                "two_point_4",
                                                "magnetisation_squared",
                                                "magnetisation_fourth",
                                                "structure_factor_min",
                                                "binder_cumulant",
                                                "correlation_length"};
  ExpectStandardNormal(MeasuredPulls("one", v1::SAMPLE_MODE_METROPOLIS, observables), "one");
  std::vector<std::string> of_two = observables;
  of_two.erase(std::find(of_two.begin(), of_two.end(), "magnetisation"));
  ExpectStandardNormal(MeasuredPulls("pair", v1::SAMPLE_MODE_REWEIGHTED, of_two), "pair");
}

TEST_F(FreeField, AnotherMassIsExactByItsWeights) {
  for (const auto mode : {v1::SAMPLE_MODE_METROPOLIS, v1::SAMPLE_MODE_REWEIGHTED}) {
    ExpectStandardNormal(
        MeasuredPulls("heavier", mode,
                      {"phi_squared", "action", "susceptibility", "two_point_1", "correlation_length"}),
        "heavier");
  }
  PullsByName pulls;
  for (int seed = 0; seed < kSeeds; ++seed) {
    const v1::EstimatePartitionFunctionResponse answer = Estimate("heavier", 8000, static_cast<uint64_t>(seed));
    EXPECT_LT(answer.quality().ess(), 0.95);
    EXPECT_LT(answer.mean_log_weight(), answer.exact());
    EXPECT_GT(answer.thermodynamics().mean_log_weight_target(), answer.exact());
    pulls["log Z"].push_back((answer.log_z() - answer.exact()) / answer.log_z_error());
    // <S> = V / 2, whatever the mass.
    const v1::Thermodynamics& t = answer.thermodynamics();
    pulls["<S>"].push_back((t.mean_action() - 8) / t.mean_action_error());
    pulls["s"].push_back((t.entropy_density() - (answer.exact() + 8) / 16) / t.entropy_density_error());
    for (const v1::Estimate& derivative : t.derivatives()) {
      ASSERT_TRUE(derivative.has_exact());
      pulls["d log Z / d " + derivative.observable()].push_back((derivative.value() - derivative.exact()) /
                                                                derivative.error());
    }
  }
  ExpectStandardNormal(pulls, "heavier");
}

// Two routes to one number: log Z at the ends, and the derivative in between.
TEST_F(FreeField, TheDerivativesIntegrateToTheDifferenceOfLogZ) {
  v1::Target target = TargetOf("interacting");
  std::vector<double> derivative;
  std::vector<v1::EstimatePartitionFunctionResponse> answers;
  for (int i = 0; i <= 10; ++i) {
    ASSERT_TRUE(SetTheoryParameter("lambda", 0.03 * i, &target).ok());
    answers.push_back(Estimate("interacting", 20000, 100 + static_cast<uint64_t>(i), &target));
    derivative.push_back(answers.back().thermodynamics().derivatives(1).value());
  }
  // Simpson's rule.
  double integral = 0;
  for (int i = 0; i < 10; i += 2) integral += 0.03 / 3 * (derivative[i] + 4 * derivative[i + 1] + derivative[i + 2]);
  const double difference = answers.back().log_z() - answers.front().log_z();
  EXPECT_LT(difference, -0.2);
  EXPECT_NEAR(difference, integral, 0.01);
}

TEST_F(FreeField, ATargetAloneFindsItsModelAndANeighbourIsNamed) {
  v1::MeasureRequest request;
  *request.mutable_target() = TargetOf("half");
  request.add_observables("phi_squared");
  request.set_count(1000);
  v1::SampleHeader header;
  ASSERT_TRUE(client_
                  ->Measure(request, {},
                            [&](const v1::MeasureResponse& response) {
                              if (response.has_header()) header = response.header();
                              return true;
                            })
                  .ok());
  EXPECT_EQ(header.model(), "half");
  ASSERT_TRUE(SetTheoryParameter("m2", 1.1, request.mutable_target()).ok());
  const absl::Status status = client_->Measure(request, {}, nullptr).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("nearest: half (phi^4, m2 = 1, lambda = 0"));
}

}  // namespace
}  // namespace haarflow::testing
