// The launches of one sub-batch of a loop flow, in order.
#pragma once

#include <algorithm>

#include "core/kernel/cuda/continuous_loop_bodies.h"
#include "core/kernel/cuda/loop_tables.h"
#include "core/kernel/cuda/program.h"

namespace haarflow::HF_ISA::sun {

#ifdef __CUDACC__
__device__ __forceinline__ double* SharedNumbers() {
  extern __shared__ double haarflow_shared[];
  return haarflow_shared;
}
#else
inline double* SharedNumbers() { return static_cast<double*>(fake_cuda::shared_memory); }
#endif

// body(link, configuration, shared memory, scratch memory) of every active link and configuration. A block's warps are
// four links of the same configurations; neighbouring blocks are further links of these, so that those at work at one
// time read a field that the second-level cache holds.
template <class Body>
__global__ void __launch_bounds__(kLinkThreads, Body::kMinBlocks) RunLinks(const __grid_constant__ Body body) {
  constexpr int32_t kAtOnce = kLinkThreads / kWarp;
  const int32_t groups = (body.active + kAtOnce - 1) / kAtOnce;
  const int64_t items = (body.batch + kWarp - 1) / kWarp * groups;
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  double* const scratch = body.scratch + blockIdx.x * body.scratch_numbers * kLinkThreads + thread;
  for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
    const int32_t link = static_cast<int32_t>(item % groups) * kAtOnce + thread / kWarp;
    const int64_t configuration = item / groups * kWarp + thread % kWarp;
    if (link < body.active && configuration < body.batch) body(link, configuration, SharedNumbers() + thread, scratch);
  }
}

// How the blocks that update links look. No bit depends on it. Environment, for measurements and tests:
// HAARFLOW_CUDA_SHARED_BYTES lowers what a multiprocessor's blocks may use together.
struct LoopLayout {
  int64_t shared_bytes = 0, shared_limit = 0, blocks = 0, scratch_numbers = 0;
  int32_t shared_slots = 0;

  static constexpr int64_t kBlocksAtOnce = 2, kReservedBytes = 1024;

  template <int N>
  static LoopLayout For(const LoopTables& tables, const DeviceLimits& limits) {
    constexpr int64_t kSlotBytes = int64_t{Group<N>::kNumbers} * kLinkThreads * 8;
    const int64_t most = std::min(limits.shared_bytes, FromEnvironment("HAARFLOW_CUDA_SHARED_BYTES", 1 << 30));
    const int64_t of_block = std::max<int64_t>(0, most / kBlocksAtOnce - kReservedBytes);
    LoopLayout layout;
    layout.shared_slots = static_cast<int32_t>(std::min<int64_t>(tables.slots, of_block / kSlotBytes));
    layout.shared_bytes = layout.shared_slots * kSlotBytes;
    layout.shared_limit = limits.shared_bytes;
    layout.blocks = kBlocksAtOnce * limits.multiprocessors;
    // A program with fewer slots than the largest leaves shared memory unused, and needs no more of the rest.
    layout.scratch_numbers =
        LinkMemory<N>::ScratchNumbers(std::max(tables.slots, layout.shared_slots), layout.shared_slots, tables.scalars);
    return layout;
  }
  int64_t scratch_bytes() const { return scratch_numbers * kLinkThreads * blocks * 8; }
};

template <int N>
class LoopLauncher {
 public:
  LoopLauncher(const LoopTables& flow, const LoopLayout& layout, cudaStream_t stream, const Buffers& b, int64_t batch)
      : flow_(flow), layout_(layout), stream_(stream), b_(b), batch_(batch), log_q_(b.results + batch * field()) {}

  // From names and the action's numbers to fields, log q and action.
  int32_t Draw() {
    HF_TRY(Launch(stream_, flow_.links, batch_, HaarBody<N>{b_.names, b_.columns, batch_}));
    HF_TRY(Map<false>());
    HF_TRY(Action());
    return Launch(stream_, static_cast<int32_t>(field()), batch_,
                  ToMatricesBody<N>{b_.columns, b_.results, field(), batch_});
  }

  // From fields in `results` and the action's numbers to log q and action.
  int32_t Density() {
    constexpr int32_t kNumbers = Group<N>::kNumbers;
    HF_TRY(
        Launch(stream_, flow_.links * kNumbers, batch_, FromMatricesBody<N>{b_.results, b_.columns, field(), batch_}));
    HF_TRY(Action());
    return Map<true>();
  }

 private:
  int64_t field() const { return int64_t{flow_.links} * 2 * N * N; }

  template <bool kInverse>
  int32_t Map() {
    const bool continuous = flow_.integration_steps > 0;
    const int32_t rows = continuous ? flow_.links : flow_.active;
    HF_CUDA(cudaMemsetAsync(b_.sums, 0, rows * batch_ * sizeof(double), stream_));
    if (continuous) {
      HF_TRY(Integrate(kInverse));
    } else {
      const size_t passes = flow_.passes.size();
      for (size_t p = 0; p < passes; ++p) HF_TRY(Update<kInverse>(flow_.passes[kInverse ? passes - 1 - p : p]));
    }
    // Backwards, the integral is minus the forward map's; an update's row is that of the forward map always.
    const double sign = continuous && kInverse ? 1.0 : -1.0;
    return Launch(stream_, 1, batch_, LoopLogQBody{sign, rows, b_.sums, log_q_, batch_});
  }

