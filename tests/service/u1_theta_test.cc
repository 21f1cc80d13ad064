// The theta term and other plaquette actions of U(1) as a user asks for them: a real server with the bundled perfect
// sampler and a coupling flow, targets that differ from theirs, 40 fixed seeds against exact values.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/action/target.h"
#include "core/kernel/kernels.h"
#include "core/observable/observable.h"
#include "server/registry/model_manager.h"
#include "tests/reference/tier.h"
#include "tests/service/in_process_server.h"
#include "tests/service/pulls.h"

namespace haarflow::testing {
namespace {

constexpr int kSeeds = 40;
const std::vector<std::string> kNames = {"plaquette", "charge", "charge_squared", "charge_cos_0.5", "wilson_loop_2x2"};

class U1Theta : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new InProcessServer();
    const ModelStore store = ModelStore::Open(HAARFLOW_MODELS).value();
    ASSERT_TRUE(LoadStore(store, CpuKernels(), 0, &server_->registry).ok());
    server_->Start();
  }
  static void TearDownTestSuite() { delete server_; }

  static v1::MeasureRequest Request(const std::string& model, double theta, v1::U1ActionForm form, uint64_t count,
                                    int charge = 1) {
    v1::MeasureRequest request;
    request.set_model(model);
    *request.mutable_target() = server_->client->GetModel(model)->model().target();
    request.mutable_target()->mutable_u1_wilson()->set_theta_imaginary(theta);
    request.mutable_target()->mutable_u1_wilson()->set_form(form);
    request.set_mode(v1::SAMPLE_MODE_REWEIGHTED);
    request.set_count(count);
    for (const std::string& name : kNames) request.add_observables(name);
    // One that occurs often: near theta_imaginary times the variance.
    request.add_observables(absl::StrCat("charge_probability_", charge));
    // Elsewhere the mean of the cosine may be negative.
    if (theta == 0) request.add_observables("log_charge_cos_0.5");
    return request;
  }

  static void ExpectPulls(v1::MeasureRequest request) {
    PullsByName pulls;
    for (int seed = 0; seed < kSeeds; ++seed) {
      request.set_seed(static_cast<uint64_t>(100 + seed));
      const auto result = server_->client->Measure(request, {}, nullptr);
      ASSERT_TRUE(result.ok()) << result.status();
      for (const v1::Estimate& e : result->estimates()) {
        ASSERT_TRUE(e.has_exact()) << e.observable();
        pulls[e.observable()].push_back((e.value() - e.exact()) / e.error());
      }
      const bool perfect = request.model() == "u1-l16-perfect";
      const v1::ChainStatistics& statistics = result->statistics();
      if (perfect) {
        EXPECT_GT(statistics.quality().ess(), 0.999);
        EXPECT_NEAR(statistics.log_z(), *ExactLogZ(request.target()), 1e-9);
      } else {
        pulls["log_z"].push_back((statistics.log_z() - *ExactLogZ(request.target())) / statistics.log_z_error());
      }
    }
    ExpectStandardNormal(pulls, DescribeTarget(request.target()));
  }

  static inline InProcessServer* server_ = nullptr;
};

TEST_F(U1Theta, ZOfThetaIsAMeanOfThePlainTheory) {
  ExpectPulls(Request("u1-l16-perfect", 0, v1::U1_ACTION_FORM_WILSON, Length(1000, 10000)));
}
TEST_F(U1Theta, ThePerfectSamplerServesAnImaginaryTheta) {
  ExpectPulls(Request("u1-l16-perfect", 1.5, v1::U1_ACTION_FORM_WILSON, Length(1000, 10000), 7));
}
TEST_F(U1Theta, ThePerfectSamplerServesVillainsAndMantonsAction) {
  ExpectPulls(Request("u1-l16-perfect", 0, v1::U1_ACTION_FORM_VILLAIN, Length(1000, 10000)));
  ExpectPulls(Request("u1-l16-perfect", 1, v1::U1_ACTION_FORM_MANTON, Length(1000, 10000), 3));
}
TEST_F(U1Theta, ACouplingFlowOfThePlainTheoryIsReweighted) {
  ExpectPulls(Request("u1-l8-b2", 0.7, v1::U1_ACTION_FORM_WILSON, Length(2000, 20000)));
}

TEST_F(U1Theta, WhatHasNoThetaTermRefusesIt) {
  v1::MeasureRequest request = Request("su2-l16-perfect", 1, v1::U1_ACTION_FORM_WILSON, 100);
  EXPECT_EQ(server_->client->Measure(request, {}, nullptr).status().code(), absl::StatusCode::kInvalidArgument);
  request = Request("u1-l16-perfect", 1000, v1::U1_ACTION_FORM_WILSON, 100);
  EXPECT_THAT(std::string(server_->client->Measure(request, {}, nullptr).status().message()),
              ::testing::HasSubstr("theta_imaginary"));
}

}  // namespace
}  // namespace haarflow::testing
