// What a thread of a continuous flow keeps between phases.
#pragma once

#include "core/kernel/cuda/block.h"

namespace haarflow::HF_ISA {

// Numbers of a thread's own points: in registers, or (kSlots = 0) in memory.
template <int kSlots, int kComponents>
struct Owned {
  double v[kComponents][kSlots];
  HF_BLOCK_FN void Bind(double*, int64_t, int64_t) {}
  HF_BLOCK_FN double& At(int component, int slot) { return v[component][slot]; }
};
template <int kComponents>
struct Owned<0, kComponents> {
  double* first;
  int64_t threads, size;
  HF_BLOCK_FN void Bind(double* memory, int64_t of_threads, int64_t of_size) {
    first = memory, threads = of_threads, size = of_size;
  }
  HF_BLOCK_FN double& At(int component, int64_t slot) { return first[component * size + slot * threads]; }
};

template <int kSlots, int kComponents>
struct ContinuousThread {
  Owned<kSlots, kComponents> momentum, sum, velocity;  // own frequencies
  Owned<kSlots, kComponents> field;                    // own sites, times the number of sites
  double log_q;                                        // this thread's part
};

}  // namespace haarflow::HF_ISA
