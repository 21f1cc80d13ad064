// The CUDA module: the table of core/kernel/table.h. Loaded at run time (core/kernel/loader.cc). What flows do is in
// u1_flow.cu, scalar_flow.cu and loop_flow.cu.
#include <cstdio>
#include <memory>
#include <type_traits>

#include "core/kernel/cuda/device_flow.h"
#include "core/kernel/cuda/u1_bodies.h"

namespace haarflow::isa_cuda {
namespace {

// ---------------------------------------------------------------------------------------------------------- the table

int32_t DeviceCount() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();
  return 0;
}

// Compute capability as 10 * major + minor, 0 without a device.
int Architecture(int device) {
  int major = 0, minor = 0;
  const bool known = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
                     cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) == cudaSuccess;
  if (known) return 10 * major + minor;
  cudaGetLastError();
  return 0;
}

const char* Numerics() {
  static char text[32];
  static const bool made = [] {
    const int architecture = DeviceCount() > 0 ? Architecture(0) : 0;
    if (architecture == 0) return std::snprintf(text, sizeof(text), "cuda-none-r1") > 0;
    return std::snprintf(text, sizeof(text), "cuda-sm_%d-r1", architecture) > 0;
  }();
  return made ? text : "cuda-none-r1";
}

const char* LastError() {
  const std::string& text = LastErrorText();
  return text.empty() ? "not enough host memory" : text.c_str();
}

int32_t CheckDevice(int32_t device) {
  const int32_t count = DeviceCount();
  if (count == 0) return Fail(HF_DEVICE_ERROR, "this machine has no CUDA device, or no driver for it");
  if (device < 0 || device >= count) {
    return Fail(HF_INVALID, "there is no CUDA device " + std::to_string(device) + " among " + std::to_string(count));
  }
  constexpr int kOldest = 80;
  if (const int architecture = Architecture(device); architecture < kOldest) {
    return Fail(HF_INVALID, "CUDA device " + std::to_string(device) + " is sm_" + std::to_string(architecture) +
                                "; the module is built for sm_80 and newer");
  }
  if (Architecture(device) != Architecture(0)) {
    return Fail(HF_INVALID, "CUDA device " + std::to_string(device) + " is sm_" + std::to_string(Architecture(device)) +
                                ", not of the numerics class " + Numerics() +
                                "; select devices by CUDA_VISIBLE_DEVICES");
  }
  return HF_OK;
}

int32_t DeviceMemory(int32_t device, uint64_t* free, uint64_t* total) {
  return Guarded([&]() -> int32_t {
    HF_TRY(CheckDevice(device));
    DeviceScope scope(device);
    HF_TRY(scope.Enter());
    size_t free_bytes = 0, total_bytes = 0;
    HF_CUDA(cudaMemGetInfo(&free_bytes, &total_bytes));
    *free = free_bytes;
    *total = total_bytes;
    return HF_OK;
  });
}

// make() gives the flow's program.
template <class Make>
int32_t Create(int32_t device, void** handle, const Make& make) {
  return Guarded([&]() -> int32_t {
    HF_TRY(CheckDevice(device));
    auto flow = std::make_unique<DeviceFlow>(device, make());
    HF_TRY(flow->Create());
    *handle = flow.release();
    return HF_OK;
  });
}

int32_t CreateU1(const hf_u1_flow* flow, int32_t device, void** handle) {
  return Create(device, handle, [&] { return MakeU1Program(*flow); });
}

int32_t CreateScalar(const hf_scalar_flow* flow, int32_t device, void** handle) {
  return Create(device, handle, [&] { return MakeScalarProgram(*flow); });
}

int32_t CreateLoop(const hf_loop_flow* flow, int32_t device, void** handle) {
  return Create(device, handle, [&] { return MakeLoopProgram(*flow); });
}

void Destroy(void* handle) {
  Guarded([&]() -> int32_t {
    delete static_cast<DeviceFlow*>(handle);
    return HF_OK;
  });
}

