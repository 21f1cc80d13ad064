// draw_rate SPEC.txtpb [device] [configurations per draw] [seconds]: proposals per second of a spec with initial
// weights (the arithmetic does not depend on their values), beside the networks' multiply-adds. Devices as users write
// them: cuda:0, or cpu (one thread here).
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "core/base/file.h"
#include "core/base/status.h"
#include "core/flow/parameters.h"
#include "core/flow/u1_plan.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "core/model/spec.h"

namespace haarflow {
namespace {

TensorMap InitialWeights(const U1FlowPlan& plan) {
  const ParameterLayout layout(plan);
  const std::vector<double> values = layout.InitialValues(plan, 1);
  TensorMap tensors;
  for (const ParameterBlock& block : layout.blocks()) {
    const auto first = values.begin() + block.offset;
    const auto type = block.double_network ? Tensor::Type::kFloat64 : Tensor::Type::kFloat32;
    tensors.emplace(block.name, Tensor::FromDoubles(type, block.shape, {first, first + block.size}));
  }
  return tensors;
}

absl::Status Measure(const std::string& path, const std::string& device_name, int64_t n, double seconds) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxSpecBytes));
  ASSIGN_OR_RETURN(const v1::ModelSpec spec, ParseSpec(text));
  ASSIGN_OR_RETURN(const U1FlowPlan plan, PlanU1Flow(spec));
  ASSIGN_OR_RETURN(const Device device, ParseDevice(device_name));
  ASSIGN_OR_RETURN(const hf_kernels* kernels, KernelsFor(device));
  const int number = device.kind == Device::Kind::kCuda ? device.number : 0;
  ASSIGN_OR_RETURN(const auto model, Model::Create(spec, InitialWeights(plan), *kernels, number));
  std::vector<uint64_t> seed(n, 1), index(n);
  for (int64_t i = 0; i < n; ++i) index[i] = i;
  Proposals proposals;
  for (int i = 0; i < 3; ++i)
    RETURN_IF_ERROR(model->Draw(model->target(), seed, index, &proposals));  // warm: modules, graphs
  int64_t draws = 0;
  double elapsed = 0;
  for (const auto start = std::chrono::steady_clock::now(); elapsed < seconds; ++draws) {
    RETURN_IF_ERROR(model->Draw(model->target(), seed, index, &proposals));
    elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  const double rate = static_cast<double>(draws * n) / elapsed;
  std::printf("%-20s %-16s n %6lld: %12.0f proposals/s, %9.3f us each, networks %8.2f GFLOP/s\n", spec.name().c_str(),
              model->numerics_class().c_str(), static_cast<long long>(n), rate, 1e6 / rate,
              2e-9 * static_cast<double>(plan.multiply_adds()) * rate);
  return absl::OkStatus();
}

}  // namespace
}  // namespace haarflow

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: draw_rate SPEC.txtpb [device] [configurations per draw] [seconds]\n");
    return 2;
  }
  const int64_t n = argc > 3 ? std::atoll(argv[3]) : 4096;
  const absl::Status status =
      haarflow::Measure(argv[1], argc > 2 ? argv[2] : "cuda:0", n < 1 ? 1 : n, argc > 4 ? std::atof(argv[4]) : 2.0);
  if (status.ok()) return 0;
  std::fprintf(stderr, "draw_rate: %s\n", status.ToString().c_str());
  return 1;
}
