// Scalar flows of the CUDA module on the CPU (fake/cuda_runtime.h) against the CPU table: drawn, inverted, and the bits
// of a proposal.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "core/kernel/kernels.h"
#include "fake/cuda_runtime.h"
#include "flow_checks.h"
#include "scalar_cases.h"

extern "C" const hf_kernels* haarflow_kernels(void);

namespace haarflow {
namespace {

void Reset() {
  for (const char* name : {"HAARFLOW_CUDA_BATCH", "HAARFLOW_CUDA_GRAPHS", "HAARFLOW_CUDA_REGISTERS",
                           "HAARFLOW_CUDA_SHARED_BYTES", "HAARFLOW_CUDA_TABLE_BYTES"}) {
    unsetenv(name);
  }
  fake_cuda::control.largest_allocation = SIZE_MAX;
  fake_cuda::control.launch_error = 0;
  fake_cuda::control.wait_error = 0;
  fake_cuda::control.capture_fails = false;
  fake_cuda::control.shared_bytes = 227 << 10;
  fake_cuda::control.order = 0;
}

class ScalarBodies : public ::testing::TestWithParam<ScalarCase> {
 protected:
  void SetUp() override { Reset(); }
  void TearDown() override { Reset(); }
  const hf_kernels& cuda_ = *haarflow_kernels();
  const hf_kernels& cpu_ = CpuKernels();
  const ScalarTablesOf tables_{GetParam()};
  const int64_t size_ = tables_.field_size();
  const int64_t some_ = size_ > 1024 ? 5 : 37;
};

TEST_P(ScalarBodies, DrawsWhatTheCpuDraws) {
  const ScalarHandle cuda(cuda_, tables_), cpu(cpu_, tables_);
  ExpectClose(cuda.Draw(0, some_), cpu.Draw(0, some_), GetParam().tolerance);
}

TEST_P(ScalarBodies, InvertsWhatTheCpuInverts) {
  const ScalarHandle cuda(cuda_, tables_), cpu(cpu_, tables_);
  const std::vector<double> field = cpu.Draw(3, some_).field;
  ExpectClose(cuda.Density(field), cpu.Density(field), GetParam().tolerance);
}

TEST_P(ScalarBodies, BatchSlotAndSubBatchesChangeNoBit) {
  const ScalarProposals whole = ScalarHandle(cuda_, tables_).Draw(0, some_);
  const ScalarProposals density = ScalarHandle(cuda_, tables_).Density(whole.field);
  setenv("HAARFLOW_CUDA_BATCH", "3", 1);
  const ScalarHandle cuda(cuda_, tables_);
  ExpectSameBits(cuda.Draw(0, some_), whole);
  ExpectSameBits(cuda.Draw(0, some_), whole);
  ExpectSameBits(cuda.Density(whole.field), density);
  for (const int64_t i : {int64_t{0}, int64_t{1}, some_ - 1}) {
    ExpectSameBits(cuda.Draw(i, 1), whole.Of(i, size_));
    ExpectSameBits(cuda.Density(whole.Of(i, size_).field), density.Of(i, size_));
  }
}

TEST_P(ScalarBodies, WhereStatesTransformsAndKernelsLieChangesNoBit) {
  const ScalarProposals whole = ScalarHandle(cuda_, tables_).Draw(0, some_);
  const ScalarProposals density = ScalarHandle(cuda_, tables_).Density(whole.field);
  for (const std::string name :
       {"HAARFLOW_CUDA_TABLE_BYTES", "HAARFLOW_CUDA_REGISTERS", "HAARFLOW_CUDA_SHARED_BYTES"}) {
    setenv(name.c_str(), "0", 1);
    const ScalarHandle cuda(cuda_, tables_);
    ExpectSameBits(cuda.Draw(0, some_), whole);
    ExpectSameBits(cuda.Density(whole.field), density);
  }
}

// A thread that reads between two barriers what another one writes there would see it in one order only.
TEST_P(ScalarBodies, TheOrderOfThreadsBetweenBarriersChangesNoBit) {
  for (const char* registers : {"1", "0"}) {
    setenv("HAARFLOW_CUDA_REGISTERS", registers, 1);
    const ScalarHandle cuda(cuda_, tables_);
    fake_cuda::control.order = 0;
    const ScalarProposals drawn = cuda.Draw(0, 5), density = cuda.Density(drawn.field);
    for (const int order : {1, 2}) {
      fake_cuda::control.order = order;
      ExpectSameBits(cuda.Draw(0, 5), drawn);
      ExpectSameBits(cuda.Density(drawn.field), density);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, ScalarBodies, ::testing::ValuesIn(ScalarCases()),
                         [](const auto& info) { return info.param.name; });

class ScalarModule : public ::testing::Test {
 protected:
  void SetUp() override { Reset(); }
  void TearDown() override {
    Reset();
    EXPECT_EQ(fake_cuda::control.live, 0) << "device resources leak";
  }
  const hf_kernels& cuda_ = *haarflow_kernels();
};

TEST_F(ScalarModule, NamesAtTheEndsOfTheirRangeDrawTheNoiseOfBase) {
  const ScalarTablesOf tables(ScalarCaseNamed("GaussianPrior"));
  hf_scalar_flow flow = tables.view();
  flow.layers = 0;
  void* handle = nullptr;
  ASSERT_EQ(cuda_.scalar_flow_create(&flow, 0, &handle), HF_OK);
  const int64_t size = tables.field_size();
  for (const uint64_t index : {uint64_t{0}, kMaxSampleIndex}) {
    const uint64_t seed = ~index;
    std::vector<double> field(size);
    double log_q, action, expected = 0;
    ASSERT_EQ(cuda_.flow_draw(handle, 1, &seed, &index, tables.couplings(), field.data(), &log_q, &action, nullptr),
              HF_OK);
    for (int64_t x = 0; x < size; ++x) {
      const double z = NormalNoise(seed, NoisePurpose::kPrior, index, static_cast<uint32_t>(x));
      EXPECT_NEAR(field[x], 0.8 * z, 1e-14);
      expected -= 0.5 * z * z + std::log(0.8) + 0.5 * std::log(2 * M_PI);
    }
    EXPECT_NEAR(log_q, expected, 1e-12);
  }
  cuda_.flow_destroy(handle);
}

// What no plan makes, but the table allows: features in any order, several of frequency 0, or none; a heat bath after
// independent sites.
TEST_F(ScalarModule, WhatTheTableAllowsIsDrawnAsTheCpuDoes) {
  const auto compare = [&](const ScalarTablesOf& tables, const hf_scalar_flow& flow) {
    const ScalarHandle cuda(cuda_, tables, flow), cpu(CpuKernels(), tables, flow);
    const ScalarProposals drawn = cpu.Draw(0, 20);
    ExpectClose(cuda.Draw(0, 20), drawn, 1e-10);
    ExpectClose(cuda.Density(drawn.field), cpu.Density(drawn.field), 1e-10);
  };
  const ScalarTablesOf tables(ScalarCaseNamed("L4x4")), bath(ScalarCaseNamed("BathL4x6"));
  for (const std::vector<double>& frequency :
       {std::vector<double>{1.3, 0, 0.4}, {0, 1.1, 0}, {0.3, 0.9, 2.2}, {0, 0, 0}}) {
    hf_scalar_continuous layer = *tables.view().layer[0].continuous;
    layer.frequency = frequency.data();
    const hf_scalar_layer layers[1] = {{nullptr, &layer}};
    hf_scalar_flow flow = tables.view();
    flow.layer = layers;
    compare(tables, flow);
  }
  hf_scalar_flow flow = bath.view();
  flow.prior.fourier = 0;
  compare(bath, flow);
  flow.layers = 0;
  compare(bath, flow);
  flow.prior.fourier = 1;
  compare(bath, flow);
}

// Fields so large that the table of the conditional distribution does not reach them, and some that are not finite.
TEST_F(ScalarModule, TheHeatBathHoldsBeyondItsTable) {
  const ScalarTablesOf tables(ScalarCaseNamed("BathL4x6"));
  const ScalarHandle cuda(cuda_, tables), cpu(CpuKernels(), tables);
  std::vector<double> field = cpu.Draw(0, 4).field;
  for (int64_t i = 0; i < 24; ++i) field[i] *= 30;
  field[24] = 200;
  ScalarProposals a = cuda.Density(field), b = cpu.Density(field);
  ExpectClose(a, b, 1e-9);
  field[0] = std::nan("");
  a = cuda.Density(field);
  EXPECT_TRUE(std::isnan(a.log_q[0]));
  EXPECT_EQ(a.log_q[1], cuda.Density(field).log_q[1]);
  EXPECT_FALSE(std::isnan(a.log_q[1]));
}

TEST_F(ScalarModule, ADrawIsTwoLaunches) {
  const ScalarTablesOf tables(ScalarCaseNamed("L16x16"));
  const ScalarHandle cuda(cuda_, tables);
  const int before = fake_cuda::control.kernel_launches;
  cuda.Draw(0, 40);
  EXPECT_EQ(fake_cuda::control.kernel_launches - before, 2);
}

TEST_F(ScalarModule, ThreadsShareAFlow) {
  setenv("HAARFLOW_CUDA_BATCH", "16", 1);
  const ScalarTablesOf tables(ScalarCaseNamed("BathL4x6"));
  const ScalarHandle cuda(cuda_, tables);
  ExpectThreadsShare(cuda, 50, 4, 3);
}

TEST_F(ScalarModule, DevicesDrawTheSameBits) {
  const ScalarTablesOf tables(ScalarCaseNamed("L8x8"));
  const hf_scalar_flow flow = tables.view();
  ExpectDevicesAgree(cuda_, 20, [&](int32_t device) {
    return std::make_unique<FlowHandle>(
        cuda_, tables.couplings(), tables.field_size(),
        [&](const hf_kernels& k, void** handle) { return k.scalar_flow_create(&flow, device, handle); });
  });
}

TEST_F(ScalarModule, FaultsAreToldApart) {
  const ScalarTablesOf tables(ScalarCaseNamed("L8x8"));
  const ScalarHandle cuda(cuda_, tables);
  ExpectFaultsAreToldApart(cuda, 20);
}

TEST_F(ScalarModule, LittleMemoryMeansSmallerSubBatchesOrNone) {
  const ScalarTablesOf tables(ScalarCaseNamed("L8x8"));
  const ScalarHandle roomy(cuda_, tables), tight(cuda_, tables), starved(cuda_, tables);
  const ScalarProposals expected = roomy.Draw(0, 100);
  fake_cuda::control.largest_allocation = 1 << 14;
  ExpectSameBits(tight.Draw(0, 100), expected);
  fake_cuda::control.largest_allocation = 256;
  int32_t code = HF_OK;
  starved.Draw(0, 100, &code);
  EXPECT_EQ(code, HF_NO_MEMORY);
  void* handle = nullptr;
  EXPECT_EQ(cuda_.scalar_flow_create(&tables.view(), 0, &handle), HF_NO_MEMORY);
}

TEST_F(ScalarModule, ADeviceWithLittleSharedMemoryDrawsTheSameBits) {
  const ScalarTablesOf tables(ScalarCaseNamed("L16x16"));
  const ScalarProposals expected = ScalarHandle(cuda_, tables).Draw(0, 7);
  for (const int bytes : {99 << 10, 2 << 10}) {
    fake_cuda::control.shared_bytes = bytes;
    ExpectSameBits(ScalarHandle(cuda_, tables).Draw(0, 7), expected);
  }
}

TEST_F(ScalarModule, WrongTablesAreRefused) {
  const ScalarTablesOf tables(ScalarCaseNamed("L4x4"));
  const auto refused = [&](const hf_scalar_flow& flow, const std::string& why) {
    void* handle = nullptr;
    EXPECT_EQ(cuda_.scalar_flow_create(&flow, 0, &handle), HF_INVALID);
    EXPECT_NE(std::string(cuda_.last_error()).find(why), std::string::npos) << cuda_.last_error();
  };
  hf_scalar_flow flow = tables.view();
  flow.dims = 5;
  refused(flow, "dimensions");
  flow = tables.view();
  flow.components = 3;
  refused(flow, "components");
  flow = tables.view();
  const hf_scalar_layer none[1] = {};
  flow.layer = none;
  refused(flow, "layer 0: exactly one kind");
  flow = tables.view();
  std::vector<double> sigma(16, 1.0);
  sigma[3] = 0;
  flow.prior.sigma = sigma.data();
  refused(flow, "sigma must be positive");
  void* handle = nullptr;
  EXPECT_EQ(cuda_.scalar_flow_create(&tables.view(), 1, &handle), HF_INVALID);
}

}  // namespace
}  // namespace haarflow
