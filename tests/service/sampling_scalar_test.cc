// Scalar fields, targets of conditional models and free energies through the engine, with a fake sampler.
#include "core/action/derivatives.h"
#include "core/exact/estimate.h"
#include "core/exact/thermodynamics.h"
#include "tests/service/sampling_fixture.h"

namespace haarflow::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kMissedMode[] = "a Z2-odd observable is off: the model misses a mode";

class ScalarSamplingTest : public SamplingTest {
 protected:
  ScalarSamplingTest() {
    registry_.Add(Serve("scalar", scalar_));
    registry_.Add(Serve("pair", pair_));
    registry_.Add(Serve("stuck", stuck_));
  }
  v1::SampleRequest From(const std::string& model, uint64_t seed, uint64_t count) const {
    v1::SampleRequest request = Request(seed, count);
    request.set_model(model);
    return request;
  }
  template <class Response, class Made>
  Response Last(Scheduler* scheduler, Made made) {
    EXPECT_TRUE(made.ok()) << made.status();
    BlockingReader<Response> reader(*made);
    EXPECT_TRUE(scheduler->Submit(*made).ok());
    Response last;
    while (auto message = reader.Read()) last = *message;
    EXPECT_TRUE(reader.status().ok()) << reader.status();
    return last;
  }
  v1::MeasureResponse Measure(Scheduler* scheduler, const v1::MeasureRequest& request) {
    return Last<v1::MeasureResponse>(scheduler, MakeMeasureTask(registry_, request, options_));
  }
  v1::EstimatePartitionFunctionResponse Estimate(Scheduler* scheduler,
                                                 const v1::EstimatePartitionFunctionRequest& request) {
    return Last<v1::EstimatePartitionFunctionResponse>(scheduler, MakePartitionTask(registry_, request, options_));
  }
  static v1::EstimatePartitionFunctionRequest Partition(const std::string& model, uint64_t samples) {
    v1::EstimatePartitionFunctionRequest request;
    request.set_model(model);
    request.set_seed(1);
    request.set_samples(samples);
    request.set_thermodynamics(true);
    return request;
  }

  std::shared_ptr<FakeSampler> scalar_ =
      std::make_shared<FakeSampler>(MakeScalarTarget({4, 6}, -4, 8), FakeSampler::Normal(0.5));
  std::shared_ptr<FakeSampler> pair_ =
      std::make_shared<FakeSampler>(MakeScalarTarget({4, 4}, 1, 0, 2), FakeSampler::Normal(0.5));
  // Sees the positive mode alone.
  std::shared_ptr<FakeSampler> stuck_ =
      std::make_shared<FakeSampler>(MakeScalarTarget({4, 4}, -4, 1), FakeSampler::Normal(0.5), /*offset=*/3);
};

TEST_F(ScalarSamplingTest, StreamsHaveTheFieldsShapeAndConvention) {
  Scheduler scheduler(SmallBatches());
  const Collector one = Run(&scheduler, From("scalar", 7, 1000));
  EXPECT_THAT(one.header.shape(), ElementsAre(4, 6));
  EXPECT_EQ(one.header.convention(), 2);
  EXPECT_EQ(one.header.configuration_bytes(), 24 * 8);
  EXPECT_EQ(one.Expanded(), PlainChain(*scalar_, 7, 0, 5, 1000));
  const Collector two = Run(&scheduler, From("pair", 7, 1000));
  EXPECT_THAT(two.header.shape(), ElementsAre(2, 4, 4));
  EXPECT_EQ(two.header.convention(), 2);
  EXPECT_EQ(two.Expanded(), PlainChain(*pair_, 7, 0, 5, 1000));
  EXPECT_EQ(Run(&scheduler, Request(7, 10)).header.convention(), 1);
}

TEST_F(ScalarSamplingTest, CutAndResumedEqualsUnbroken) {
  options_.max_chunk_bytes = 2048;
  Scheduler scheduler(SmallBatches());
  const Collector unbroken = Run(&scheduler, From("pair", 3, 300));
  Collector parts;
  RunUntil(&scheduler, From("pair", 3, 300), 3, &parts);
  ASSERT_FALSE(parts.summarised);
  v1::SampleRequest rest;
  rest.set_resume_token(parts.token);
  rest.set_count(300 - ParseToken(parts.token)->steps());
  const Collector tail = Run(&scheduler, rest);
  auto steps = parts.Expanded();
  const auto more = tail.Expanded();
  steps.insert(steps.end(), more.begin(), more.end());
  EXPECT_EQ(steps, unbroken.Expanded());
}

