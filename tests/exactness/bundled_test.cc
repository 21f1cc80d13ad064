// The bundled models keep what their cards say, forwards and backwards: fresh proposals, and fields of an independent
// perfect sampler.
#include <gtest/gtest.h>

#include <cmath>

#include "core/base/file.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "core/model/store.h"
#include "core/observable/observable.h"
#include "core/train/evaluate.h"
#include "tests/reference/tier.h"
#include "tests/reference/u1_reference.h"

namespace haarflow {
namespace {

class Bundled : public ::testing::TestWithParam<std::string> {
 protected:
  Bundled() : stored_(*ModelStore::Open(HAARFLOW_SOURCE "/deploy/models")->LoadChampion(GetParam())) {}
  const StoredModel stored_;
};

TEST_P(Bundled, KeepsWhatItsCardSays) {
  const v1::ModelCard& card = stored_.manifest.card;
  const auto fresh = *EvaluateModel(stored_.spec, stored_.weights, testing::Length(16384, 1 << 20), 4242, 1);
  const auto sigma = [](double a, double b) { return std::sqrt(a * a + b * b); };
  EXPECT_LT(std::abs(fresh.quality().ess() - card.quality().ess()),
            4 * sigma(fresh.quality().ess_error(), card.quality().ess_error()));
  EXPECT_LT(std::abs(fresh.quality().acceptance() - card.quality().acceptance()), 0.01);
  const double exact = *ExactLogZ(stored_.spec.target());
  EXPECT_LT(std::abs(fresh.log_z() - exact), 4 * fresh.log_z_error());
  EXPECT_LT(std::abs(card.log_z() - exact), 4 * card.log_z_error());
  EXPECT_LT(card.mean_log_weight(), exact);
  EXPECT_GT(card.quality().ess(), 0.8);
  EXPECT_EQ(card.parameters(), fresh.parameters());
  EXPECT_LT(stored_.manifest.weights_bytes, 1 << 20);
}

TEST_P(Bundled, IsWhatItsSpecInDeployDescribes) {
  const auto text = ReadFile(HAARFLOW_SOURCE "/deploy/specs/" + GetParam() + ".txtpb", 1 << 20);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, stored_.spec_text);
}

// Fields of the target itself, from an independent sampler: E_p[1/w] = 1/Z and E_p[log w] >= log Z. A flow that misses
// a part of the fields passes every test on its own proposals; not this one.
TEST_P(Bundled, CoversTheTarget) {
  const auto model = *Model::Create(stored_.spec, stored_.weights, CpuKernels(), 0);
  const auto& target = stored_.spec.target();
  const reference::Shape shape(target.lattice().shape().begin(), target.lattice().shape().end());
  std::mt19937_64 random(5);
  const int64_t n = testing::Length(2000, 100000);
  Proposals fields;
  fields.Resize(n, model->lattice().links());
  for (int64_t i = 0; i < n; ++i) {
    const auto field = reference::PerfectSample2d(shape, target.u1_wilson().beta(), &random);
    std::copy(field.begin(), field.end(), fields.field.begin() + i * fields.field_size);
  }
  ASSERT_TRUE(model->Density(target, &fields).ok());
  const double exact = *ExactLogZ(target);
  double inverse = 0, inverse_square = 0, mean = 0, square = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double d = fields.LogWeight(i) - exact;
    inverse += std::exp(-d) / static_cast<double>(n);
    inverse_square += std::exp(-2 * d) / static_cast<double>(n);
    mean += d / static_cast<double>(n);
    square += d * d / static_cast<double>(n);
  }
  const double error = std::sqrt((inverse_square - inverse * inverse) / static_cast<double>(n));
  EXPECT_LT(std::abs(inverse - 1), 4 * error);
  EXPECT_LT(error, 0.05);
  EXPECT_GT(mean, -4 * std::sqrt(square / static_cast<double>(n)));
}

INSTANTIATE_TEST_SUITE_P(Models, Bundled, ::testing::Values("u1-l8-b2", "u1-l16-b2"),
                         [](const auto& i) { return i.param == "u1-l8-b2" ? "L8" : "L16"; });

}  // namespace
}  // namespace haarflow
