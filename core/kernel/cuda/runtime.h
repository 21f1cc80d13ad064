// The CUDA runtime as the module uses it: errors as codes of table.h with a message per thread, the current device,
// launches.
#pragma once

#include <cuda_runtime.h>

#include <new>
#include <string>

#include "core/kernel/table.h"

namespace haarflow::isa_cuda {

inline std::string& LastErrorText() {
  thread_local std::string text;
  return text;
}

inline int32_t Fail(int32_t code, const std::string& message) {
  LastErrorText() = message;
  return code;
}

// Errors after which every call in this process fails: the context, or the device, is gone.
inline bool IsLost(cudaError_t error) {
  switch (error) {
    case cudaErrorDevicesUnavailable:
    case cudaErrorNoDevice:
    case cudaErrorECCUncorrectable:
    case cudaErrorNvlinkUncorrectable:
    case cudaErrorContained:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorContextIsDestroyed:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
    case cudaErrorExternalDevice:
    case cudaErrorUnknown:
      return true;
    default:
      return false;
  }
}

// `call` is the source text; its arguments are left out of the message.
inline int32_t Check(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return HF_OK;
  cudaGetLastError();  // an error that is reported here must not surface in someone else's check
  const std::string text = call;
  const int32_t code = error == cudaErrorMemoryAllocation ? HF_NO_MEMORY
                       : IsLost(error)                    ? HF_DEVICE_LOST
                                                          : HF_DEVICE_ERROR;
  return Fail(code, text.substr(0, text.find('(')) + ": " + cudaGetErrorName(error) + ", " + cudaGetErrorString(error));
}

#define HF_TRY(expression)                                    \
  do {                                                        \
    if (const int32_t hf_code = (expression)) return hf_code; \
  } while (false)
#define HF_CUDA(call) HF_TRY(::haarflow::isa_cuda::Check((call), #call))

// No exception may cross the table.
template <class F>
int32_t Guarded(const F& f) noexcept {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    LastErrorText().clear();
    return HF_NO_MEMORY;
  } catch (...) {
    LastErrorText().clear();
    return HF_DEVICE_ERROR;
  }
}

// Makes a device current for a scope; callers (LibTorch among them) keep theirs.
class DeviceScope {
 public:
  explicit DeviceScope(int device) : device_(device) {}
  ~DeviceScope() {
    if (entered_ && before_ != device_) cudaSetDevice(before_);
  }
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;
  int32_t Enter() {
    HF_CUDA(cudaGetDevice(&before_));
    entered_ = true;
    if (before_ != device_) HF_CUDA(cudaSetDevice(device_));
    return HF_OK;
  }

 private:
  int device_;
  int before_ = 0;
  bool entered_ = false;
};

constexpr int kThreads = 128;
constexpr int kWarp = 32;

template <class F>
__global__ void __launch_bounds__(kThreads) Run(const F body, int32_t units, int64_t columns, uint32_t tiles) {
  const int64_t column = static_cast<int64_t>(blockIdx.x % tiles) * blockDim.x + threadIdx.x;
  const int64_t unit = static_cast<int64_t>(blockIdx.x / tiles) * blockDim.y + threadIdx.y;
  if (unit < units && column < columns) body(static_cast<int32_t>(unit), column);
}

// body(unit, column) for all units and columns. Blocks are four units of a warp's columns each, or 128 columns of few
// units.
template <class F>
int32_t Launch(cudaStream_t stream, int32_t units, int64_t columns, const F& body) {
  if (units < 1 || columns < 1) return HF_OK;
  const unsigned across = units < kThreads / kWarp ? kThreads : kWarp, down = kThreads / across;
  const int64_t tiles = (columns + across - 1) / across;
  const int64_t blocks = tiles * ((static_cast<int64_t>(units) + down - 1) / down);
  if (blocks > INT32_MAX) return Fail(HF_INVALID, "a launch of " + std::to_string(blocks) + " blocks is too large");
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(across, down);
  config.stream = stream;
  HF_CUDA(cudaLaunchKernelEx(&config, Run<F>, body, units, columns, static_cast<uint32_t>(tiles)));
  return HF_OK;
}

}  // namespace haarflow::isa_cuda