TEST_F(ScalarSamplingTest, FunctionsOfMeansAreThoseOfTheSameChain) {
  Scheduler scheduler(SmallBatches());
  for (const v1::SampleMode mode : {v1::SAMPLE_MODE_METROPOLIS, v1::SAMPLE_MODE_REWEIGHTED}) {
    auto sample = From("scalar", 6, 2000);
    sample.set_mode(mode);
    for (const char* name :
         {"susceptibility", "structure_factor_min", "magnetisation_squared", "magnetisation_fourth"}) {
      sample.add_observables(name);
    }
    const Collector chain = Run(&scheduler, sample);
    std::vector<std::vector<double>> columns(4);
    std::vector<double> log_weights;
    for (const Configuration& c : chain.configurations) {
      for (uint64_t step = 0; step < std::max<uint64_t>(c.multiplicity, 1); ++step) {
        for (size_t k = 0; k < 4; ++k) columns[k].push_back(c.observables[k]);
        log_weights.push_back(c.log_weight);
      }
    }
    v1::MeasureRequest request;
    request.set_model("scalar");
    request.set_seed(6);
    request.set_count(2000);
    request.set_mode(mode);
    for (const char* name : {"correlation_length", "susceptibility", "binder_cumulant"}) request.add_observables(name);
    const v1::MeasureResponse measured = Measure(&scheduler, request);
    ASSERT_EQ(measured.estimates_size(), 3);
    for (const int k : {0, 2}) {
      const auto derived = *DerivedObservable::Create(scalar_->target(), request.observables(k));
      const std::vector<std::vector<double>> of = {columns[k], columns[k + 1]};
      const auto value = [&](absl::Span<const double> means) { return derived.Value(means); };
      const auto gradient = [&](absl::Span<const double> means) { return derived.Gradient(means); };
      const v1::Estimate& got = measured.estimates(k);
      EXPECT_EQ(got.observable(), request.observables(k));
      double expected_value = 0, expected_error = 0;
      if (mode == v1::SAMPLE_MODE_METROPOLIS) {
        const auto expected = GammaMethodOfFunction(of, {value, gradient}).value();
        expected_value = expected.mean, expected_error = expected.error;
        EXPECT_EQ(got.tau_int(), expected.tau_int);
      } else {
        const auto expected = WeightedFunction(of, log_weights, value).value();
        expected_value = expected.mean, expected_error = expected.error;
      }
      EXPECT_EQ(got.value(), expected_value) << got.observable();
      EXPECT_EQ(got.error(), expected_error) << got.observable();
      EXPECT_GT(got.error(), 0) << got.observable();
    }
    EXPECT_EQ(measured.estimates(1).observable(), "susceptibility");
  }
}