  // What launches over a step's links have in common.
  template <class Body>
  Body LinksOf(const hf_loop_pass& pass, int64_t row) const {
    const LoopStepTable& step = flow_.steps[pass.step];
    Body body = {};
    body.program = flow_.programs[step.program];
    body.active = step.active;
    body.shared_slots = std::min(layout_.shared_slots, body.program.slots);
    body.link = step.link;
    body.input = step.input;
    body.coefficient = flow_.coefficient + row * flow_.columns;
    body.scratch = static_cast<double*>(b_.scratch);
    body.batch = batch_;
    body.scratch_numbers = layout_.scratch_numbers;
    return body;
  }

  template <bool kInverse>
  int32_t Update(const hf_loop_pass& pass) {
    auto body = LinksOf<LinkUpdateBody<N, kInverse>>(pass, pass.row);
    body.links = b_.columns;
    body.log_det = b_.sums;
    return LaunchLinks(body);
  }

  // Y4 replaces Y3, what the first move makes of y replaces Y2.
  int32_t Integrate(bool backwards) {
    double* const y = b_.columns;
    double* const second = y + flow_.links * Group<N>::kNumbers * batch_;
    double* const third = second + flow_.links * Group<N>::kNumbers * batch_;
    force_ = third + flow_.links * Group<N>::kNumbers * batch_;
    const int32_t steps = flow_.integration_steps, direction = backwards ? -1 : 1;
    const double h = static_cast<double>(direction) / steps;
    for (int32_t n = 0; n < steps; ++n) {
      const int64_t row = 2 * int64_t{backwards ? steps - n : n};
      HF_TRY(Velocity(0, y, row, h));
      HF_TRY(Move(kernel::kSecond, h, y, second));
      HF_TRY(Velocity(1, second, row + direction * kernel::kNode[1], h));
      HF_TRY(Move(kernel::kThird, h, y, third));
      HF_TRY(Velocity(2, third, row + direction * kernel::kNode[2], h));
      HF_TRY(Move(kernel::kFourth, h, second, third));
      HF_TRY(Velocity(3, third, row + direction * kernel::kNode[3], h));
      HF_TRY(Move(kernel::kFirstMove, h, y, second));
      HF_TRY(Move(kernel::kLastMove, h, second, y));
    }
    return HF_OK;
  }
  int64_t force_stride() const { return int64_t{flow_.links} * Group<N>::kDim * batch_; }
  int32_t Velocity(int stage, const double* field, int64_t row, double h) {
    for (const hf_loop_pass& pass : flow_.passes) {
      auto body = LinksOf<VelocityBody<N>>(pass, row);
      body.field = field;
      body.force = force_ + stage * force_stride();
      body.integral = b_.sums;
      body.weight = h * kernel::kQuadrature[stage];
      HF_TRY(LaunchLinks(body));
    }
    return HF_OK;
  }
  int32_t Move(const double* weight, double h, const double* from, double* to) {
    MoveBody<N> body = {{}, force_, force_stride(), from, to, b_.sums, batch_};
    for (int s = 0; s < kernel::kStages; ++s) body.weight[s] = h * weight[s];
    return Launch(stream_, flow_.links, batch_, body);
  }

  template <class Body>
  int32_t LaunchLinks(const Body& body) {
    constexpr int64_t kWithoutAsking = 48 << 10, kAtOnce = kLinkThreads / kWarp;
    const int64_t items = (batch_ + kWarp - 1) / kWarp * ((body.active + kAtOnce - 1) / kAtOnce);
    if (items < 1) return HF_OK;
    if (layout_.shared_bytes > kWithoutAsking) {
      // Always the limit: other threads launch the same kernel with other sizes.
      HF_CUDA(cudaFuncSetAttribute(RunLinks<Body>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                   static_cast<int>(layout_.shared_limit)));
    }
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(static_cast<unsigned>(std::min(items, layout_.blocks)));
    config.blockDim = dim3(kLinkThreads);
    config.dynamicSmemBytes = static_cast<size_t>(layout_.shared_bytes);
    config.stream = stream_;
    HF_CUDA(cudaLaunchKernelEx(&config, RunLinks<Body>, body));
    return HF_OK;
  }

  int32_t Action() {
    const int32_t plaquettes = TraceRows(flow_.plaquettes.n), rectangles = TraceRows(flow_.rectangles.n);
    const double* couplings = b_.couplings(batch_);
    HF_TRY(Launch(stream_, plaquettes + rectangles, batch_,
                  TracesBody<N>{flow_.plaquettes, flow_.rectangles, b_.columns, couplings, b_.sums, batch_}));
    return Launch(stream_, 1, batch_,
                  LoopActionBody<N>{plaquettes, rectangles, b_.sums, couplings, log_q_ + batch_, batch_});
  }

  const LoopTables& flow_;
  const LoopLayout& layout_;
  const cudaStream_t stream_;
  const Buffers& b_;
  const int64_t batch_;
  double* const log_q_;
  double* force_ = nullptr;
};

}  // namespace haarflow::HF_ISA::sun
