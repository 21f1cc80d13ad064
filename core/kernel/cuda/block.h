// A block of threads that work together, in phases: between two phases all threads wait for each other. On the CPU
// (tests/gpu) one thread runs each phase for all threads, in an order that tests choose: nothing may rely on one.
//
// A block works on groups of `configurations` configurations, `threads` threads each. What a thread keeps between
// phases is its Thread, which lives in registers: bodies index its arrays by compile-time constants alone.
#pragma once

#include <vector>

#include "core/kernel/cuda/cas_points.h"
#include "core/kernel/cuda/runtime.h"

#ifdef __CUDACC__
#define HF_BLOCK_FN __device__ __forceinline__
#else
#define HF_BLOCK_FN inline
#endif

namespace haarflow::HF_ISA {

struct BlockShape {
  int32_t threads;         // of one configuration
  int32_t configurations;  // of one block at a time; all threads in one warp where they are several
  int64_t batch;           // configurations in all
  int32_t block_threads() const { return (threads * configurations + kWarp - 1) / kWarp * kWarp; }
  int64_t groups() const { return (batch + configurations - 1) / configurations; }
};

template <class Thread>
class Block {
 public:
#ifdef __CUDACC__
  HF_BLOCK_FN explicit Block(const BlockShape& shape)
      : shape_(shape), lane_(threadIdx.x % shape.threads), slot_(threadIdx.x / shape.threads) {}

  // f(lane, slot, configuration, thread) for each thread of each configuration of the group at hand.
  template <class F>
  HF_BLOCK_FN void Phase(const F& f) {
    const int64_t configuration = first_ + slot_;
    if (slot_ < shape_.configurations && configuration < shape_.batch) f(lane_, slot_, configuration, thread_);
    if (shape_.threads * shape_.configurations <= kWarp) {
      __syncwarp();
    } else {
      __syncthreads();
    }
  }
  HF_BLOCK_FN static double* shared() {
    extern __shared__ double haarflow_shared[];
    return haarflow_shared;
  }
#else
  explicit Block(const BlockShape& shape) : shape_(shape), threads_(shape.threads * shape.configurations) {}
  template <class F>
  void Phase(const F& f) {
    const int32_t n = shape_.threads * shape_.configurations;
    for (int32_t i = 0; i < n; ++i) {
      const int32_t t = fake_cuda::ThreadInOrder(i, n), slot = t / shape_.threads;
      if (first_ + slot < shape_.batch) f(t % shape_.threads, slot, first_ + slot, threads_[t]);
    }
  }
  static double* shared() { return static_cast<double*>(fake_cuda::shared_memory); }
#endif

  // g() for each group of this block.
  template <class G>
  HF_BLOCK_FN void ForGroups(const G& g) {
    for (int64_t group = blockIdx.x; group < (shape_.batch + shape_.configurations - 1) / shape_.configurations;
         group += gridDim.x) {
      first_ = group * shape_.configurations;
      g();
    }
  }

  // out[configuration] += base + the sum of partial(thread) over its threads, in one order. `sums`: [threads of the
  // block].
  template <class P>
  HF_BLOCK_FN void AddSum(double* sums, double base, const P& partial, double* out) {
    const int32_t threads = shape_.threads;
    Phase([&](int32_t lane, int32_t slot, int64_t, Thread& t) HF_LAMBDA { sums[slot * threads + lane] = partial(t); });
    int32_t width = 1;
    while (2 * width < threads) width *= 2;
    for (; threads > 1 && width > 0; width /= 2) {
      Phase([&](int32_t lane, int32_t slot, int64_t, Thread&) HF_LAMBDA {
        double* s = sums + slot * threads;
        if (lane < width && lane + width < threads) s[lane] = s[lane] + s[lane + width];
      });
    }
    Phase([&](int32_t lane, int32_t slot, int64_t configuration, Thread&) HF_LAMBDA {
      if (lane == 0) out[configuration] = out[configuration] + (base + sums[slot * threads]);
    });
  }

 private:
  const BlockShape shape_;
  int64_t first_ = 0;
#ifdef __CUDACC__
  const int32_t lane_, slot_;
  Thread thread_;
#else
  std::vector<Thread> threads_;
#endif
};

template <class Body>
__global__ void __launch_bounds__(Body::kMaxThreads, Body::kMinBlocks) RunBlocks(const __grid_constant__ Body body) {
#ifndef __CUDACC__
  if (threadIdx.x != 0) return;
#endif
  Block<typename Body::Thread> block(body.shape);
  body.Run(block);
}

// body.Run(block) in up to `most_blocks` blocks with `shared_bytes` of shared memory, of `shared_limit` that a block
// may have.
template <class Body>
int32_t LaunchBlocks(cudaStream_t stream, const Body& body, int64_t shared_bytes, int64_t shared_limit,
                     int64_t most_blocks) {
  constexpr int64_t kWithoutAsking = 48 << 10;
  const int64_t blocks = body.shape.groups() < most_blocks ? body.shape.groups() : most_blocks;
  if (blocks < 1) return HF_OK;
  if (blocks > INT32_MAX) return Fail(HF_INVALID, "a launch of " + std::to_string(blocks) + " blocks is too large");
  if (shared_bytes > kWithoutAsking) {
    // Always the limit: other threads launch the same kernel with other sizes.
    HF_CUDA(cudaFuncSetAttribute(RunBlocks<Body>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 static_cast<int>(shared_limit)));
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(body.shape.block_threads()));
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.stream = stream;
  HF_CUDA(cudaLaunchKernelEx(&config, RunBlocks<Body>, body));
  return HF_OK;
}

}  // namespace haarflow::HF_ISA
