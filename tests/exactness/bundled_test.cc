// The bundled models keep what their cards say, forwards and backwards: fresh proposals, and fields of independent
// samplers of the target.
#include <gtest/gtest.h>

#include <cmath>
#include <optional>

#include "absl/strings/str_replace.h"
#include "core/action/perfect.h"
#include "core/action/target.h"
#include "core/base/file.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "core/model/store.h"
#include "core/observable/observable.h"
#include "core/train/evaluate.h"
#include "core/train/target_samples.h"
#include "tests/reference/single_matrix_sampler.h"
#include "tests/reference/tier.h"
#include "tests/reference/u1_reference.h"

namespace haarflow {
namespace {

struct Expected {
  std::string model;
  double least_ess;
  std::optional<double> log_z;  // where no closed form is known: tensor contractions (targets.md 1.4)
};

class Bundled : public ::testing::TestWithParam<Expected> {
 protected:
  Bundled() : stored_(*ModelStore::Open(HAARFLOW_SOURCE "/deploy/models")->LoadChampion(GetParam().model)) {}
  std::optional<double> Exact() const {
    return GetParam().log_z.has_value() ? GetParam().log_z : ExactLogZ(stored_.spec.target());
  }
  // Fewer where a proposal is dear.
  int64_t Samples(int64_t usual, int64_t full) const {
    return std::max<int64_t>(192, testing::Length(usual / 4, full) * 64 / FieldSize(stored_.spec.target()));
  }
  // 8^4: a fifth of a second for a proposal, minutes for fields of the target.
  bool LongTier() const { return FieldSize(stored_.spec.target()) > int64_t{1} << 16; }
  const StoredModel stored_;
};

// Perfect samplers have no error but rounding.
constexpr double kRounding = 1e-8;
double Sigma(double a, double b) { return std::sqrt(a * a + b * b); }

TEST_P(Bundled, KeepsWhatItsCardSays) {
  const v1::ModelCard& card = stored_.manifest.card;
  if (LongTier() && testing::Length(true, false)) {
    const auto model = *Model::Create(stored_.spec, stored_.weights, CpuKernels(), 0);
    const std::vector<double> log_weight = *DrawLogWeights(*model, model->target(), 48, 4242, 1);
    double sum = 0, square = 0;
    for (const double d : log_weight) {
      const double w = std::exp(d - card.log_z());
      sum += w / 48;
      square += w * w / 48;
    }
    // The weights' own scatter is what the card's ESS says: 1 / ESS - 1, and so is that of their mean.
    const double variance = 1 / card.quality().ess() - 1;
    EXPECT_LT(std::abs(sum - 1), 4 * std::sqrt(variance / 48));
    EXPECT_NEAR((square - sum * sum) / variance, 1, 4 * std::sqrt(2. / 48));
    EXPECT_GT(card.quality().ess(), GetParam().least_ess);
    EXPECT_EQ(card.unreliable_reason(), "");
    return;
  }
  const auto fresh = *EvaluateModel(stored_.spec, stored_.weights, Samples(16384, 1 << 20), 4242, 1);
  EXPECT_LT(std::abs(fresh.quality().ess() - card.quality().ess()),
            4.5 * Sigma(fresh.quality().ess_error(), card.quality().ess_error()) + kRounding);
  // Acceptances of a chain are correlated a little.
  const double acceptance = card.quality().acceptance(), n = static_cast<double>(fresh.quality().samples());
  EXPECT_LE(std::abs(fresh.quality().acceptance() - acceptance),
            4.5 * std::sqrt(2 * acceptance * (1 - acceptance) / n) + kRounding);
  EXPECT_LT(std::abs(fresh.log_z() - card.log_z()), 4.5 * Sigma(fresh.log_z_error(), card.log_z_error()) + kRounding);
  if (const auto exact = Exact(); exact.has_value()) {
    EXPECT_LT(std::abs(fresh.log_z() - *exact), 4 * fresh.log_z_error() + kRounding);
    EXPECT_LT(std::abs(card.log_z() - *exact), 4 * card.log_z_error() + std::abs(card.log_q_error_mean()) + kRounding);
    EXPECT_LT(card.mean_log_weight(), *exact + kRounding);
  }
  EXPECT_GT(card.quality().ess(), GetParam().least_ess);
  EXPECT_EQ(card.unreliable_reason(), "");
  EXPECT_EQ(fresh.unreliable_reason(), "");
  EXPECT_EQ(card.parameters(), fresh.parameters());
  EXPECT_LT(stored_.manifest.weights_bytes, 1 << 20);
}

// Twice the steps change log w by less than the card certifies.
TEST_P(Bundled, IntegrationErrorIsWhatTheCardCertifies) {
  const v1::ModelCard& card = stored_.manifest.card;
  if (card.steps() == 0) return;  // exact by construction
  EXPECT_LT(std::abs(card.log_q_error_mean()), 1.2 * kCertifiedLogWeightError);
  EXPECT_LT(card.log_q_error_sigma(), 1.5 * kCertifiedLogWeightError);
  const int32_t steps = static_cast<int32_t>(card.steps());
  const auto served = *Model::Create(stored_.spec, stored_.weights, CpuKernels(), 0);
  ASSERT_EQ(served->steps(), steps);
  const auto finer = *Model::Create(stored_.spec, stored_.weights, CpuKernels(), 0, 2 * steps);
  const auto n = static_cast<uint64_t>(Samples(1024, 65536));
  const auto a = *DrawLogWeights(*served, served->target(), n, 99, 1);
  const auto b = *DrawLogWeights(*finer, finer->target(), n, 99, 1);
  double mean = 0, square = 0;
  for (uint64_t i = 0; i < n; ++i) {
    mean += (a[i] - b[i]) / static_cast<double>(n);
    square += (a[i] - b[i]) * (a[i] - b[i]) / static_cast<double>(n);
  }
  EXPECT_LT(std::abs(mean), 1.5 * kCertifiedLogWeightError);
  EXPECT_LT(std::sqrt(square), 2 * kCertifiedLogWeightError);
}

TEST_P(Bundled, IsWhatItsSpecInDeployDescribes) {
  const auto text = ReadFile(HAARFLOW_SOURCE "/deploy/specs/" + GetParam().model + ".txtpb", 1 << 20);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, stored_.spec_text);
}

// Fields of the target itself, from an independent sampler: E_p[1/w] = 1/Z and E_p[log w] >= log Z. A flow that misses
// a part of the fields passes every test on its own proposals; not this one.
TEST_P(Bundled, CoversTheTarget) {
  if (LongTier() && testing::Length(true, false)) GTEST_SKIP() << "in the long tier";
  const auto model = *Model::Create(stored_.spec, stored_.weights, CpuKernels(), 0);
  const auto& target = stored_.spec.target();
  Proposals fields;
  if (target.has_u1_wilson()) {
    const reference::Shape shape(target.lattice().shape().begin(), target.lattice().shape().end());
    std::mt19937_64 random(5);
    fields.Resize(testing::Length(2000, 100000), model->field_size());
    for (int64_t i = 0; i < fields.n; ++i) {
      const auto field = reference::PerfectSample2d(shape, target.u1_wilson().beta(), &random);
      std::copy(field.begin(), field.end(), fields.field.begin() + i * fields.field_size);
    }
  } else if (target.has_sun_matrix()) {
    reference::SingleMatrixSampler sampler(static_cast<int>(target.sun_matrix().colours()), ActionNumbers(target), 5);
    fields.Resize(testing::Length(2000, 20000), model->field_size());
    for (int64_t i = 0; i < fields.n; ++i) {
      const auto field = sampler.Draw();
      std::copy(field.begin(), field.end(), fields.field.begin() + i * fields.field_size);
    }
  } else if (target.has_sun_wilson() && target.lattice().shape_size() == 2) {
    const auto sampler = *MakePerfectSampler(target);
    fields.Resize(testing::Length(256, 20000), model->field_size());
    std::vector<double> work;
    for (int64_t i = 0; i < fields.n; ++i) {
      sampler->Draw(5, static_cast<uint64_t>(i), fields.field.data() + i * fields.field_size, &work);
    }
  } else {
    TargetSamples samples = *DrawTargetSamples(target, Samples(4096, 65536), 6, 1);
    fields.Resize(samples.n, model->field_size());
    fields.field = std::move(samples.field);
  }
  const int64_t n = fields.n;
  ASSERT_TRUE(model->Density(target, &fields).ok());
  const double exact = Exact().value_or(stored_.manifest.card.log_z());
  double inverse = 0, inverse_square = 0, mean = 0, square = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double d = fields.LogWeight(i) - exact;
    inverse += std::exp(-d) / static_cast<double>(n);
    inverse_square += std::exp(-2 * d) / static_cast<double>(n);
    mean += d / static_cast<double>(n);
    square += d * d / static_cast<double>(n);
  }
  const double error = std::sqrt(std::max(0.0, inverse_square - inverse * inverse) / static_cast<double>(n));
  // Fields of Markov chains are not quite independent.
  EXPECT_LT(std::abs(inverse - 1), (target.has_phi4() ? 6 : 4) * error + kRounding);
  // No larger than the ESS makes it.
  EXPECT_LT(error, std::max(0.05, 1.3 * std::sqrt((1 / GetParam().least_ess - 1) / static_cast<double>(n))));
  EXPECT_GT(mean, -4 * std::sqrt(square / static_cast<double>(n)) - kRounding);
}

