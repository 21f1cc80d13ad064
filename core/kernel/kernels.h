// Where kernel tables come from: the built-in CPU implementation, or a CUDA module loaded at run time.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "core/kernel/table.h"

namespace haarflow {

// The CPU table for the best instruction set of this machine (AVX-512, AVX2, baseline), chosen once.
// HAARFLOW_CPU=avx512|avx2|baseline in the environment selects a lower one (for tests).
const hf_kernels& CpuKernels();
// The CPU table for one instruction set by name; UNAVAILABLE when this machine lacks it.
absl::StatusOr<const hf_kernels*> CpuKernelsFor(const std::string& instruction_set);

// Loads libhaarflow_cuda.so from beside the executable, ../lib, or HAARFLOW_CUDA_MODULE. The module stays loaded.
// UNAVAILABLE when it is absent or finds no device, FAILED_PRECONDITION when its table's version differs.
absl::StatusOr<const hf_kernels*> LoadCudaKernels();

// A device as users write it: "cpu", "cpu:4" (worker threads), "cuda", "cuda:1" (device number).
struct Device {
  enum class Kind { kCpu, kCuda };
  Kind kind = Kind::kCpu;
  int number = 1;
  std::string ToString() const;
};
absl::StatusOr<Device> ParseDevice(const std::string& text);
// The table for a device.
absl::StatusOr<const hf_kernels*> KernelsFor(const Device& device);

}  // namespace haarflow
