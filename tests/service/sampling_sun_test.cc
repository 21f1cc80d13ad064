// SU(N) fields through the engine, with a fake sampler that draws from Haar measure: shapes, resumption, observables
// with their exact values, free energies.
#include <cmath>

#include "core/action/derivatives.h"
#include "core/action/sun_torus.h"
#include "core/action/sun_wilson.h"
#include "tests/reference/sun_reference.h"
#include "tests/service/sampling_fixture.h"

namespace haarflow::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::Target SunTarget(const std::vector<uint32_t>& shape, uint32_t colours, double beta) {
  v1::Target target;
  for (const uint32_t extent : shape) target.mutable_lattice()->add_shape(extent);
  target.mutable_sun_wilson()->set_colours(colours);
  target.mutable_sun_wilson()->set_beta(beta);
  return target;
}

// The uniform model of a gauge theory: links from Haar measure, log q = 0, log w = -S. Exact for every coupling.
class HaarSampler : public Sampler {
 public:
  explicit HaarSampler(const v1::Target& target) : target_(target), lattice_(*LatticeOf(target_)) {}
  const Lattice& lattice() const override { return lattice_; }
  const v1::Target& target() const override { return target_; }
  std::string numerics_class() const override { return "haar-1"; }
  absl::Status Draw(const v1::Target& target, absl::Span<const uint64_t> seed, absl::Span<const uint64_t> index,
                    Proposals* out) const override {
    const v1::SunWilsonAction& action = target.sun_wilson();
    const int n = static_cast<int>(action.colours());
    const reference::Shape shape(target_.lattice().shape().begin(), target_.lattice().shape().end());
    out->Resize(static_cast<int64_t>(seed.size()), FieldSize(target_));
    for (size_t i = 0; i < seed.size(); ++i) {
      std::mt19937_64 random(seed[i] * 1000003 + index[i]);
      const auto field = reference::Numbers(reference::RandomSunField(shape, n, &random));
      std::copy(field.begin(), field.end(), out->field.begin() + static_cast<int64_t>(i) * out->field_size);
      out->action[i] = SunWilsonActionOf(lattice_, n, action.beta(), action.rectangle(), field.data());
      out->log_q[i] = 0;
    }
    return absl::OkStatus();
  }

 private:
  const v1::Target target_;
  const Lattice lattice_;
};

class SunSamplingTest : public SamplingTest {
 protected:
  SunSamplingTest() {
    registry_.Add(Serve("su3", std::make_shared<HaarSampler>(SunTarget({3, 3}, 3, 1.5))));
    registry_.Add(Serve("su2", std::make_shared<HaarSampler>(SunTarget({2, 3}, 2, 1))));
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
};

void ExpectAgrees(const v1::Estimate& estimate, double sigmas = 4.5) {
  ASSERT_TRUE(estimate.has_exact()) << estimate.observable();
  EXPECT_GT(estimate.error(), 0) << estimate.observable();
  EXPECT_LT(std::abs(estimate.value() - estimate.exact()), sigmas * estimate.error()) << estimate.ShortDebugString();
}

TEST_F(SunSamplingTest, StreamsHaveMatricesAndTheirConvention) {
  options_.max_chunk_bytes = 4096;  // less than two configurations
  Scheduler scheduler(SmallBatches());
  v1::SampleRequest request = Request(7, 200);
  request.set_model("su3");
  request.add_observables("plaquette");
  const Collector unbroken = Run(&scheduler, request);
  EXPECT_THAT(unbroken.header.shape(), ElementsAre(2, 3, 3, 3, 3, 2));
  EXPECT_EQ(unbroken.header.convention(), 3);
  EXPECT_EQ(unbroken.header.configuration_bytes(), 2 * 9 * 18 * 8);
  Collector parts;
  RunUntil(&scheduler, request, 3, &parts);
  ASSERT_FALSE(parts.summarised);
  v1::SampleRequest rest;
  rest.set_resume_token(parts.token);
  rest.add_observables("plaquette");
  rest.set_count(200 - ParseToken(parts.token)->steps());
  const Collector tail = Run(&scheduler, rest);
  auto steps = parts.Expanded();
  const auto more = tail.Expanded();
  steps.insert(steps.end(), more.begin(), more.end());
  EXPECT_EQ(steps, unbroken.Expanded());
}

TEST_F(SunSamplingTest, MeasurementsCarryExactValuesAndAgreeWithThem) {
  Scheduler scheduler(SmallBatches());
  v1::MeasureRequest request;
  request.set_model("su3");
  request.set_seed(3);
  request.set_count(20000);
  request.set_mode(v1::SAMPLE_MODE_REWEIGHTED);
  for (const char* name : {"plaquette", "rectangle", "wilson_loop_2x2", "polyakov_real", "polyakov_imag",
                           "polyakov_correlator_1", "action"}) {
    request.add_observables(name);
  }
  // The model's own coupling, and another by its weights.
  for (const double beta : {1.5, 0.7}) {
    *request.mutable_target() = SunTarget({3, 3}, 3, beta);
    const auto measured = Last<v1::MeasureResponse>(&scheduler, MakeMeasureTask(registry_, request, options_));
    ASSERT_EQ(measured.estimates_size(), request.observables_size());
    for (const v1::Estimate& estimate : measured.estimates()) ExpectAgrees(estimate);
    EXPECT_NEAR(measured.estimates(0).exact(), SunTorus::Create(3, 9, beta)->Plaquette(), 1e-15);
  }
  request.add_observables("charge");
  EXPECT_THAT(std::string(MakeMeasureTask(registry_, request, options_).status().message()),
              HasSubstr("four dimensions"));
  *request.mutable_target() = SunTarget({3, 3}, 2, 1);
  EXPECT_FALSE(MakeMeasureTask(registry_, request, options_).ok()) << "other fields";
}

TEST_F(SunSamplingTest, FreeEnergiesHaveBothDerivatives) {
  Scheduler scheduler(SmallBatches());
  v1::EstimatePartitionFunctionRequest request;
  request.set_model("su2");
  request.set_seed(1);
  request.set_samples(20000);
  request.set_thermodynamics(true);
  const auto got =
      Last<v1::EstimatePartitionFunctionResponse>(&scheduler, MakePartitionTask(registry_, request, options_));
  const SunTorus torus = SunTorus::Create(2, 6, 1).value();
  ASSERT_TRUE(got.has_exact());
  EXPECT_EQ(got.exact(), torus.LogZ());
  EXPECT_LT(std::abs(got.log_z() - got.exact()), 4.5 * got.log_z_error());
  ASSERT_EQ(got.thermodynamics().derivatives_size(), 2);
  const v1::Estimate& beta = got.thermodynamics().derivatives(0);
  EXPECT_EQ(beta.observable(), "beta");
  ExpectAgrees(beta);
  // d log Z / d beta = -<S> / beta.
  EXPECT_NEAR(beta.exact(), 6 * torus.Plaquette(), 1e-12);
  EXPECT_NEAR(beta.value(), -got.thermodynamics().mean_action(), 1e-9);
  EXPECT_EQ(got.thermodynamics().derivatives(1).observable(), "rectangle");
  EXPECT_FALSE(got.thermodynamics().derivatives(1).has_exact());  // an extent of 2
  EXPECT_GT(got.thermodynamics().derivatives(1).error(), 0);
}

}  // namespace
}  // namespace haarflow::testing
