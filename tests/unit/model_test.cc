// A model is made only of weights that fit its spec, and draws only for targets of its own fields.
#include "core/model/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/kernel/kernels.h"
#include "tests/reference/test_specs.h"

namespace haarflow {
namespace {

using ::testing::HasSubstr;

class ModelTest : public ::testing::Test {
 protected:
  ModelTest() {
    testing::SpecOptions options;
    options.layers = 1;
    options.float64 = false;
    spec_ = *ParseSpec(testing::SpecText(options));
    const ParameterLayout layout = U1ParameterLayout(*PlanU1Flow(spec_));
    weights_ = testing::ToTensors(layout, testing::RandomParameters(layout, 1.0));
  }
  void ExpectRefused(const std::string& reason) {
    const auto model = Model::Create(spec_, weights_, CpuKernels(), 0);
    EXPECT_EQ(model.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(model.status().message()), HasSubstr(reason));
  }
  v1::ModelSpec spec_;
  TensorMap weights_;
};

TEST_F(ModelTest, CountsItsParameters) {
  const auto model = *Model::Create(spec_, weights_, CpuKernels(), 0);
  int64_t elements = 0;
  for (const auto& [name, tensor] : weights_) elements += tensor.elements();
  EXPECT_EQ(model->parameters(), elements);
}

TEST_F(ModelTest, RefusesAMissingTensor) {
  weights_.erase("layers.0.0.conv1.weight");
  ExpectRefused("layers.0.0.conv1.weight");
}

TEST_F(ModelTest, RefusesATensorTooMany) {
  weights_["layers.0.1.conv0.bias"] = weights_["layers.0.0.conv0.bias"];
  ExpectRefused("7 tensors, the spec uses 6");
}

TEST_F(ModelTest, RefusesAnotherShape) {
  auto& tensor = weights_["layers.0.0.conv0.bias"];
  tensor.shape.push_back(1);
  ExpectRefused("layers.0.0.conv0.bias' has shape [6, 1], the spec asks for [6]");
}

TEST_F(ModelTest, RefusesAnotherPrecision) {
  auto& tensor = weights_["layers.0.0.conv0.bias"];
  tensor = Tensor::FromDoubles(Tensor::Type::kFloat64, tensor.shape, *tensor.ToDoubles());
  ExpectRefused("is not F32");
}

TEST_F(ModelTest, RefusesADeviceThatIsNotThere) { EXPECT_FALSE(Model::Create(spec_, weights_, CpuKernels(), 1).ok()); }

TEST_F(ModelTest, DrawsOtherCouplingsButNoOtherFields) {
  const auto model = *Model::Create(spec_, weights_, CpuKernels(), 0);
  Proposals own, other;
  v1::Target target = spec_.target();
  const std::vector<uint64_t> seed(3, 1), index = {0, 1, 2};
  ASSERT_TRUE(model->Draw(target, seed, index, &own).ok());
  target.mutable_u1_wilson()->set_beta(2 * target.u1_wilson().beta());
  ASSERT_TRUE(model->Draw(target, seed, index, &other).ok());
  EXPECT_EQ(own.field, other.field);
  for (int i = 0; i < 3; ++i) EXPECT_NEAR(other.action[i], 2 * own.action[i], 1e-12 * std::abs(own.action[i]));
  target.mutable_lattice()->set_shape(0, 8);
  EXPECT_EQ(model->Draw(target, seed, index, &other).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(model->Draw(spec_.target(), seed, {index.data(), 2}, &other).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace haarflow
