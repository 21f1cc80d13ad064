// What requests and tokens are refused for; estimates; lookups of models.
#include <limits>

#include "core/exact/estimate.h"
#include "tests/service/sampling_fixture.h"

namespace haarflow::testing {
namespace {

using ::testing::HasSubstr;

TEST_F(SamplingTest, BadRequestsAreRefusedWithTheBoundNamed) {
  using Change = std::function<void(v1::SampleRequest*)>;
  const std::vector<std::tuple<Change, absl::StatusCode, std::string>> cases = {
      {[](auto* r) { r->set_count(0); }, absl::StatusCode::kInvalidArgument, "count is 0"},
      {[](auto* r) { r->set_count(uint64_t{1} << 60); }, absl::StatusCode::kInvalidArgument, "1000000000000"},
      {[](auto* r) { r->set_first_index(uint64_t{1} << 56); }, absl::StatusCode::kInvalidArgument, "2^56"},
      {[](auto* r) { r->set_first_index((uint64_t{1} << 56) - 10); }, absl::StatusCode::kInvalidArgument, "no room"},
      {[](auto* r) { r->set_burn_in(uint64_t{1} << 63); }, absl::StatusCode::kInvalidArgument, "burn_in"},
      {[](auto* r) { r->set_model("nobody"); }, absl::StatusCode::kNotFound, "fake"},
      {[](auto* r) { r->clear_model(); }, absl::StatusCode::kInvalidArgument, "neither"},
      {[](auto* r) { r->set_model_digest("short"); }, absl::StatusCode::kInvalidArgument, ""},
      {[](auto* r) { r->set_model_digest(std::string(32, 'x')); }, absl::StatusCode::kFailedPrecondition, "digest"},
      {[](auto* r) {
         *r->mutable_target() = MakeTarget({8, 8}, 1);
       },
       absl::StatusCode::kInvalidArgument, "other fields"},
      {[](auto* r) { *r->mutable_target() = MakeTarget({8}, 1); }, absl::StatusCode::kInvalidArgument, "target"},
      {[](auto* r) { r->mutable_target(); }, absl::StatusCode::kInvalidArgument, "target"},
      {[](auto* r) {
         r->clear_model();
         *r->mutable_target() = MakeTarget({4, 4}, 1.5);
       },
       absl::StatusCode::kFailedPrecondition, "haarflow retune "},
      {[](auto* r) { r->add_observables("temperature"); }, absl::StatusCode::kInvalidArgument, "temperature"},
      {[](auto* r) { r->set_mode(static_cast<v1::SampleMode>(77)); }, absl::StatusCode::kInvalidArgument, "77"},
      {[](auto* r) { r->set_precision(static_cast<v1::FieldPrecision>(9)); }, absl::StatusCode::kInvalidArgument, "9"},
      {[](auto* r) {
         r->set_mode(v1::SAMPLE_MODE_REWEIGHTED);
         r->set_burn_in(3);
       },
       absl::StatusCode::kInvalidArgument, "burn_in"},
      {[](auto* r) { r->set_resume_token("nonsense"); }, absl::StatusCode::kInvalidArgument, ""},
      {[](auto* r) { r->set_resume_token(std::string(100000, 'H')); }, absl::StatusCode::kInvalidArgument, ""},
  };
  for (const auto& [change, code, text] : cases) {
    auto request = Request(1, 100);
    change(&request);
    const absl::Status status = Refusal(request);
    EXPECT_EQ(status.code(), code) << request.ShortDebugString().substr(0, 200) << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  }
}

TEST_F(SamplingTest, TokensAreCheckedAgainstBytesModelsAndTheRequest) {
  Scheduler scheduler(SmallBatches());
  const std::string token = Run(&scheduler, Request(1, 50)).summary.resume_token();
  v1::SampleRequest request;
  request.set_count(10);
  request.set_resume_token(token);
  EXPECT_TRUE(Refusal(request).ok());
  const auto with = [&](auto&& change) {
    v1::SampleRequest changed = request;
    change(&changed);
    return Refusal(changed).code();
  };
  EXPECT_EQ(with([](auto* r) { r->set_model("other"); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(with([](auto* r) { r->set_seed(2); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(with([](auto* r) { r->set_seed(1); }), absl::StatusCode::kOk);
  EXPECT_EQ(with([](auto* r) { r->set_first_index(7); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(with([](auto* r) { r->set_mode(v1::SAMPLE_MODE_REWEIGHTED); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(with([](auto* r) { r->set_burn_in(9); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(with([](auto* r) { *r->mutable_target() = MakeTarget({4, 4}, 3); }), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(with([](auto* r) { r->set_count(0); }), absl::StatusCode::kInvalidArgument);
  for (const size_t at : {size_t{25}, token.size() / 2, token.size() - 1}) {
    EXPECT_EQ(with([&](auto* r) { (*r->mutable_resume_token())[at] ^= 1; }), absl::StatusCode::kDataLoss) << at;
  }
  EXPECT_EQ(with([&](auto* r) { r->mutable_resume_token()->resize(token.size() - 3); }), absl::StatusCode::kDataLoss);

  // Replaced, and still held: the token finds it. Gone, and in no store: it does not.
  const auto held = registry_.Add(Serve("fake", sampler_, "other weights"));
  EXPECT_TRUE(Refusal(request).ok());
  ModelRegistry replaced;
  replaced.Add(Serve("fake", sampler_, "other weights"));
  EXPECT_EQ(MakeSampleTask(replaced, request, options_).status().code(), absl::StatusCode::kFailedPrecondition);
  ModelRegistry empty;
  EXPECT_EQ(MakeSampleTask(empty, request, options_).status().code(), absl::StatusCode::kNotFound);
  empty.Refuse("fake", absl::DataLossError("weights.safetensors has another digest"));
  const absl::Status refused = MakeSampleTask(empty, request, options_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("weights.safetensors"));
}

TEST_F(SamplingTest, MeasureGivesTheEstimatesOfTheSameChain) {
  Scheduler scheduler(SmallBatches(2));
  for (const v1::SampleMode mode : {v1::SAMPLE_MODE_METROPOLIS, v1::SAMPLE_MODE_REWEIGHTED}) {
    auto sample = Request(6, 2000);
    sample.set_mode(mode);
    sample.add_observables("plaquette");
    const Collector chain = Run(&scheduler, sample);
    std::vector<double> values;
    std::vector<double> log_weights;
    std::vector<uint64_t> multiplicities;
    for (const Configuration& c : chain.configurations) {
      values.push_back(c.observables[0]);
      log_weights.push_back(c.log_weight);
      multiplicities.push_back(c.multiplicity);
    }
    v1::MeasureRequest request;
    request.set_model("fake");
    request.set_seed(6);
    request.set_count(2000);
    request.set_mode(mode);
    request.add_observables("plaquette");
    auto task = MakeMeasureTask(registry_, request, options_);
    ASSERT_TRUE(task.ok()) << task.status();
    BlockingReader<v1::MeasureResponse> reader(*task);
    ASSERT_TRUE(scheduler.Submit(*task).ok());
    v1::MeasureResponse first = *reader.Read();
    EXPECT_TRUE(first.has_header());
    v1::MeasureResponse last;
    while (auto message = reader.Read()) last = *message;
    ASSERT_TRUE(reader.status().ok()) << reader.status();
    ASSERT_EQ(last.estimates_size(), 1);
    EXPECT_EQ(last.done(), 2000);
    EXPECT_EQ(last.estimates(0).observable(), "plaquette");
    EXPECT_TRUE(last.estimates(0).has_exact());
    if (mode == v1::SAMPLE_MODE_METROPOLIS) {
      const auto expected = GammaMethod(ExpandChain(values, multiplicities));
      EXPECT_EQ(last.estimates(0).value(), expected->mean);
      EXPECT_EQ(last.estimates(0).error(), expected->error);
      EXPECT_EQ(last.estimates(0).tau_int(), expected->tau_int);
    } else {
      const auto expected = WeightedMean(values, log_weights);
      EXPECT_EQ(last.estimates(0).value(), expected->mean);
      EXPECT_EQ(last.estimates(0).error(), expected->error);
    }
  }
}

TEST_F(SamplingTest, MeasureRefusesWhatItCannotKeepOrEstimate) {
  v1::MeasureRequest request;
  request.set_model("fake");
  request.set_count(100);
  EXPECT_EQ(MakeMeasureTask(registry_, request, options_).status().code(), absl::StatusCode::kInvalidArgument);
  request.add_observables("plaquette");
  for (const uint64_t count : {uint64_t{0}, uint64_t{7}, kMaxMeasuredValues + 1}) {
    request.set_count(count);
    EXPECT_EQ(MakeMeasureTask(registry_, request, options_).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

v1::EstimatePartitionFunctionResponse Estimate(Scheduler* scheduler, const ModelRegistry& registry,
                                               const v1::EstimatePartitionFunctionRequest& request) {
  auto task = MakePartitionTask(registry, request, RequestOptions());
  EXPECT_TRUE(task.ok()) << task.status();
  BlockingReader<v1::EstimatePartitionFunctionResponse> reader(*task);
  EXPECT_TRUE(scheduler->Submit(*task).ok());
  EXPECT_TRUE(reader.Read()->has_header());
  v1::EstimatePartitionFunctionResponse last;
  while (auto message = reader.Read()) last = *message;
  EXPECT_TRUE(reader.status().ok()) << reader.status();
  EXPECT_TRUE(last.final());
  return last;
}

TEST_F(SamplingTest, PartitionFunctionStopsAtDoublingsOrAtTheNumberAskedFor) {
  Scheduler scheduler(SmallBatches());
  v1::EstimatePartitionFunctionRequest request;
  request.set_model("fake");
  request.set_seed(1);
  request.set_samples(5000);
  const auto fixed = Estimate(&scheduler, registry_, request);
  EXPECT_EQ(fixed.done(), 5000);
  EXPECT_FALSE(fixed.error_reached());
  PartitionEstimator expected;
  for (uint64_t i = 0; i < 5000; ++i) expected.Add(FakeConfiguration(*sampler_, 1, i).log_weight);
  EXPECT_EQ(fixed.log_z(), expected.LogZ());
  EXPECT_EQ(fixed.log_z_error(), expected.LogZError());
  EXPECT_TRUE(fixed.has_exact());

  request.set_samples(0);
  request.set_error(0.01);  // (e - 1) / n = 1e-4: n = 17183, the next doubling of 4096 is 32768
  const auto stopped = Estimate(&scheduler, registry_, request);
  EXPECT_TRUE(stopped.error_reached());
  EXPECT_LE(stopped.log_z_error(), 0.01);
  EXPECT_TRUE(stopped.done() == 16384 || stopped.done() == 32768) << stopped.done();

  for (const auto& [error, samples] : std::vector<std::pair<double, uint64_t>>{
           {0, 0}, {-1, 10}, {std::nan(""), 10}, {std::numeric_limits<double>::infinity(), 0}, {0, kMaxCount + 1}}) {
    request.set_error(error);
    request.set_samples(samples);
    EXPECT_EQ(MakePartitionTask(registry_, request, RequestOptions()).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(Registry, AConditionLessTargetFindsItsModelAndANamedModelServesOtherParameters) {
  ModelRegistry registry;
  registry.Add(Serve("a", std::make_shared<FakeSampler>(std::vector<uint32_t>{4, 4}, FakeSampler::Normal(1))));
  registry.Add(Serve("b", std::make_shared<FakeSampler>(std::vector<uint32_t>{8, 8}, FakeSampler::Normal(1))));
  const v1::Target own = MakeTarget({8, 8}, 1.0);
  const v1::Target other = MakeTarget({8, 8}, 1.25);
  EXPECT_EQ(registry.Resolve({"", "", &own})->model->name(), "b");
  const auto reweighted = registry.Resolve({"b", "", &other});
  ASSERT_TRUE(reweighted.ok()) << reweighted.status();
  EXPECT_EQ(reweighted->target_digest, TargetDigest(other));
  const auto none = registry.Resolve({"", "", &other});
  EXPECT_EQ(none.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(none.status().message()), HasSubstr("b ("));
  EXPECT_EQ(registry.List().size(), 2);
}

}  // namespace
}  // namespace haarflow::testing
