// Gauss-Newton training of loop flows: it lowers the variance of log w, resumes bit for bit, carries over to other
// volumes and sweeps, and keeps log Z; wrong specs are refused by name.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "core/action/perfect.h"
#include "core/exact/weights.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "core/model/spec.h"
#include "core/observable/observable.h"
#include "core/train/evaluate.h"
#include "core/train/trainer.h"
#include "tests/reference/loop_specs.h"

namespace haarflow {
namespace {

constexpr char kPhases[] = R"(
  phases { steps: 2 batch: 512 gauss_newton { shape: [4, 4] beta: 1.2 sweeps: 1 } }
  phases { steps: 3 batch: 512 gauss_newton { shape: [4, 4] } }
)";

std::string Spec(const std::string& phases = kPhases, int sweeps = 2) {
  return testing::LoopSpec(2, "shape: [8, 8]", 1.8, sweeps, testing::kLoopClasses2d, phases);
}

double VarianceOf(const std::vector<double>& x) {
  double mean = 0, square = 0;
  for (double v : x) mean += v / static_cast<double>(x.size());
  for (double v : x) square += (v - mean) * (v - mean) / static_cast<double>(x.size());
  return square;
}

std::vector<double> LogWeightsOf(const std::string& text, const TensorMap& weights, const std::string& shape,
                                 uint64_t samples) {
  v1::ModelSpec spec = *ParseSpec(text);
  auto* extents = spec.mutable_target()->mutable_lattice()->mutable_shape();
  for (uint32_t& extent : *extents) extent = static_cast<uint32_t>(std::stoi(shape));
  const auto model = *Model::Create(spec, weights, CpuKernels(), 0);
  return *DrawLogWeights(*model, spec.target(), samples, 77, 1);
}

TEST(LoopTrainer, LowersTheVarianceAndServesOtherVolumes) {
  auto trainer = *Trainer::Create(Spec(), {});
  const TensorMap untrained = trainer->Weights();
  ASSERT_TRUE(trainer->Run().ok());
  const TensorMap trained = trainer->Weights();
  // Without training the leading-order trivialising map is exact too, only worse.
  for (const auto& [weights, least, most] : {std::tuple(untrained, 0.02, 0.8), {trained, 0.93, 1.0}}) {
    const auto log_weight = LogWeightsOf(Spec(), weights, "8", 4096);
    WeightStatistics statistics;
    for (double w : log_weight) statistics.Add(w);
    EXPECT_GT(statistics.Ess(), least);
    EXPECT_LT(statistics.Ess(), most);
    EXPECT_NEAR(statistics.LogZ(), 24.3740101527, 5 * std::sqrt((1 / statistics.Ess() - 1) / 4096));
  }
  // Extensive: the variance per site does not know the volume.
  const double small = VarianceOf(LogWeightsOf(Spec(), trained, "4", 8192)) / 16;
  const double large = VarianceOf(LogWeightsOf(Spec(), trained, "16", 1024)) / 256;
  EXPECT_NEAR(large / small, 1, 0.25);
}

TEST(LoopTrainer, ResumedIsUnbroken) {
  const std::string state = std::filesystem::temp_directory_path() / "loop_trainer_test.state";
  std::filesystem::remove(state);
  auto unbroken = *Trainer::Create(Spec(), {});
  ASSERT_TRUE(unbroken->Run().ok());
  TrainerOptions options;
  options.state_file = state;
  options.on_progress = [](const TrainingProgress& p) { return p.step < 3; };
  options.seconds_between_saves = 0;
  auto first = *Trainer::Create(Spec(), options);
  (void)first->Run();
  options.on_progress = nullptr;
  auto second = *Trainer::Create(Spec(), options);
  EXPECT_GT(second->steps_done(), 0U);
  EXPECT_LT(second->steps_done(), 6U);
  ASSERT_TRUE(second->Run().ok());
  EXPECT_EQ(second->parameters(), unbroken->parameters());
  std::filesystem::remove(state);
}

TEST(LoopTrainer, StartsFromFewerSweepsAndAnotherBeta) {
  const v1::ModelSpec from = *ParseSpec(Spec("", 1));
  auto parent = *Trainer::Create(Spec("", 1), {});
  const StartingPoint start{from, parent->Weights()};
  auto child = *Trainer::Create(Spec("", 2), {}, &start);
  const auto& a = parent->parameters();
  const auto& b = child->parameters();
  ASSERT_EQ(b.size(), 2 * a.size());
  for (size_t i = 0; i < b.size(); ++i) EXPECT_DOUBLE_EQ(b[i], a[i % a.size()] / 2);
  const StartingPoint wrong{*ParseSpec(Spec("", 3)), {}};
  const auto refused = Trainer::Create(Spec("", 2), {}, &wrong);
  EXPECT_NE(std::string(refused.status().message()).find("3 sweeps"), std::string::npos) << refused.status();
}

// What a model reports: the action with rectangles as core/action has it, log q the same forwards and backwards, and
// bits that do not depend on the batch. SU(2)'s quaternions and SU(3)'s matrices leave through the same layout.
TEST(LoopModel, ActionDensityAndBits) {
  const struct {
    int colours;
    const char *shape, *classes;
  } cases[] = {{2, "shape: [4, 8]", testing::kLoopClasses2d},
               {3, "shape: [4, 4]", testing::kLoopClasses2d},
               {3, "shape: [2, 4, 2, 2]", testing::kLoopClasses4d}};
  for (const auto& c : cases) {
    const v1::ModelSpec spec = *ParseSpec(testing::LoopSpec(c.colours, c.shape, 1.5, 2, c.classes));
    auto trainer = *Trainer::Create(testing::LoopSpec(c.colours, c.shape, 1.5, 2, c.classes), {});
    const auto model = *Model::Create(spec, trainer->Weights(), CpuKernels(), 0);
    v1::Target target = spec.target();
    target.mutable_sun_wilson()->set_rectangle(-1.0 / 12);
    constexpr int64_t kFields = 19;  // no multiple of a tile
    std::vector<uint64_t> seed(kFields, 9), index(kFields);
    for (int64_t i = 0; i < kFields; ++i) index[i] = static_cast<uint64_t>(3 * i);
    Proposals drawn;
    ASSERT_TRUE(model->Draw(target, seed, index, &drawn).ok());
    Proposals given;
    given.Resize(kFields, model->field_size());
    given.field = drawn.field;
    ASSERT_TRUE(model->Density(target, &given).ok());
    for (int64_t i = 0; i < kFields; ++i) {
      EXPECT_NEAR(drawn.action[i], GaugeActionOf(target, model->lattice(), drawn.Field(i)), 1e-11);
      EXPECT_NEAR(given.action[i], drawn.action[i], 1e-11);
      EXPECT_NEAR(given.log_q[i], drawn.log_q[i], 1e-10);
      EXPECT_NE(drawn.log_q[i], 0);
    }
    Proposals alone;
    ASSERT_TRUE(model->Draw(target, {9}, {index[17]}, &alone).ok());
    EXPECT_EQ(alone.log_q[0], drawn.log_q[17]);
    EXPECT_EQ(alone.action[0], drawn.action[17]);
    EXPECT_TRUE(std::equal(alone.Field(0), alone.Field(0) + model->field_size(), drawn.Field(17)));
  }
}

TEST(LoopSpec, RefusalsNameTheField) {
  const auto message = [](const std::string& text) { return std::string(ParseSpec(text).status().message()); };
  const auto replaced = [](std::string text, const std::string& from, const std::string& to) {
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  EXPECT_TRUE(ParseSpec(Spec()).ok()) << ParseSpec(Spec()).status();
  const std::pair<std::string, std::string> cases[] = {
      {replaced(Spec(), "shape: [8, 8]", "shape: [6, 8]"), "loop_flow.masks"},
      {replaced(Spec(), "[1, 2, -1, -2]", "[1, 2, -1, 2]"), "classes[0].loops[0] is not closed"},
      {replaced(Spec(), "[1, 2, -1, -2]", "[1, 3, -1, -3]"), "classes[0].loops[0] has a step 3"},
      {replaced(Spec(), "[1, 2, -1, -2]", "[1, 2, -1, -2] active_steps: 4"), "active_steps"},
      {replaced(Spec(), "sweeps: 2 ", "sweeps: 0 "), "loop_flow.sweeps is 0"},
      {replaced(Spec(), "sweeps: 1 }", "sweeps: 3 }"), "gauss_newton.sweeps is 3"},
      {replaced(Spec(), "shape: [4, 4] beta", "shape: [4, 6] beta"), "gauss_newton"},
      {Spec("phases { steps: 1 batch: 16 learning_rate: 0.1 }"), "gauss_newton is missing"},
      {replaced(Spec(), "shape: [8, 8]", "shape: [4096, 4096]"), "at most 1048576"},
      {"name: \"haar\" spec_version: 1 target { lattice { shape: [4, 4] } sun_wilson { colours: 2 beta: 1 } } prior { "
       "uniform {} } training { phases { steps: 1 batch: 16 learning_rate: 0.1 } }",
       "nothing to train"},
      {Spec("phases { steps: 1 batch: 16 learning_rate: 0.1 gauss_newton {} }"), "sets more than"},
  };
  for (const auto& [text, wanted] : cases) {
    EXPECT_NE(message(text).find(wanted), std::string::npos) << "wanted '" << wanted << "' in: " << message(text);
  }
}

}  // namespace
}  // namespace haarflow
