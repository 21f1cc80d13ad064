// The CUDA module on the CPU (fake/cuda_runtime.h) against the CPU table: the same flows, drawn and inverted.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/base/noise.h"
#include "core/kernel/kernels.h"
#include "fake/cuda_runtime.h"
#include "flow_checks.h"
#include "flow_handle.h"
#include "random_flow.h"

extern "C" const hf_kernels* haarflow_kernels(void);

namespace haarflow {
namespace {

constexpr double kBeta = 1.7;
constexpr int32_t kLinks = 18;

class Handle {
 public:
  Handle(const hf_kernels& kernels, const hf_u1_flow& flow) : kernels_(kernels) {
    EXPECT_EQ(kernels.flow_create(&flow, 0, &handle_), HF_OK) << kernels.last_error();
  }
  ~Handle() { kernels_.flow_destroy(handle_); }
  const void* get() const { return handle_; }

 private:
  const hf_kernels& kernels_;
  void* handle_ = nullptr;
};

struct Names {
  std::vector<uint64_t> seed, index;
  explicit Names(int64_t n, uint64_t first = 0) {
    for (int64_t i = 0; i < n; ++i) {
      seed.push_back(0x123456789ABCDEFull + i % 3);
      index.push_back(first + i + (i % 5 == 0 ? uint64_t{1} << 40 : 0));
    }
  }
};

double AngleDistance(double a, double b) { return std::abs(std::remainder(a - b, 2 * M_PI)); }

Drawn Draw(const hf_kernels& kernels, const void* flow, const Names& names, void* stream = nullptr) {
  int32_t code = -1;
  Drawn drawn(kernels, flow, kLinks, names.seed, names.index, kBeta, &code, stream);
  EXPECT_EQ(code, HF_OK) << kernels.last_error();
  return drawn;
}

void ExpectSameBits(const Drawn& a, const Drawn& b) {
  EXPECT_EQ(a.links, b.links);
  EXPECT_EQ(a.log_q, b.log_q);
  EXPECT_EQ(a.action, b.action);
}

struct Case {
  int32_t map, pieces;
  bool double_network;
};

class Bodies : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    unsetenv("HAARFLOW_CUDA_BATCH");
    unsetenv("HAARFLOW_CUDA_GRAPHS");
  }
  const hf_kernels& cuda_ = *haarflow_kernels();
  const hf_kernels& cpu_ = CpuKernels();
  RandomFlow flow_{kLinks, 4, GetParam().map, GetParam().pieces, GetParam().double_network, 7};
  double tolerance_ = GetParam().double_network ? 1e-11 : 1e-5;
};

TEST_P(Bodies, DrawsWhatTheCpuDraws) {
  const Handle cuda(cuda_, flow_.view()), cpu(cpu_, flow_.view());
  const Names names(261);
  const Drawn a = Draw(cuda_, cuda.get(), names), b = Draw(cpu_, cpu.get(), names);
  for (size_t i = 0; i < a.links.size(); ++i)
    ASSERT_LT(AngleDistance(a.links[i], b.links[i]), tolerance_) << "link " << i;
  for (size_t i = 0; i < a.log_q.size(); ++i) {
    ASSERT_NEAR(a.log_q[i], b.log_q[i], 10 * tolerance_) << "configuration " << i;
    ASSERT_NEAR(a.action[i], b.action[i], 10 * tolerance_) << "configuration " << i;
  }
  for (const double angle : a.links) ASSERT_TRUE(angle >= -M_PI && angle < M_PI);
}

TEST_P(Bodies, InvertsWhatTheCpuInverts) {
  const Handle cuda(cuda_, flow_.view()), cpu(cpu_, flow_.view());
  const int64_t n = 130;
  const Drawn drawn = Draw(cpu_, cpu.get(), Names(n));
  std::vector<double> log_q(n), action(n), cpu_log_q(n), cpu_action(n);
  ASSERT_EQ(cuda_.flow_density(cuda.get(), n, drawn.links.data(), &kBeta, log_q.data(), action.data(), nullptr), HF_OK);
  ASSERT_EQ(cpu_.flow_density(cpu.get(), n, drawn.links.data(), &kBeta, cpu_log_q.data(), cpu_action.data(), nullptr),
            HF_OK);
  for (int64_t i = 0; i < n; ++i) {
    ASSERT_NEAR(log_q[i], cpu_log_q[i], 10 * tolerance_) << i;
    ASSERT_NEAR(log_q[i], drawn.log_q[i], 1e3 * tolerance_) << i;
    ASSERT_NEAR(action[i], cpu_action[i], 1e-11) << i;
  }
}

