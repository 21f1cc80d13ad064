// The CUDA module on a GPU: against the CPU table, and bit for bit against its own code on the CPU
// (fake/cuda_runtime.h), which does the same arithmetic. Skips only where no CUDA device is.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "core/kernel/kernels.h"
#include "gpu.h"
#include "random_flow.h"

namespace haarflow {
namespace {

constexpr double kBeta = 1.3;
constexpr int32_t kLinks = 30;

struct Flow {
  const hf_kernels& kernels;
  void* handle = nullptr;
  Flow(const hf_kernels& k, const hf_u1_flow& flow) : kernels(k) {
    EXPECT_EQ(kernels.flow_create(&flow, 0, &handle), HF_OK) << kernels.last_error();
  }
  ~Flow() { kernels.flow_destroy(handle); }
  Drawn Draw(int64_t first, int64_t n) const {
    std::vector<uint64_t> seed(n, 99), index(n);
    for (int64_t i = 0; i < n; ++i) index[i] = first + i;
    int32_t code = -1;
    Drawn drawn(kernels, handle, kLinks, seed, index, kBeta, &code);
    EXPECT_EQ(code, HF_OK) << kernels.last_error();
    return drawn;
  }
};

class CudaModule : public testing::TestWithParam<std::tuple<int32_t, bool>> {
 protected:
  void SetUp() override { LoadOrSkip(&cuda_); }
  int32_t map() const { return std::get<0>(GetParam()); }
  bool double_network() const { return std::get<1>(GetParam()); }
  const hf_kernels* cuda_ = nullptr;
};

TEST_P(CudaModule, DrawsWhatTheCpuDraws) {
  const RandomFlow tables(kLinks, 6, map(), 7, double_network(), 5);
  const Flow gpu(*cuda_, tables.view()), cpu(CpuKernels(), tables.view());
  const double tolerance = double_network() ? 1e-10 : 1e-4;
  const Drawn a = gpu.Draw(0, 300), b = cpu.Draw(0, 300);
  for (size_t i = 0; i < a.links.size(); ++i)
    ASSERT_LT(std::abs(std::remainder(a.links[i] - b.links[i], 2 * M_PI)), tolerance);
  for (size_t i = 0; i < a.log_q.size(); ++i) {
    ASSERT_NEAR(a.log_q[i], b.log_q[i], 10 * tolerance);
    ASSERT_NEAR(a.action[i], b.action[i], 10 * tolerance);
  }
}

TEST_P(CudaModule, DrawsTheBitsOfItsCodeOnTheCpu) {
  const RandomFlow tables(kLinks, 6, map(), 7, double_network(), 5);
  const Flow gpu(*cuda_, tables.view()), same(*haarflow_kernels(), tables.view());
  const Drawn a = gpu.Draw(0, 300), b = same.Draw(0, 300);
  EXPECT_EQ(a.links, b.links);
  EXPECT_EQ(a.log_q, b.log_q);
  EXPECT_EQ(a.action, b.action);
}

TEST_P(CudaModule, BatchAndSlotChangeNoBit) {
  const RandomFlow tables(kLinks, 6, map(), 7, double_network(), 5);
  const Flow gpu(*cuda_, tables.view());
  const Drawn whole = gpu.Draw(0, 4096);
  for (int repeat = 0; repeat < 3; ++repeat) {  // plainly launched, then as graphs
    for (const int64_t n : {int64_t{1}, int64_t{7}, int64_t{4096}}) {
      const int64_t first = n == 4096 ? 0 : 13 * repeat + 100;
      const Drawn part = gpu.Draw(first, n);
      EXPECT_TRUE(std::equal(part.links.begin(), part.links.end(), whole.links.begin() + first * kLinks)) << n;
      EXPECT_TRUE(std::equal(part.log_q.begin(), part.log_q.end(), whole.log_q.begin() + first)) << n;
      EXPECT_TRUE(std::equal(part.action.begin(), part.action.end(), whole.action.begin() + first)) << n;
    }
  }
}

TEST_P(CudaModule, DensityInvertsTheDraw) {
  const RandomFlow tables(kLinks, 4, map(), 5, double_network(), 6);
  const Flow gpu(*cuda_, tables.view());
  const int64_t n = 1000;
  const Drawn drawn = gpu.Draw(0, n);
  std::vector<double> log_q(n), action(n);
  ASSERT_EQ(cuda_->flow_density(gpu.handle, n, drawn.links.data(), &kBeta, log_q.data(), action.data(), nullptr),
            HF_OK);
  for (int64_t i = 0; i < n; ++i) {
    ASSERT_NEAR(log_q[i], drawn.log_q[i], double_network() ? 1e-8 : 1e-2);
    ASSERT_NEAR(action[i], drawn.action[i], 1e-12);
  }
}

TEST_P(CudaModule, ThreadsDrawAtOnce) {
  const RandomFlow tables(kLinks, 4, map(), 5, double_network(), 6);
  const Flow gpu(*cuda_, tables.view());
  const Drawn expected = gpu.Draw(0, 2000);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 5; ++i) EXPECT_EQ(gpu.Draw(0, 2000).links, expected.links);
    });
  }
  for (std::thread& t : threads) t.join();
}

