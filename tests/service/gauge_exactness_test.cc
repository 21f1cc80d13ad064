// SU(2) and SU(3) as a user sees them: a real server on the bundled models, a real client, plaquette, Wilson loops (of
// a single matrix: traces of powers) and log Z for 40 fixed seeds against exact values; and a log-Jacobian off by a
// tenth of a percent must be caught.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "core/observable/observable.h"
#include "server/registry/model_manager.h"
#include "tests/reference/tier.h"
#include "tests/service/biased_sampler.h"
#include "tests/service/in_process_server.h"
#include "tests/service/pulls.h"

namespace haarflow::testing {
namespace {

constexpr int kSeeds = 40;

struct Known {
  double value, error;
};

class GaugeExactness : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new InProcessServer();
    const ModelStore store = ModelStore::Open(HAARFLOW_MODELS).value();
    ASSERT_TRUE(LoadStore(store, CpuKernels(), 0, &server_->registry).ok());
    const StoredModel stored = store.LoadChampion("su2-l16-b2.2").value();
    server_->Add(stored, "biased",
                 std::make_shared<BiasedSampler>(Model::Create(stored.spec, stored.weights, CpuKernels(), 0).value(),
                                                 [](double log_q) { return 1.001 * log_q; }));
    server_->Start();
    client_ = server_->client.get();
  }
  static void TearDownTestSuite() { delete server_; }

  // Closed forms in two dimensions; in four, strong coupling (targets.md 1.6) and long independent chains.
  static std::optional<Known> Exact(const v1::Target& target, const std::string& observable) {
    const auto exact = observable == "log_z" ? ExactLogZ(target) : ExactExpectation(target, observable);
    if (exact.has_value()) return Known{*exact, 0};
    if (target.lattice().shape_size() != 4 || target.lattice().shape(0) != 4) return {};
    const double beta = target.sun_wilson().beta();
    if (observable == "plaquette" && beta == 1) return Known{0.0601302, 1e-7};
    if (observable == "log_z" && beta == 1) return Known{45.0201, 1e-4};
    return {};
  }

  static PullsByName Pulls(const std::string& model, uint64_t count) {
    PullsByName pulls;
    const v1::Target target = client_->GetModel(model)->model().target();
    const std::vector<std::string> names =
        target.has_sun_matrix() ? std::vector<std::string>{"trace_1", "trace_2", "trace_3", "action"}
                                : std::vector<std::string>{"plaquette", "wilson_loop_1x2", "wilson_loop_2x2"};
    for (int seed = 0; seed < kSeeds; ++seed) {
      v1::MeasureRequest request;
      request.set_model(model);
      request.set_mode(v1::SAMPLE_MODE_REWEIGHTED);
      request.set_count(count);
      request.set_seed(static_cast<uint64_t>(seed));
      for (const std::string& name : names) request.add_observables(name);
      const auto result = client_->Measure(request, {}, nullptr);
      EXPECT_TRUE(result.ok()) << model << ": " << result.status();
      if (!result.ok()) break;
      const auto add = [&](const std::string& name, double value, double error) {
        const auto known = Exact(target, name);
        if (known.has_value()) pulls[name].push_back((value - known->value) / std::hypot(error, known->error));
      };
      for (const v1::Estimate& e : result->estimates()) add(e.observable(), e.value(), e.error());
      add("log_z", result->statistics().log_z(), result->statistics().log_z_error());
    }
    return pulls;
  }

  static inline InProcessServer* server_ = nullptr;
  static inline Client* client_ = nullptr;
};

TEST_F(GaugeExactness, PullsOverFortySeeds) {
  std::vector<std::string> models = {"su2-l16-b2.2",          "su3-l16-b5",   "su3-4x4x4x4-b1", "su3-l8-b2-leading",
                                     "su2-l16-b2.2-spectral", "su3-matrix-b9"};
  if (Length(0, 1) == 1) {
    for (const char* more : {"su2-l16-b1.8", "su2-l16-b2.7", "su3-l16-b4", "su3-l16-b6", "su3-4x4x4x4-b1-leading",
                             "su2-matrix-b9", "su2-l8-b2.2-spectral", "su2-l16-b1.8-spectral", "su2-l16-b2.7-spectral",
                             "su3-l8-b5-spectral", "su3-l16-b5-spectral"}) {
      models.emplace_back(more);
    }
  }
  for (const std::string& model : models) {
    const PullsByName pulls = Pulls(model, Length<uint64_t>(256, 4096));
    EXPECT_GE(pulls.size(), 2U) << model;
    ExpectStandardNormal(pulls, model);
  }
}

// Their errors are those of the references, which every seed shares: one run instead of forty.
TEST_F(GaugeExactness, FourDimensionsAtBeta2AgreeWithLongChains) {
  v1::MeasureRequest request;
  request.set_model("su3-4x4x4x4-b2");
  request.set_mode(v1::SAMPLE_MODE_REWEIGHTED);
  request.set_count(Length<uint64_t>(512, 16384));
  request.set_seed(1);
  request.add_observables("plaquette");
  const auto result = client_->Measure(request, {}, nullptr);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->estimates_size(), 1);
  const v1::Estimate& plaquette = result->estimates(0);
  EXPECT_LT(plaquette.error(), 1e-3);
  EXPECT_LT(std::abs(plaquette.value() - 0.128857), 4 * std::hypot(plaquette.error(), 3.3e-5));
  const auto& statistics = result->statistics();
  EXPECT_LT(statistics.log_z_error(), 0.06);
  EXPECT_LT(std::abs(statistics.log_z() - 189.11), 4 * std::hypot(statistics.log_z_error(), 0.02));
}

TEST_F(GaugeExactness, AJacobianOffByATenthOfAPercentIsCaught) {
  const PullsByName pulls = Pulls("biased", 256);
  EXPECT_GT(std::abs(MeanPull(pulls.at("log_z"))), 6);
}

}  // namespace
}  // namespace haarflow::testing
