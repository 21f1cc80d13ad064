// draw_rate SPEC.txtpb [device] [configurations per draw] [seconds] [steps]: proposals per second of a spec with
// initial weights (the arithmetic does not depend on their values), beside its arithmetic: of networks their
// multiply-adds x 2, of continuous flows (`steps` Runge-Kutta steps, default 10) the double-precision instructions of
// the floor in core/kernel/cuda/continuous.h, of loop flows the operations of tests/bench/loop_floor.h. Devices as
// users write them: cuda:0, or cpu (one thread here).
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "core/base/file.h"
#include "core/base/status.h"
#include "core/flow/loop_plan.h"
#include "core/flow/parameters.h"
#include "core/flow/scalar_plan.h"
#include "core/flow/u1_plan.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "core/model/spec.h"
#include "tests/bench/loop_floor.h"

namespace haarflow {
namespace {

TensorMap Tensors(const ParameterLayout& layout, const std::vector<double>& values) {
  TensorMap tensors;
  for (const ParameterBlock& block : layout.blocks()) {
    const auto first = values.begin() + block.offset;
    const auto type = block.float64 ? Tensor::Type::kFloat64 : Tensor::Type::kFloat32;
    tensors.emplace(block.name, Tensor::FromDoubles(type, block.shape, {first, first + block.size}));
  }
  return tensors;
}

// What one proposal computes, in three currencies.
struct Arithmetic {
  double network_flops = 0;
  double link_flops = 0;
  double double_instructions = 0;
};

Arithmetic Count(const ScalarFlowPlan& plan, int32_t steps) {
  Arithmetic sum;
  const auto sites = static_cast<double>(plan.lattice.volume());
  for (const ScalarLayerPlan& layer : plan.layers) {
    if (layer.continuous.has_value()) {
      const double sines = layer.continuous->frequencies;
      const double per_site = 24 * sines + (sines + 1) * (1.3 * std::log2(sites) + 4);
      sum.double_instructions += 4.0 * steps * sites * plan.components * per_site;
    } else {
      for (const StagePlan& s : layer.coupling->stages) {
        const double taps = static_cast<double>(s.tap_input.size());
        sum.network_flops += (layer.coupling->odd ? 4 : 2) * taps * s.rows_per_tap * s.out_channels;
      }
    }
  }
  return sum;
}

absl::Status Measure(const std::string& path, const std::string& device_name, int64_t n, double seconds,
                     int32_t steps) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxSpecBytes));
  ASSIGN_OR_RETURN(const v1::ModelSpec spec, ParseSpec(text));
  TensorMap tensors;
  Arithmetic arithmetic;
  if (spec.target().has_phi4()) {
    ASSIGN_OR_RETURN(const ScalarFlowPlan plan, PlanScalarFlow(spec));
    tensors = Tensors(plan.layout, plan.InitialValues(1));
    if (plan.has_continuous_layer()) {
      tensors.emplace("steps", Tensor::FromDoubles(Tensor::Type::kFloat64, {1}, {static_cast<double>(steps)}));
    }
    arithmetic = Count(plan, steps);
  } else if (spec.target().has_sun_wilson()) {
    ASSIGN_OR_RETURN(const LoopFlowPlan plan, PlanLoopFlow(spec, spec.target()));
    tensors = Tensors(plan.layout, plan.InitialValues(spec.target().sun_wilson().beta()));
    if (plan.is_continuous()) {
      tensors.emplace("steps", Tensor::FromDoubles(Tensor::Type::kFloat64, {1}, {static_cast<double>(steps)}));
    }
    arithmetic.link_flops = LoopFloorOf(plan, steps).flops;
  } else {
    ASSIGN_OR_RETURN(const U1FlowPlan plan, PlanU1Flow(spec));
    tensors = Tensors(U1ParameterLayout(plan), U1InitialValues(plan, 1));
    arithmetic.network_flops = 2 * static_cast<double>(plan.multiply_adds());
  }
  ASSIGN_OR_RETURN(const Device device, ParseDevice(device_name));
  ASSIGN_OR_RETURN(const hf_kernels* kernels, KernelsFor(device));
  const int number = device.kind == Device::Kind::kCuda ? device.number : 0;
  ASSIGN_OR_RETURN(const auto model, Model::Create(spec, tensors, *kernels, number));
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
  std::printf("%-20s %-16s n %6lld: %12.0f proposals/s, %9.3f us each", spec.name().c_str(),
              model->numerics_class().c_str(), static_cast<long long>(n), rate, 1e6 / rate);
  if (arithmetic.network_flops > 0) std::printf(", networks %8.2f GFLOP/s", 1e-9 * arithmetic.network_flops * rate);
  if (arithmetic.link_flops > 0) std::printf(", %8.2f GFLOP/s", 1e-9 * arithmetic.link_flops * rate);
  if (arithmetic.double_instructions > 0) {
    std::printf(", %8.2f G double instructions/s", 1e-9 * arithmetic.double_instructions * rate);
  }
  std::printf("\n");
  return absl::OkStatus();
}

}  // namespace
}  // namespace haarflow

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: draw_rate SPEC.txtpb [device] [configurations per draw] [seconds] [steps]\n");
    return 2;
  }
  const int64_t n = argc > 3 ? std::atoll(argv[3]) : 4096;
  const absl::Status status =
      haarflow::Measure(argv[1], argc > 2 ? argv[2] : "cuda:0", n < 1 ? 1 : n, argc > 4 ? std::atof(argv[4]) : 2.0,
                        argc > 5 ? std::atoi(argv[5]) : 10);
  if (status.ok()) return 0;
  std::fprintf(stderr, "draw_rate: %s\n", status.ToString().c_str());
  return 1;
}