INSTANTIATE_TEST_SUITE_P(Maps, CudaModule,
                         testing::Combine(testing::Values(HF_MAP_SPLINE, HF_MAP_MOEBIUS, HF_MAP_NON_COMPACT,
                                                          HF_MAP_SHARP_SPLINE),
                                          testing::Bool()));

// Runs everywhere: what the module says where it can do nothing.
TEST(CudaModuleFile, WithoutADeviceTheModuleSaysSo) {
  if (MachineHasAGpu()) GTEST_SKIP() << "this machine has a GPU";
  const char* bin = std::getenv("HAARFLOW_BIN_DIR");
  ASSERT_NE(bin, nullptr) << "run by ctest, or set HAARFLOW_BIN_DIR";
  void* module = dlopen((std::string(bin) + "/../lib/libhaarflow_cuda.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  ASSERT_NE(module, nullptr) << dlerror();
  const auto entry = reinterpret_cast<haarflow_kernels_fn>(dlsym(module, "haarflow_kernels"));
  ASSERT_NE(entry, nullptr);
  const hf_kernels& table = *entry();
  EXPECT_NE(&table, haarflow_kernels());
  EXPECT_EQ(table.abi, HAARFLOW_KERNELS_ABI);
  EXPECT_EQ(table.size, sizeof(hf_kernels));
  EXPECT_STREQ(table.numerics, "cuda-none-r1");
  EXPECT_EQ(table.device_count(), 0);
  const RandomFlow tables(kLinks, 1, HF_MAP_SPLINE, 4, false, 1);
  void* handle = nullptr;
  EXPECT_EQ(table.flow_create(&tables.view(), 0, &handle), HF_DEVICE_ERROR);
  EXPECT_NE(std::string(table.last_error()).find("no CUDA device"), std::string::npos) << table.last_error();
  const hf_scalar_flow none = {};
  EXPECT_EQ(table.scalar_flow_create(&none, 0, &handle), HF_DEVICE_ERROR);
  const hf_loop_flow no_links = {};
  EXPECT_EQ(table.loop_flow_create(&no_links, 0, &handle), HF_DEVICE_ERROR);
  std::vector<double> one(16, 0.1);
  EXPECT_NE(table.circle_map_forward(HF_MAP_SPLINE, 4, 1, one.data(), one.data(), one.data(), one.data(), nullptr),
            HF_OK);
  EXPECT_NE(std::string(table.last_error()).find("cudaLaunchKernelEx"), std::string::npos) << table.last_error();
}

}  // namespace
}  // namespace haarflow