TEST_P(Bodies, BatchSlotSubBatchesAndGraphsChangeNoBit) {
  const Names all(700);
  Drawn whole = [&] {
    const Handle cuda(cuda_, flow_.view());
    return Draw(cuda_, cuda.get(), all);
  }();
  setenv("HAARFLOW_CUDA_BATCH", "256", 1);  // sub-batches of 256, 256 and 188
  const Handle cuda(cuda_, flow_.view());
  ExpectSameBits(Draw(cuda_, cuda.get(), all), whole);
  const int before = fake_cuda::control.graph_launches;
  ExpectSameBits(Draw(cuda_, cuda.get(), all), whole);
  EXPECT_EQ(fake_cuda::control.graph_launches - before, 3) << "the second draw replays graphs";
  for (const int64_t first : {0, 1, 130, 693}) {
    Names few(0);
    few.seed.assign(all.seed.begin() + first, all.seed.begin() + first + 7);
    few.index.assign(all.index.begin() + first, all.index.begin() + first + 7);
    const Drawn drawn = Draw(cuda_, cuda.get(), few);
    EXPECT_TRUE(std::equal(drawn.links.begin(), drawn.links.end(), whole.links.begin() + first * kLinks)) << first;
    EXPECT_TRUE(std::equal(drawn.log_q.begin(), drawn.log_q.end(), whole.log_q.begin() + first)) << first;
    EXPECT_TRUE(std::equal(drawn.action.begin(), drawn.action.end(), whole.action.begin() + first)) << first;
  }
}

TEST_P(Bodies, CircleMapsOnArraysAgree) {
  const int32_t map = GetParam().map, pieces = GetParam().pieces, count = Parameters(map, pieces);
  const int64_t n = 200;
  std::mt19937 random(3);
  std::normal_distribution<double> normal;
  const auto numbers = [&](int64_t size) {
    std::vector<double> v(size);
    for (double& d : v) d = normal(random);
    return v;
  };
  const auto x = numbers(n), p = numbers(n * count), gy = numbers(n), gl = numbers(n);
  const auto compare = [&](const auto& f) {
    std::vector<double> first[2] = {numbers(n), numbers(n)}, second[2] = {numbers(n * count), numbers(n * count)};
    EXPECT_EQ(f(cuda_, first[0].data(), second[0].data()), HF_OK);
    EXPECT_EQ(f(cpu_, first[1].data(), second[1].data()), HF_OK);
    for (int64_t i = 0; i < n; ++i) EXPECT_NEAR(first[0][i], first[1][i], 1e-10 * (1 + std::abs(first[1][i])));
    return std::make_pair(second[0], second[1]);
  };
  auto [l, cpu_l] = compare([&](const hf_kernels& k, double* y, double* s) {
    return k.circle_map_forward(map, pieces, n, x.data(), p.data(), y, s, nullptr);
  });
  for (int64_t i = 0; i < n; ++i) EXPECT_NEAR(l[i], cpu_l[i], 1e-11);
  std::tie(l, cpu_l) = compare([&](const hf_kernels& k, double* y, double* s) {
    return k.circle_map_inverse(map, pieces, n, x.data(), p.data(), y, s, nullptr);
  });
  for (int64_t i = 0; i < n; ++i) EXPECT_NEAR(l[i], cpu_l[i], 1e-10);
  std::tie(l, cpu_l) = compare([&](const hf_kernels& k, double* gx, double* gp) {
    return k.circle_map_backward(map, pieces, n, x.data(), p.data(), gy.data(), gl.data(), gx, gp, nullptr);
  });
  for (int64_t i = 0; i < n * count; ++i) EXPECT_NEAR(l[i], cpu_l[i], 1e-10 * (1 + std::abs(cpu_l[i])));
}

INSTANTIATE_TEST_SUITE_P(Maps, Bodies,
                         testing::Values(Case{HF_MAP_SPLINE, 8, false}, Case{HF_MAP_SPLINE, 5, true},
                                         Case{HF_MAP_SHARP_SPLINE, 6, false}, Case{HF_MAP_MOEBIUS, 1, false},
                                         Case{HF_MAP_MOEBIUS, 3, true}, Case{HF_MAP_NON_COMPACT, 1, true},
                                         Case{HF_MAP_NON_COMPACT, 6, false}),
                         [](const auto& info) {
                           const Case& c = info.param;
                           const char* map = c.map == HF_MAP_SPLINE         ? "Spline"
                                             : c.map == HF_MAP_SHARP_SPLINE ? "SharpSpline"
                                             : c.map == HF_MAP_MOEBIUS      ? "Moebius"
                                                                            : "NonCompact";
                           return map + std::to_string(c.pieces) + (c.double_network ? "Double" : "Float");
                         });

