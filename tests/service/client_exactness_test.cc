// Exactness as a user sees it. A real server on a socket, a real client; plaquette, charge, P(Q), W(2x2) and log Z
// against their exact values for 40 fixed seeds, Metropolis and reweighted; and the same procedure must catch a planted
// bias of one percent in one layer.
//
// The models under test are a bundled one and the same weights damped to ESS of about one half: exactness must not
// depend on quality.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/action/u1_torus.h"
#include "core/exact/estimate.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "core/observable/observable.h"
#include "tests/reference/tier.h"
#include "tests/service/in_process_server.h"
#include "tests/service/pulls.h"

namespace haarflow {
namespace {

using testing::ChiSquareProbability;
using testing::MeanPull;
using testing::Probability;

constexpr int kSeeds = 40;
const uint64_t kSteps = testing::Length(3000, 100000);

// A model whose last layer's log-Jacobian is reported 1 % too large.
class BiasedSampler final : public Sampler {
 public:
  BiasedSampler(std::shared_ptr<const Model> whole, std::shared_ptr<const Model> without_last)
      : whole_(std::move(whole)), without_last_(std::move(without_last)) {}
  const Lattice& lattice() const override { return whole_->lattice(); }
  const v1::Target& target() const override { return whole_->target(); }
  std::string numerics_class() const override { return whole_->numerics_class(); }
  absl::Status Draw(const v1::Target& target, absl::Span<const uint64_t> seed, absl::Span<const uint64_t> index,
                    Proposals* out) const override {
    Proposals before;
    if (auto s = without_last_->Draw(target, seed, index, &before); !s.ok()) return s;
    if (auto s = whole_->Draw(target, seed, index, out); !s.ok()) return s;
    for (int64_t i = 0; i < out->n; ++i) {
      const double last_log_det = before.log_q[i] - out->log_q[i];
      out->log_q[i] -= 0.01 * last_log_det;
    }
    return absl::OkStatus();
  }

 private:
  std::shared_ptr<const Model> whole_, without_last_;
};

StoredModel Bundled() { return *ModelStore::Open(HAARFLOW_MODELS)->LoadChampion("u1-l8-b2"); }

TensorMap Scaled(const TensorMap& weights, double factor) {
  TensorMap scaled = weights;
  for (auto& [name, tensor] : scaled) {
    auto values = *tensor.ToDoubles();
    for (double& v : values) v *= name.find(".conv2.") != std::string::npos ? factor : 1;
    tensor = Tensor::FromDoubles(tensor.type, tensor.shape, values);
  }
  return scaled;
}

std::shared_ptr<const Model> WithoutLastLayer(const StoredModel& stored) {
  v1::ModelSpec spec = stored.spec;
  const std::string last = absl::StrCat("layers.", spec.layers_size() - 1, ".");
  spec.mutable_layers()->RemoveLast();
  TensorMap weights;
  for (const auto& [name, tensor] : stored.weights) {
    if (name.rfind(last, 0) != 0) weights[name] = tensor;
  }
  return *Model::Create(spec, weights, CpuKernels(), 0);
}

class ClientExactness : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    server_ = new testing::InProcessServer();
    const StoredModel stored = Bundled();
    const std::shared_ptr<const Model> model = *Model::Create(stored.spec, stored.weights, CpuKernels(), 0);
    server_->Add(stored, "good", model);
    server_->Add(stored, "damped", *Model::Create(stored.spec, Scaled(stored.weights, 0.93), CpuKernels(), 0));
    server_->Add(stored, "biased", std::make_shared<BiasedSampler>(model, WithoutLastLayer(stored)));
    // Weights blown up: the flow collapses onto a few fields.
    server_->Add(stored, "collapsed", *Model::Create(stored.spec, Scaled(stored.weights, 4), CpuKernels(), 0));
    server_->Start();
    client_ = server_->client.get();
    target_ = stored.spec.target();
  }
  static void TearDownTestSuite() { delete server_; }

  struct Run {
    std::vector<std::vector<double>> observable;
    std::vector<uint64_t> multiplicity;
    std::vector<double> log_weight;
    v1::ChainStatistics statistics;
  };
  static const std::vector<std::string>& Names() {
    static const std::vector<std::string> names = {
        "plaquette", "charge_squared", "wilson_loop_2x2", "charge_probability_0", "charge_probability_1", "charge"};
    return names;
  }

  static Run Sample(const std::string& model, v1::SampleMode mode, uint64_t seed, uint64_t count = kSteps) {
    v1::SampleRequest request;
    request.set_model(model);
    request.set_mode(mode);
    request.set_count(count);
    request.set_seed(seed);
    for (const auto& name : Names()) request.add_observables(name);
    Run run;
    run.observable.resize(Names().size());
    const absl::Status status = client_->Sample(request, {}, [&](const v1::SampleResponse& response) {
      if (response.has_summary()) run.statistics = response.summary().statistics();
      const v1::SampleChunk& chunk = response.chunk();
      run.multiplicity.insert(run.multiplicity.end(), chunk.multiplicity().begin(), chunk.multiplicity().end());
      run.log_weight.insert(run.log_weight.end(), chunk.log_weight().begin(), chunk.log_weight().end());
      for (int k = 0; k < chunk.observables_size(); ++k) {
        const auto& column = chunk.observables(k).value();
        run.observable[k].insert(run.observable[k].end(), column.begin(), column.end());
      }
      return true;
    });
    EXPECT_TRUE(status.ok()) << status;
    return run;
  }

