// Scalar flows of the CUDA module on a GPU: against the CPU table, and bit for bit against its own code on the CPU
// (fake/cuda_runtime.h), which does the same arithmetic.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "gpu.h"
#include "scalar_cases.h"

namespace haarflow {
namespace {

class CudaScalar : public ::testing::TestWithParam<ScalarCase> {
 protected:
  void SetUp() override { LoadOrSkip(&cuda_); }
  const hf_kernels* cuda_ = nullptr;
  const ScalarTablesOf tables_{GetParam()};
  const int64_t size_ = tables_.field_size();
};

TEST_P(CudaScalar, DrawsAndInvertsWhatTheCpuDoes) {
  const ScalarHandle gpu(*cuda_, tables_), cpu(CpuKernels(), tables_);
  const ScalarProposals drawn = cpu.Draw(0, 100);
  ExpectClose(gpu.Draw(0, 100), drawn, GetParam().tolerance);
  ExpectClose(gpu.Density(drawn.field), cpu.Density(drawn.field), GetParam().tolerance);
}

TEST_P(CudaScalar, HasTheBitsOfItsCodeOnTheCpu) {
  const ScalarHandle gpu(*cuda_, tables_), same(*haarflow_kernels(), tables_);
  const ScalarProposals drawn = gpu.Draw(0, 9);
  ExpectSameBits(drawn, same.Draw(0, 9));
  ExpectSameBits(gpu.Density(drawn.field), same.Density(drawn.field));
}

TEST_P(CudaScalar, BatchAndSlotChangeNoBit) {
  const ScalarHandle gpu(*cuda_, tables_);
  const int64_t n = 3000;
  const ScalarProposals whole = gpu.Draw(0, n), density = gpu.Density(whole.field);
  for (int repeat = 0; repeat < 3; ++repeat) {  // a race would not hide three times
    ExpectSameBits(gpu.Draw(0, n), whole);
    ExpectSameBits(gpu.Density(whole.field), density);
    for (const int64_t i : {int64_t{0}, int64_t{1001} + repeat, n - 1}) {
      ExpectSameBits(gpu.Draw(i, 1), whole.Of(i, size_));
      ExpectSameBits(gpu.Density(whole.Of(i, size_).field), density.Of(i, size_));
    }
  }
}

TEST_P(CudaScalar, WhereStatesTransformsAndKernelsLieChangesNoBit) {
  const ScalarProposals whole = ScalarHandle(*cuda_, tables_).Draw(0, 700);
  for (const std::string name :
       {"HAARFLOW_CUDA_TABLE_BYTES", "HAARFLOW_CUDA_REGISTERS", "HAARFLOW_CUDA_SHARED_BYTES"}) {
    setenv(name.c_str(), "0", 1);
    ExpectSameBits(ScalarHandle(*cuda_, tables_).Draw(0, 700), whole);
    unsetenv(name.c_str());
  }
}

TEST_P(CudaScalar, ThreadsDrawAtOnce) {
  const ScalarHandle gpu(*cuda_, tables_);
  const ScalarProposals expected = gpu.Draw(0, 500);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 3; ++i) EXPECT_EQ(gpu.Draw(0, 500).field, expected.field);
    });
  }
  for (std::thread& t : threads) t.join();
}

INSTANTIATE_TEST_SUITE_P(Cases, CudaScalar, ::testing::ValuesIn(ScalarCases()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace haarflow