class Module : public testing::Test {
 protected:
  void SetUp() override {
    unsetenv("HAARFLOW_CUDA_BATCH");
    unsetenv("HAARFLOW_CUDA_GRAPHS");
    fake_cuda::control.largest_allocation = SIZE_MAX;
    fake_cuda::control.launch_error = 0;
    fake_cuda::control.wait_error = 0;
    fake_cuda::control.capture_fails = false;
  }
  void TearDown() override {
    SetUp();
    EXPECT_EQ(fake_cuda::control.live, 0) << "device resources leak";
  }
  const hf_kernels& cuda_ = *haarflow_kernels();
  RandomFlow flow_{kLinks, 3, HF_MAP_SPLINE, 4, false, 11};
};

TEST_F(Module, PriorIsTheNoiseOfBaseBitForBit) {
  const hf_u1_flow empty = {kLinks, 0, nullptr, flow_.view().plaquettes};
  const Handle handle(cuda_, empty);
  const Names names(300, (uint64_t{1} << 55) - 3);
  const Drawn drawn = Draw(cuda_, handle.get(), names);
  for (size_t i = 0; i < names.seed.size(); ++i) {
    EXPECT_EQ(drawn.log_q[i], 0);
    for (int32_t link = 0; link < kLinks; ++link) {
      const double u = UniformNoise(names.seed[i], NoisePurpose::kPrior, names.index[i], link);
      ASSERT_EQ(drawn.links[i * kLinks + link], (u - 0.5) * (2 * 3.14159265358979323846));
    }
  }
}

TEST_F(Module, NamesItsNumericsAfterTheArchitecture) {
  EXPECT_STREQ(cuda_.numerics, "cuda-sm_90-r1");
  EXPECT_EQ(cuda_.abi, HAARFLOW_KERNELS_ABI);
  EXPECT_EQ(cuda_.device_count(), 1);
}

TEST_F(Module, ThreadsShareAFlow) {
  setenv("HAARFLOW_CUDA_BATCH", "128", 1);
  const Handle handle(cuda_, flow_.view());
  const Names names(300);
  const Drawn expected = Draw(cuda_, handle.get(), names);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 3; ++i) ExpectSameBits(Draw(cuda_, handle.get(), names), expected);
    });
  }
  for (std::thread& t : threads) t.join();
}

TEST_F(Module, DevicesDrawTheSameBits) {
  const hf_u1_flow flow = flow_.view();
  ExpectDevicesAgree(cuda_, 40, [&](int32_t device) {
    return std::make_unique<FlowHandle>(cuda_, &kBeta, kLinks, [&](const hf_kernels& k, void** handle) {
      return k.flow_create(&flow, device, handle);
    });
  });
}

TEST_F(Module, TheFakeRefusesWorkThatMixesDevices) {
  fake_cuda::control.devices = 2;
  void* memory = nullptr;
  cudaStream_t stream = nullptr;
  ASSERT_EQ(cudaMalloc(&memory, 64), cudaSuccess);
  ASSERT_EQ(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), cudaSuccess);
  const auto launch = [&] {
    cudaLaunchConfig_t config = {};
    config.stream = stream;
    return cudaLaunchKernelEx(
        &config, +[](double* p) { *p = 1; }, static_cast<double*>(memory) + 7);
  };
  EXPECT_EQ(launch(), cudaSuccess);
  ASSERT_EQ(cudaSetDevice(1), cudaSuccess);
  EXPECT_EQ(launch(), cudaErrorInvalidResourceHandle) << "a stream of device 0";
  cudaStream_t first = std::exchange(stream, nullptr);
  EXPECT_EQ(launch(), cudaErrorIllegalAddress) << "memory of device 0";
  EXPECT_EQ(cudaSetDevice(2), cudaErrorInvalidDevice);
  ASSERT_EQ(cudaSetDevice(0), cudaSuccess);
  EXPECT_EQ(launch(), cudaSuccess);
  cudaStreamSynchronize(first);
  cudaStreamDestroy(first);
  cudaFree(memory);
  fake_cuda::control.devices = 1;
}

TEST_F(Module, TheCallersStreamIsUsed) {
  const Handle handle(cuda_, flow_.view());
  const Names names(40);
  const Drawn expected = Draw(cuda_, handle.get(), names);
  cudaStream_t stream = nullptr;
  cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  for (int i = 0; i < 3; ++i) ExpectSameBits(Draw(cuda_, handle.get(), names, stream), expected);
  cudaStreamDestroy(stream);
}

