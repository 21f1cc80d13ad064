// Loop flows of the CUDA module on a GPU: against the CPU table, and bit for bit against its own code on the CPU
// (fake/cuda_runtime.h), which does the same arithmetic.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "gpu.h"
#include "loop_cases.h"

namespace haarflow {
namespace {

class CudaLoop : public ::testing::TestWithParam<LoopCase> {
 protected:
  void SetUp() override { LoadOrSkip(&cuda_); }
  const hf_kernels* cuda_ = nullptr;
  const LoopTablesOf tables_{GetParam()};
  const int64_t size_ = tables_.field_size();
};

TEST_P(CudaLoop, DrawsAndInvertsWhatTheCpuDoes) {
  const LoopHandle gpu(*cuda_, tables_), cpu(CpuKernels(), tables_);
  const FlowResults drawn = cpu.Draw(0, 100);
  ExpectClose(gpu.Draw(0, 100), drawn, GetParam().tolerance);
  const FlowResults density = gpu.Density(drawn.field);
  ExpectClose(density, cpu.Density(drawn.field), GetParam().tolerance);
  if (GetParam().inverts) ExpectClose(density, drawn, GetParam().tolerance);
}

TEST_P(CudaLoop, HasTheBitsOfItsCodeOnTheCpu) {
  const int64_t n = size_ > 8192 ? 2 : 9;
  const LoopHandle gpu(*cuda_, tables_), same(*haarflow_kernels(), tables_);
  const FlowResults drawn = gpu.Draw(0, n);
  ExpectSameBits(drawn, same.Draw(0, n));
  ExpectSameBits(gpu.Density(drawn.field), same.Density(drawn.field));
}

TEST_P(CudaLoop, BatchAndSlotChangeNoBit) {
  const LoopHandle gpu(*cuda_, tables_);
  const int64_t n = 600;
  const FlowResults whole = gpu.Draw(0, n), density = gpu.Density(whole.field);
  for (int repeat = 0; repeat < 3; ++repeat) {  // a race would not hide three times
    ExpectSameBits(gpu.Draw(0, n), whole);
    ExpectSameBits(gpu.Density(whole.field), density);
    for (const int64_t i : {int64_t{0}, int64_t{301} + repeat, n - 1}) {
      ExpectSameBits(gpu.Draw(i, 1), whole.Of(i, size_));
      ExpectSameBits(gpu.Density(whole.Of(i, size_).field), density.Of(i, size_));
    }
  }
}

TEST_P(CudaLoop, WhereMatricesLieChangesNoBit) {
  const FlowResults whole = LoopHandle(*cuda_, tables_).Draw(0, 200);
  for (const char* bytes : {"0", "100000"}) {
    setenv("HAARFLOW_CUDA_SHARED_BYTES", bytes, 1);
    ExpectSameBits(LoopHandle(*cuda_, tables_).Draw(0, 200), whole);
    unsetenv("HAARFLOW_CUDA_SHARED_BYTES");
  }
}

TEST_P(CudaLoop, ThreadsDrawAtOnce) {
  const LoopHandle gpu(*cuda_, tables_);
  const FlowResults expected = gpu.Draw(0, 200);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 3; ++i) EXPECT_EQ(gpu.Draw(0, 200).field, expected.field);
    });
  }
  for (std::thread& t : threads) t.join();
}

INSTANTIATE_TEST_SUITE_P(Cases, CudaLoop, ::testing::ValuesIn(LoopCases()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace haarflow