TEST_F(ScalarSamplingTest, FunctionsOfMeansAreCheckedAsObservablesAre) {
  v1::MeasureRequest request;
  request.set_model("scalar");
  request.set_count(100);
  request.add_observables("binder_cumulant");
  EXPECT_TRUE(MakeMeasureTask(registry_, request, options_).ok());
  request.set_count(kMaxMeasuredValues / 2 + 1);  // it needs two columns
  EXPECT_EQ(MakeMeasureTask(registry_, request, options_).status().code(), absl::StatusCode::kInvalidArgument);
  request.set_count(100);
  request.add_observables("binder_cumulant");
  EXPECT_THAT(std::string(MakeMeasureTask(registry_, request, options_).status().message()), HasSubstr("twice"));
  request.set_observables(1, "binder");
  EXPECT_THAT(std::string(MakeMeasureTask(registry_, request, options_).status().message()), HasSubstr("'binder'"));
  request.mutable_observables()->RemoveLast();
  request.set_model("fake");  // links have none
  EXPECT_EQ(MakeMeasureTask(registry_, request, options_).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ScalarSamplingTest, AModelThatMissesAModeIsNotReliable) {
  Scheduler scheduler(SmallBatches());
  for (const std::string model : {"scalar", "pair", "stuck"}) {
    std::vector<v1::EnsembleQuality> qualities;
    for (const v1::SampleMode mode : {v1::SAMPLE_MODE_METROPOLIS, v1::SAMPLE_MODE_REWEIGHTED}) {
      auto sample = From(model, 2, 3000);
      sample.set_mode(mode);
      sample.set_omit_fields(true);
      sample.add_observables("action");
      qualities.push_back(Run(&scheduler, sample).summary.statistics().quality());
      v1::MeasureRequest measure;
      measure.set_model(model);
      measure.set_count(3000);
      measure.set_mode(mode);
      measure.add_observables("phi_squared");
      qualities.push_back(Measure(&scheduler, measure).statistics().quality());
    }
    qualities.push_back(Estimate(&scheduler, Partition(model, 3000)).quality());
    for (const v1::EnsembleQuality& quality : qualities) {
      EXPECT_EQ(quality.reliable(), model != "stuck") << model << ": " << quality.unreliable_reason();
      if (model != "stuck") continue;
      EXPECT_THAT(quality.unreliable_reason(), HasSubstr(kMissedMode));
    }
  }
  // Too few effective proposals say nothing about modes.
  const v1::EnsembleQuality few = Estimate(&scheduler, Partition("stuck", 500)).quality();
  EXPECT_FALSE(few.reliable());
  EXPECT_THAT(few.unreliable_reason(), Not(HasSubstr(kMissedMode)));
}

TEST_F(ScalarSamplingTest, AMissedModeIsSeenAgainAfterAResume) {
  Scheduler scheduler(SmallBatches());
  const Collector first = Run(&scheduler, From("stuck", 2, 2000));
  EXPECT_FALSE(first.summary.statistics().quality().reliable());
  v1::SampleRequest more;
  more.set_resume_token(first.summary.resume_token());
  more.set_count(2000);
  const v1::EnsembleQuality quality = Run(&scheduler, more).summary.statistics().quality();
  EXPECT_THAT(quality.unreliable_reason(), HasSubstr(kMissedMode));
}

TEST_F(ScalarSamplingTest, WhatTheCardSaysAgainstAModelIsInEveryAnswer) {
  auto model = std::make_shared<ServedModel>(*Serve("collapsed", scalar_));
  model->manifest.card.set_unreliable_reason("forward ESS is 0.001");
  registry_.Add(model);
  Scheduler scheduler(SmallBatches());
  const Collector stream = Run(&scheduler, From("collapsed", 2, 3000));
  v1::MeasureRequest measure;
  measure.set_model("collapsed");
  measure.set_count(3000);
  measure.add_observables("phi_squared");
  for (const v1::EnsembleQuality& quality :
       {stream.summary.statistics().quality(), Measure(&scheduler, measure).statistics().quality(),
        Estimate(&scheduler, Partition("collapsed", 3000)).quality()}) {
    EXPECT_FALSE(quality.reliable());
    EXPECT_EQ(quality.unreliable_reason(), "model collapsed: forward ESS is 0.001");
  }
  // Beside what its weights say.
  const v1::EnsembleQuality few = Estimate(&scheduler, Partition("collapsed", 300)).quality();
  EXPECT_THAT(few.unreliable_reason(), HasSubstr("forward ESS is 0.001; ESS x n"));
}

TEST_F(ScalarSamplingTest, ThermodynamicsAreThoseOfTheSameProposals) {
  Scheduler scheduler(SmallBatches(2));
  const auto got = Estimate(&scheduler, Partition("pair", 3000));
  const auto derivatives = *ActionDerivatives::Create(pair_->target());
  ThermodynamicsEstimator expected(16, derivatives.parameters());
  PartitionEstimator partition;
  std::vector<double> field(pair_->field_size()), row(derivatives.parameters().size());
  for (uint64_t i = 0; i < 3000; ++i) {
    for (int64_t at = 0; at < pair_->field_size(); ++at) field[at] = pair_->Link(1, i, at);
    derivatives.Evaluate(field.data(), row.data());
    const Configuration c = FakeConfiguration(*pair_, 1, i);
    expected.Add(c.log_weight, c.action, row);
    partition.Add(c.log_weight);
  }
  const v1::Thermodynamics result = expected.Result();
  EXPECT_EQ(got.thermodynamics().entropy_density(), result.entropy_density());
  EXPECT_EQ(got.thermodynamics().entropy_density_error(), result.entropy_density_error());
  EXPECT_EQ(got.thermodynamics().mean_log_weight_target(), result.mean_log_weight_target());
  ASSERT_EQ(got.thermodynamics().derivatives_size(), 3);
  for (int k = 0; k < 3; ++k) {
    EXPECT_EQ(got.thermodynamics().derivatives(k).value(), result.derivatives(k).value());
    EXPECT_TRUE(got.thermodynamics().derivatives(k).has_exact());  // a free field
  }
  EXPECT_EQ(got.bias(), partition.LogZBias());
  EXPECT_LT(got.bias(), 0);
  EXPECT_TRUE(got.has_exact());
  auto without = Partition("pair", 3000);
  without.set_thermodynamics(false);
  EXPECT_FALSE(Estimate(&scheduler, without).has_thermodynamics());
  EXPECT_EQ(Estimate(&scheduler, Partition("fake", 3000)).thermodynamics().derivatives(0).observable(), "beta");
}

// ------------------------------------------------------------------------------------------------------------- targets

// Made for lambda in [4, 8].
class ConditionalSampler : public FakeSampler {
 public:
  using FakeSampler::FakeSampler;
  bool Serves(const v1::Target& target) const override {
    const double lambda = target.phi4().mass().lambda();
    return SameFields(target, this->target()) && target.phi4().mass().m2() == -4 && lambda >= 4 && lambda <= 8;
  }
};

std::shared_ptr<const ServedModel> ServeConditional(const std::string& name, double ess) {
  auto model = std::make_shared<ServedModel>(
      *Serve(name, std::make_shared<ConditionalSampler>(MakeScalarTarget({8, 8}, -4, 6), FakeSampler::Normal(1))));
  v1::Conditioning* interval = model->spec.add_conditioning();
  interval->set_parameter("lambda");
  interval->set_low(4);
  interval->set_high(8);
  model->manifest.card.mutable_quality()->set_ess(ess);
  return model;
}

class RegistryOfScalars : public ::testing::Test {
 protected:
  std::string Chosen(const v1::Target& target) const {
    const auto found = registry_.Resolve({"", "", &target});
    return found.ok() ? found->model->name() : std::string(found.status().message());
  }
  ModelRegistry registry_;
};

TEST_F(RegistryOfScalars, ATargetFindsTheBestModelThatWasMadeForIt) {
  registry_.Add(ServeConditional("interval", 0.99));
  registry_.Add(ServeConditional("worse-interval", 0.9));
  auto point = std::make_shared<ServedModel>(
      *Serve("point", std::make_shared<FakeSampler>(MakeScalarTarget({8, 8}, -4, 5), FakeSampler::Normal(1))));
  point->manifest.card.mutable_quality()->set_ess(0.5);
  registry_.Add(point);
  EXPECT_EQ(Chosen(MakeScalarTarget({8, 8}, -4, 6)), "interval");
  EXPECT_EQ(Chosen(MakeScalarTarget({8, 8}, -4, 4.5)), "interval");
  EXPECT_EQ(Chosen(MakeScalarTarget({8, 8}, -4, 5)), "point") << "made for this target alone";
  auto defective = std::make_shared<ServedModel>(*point);
  defective->manifest.card.set_unreliable_reason("misses a mode");
  registry_.Add(defective);
  EXPECT_EQ(Chosen(MakeScalarTarget({8, 8}, -4, 5)), "interval") << "nothing is known against it";
  const v1::ModelInfo info = registry_.Describe("interval")->info;
  ASSERT_EQ(info.conditioning_size(), 1);
  EXPECT_EQ(info.conditioning(0).high(), 8);
}

TEST_F(RegistryOfScalars, ATargetThatNobodyServesIsToldTheNearest) {
  registry_.Add(ServeConditional("interval", 0.99));
  registry_.Add(Serve("far", std::make_shared<FakeSampler>(MakeScalarTarget({8, 8}, -4, 20), FakeSampler::Normal(1))));
  registry_.Add(Serve("links", std::make_shared<FakeSampler>(std::vector<uint32_t>{8, 8}, FakeSampler::Normal(1))));
  registry_.Add(Serve("small", std::make_shared<FakeSampler>(MakeScalarTarget({4, 4}, -4, 9), FakeSampler::Normal(1))));
  const v1::Target target = MakeScalarTarget({8, 8}, -4, 9);
  const absl::Status status = registry_.Resolve({"", "", &target}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  const std::string message(status.message());
  const size_t interval = message.find("interval (phi^4, m2 = -4, lambda = 8, 8x8)");
  ASSERT_NE(interval, std::string::npos) << message;
  EXPECT_GT(message.find("far ("), interval) << message;
  EXPECT_NE(message.find("far ("), std::string::npos) << message;
  EXPECT_THAT(message, Not(HasSubstr("links (")));
  EXPECT_THAT(message, Not(HasSubstr("small (")));
  EXPECT_EQ(registry_.Resolve({"interval", "", &target})->model->name(), "interval") << "by its weights";
  const v1::Target two = MakeScalarTarget({8, 8}, -4, 6, 2);
  EXPECT_EQ(registry_.Resolve({"interval", "", &two}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Chosen(two), HasSubstr("none has its fields"));
}

}  // namespace
}  // namespace haarflow::testing