TEST_F(Module, WithoutGraphsNothingChanges) {
  const Handle handle(cuda_, flow_.view());
  const Names names(40);
  const Drawn expected = Draw(cuda_, handle.get(), names);
  const int before = fake_cuda::control.graph_launches;
  fake_cuda::control.capture_fails = true;
  ExpectSameBits(Draw(cuda_, handle.get(), names), expected);
  setenv("HAARFLOW_CUDA_GRAPHS", "0", 1);
  const Handle plain(cuda_, flow_.view());
  for (int i = 0; i < 3; ++i) ExpectSameBits(Draw(cuda_, plain.get(), names), expected);
  EXPECT_EQ(fake_cuda::control.graph_launches, before);
}

TEST_F(Module, LittleMemoryMeansSmallerSubBatches) {
  const Names names(2000);
  const Handle roomy(cuda_, flow_.view()), starved(cuda_, flow_.view());
  const Drawn expected = Draw(cuda_, roomy.get(), names);
  fake_cuda::control.largest_allocation = 1 << 20;
  const Handle tight(cuda_, flow_.view());
  ExpectSameBits(Draw(cuda_, tight.get(), names), expected);
  fake_cuda::control.largest_allocation = 1 << 14;
  int32_t code = HF_OK;
  const Drawn none(cuda_, starved.get(), kLinks, names.seed, names.index, kBeta, &code);
  EXPECT_EQ(code, HF_NO_MEMORY);
  EXPECT_NE(std::string(cuda_.last_error()).find("cudaMalloc"), std::string::npos) << cuda_.last_error();
  fake_cuda::control.largest_allocation = SIZE_MAX;
  ExpectSameBits(Draw(cuda_, starved.get(), names), expected);
}

TEST_F(Module, FaultsAreToldApart) {
  const Handle handle(cuda_, flow_.view());
  const Names names(40);
  const Drawn expected = Draw(cuda_, handle.get(), names);
  const auto code_of = [&] {
    int32_t code = HF_OK;
    const Drawn drawn(cuda_, handle.get(), kLinks, names.seed, names.index, kBeta, &code);
    return code;
  };
  fake_cuda::control.wait_error = cudaErrorIllegalAddress;
  EXPECT_EQ(code_of(), HF_DEVICE_LOST);
  EXPECT_EQ(std::string(cuda_.last_error()), "cudaEventSynchronize: cudaErrorFake, an injected fault");
  fake_cuda::control.wait_error = 0;
  fake_cuda::control.launch_error = cudaErrorInvalidValue;
  EXPECT_EQ(code_of(), HF_DEVICE_ERROR);
  fake_cuda::control.launch_error = 0;
  ExpectSameBits(Draw(cuda_, handle.get(), names), expected);
}

TEST_F(Module, TablesThatWouldRaceOrReadOutsideAreRefused) {
  void* handle = nullptr;
  hf_u1_flow flow = flow_.view();
  EXPECT_EQ(cuda_.flow_create(&flow, 1, &handle), HF_INVALID);
  std::vector<hf_u1_coupling> layers(flow.layer, flow.layer + flow.layers);
  flow.layer = layers.data();
  const auto refused = [&](const std::string& why) {
    EXPECT_EQ(cuda_.flow_create(&flow, 0, &handle), HF_INVALID);
    EXPECT_NE(std::string(cuda_.last_error()).find(why), std::string::npos) << cuda_.last_error();
    layers.assign(flow_.view().layer, flow_.view().layer + flow.layers);
  };
  std::vector<int32_t> loops(layers[0].active_loops.links, layers[0].active_loops.links + 4 * layers[0].active);
  layers[0].active_loops.links = loops.data();
  loops[0] = 2 * layers[0].active_links[1];
  refused("layer 0: active loop 0 runs through another active link");
  loops[0] = 2 * kLinks;
  layers[0].active_loops.links = loops.data();
  refused("unknown link");
  std::vector<hf_stage> stages(layers[1].stage, layers[1].stage + layers[1].stages);
  layers[1].stage = stages.data();
  stages[1].rows_per_tap = 1000;
  refused("layer 1: stage 1: a tap reads outside its input");
  layers[1].pieces = 65;
  refused("unknown circle map");
  EXPECT_EQ(cuda_.circle_map_forward(9, 1, 1, nullptr, nullptr, nullptr, nullptr, nullptr), HF_INVALID);
}

}  // namespace
}  // namespace haarflow
