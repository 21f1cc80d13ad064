// Loop flows of the CUDA module on the CPU (fake/cuda_runtime.h) against the CPU table: drawn, inverted, and the bits
// of a proposal.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "core/kernel/kernels.h"
#include "fake/cuda_runtime.h"
#include "flow_checks.h"
#include "loop_cases.h"

extern "C" const hf_kernels* haarflow_kernels(void);

namespace haarflow {
namespace {

void Reset() {
  for (const char* name : {"HAARFLOW_CUDA_BATCH", "HAARFLOW_CUDA_GRAPHS", "HAARFLOW_CUDA_SHARED_BYTES"}) unsetenv(name);
  fake_cuda::control.largest_allocation = SIZE_MAX;
  fake_cuda::control.launch_error = 0;
  fake_cuda::control.wait_error = 0;
  fake_cuda::control.capture_fails = false;
  fake_cuda::control.shared_bytes = 227 << 10;
}

class LoopBodies : public ::testing::TestWithParam<LoopCase> {
 protected:
  void SetUp() override { Reset(); }
  void TearDown() override { Reset(); }
  const hf_kernels& cuda_ = *haarflow_kernels();
  const hf_kernels& cpu_ = CpuKernels();
  const LoopTablesOf tables_{GetParam()};
  const int64_t size_ = tables_.field_size();
  const int64_t some_ = size_ > 4096 ? 3 : 19;
};

TEST_P(LoopBodies, DrawsAndInvertsWhatTheCpuDoes) {
  const LoopHandle cuda(cuda_, tables_), cpu(cpu_, tables_);
  const FlowResults drawn = cpu.Draw(0, some_);
  for (const double log_q : drawn.log_q) ASSERT_TRUE(std::isfinite(log_q)) << "the case folds";
  ExpectClose(cuda.Draw(0, some_), drawn, GetParam().tolerance);
  const FlowResults density = cuda.Density(drawn.field);
  ExpectClose(density, cpu.Density(drawn.field), GetParam().tolerance);
  if (GetParam().inverts) ExpectClose(density, drawn, GetParam().tolerance);
}

// Cases that are quick to draw again and again.
class LoopBits : public LoopBodies {};
std::vector<LoopCase> SmallLoopCases() {
  std::vector<LoopCase> small;
  for (const LoopCase& c : LoopCases()) {
    if (LoopTablesOf(c).field_size() <= 8192) small.push_back(c);
  }
  return small;
}

TEST_P(LoopBits, BatchSlotAndSubBatchesChangeNoBit) {
  const FlowResults whole = LoopHandle(cuda_, tables_).Draw(0, some_);
  const FlowResults density = LoopHandle(cuda_, tables_).Density(whole.field);
  setenv("HAARFLOW_CUDA_BATCH", "8", 1);
  const LoopHandle cuda(cuda_, tables_);
  ExpectSameBits(cuda.Draw(0, some_), whole);
  ExpectSameBits(cuda.Draw(0, some_), whole);  // as a graph
  ExpectSameBits(cuda.Density(whole.field), density);
  for (const int64_t i : {int64_t{0}, some_ - 1}) {
    ExpectSameBits(cuda.Draw(i, 1), whole.Of(i, size_));
    ExpectSameBits(cuda.Density(whole.Of(i, size_).field), density.Of(i, size_));
  }
}

TEST_P(LoopBits, WhereMatricesLieChangesNoBit) {
  const FlowResults whole = LoopHandle(cuda_, tables_).Draw(0, 3);
  for (const char* bytes : {"0", "50000", "200000"}) {
    setenv("HAARFLOW_CUDA_SHARED_BYTES", bytes, 1);
    const LoopHandle cuda(cuda_, tables_);
    ExpectSameBits(cuda.Draw(0, 3), whole);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, LoopBodies, ::testing::ValuesIn(LoopCases()),
                         [](const auto& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(Cases, LoopBits, ::testing::ValuesIn(SmallLoopCases()),
                         [](const auto& info) { return info.param.name; });

class LoopModule : public ::testing::Test {
 protected:
  void SetUp() override { Reset(); }
  void TearDown() override {
    Reset();
    EXPECT_EQ(fake_cuda::control.live, 0) << "device resources leak";
  }
  const hf_kernels& cuda_ = *haarflow_kernels();
};

TEST_F(LoopModule, NamesAtTheEndsOfTheirRangeDrawTheLinksOfTheCpu) {
  for (const char* name : {"Su2Products", "Su3Products"}) {
    const LoopTablesOf tables(LoopCaseNamed(name));
    hf_loop_flow flow = tables.view();
    flow.passes = 0;
    void* handle[2] = {};
    const hf_kernels* kernels[2] = {&cuda_, &CpuKernels()};
    for (const uint64_t index : {uint64_t{0}, kMaxSampleIndex}) {
      const uint64_t seed = ~index;
      std::vector<double> field[2];
      for (int i = 0; i < 2; ++i) {
        ASSERT_EQ(kernels[i]->loop_flow_create(&flow, 0, &handle[i]), HF_OK);
        field[i].resize(tables.field_size());
        double log_q = 1, action;
        ASSERT_EQ(kernels[i]->flow_draw(handle[i], 1, &seed, &index, tables.couplings(), field[i].data(), &log_q,
                                        &action, nullptr),
                  HF_OK);
        EXPECT_EQ(log_q, 0);
        kernels[i]->flow_destroy(handle[i]);
      }
      // Normal numbers of the same names; what rounds differently are a logarithm, a sine and a norm.
      for (size_t i = 0; i < field[0].size(); ++i) ASSERT_NEAR(field[0][i], field[1][i], 1e-14) << i;
    }
  }
}

// A map that folds, or whose force is too large for its exponential, has no density.
TEST_F(LoopModule, FoldsAreNotANumberWhereTheyAreOnTheCpu) {
  for (const char* name : {"Su2L4x8", "Su3L4x8"}) {
    LoopCase large = LoopCaseNamed(name);
    large.size *= 3;
    const LoopTablesOf tables(large);
    const LoopHandle cuda(cuda_, tables), cpu(CpuKernels(), tables);
    const FlowResults a = cuda.Draw(0, 32), b = cpu.Draw(0, 32);
    int folds = 0;
    for (size_t i = 0; i < a.log_q.size(); ++i) {
      EXPECT_EQ(std::isnan(a.log_q[i]), std::isnan(b.log_q[i])) << i;
      folds += std::isnan(a.log_q[i]);
    }
    EXPECT_GT(folds, 0);
  }
}

TEST_F(LoopModule, FieldsThatAreNotFiniteStayAlone) {
  const LoopTablesOf tables(LoopCaseNamed("Su3Products"));
  const LoopHandle cuda(cuda_, tables);
  const FlowResults drawn = cuda.Draw(0, 4);
  std::vector<double> field = drawn.field;
  field[tables.field_size() + 5] = std::nan("");
  const FlowResults density = cuda.Density(field);
  EXPECT_TRUE(std::isnan(density.log_q[1]));
  EXPECT_EQ(density.log_q[0], cuda.Density(drawn.field).log_q[0]);
  EXPECT_FALSE(std::isnan(density.log_q[2]));
}

TEST_F(LoopModule, APassIsOneLaunch) {
  const LoopTablesOf tables(LoopCaseNamed("Su3Products"));
  const LoopHandle cuda(cuda_, tables);
  const int before = fake_cuda::control.kernel_launches;
  cuda.Draw(0, 8);
  // Haar links, log q, traces and their sum, matrices.
  EXPECT_EQ(fake_cuda::control.kernel_launches - before, tables.view().passes + 5);
}

TEST_F(LoopModule, ThreadsShareAFlow) {
  setenv("HAARFLOW_CUDA_BATCH", "8", 1);
  const LoopTablesOf tables(LoopCaseNamed("Su2Products"));
  const LoopHandle cuda(cuda_, tables);
  ExpectThreadsShare(cuda, 20, 3, 2);
}

TEST_F(LoopModule, DevicesDrawTheSameBits) {
  const LoopTablesOf tables(LoopCaseNamed("Su3Products"));
  const hf_loop_flow flow = tables.view();
  ExpectDevicesAgree(cuda_, 8, [&](int32_t device) {
    return std::make_unique<FlowHandle>(
        cuda_, tables.couplings(), tables.field_size(),
        [&](const hf_kernels& k, void** handle) { return k.loop_flow_create(&flow, device, handle); });
  });
}

TEST_F(LoopModule, FaultsAreToldApart) {
  const LoopTablesOf tables(LoopCaseNamed("Su2Products"));
  const LoopHandle cuda(cuda_, tables);
  ExpectFaultsAreToldApart(cuda, 8);
}

TEST_F(LoopModule, WrongTablesAndRacesAreRefused) {
  const LoopTablesOf tables(LoopCaseNamed("Su3Products"));
  const auto refused = [&](const hf_loop_flow& flow, const std::string& why) {
    void* handle = nullptr;
    EXPECT_EQ(cuda_.loop_flow_create(&flow, 0, &handle), HF_INVALID);
    EXPECT_NE(std::string(cuda_.last_error()).find(why), std::string::npos) << cuda_.last_error();
  };
  hf_loop_flow flow = tables.view();
  flow.colours = 4;
  refused(flow, "colours");
  flow = tables.view();
  std::vector<hf_loop_step> steps(flow.step, flow.step + flow.steps);
  flow.step = steps.data();
  const int32_t inputs = flow.program[steps[0].program].inputs;
  std::vector<int32_t> input(steps[0].input, steps[0].input + int64_t{steps[0].active} * inputs);
  steps[0].input = input.data();
  input[3] = steps[0].link[1];
  refused(flow, "a step reads its active link");
  input[3] = flow.links;
  refused(flow, "unknown link");
  steps[0] = tables.view().step[0];
  std::vector<int32_t> links(steps[0].link, steps[0].link + steps[0].active);
  steps[0].link = links.data();
  links[1] = links[0];
  refused(flow, "active twice");
  flow = tables.view();
  std::vector<hf_link_program> programs(flow.program, flow.program + flow.programs);
  flow.program = programs.data();
  std::vector<hf_matrix_op> ops(programs[0].op, programs[0].op + programs[0].ops);
  programs[0].op = ops.data();
  std::swap(ops.front().a, ops.back().a);
  ops.front().a = 2 * (programs[0].inputs + programs[0].linear);
  refused(flow, "before it is written");
  void* handle = nullptr;
  EXPECT_EQ(cuda_.loop_flow_create(&tables.view(), 1, &handle), HF_INVALID);
}

TEST_F(LoopModule, LittleMemoryMeansSmallerSubBatchesOrNone) {
  const LoopTablesOf tables(LoopCaseNamed("Su2Products"));
  const LoopHandle roomy(cuda_, tables), tight(cuda_, tables), starved(cuda_, tables);
  const FlowResults expected = roomy.Draw(0, 40);
  // The scratch memory of the blocks and the fields of 8 configurations, but not of 40.
  fake_cuda::control.largest_allocation = 100 << 10;
  ExpectSameBits(tight.Draw(0, 40), expected);
  fake_cuda::control.largest_allocation = 256;
  int32_t code = HF_OK;
  starved.Draw(0, 40, &code);
  EXPECT_EQ(code, HF_NO_MEMORY);
  void* handle = nullptr;
  EXPECT_EQ(cuda_.loop_flow_create(&tables.view(), 0, &handle), HF_NO_MEMORY);
}

}  // namespace
}  // namespace haarflow
