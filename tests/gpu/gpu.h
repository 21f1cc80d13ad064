// Tests of the CUDA module on a GPU: skipped only where no CUDA device is.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>

#include "core/kernel/kernels.h"

// The module's code on the CPU; the module itself comes from LoadCudaKernels().
extern "C" const hf_kernels* haarflow_kernels(void);

namespace haarflow {

inline bool MachineHasAGpu() {
  for (const char* path : {"/dev/nvidia0", "/dev/nvidiactl", "/dev/dxg"}) {
    if (std::filesystem::exists(path)) return true;
  }
  return false;
}

// In a fixture's SetUp.
inline void LoadOrSkip(const hf_kernels** kernels) {
  const auto loaded = LoadCudaKernels();
  if (!loaded.ok()) {
    if (!MachineHasAGpu()) GTEST_SKIP() << "no CUDA device on this machine (" << loaded.status() << ")";
    FAIL() << "this machine has a GPU, but: " << loaded.status();
  }
  *kernels = *loaded;
}

}  // namespace haarflow