  // Pulls of every observable and of log Z, one per seed.
  static testing::PullsByName Pulls(const std::string& model, v1::SampleMode mode) {
    testing::PullsByName pulls;
    for (int seed = 0; seed < kSeeds; ++seed) {
      const Run run = Sample(model, mode, 1000 + static_cast<uint64_t>(seed));
      for (size_t k = 0; k < Names().size(); ++k) {
        double mean, error;
        if (mode == v1::SAMPLE_MODE_METROPOLIS) {
          const auto estimate = *GammaMethod(ExpandChain(run.observable[k], run.multiplicity));
          mean = estimate.mean, error = estimate.error;
        } else {
          const auto estimate = *WeightedMean(run.observable[k], run.log_weight);
          mean = estimate.mean, error = estimate.error;
        }
        pulls[Names()[k]].push_back((mean - *ExactExpectation(target_, Names()[k])) / error);
      }
      pulls["log_z"].push_back((run.statistics.log_z() - *ExactLogZ(target_)) / run.statistics.log_z_error());
    }
    return pulls;
  }

  static void ExpectPulls(const std::string& model, v1::SampleMode mode) {
    testing::ExpectStandardNormal(Pulls(model, mode), model);
  }

  static inline testing::InProcessServer* server_ = nullptr;
  static inline Client* client_ = nullptr;
  static inline v1::Target target_;
};

TEST(ChiSquareProbability, KnowsItsQuantiles) {
  EXPECT_NEAR(ChiSquareProbability(55.7585, 40), 0.05, 1e-5);
  EXPECT_NEAR(ChiSquareProbability(73.4020, 40), 0.001, 1e-6);
  EXPECT_NEAR(ChiSquareProbability(22.1643, 40), 0.99, 1e-5);
}

TEST_F(ClientExactness, MetropolisPullsAreStandardNormal) {
  ExpectPulls("good", v1::SAMPLE_MODE_METROPOLIS);
  ExpectPulls("damped", v1::SAMPLE_MODE_METROPOLIS);
}

TEST_F(ClientExactness, ReweightedPullsAreStandardNormal) {
  ExpectPulls("good", v1::SAMPLE_MODE_REWEIGHTED);
  ExpectPulls("damped", v1::SAMPLE_MODE_REWEIGHTED);
}

TEST_F(ClientExactness, TheDampedModelIsWorthTesting) {
  const Run run = Sample("damped", v1::SAMPLE_MODE_METROPOLIS, 1, 20000);
  EXPECT_LT(run.statistics.quality().ess(), 0.9);
  EXPECT_GT(run.statistics.quality().ess(), 0.2);
  EXPECT_TRUE(run.statistics.quality().reliable()) << run.statistics.quality().unreliable_reason();
}

TEST_F(ClientExactness, APlantedBiasOfOnePercentInOneLayerIsCaught) {
  for (const auto mode : {v1::SAMPLE_MODE_METROPOLIS, v1::SAMPLE_MODE_REWEIGHTED}) {
    const auto pulls = Pulls("biased", mode);
    EXPECT_LT(Probability(pulls.at("log_z")), 1e-9);
    EXPECT_GT(std::abs(MeanPull(pulls.at("plaquette"))), 5);
  }
}

TEST_F(ClientExactness, TheWholeChargeDistributionIsExact) {
  const Run run = Sample("damped", v1::SAMPLE_MODE_METROPOLIS, 77, 200000);
  const auto charge = ExpandChain(run.observable[5], run.multiplicity);
  const U1Torus exact = *U1Torus::Create(64, target_.u1_wilson().beta());
  for (int q = -3; q <= 3; ++q) {
    std::vector<double> indicator;
    indicator.reserve(charge.size());
    for (double c : charge) indicator.push_back(std::lround(c) == q ? 1 : 0);
    const auto estimate = *GammaMethod(indicator);
    EXPECT_LT(std::abs(estimate.mean - exact.ChargeProbability(q)), 4 * estimate.error) << q;
  }
}

TEST_F(ClientExactness, ACollapsedModelIsNotReliable) {
  const Run run = Sample("collapsed", v1::SAMPLE_MODE_METROPOLIS, 1, 2000);
  EXPECT_FALSE(run.statistics.quality().reliable());
  EXPECT_THAT(run.statistics.quality().unreliable_reason(), ::testing::Not(::testing::IsEmpty()));
}

TEST_F(ClientExactness, AnotherCouplingIsExactByItsWeights) {
  v1::MeasureRequest request;
  request.set_model("good");
  *request.mutable_target() = target_;
  request.mutable_target()->mutable_u1_wilson()->set_beta(1.8);
  request.add_observables("plaquette");
  request.set_count(20000);
  request.set_seed(5);
  for (const auto mode : {v1::SAMPLE_MODE_METROPOLIS, v1::SAMPLE_MODE_REWEIGHTED}) {
    request.set_mode(mode);
    const auto result = client_->Measure(request, {}, nullptr);
    ASSERT_TRUE(result.ok()) << result.status();
    const v1::Estimate& plaquette = result->estimates(0);
    EXPECT_NEAR(plaquette.exact(), *ExactExpectation(request.target(), "plaquette"), 1e-12);
    EXPECT_LT(std::abs(plaquette.value() - plaquette.exact()), 4 * plaquette.error());
  }
}

}  // namespace
}  // namespace haarflow