INSTANTIATE_TEST_SUITE_P(
    Models, Bundled,
    ::testing::Values(Expected{"u1-l8-b2", 0.99, {}}, Expected{"u1-l16-b2", 0.98, {}}, Expected{"u1-l16-b1", 0.995, {}},
                      Expected{"u1-l16-b3", 0.96, {}}, Expected{"u1-l16-b4", 0.94, {}}, Expected{"u1-l16-b5", 0.87, {}},
                      Expected{"u1-l16-b6", 0.55, {}}, Expected{"u1-l16-perfect", 0.999, {}},
                      Expected{"su2-l16-perfect", 0.999, {}}, Expected{"su3-l16-perfect", 0.999, {}},
                      Expected{"su2-l16-b1.8", 0.98, {}}, Expected{"su2-l16-b2.2", 0.95, {}},
                      Expected{"su2-l16-b2.7", 0.85, {}}, Expected{"su3-l16-b4", 0.99, {}},
                      Expected{"su3-l16-b5", 0.95, {}}, Expected{"su3-l16-b6", 0.86, {}},
                      Expected{"su3-4x4x4x4-b1", 0.998, 45.02014}, Expected{"su3-4x4x4x4-b2", 0.97, {}},
                      Expected{"su3-4x4x4x4-b3", 0.44, {}}, Expected{"su3-8x8x8x8-b1", 0.97, {}},
                      Expected{"su3-l8-b2-leading", 0.82, {}}, Expected{"su3-4x4x4x4-b1-leading", 0.52, 45.02014},
                      Expected{"su2-matrix-b9", 0.999, {}}, Expected{"su3-matrix-b9", 0.999, {}},
                      Expected{"su2-l8-b2.2-spectral", 0.993, {}}, Expected{"su2-l16-b1.8-spectral", 0.98, {}},
                      Expected{"su2-l16-b2.2-spectral", 0.98, {}}, Expected{"su2-l16-b2.7-spectral", 0.97, {}},
                      Expected{"su3-l8-b5-spectral", 0.94, {}}, Expected{"su3-l16-b5-spectral", 0.8, {}},
                      Expected{"phi4-l6-e1", 0.995, 6.98494787}, Expected{"phi4-l8-tutorial", 0.995, 9.29136384},
                      Expected{"phi4-l8-e2", 0.995, 15.9865008}, Expected{"phi4-l10-e3", 0.99, {}},
                      Expected{"phi4-l12-e4", 0.985, 43.746016}, Expected{"phi4-l14-e5", 0.98, {}},
                      Expected{"phi4-l16", 0.98, {}}, Expected{"phi4-l32", 0.9, {}},
                      Expected{"phi4-l8-lambda", 0.99, {}}, Expected{"phi4-8x8-kappa", 0.95, {}},
                      Expected{"phi4-8x16-kappa", 0.9, {}}, Expected{"phi4-8x64-kappa", 0.5, {}}),
    [](const auto& i) {
      return absl::StrReplaceAll(i.param.model, {{"-", "_"}, {".", "_"}});
    });

}  // namespace
}  // namespace haarflow