// Drawing changes the pool of workspaces alone, under its mutex.
DeviceFlow* Flow(const void* handle) { return const_cast<DeviceFlow*>(static_cast<const DeviceFlow*>(handle)); }

int32_t Draw(const void* handle, int64_t n, const uint64_t* seed, const uint64_t* index, const double* couplings,
             double* field, double* log_q, double* action, void* stream) {
  return Guarded([&] {
    return Flow(handle)->Draw(n, seed, index, couplings, field, log_q, action, static_cast<cudaStream_t>(stream));
  });
}

int32_t Density(const void* handle, int64_t n, const double* field, const double* couplings, double* log_q,
                double* action, void* stream) {
  return Guarded(
      [&] { return Flow(handle)->Density(n, field, couplings, log_q, action, static_cast<cudaStream_t>(stream)); });
}

// f(kind) with the map as a compile-time constant. The current device and stream are the caller's.
template <class F>
int32_t ForMap(int32_t map, int32_t pieces, const F& f) {
  return Guarded([&]() -> int32_t {
    const bool spline = map == HF_MAP_SPLINE || map == HF_MAP_SHARP_SPLINE;
    if (pieces < 1 || (spline && pieces > kMaxBins)) {
      return Fail(HF_INVALID, "a circle map of " + std::to_string(pieces) + " pieces");
    }
    switch (map) {
      case HF_MAP_SPLINE:
        return f(std::integral_constant<CircleMapKind, CircleMapKind::kSpline>());
      case HF_MAP_MOEBIUS:
        return f(std::integral_constant<CircleMapKind, CircleMapKind::kMoebius>());
      case HF_MAP_NON_COMPACT:
        return f(std::integral_constant<CircleMapKind, CircleMapKind::kNonCompact>());
      case HF_MAP_SHARP_SPLINE:
        return f(std::integral_constant<CircleMapKind, CircleMapKind::kSharpSpline>());
      default:
        return Fail(HF_INVALID, "unknown circle map " + std::to_string(map));
    }
  });
}

int32_t Forward(int32_t map, int32_t pieces, int64_t n, const double* x, const double* p, double* y, double* l,
                void* stream) {
  return ForMap(map, pieces, [&](auto kind) {
    return Launch(static_cast<cudaStream_t>(stream), 1, n, CircleBody<kind(), false>{pieces, n, x, p, y, l});
  });
}

int32_t Inverse(int32_t map, int32_t pieces, int64_t n, const double* y, const double* p, double* x, double* l,
                void* stream) {
  return ForMap(map, pieces, [&](auto kind) {
    return Launch(static_cast<cudaStream_t>(stream), 1, n, CircleBody<kind(), true>{pieces, n, y, p, x, l});
  });
}

int32_t Backward(int32_t map, int32_t pieces, int64_t n, const double* x, const double* p, const double* gy,
                 const double* gl, double* gx, double* gp, void* stream) {
  return ForMap(map, pieces, [&](auto kind) {
    return Launch(static_cast<cudaStream_t>(stream), 1, n, CircleBackwardBody<kind()>{pieces, n, x, p, gy, gl, gx, gp});
  });
}

}  // namespace
}  // namespace haarflow::isa_cuda

extern "C" __attribute__((visibility("default"))) const hf_kernels* haarflow_kernels(void) {
  namespace cuda = haarflow::isa_cuda;
  static const hf_kernels table = {
      HAARFLOW_KERNELS_ABI, sizeof(hf_kernels), cuda::Numerics(),   cuda::LastError,  cuda::DeviceCount,
      cuda::DeviceMemory,   cuda::CreateU1,     cuda::CreateScalar, cuda::CreateLoop, nullptr,
      cuda::Destroy,        cuda::Draw,         cuda::Density,      cuda::Forward,    cuda::Inverse,
      cuda::Backward};
  return &table;
}
