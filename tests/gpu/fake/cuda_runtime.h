// A CUDA runtime on the CPU, enough to run core/kernel/cuda in tests without a GPU.
//
// Streams are lazy: copies and kernels run only when something waits for them, so that a missing wait, or pinned memory
// reused too early, gives wrong results instead of luck. Faults can be injected: failing allocations, and an error of a
// launch. There are as many devices as tests want: what is made belongs to the device that was current, and work that
// mixes devices, or reaches a kernel with memory of another one, is refused. Kernels run thread by thread, in
// descending order of blocks and threads: nothing may rely on an order. There are no barriers: kernels whose threads
// wait for each other run themselves for all threads (core/kernel/cuda/block.h).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <vector>

#define __global__
#define __launch_bounds__(...)
#define __grid_constant__

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
inline thread_local dim3 blockIdx, threadIdx, blockDim, gridDim;

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorDevicesUnavailable = 46,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorECCUncorrectable = 214,
  cudaErrorNvlinkUncorrectable = 220,
  cudaErrorContained = 226,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorIllegalAddress = 700,
  cudaErrorLaunchTimeout = 702,
  cudaErrorContextIsDestroyed = 709,
  cudaErrorAssert = 710,
  cudaErrorHardwareStackError = 714,
  cudaErrorIllegalInstruction = 715,
  cudaErrorMisalignedAddress = 716,
  cudaErrorInvalidAddressSpace = 717,
  cudaErrorInvalidPc = 718,
  cudaErrorLaunchFailure = 719,
  cudaErrorStreamCaptureUnsupported = 900,
  cudaErrorExternalDevice = 911,
  cudaErrorUnknown = 999,
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal };
enum cudaDeviceAttr {
  cudaDevAttrComputeCapabilityMajor,
  cudaDevAttrComputeCapabilityMinor,
  cudaDevAttrMaxSharedMemoryPerBlockOptin,
  cudaDevAttrMultiProcessorCount
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2;

namespace fake_cuda {

using Work = std::function<void()>;

// The current device of this thread.
inline thread_local int current_device = 0;

struct Event {
  std::atomic<bool> done{false};
};

struct Graph {
  std::vector<Work> nodes;
  int device = 0;
};

struct Stream {
  const int device = current_device;
  std::deque<Work> pending;
  bool capturing = false;
  Graph captured;

  void Add(Work work) {
    if (capturing) {
      captured.nodes.push_back(std::move(work));
    } else {
      pending.push_back(std::move(work));
    }
  }
  void RunOne() {
    pending.front()();
    pending.pop_front();
  }
};

// What tests set and read.
struct Control {
  std::atomic<int> devices{1};
  std::atomic<size_t> largest_allocation{SIZE_MAX};  // larger ones fail
  std::atomic<int> launch_error{0};                  // what launches answer
  std::atomic<int> wait_error{0};                    // what waits for events answer
  std::atomic<bool> capture_fails{false};
  std::atomic<int> shared_bytes{227 << 10};  // what a block may have
  std::atomic<int> order{0};                 // of threads between barriers: 0 falling, 1 rising, 2 mixed
  std::atomic<int> live{0};                  // allocations, streams, events and graphs not yet freed
  std::atomic<int> graph_launches{0};
  std::atomic<int> kernel_launches{0};
};
inline Control control;

// Memory of devices, by its first address.
class DeviceMemory {
 public:
  static constexpr size_t kBytes = size_t{1} << 30;  // each

  void Add(const void* p, size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    blocks_[reinterpret_cast<uintptr_t>(p)] = {bytes, current_device};
  }
  void Remove(const void* p) {
    const std::lock_guard<std::mutex> lock(mutex_);
    blocks_.erase(reinterpret_cast<uintptr_t>(p));
  }
  size_t Free(int device) {
    const std::lock_guard<std::mutex> lock(mutex_);
    size_t used = 0;
    for (const auto& [at, block] : blocks_) used += block.device == device ? block.bytes : 0;
    return used < kBytes ? kBytes - used : 0;
  }
  // Whether one of the words of an argument is an address in memory of another device.
  bool IsForeign(const void* argument, size_t bytes, int device) {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = 0; i + sizeof(uintptr_t) <= bytes; i += sizeof(uintptr_t)) {
      uintptr_t word = 0;
      std::memcpy(&word, static_cast<const char*>(argument) + i, sizeof(word));
      auto it = blocks_.upper_bound(word);
      if (it == blocks_.begin()) continue;
      --it;
      if (word - it->first < it->second.bytes && it->second.device != device) return true;
    }
    return false;
  }

 private:
  struct Block {
    size_t bytes;
    int device;
  };
  std::mutex mutex_;
  std::map<uintptr_t, Block> blocks_;
};
inline DeviceMemory device_memory;

// The i-th of n threads to run.
inline int32_t ThreadInOrder(int32_t i, int32_t n) {
  switch (control.order) {
    case 0:
      return n - 1 - i;
    case 1:
      return i;
    default: {  // steps of a number without a common factor
      int32_t step = n * 5 / 8 + 1;
      while (std::gcd(step, n) != 1) ++step;
      return static_cast<int32_t>((int64_t{i} * step + 1) % n);
    }
  }
}

// Dynamic shared memory of the block that runs, of the very size that the launch asks for, NaN at first.
inline thread_local void* shared_memory = nullptr;
constexpr size_t kSharedWithoutAsking = 48 << 10;
struct SharedAsked {
  size_t bytes = kSharedWithoutAsking;
  int device = 0;  // asking one device says nothing to another
};
inline thread_local SharedAsked shared_asked;

inline cudaError_t Allocate(void** p, size_t bytes) {
  if (bytes > control.largest_allocation) return cudaErrorMemoryAllocation;
  *p = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::memset(*p, 0xFF, bytes);  // NaN
  ++control.live;
  return cudaSuccess;
}
inline cudaError_t Release(void* p) {
  std::free(p);
  --control.live;
  return cudaSuccess;
}

// The default stream runs at once.
inline void Submit(Stream* stream, Work work) {
  if (stream == nullptr) {
    work();
  } else {
    stream->Add(std::move(work));
  }
}

}  // namespace fake_cuda

using cudaStream_t = fake_cuda::Stream*;
using cudaGraph_t = fake_cuda::Graph*;
using cudaGraphExec_t = fake_cuda::Graph*;
// The stream is where the event was last recorded: waiting for it runs that stream.
struct FakeEvent {
  std::shared_ptr<fake_cuda::Event> last;
  fake_cuda::Stream* stream = nullptr;
  const int device = fake_cuda::current_device;
};
using cudaEvent_t = FakeEvent*;

inline const char* cudaGetErrorName(cudaError_t) { return "cudaErrorFake"; }
inline const char* cudaGetErrorString(cudaError_t) { return "an injected fault"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = fake_cuda::current_device, cudaSuccess; }
inline cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= fake_cuda::control.devices) return cudaErrorInvalidDevice;
  fake_cuda::current_device = device;
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceCount(int* count) { return *count = fake_cuda::control.devices, cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  if (device < 0 || device >= fake_cuda::control.devices) return cudaErrorInvalidDevice;
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor:
      return *value = 9, cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      return *value = fake_cuda::control.shared_bytes, cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      return *value = 2, cudaSuccess;
    default:
      return *value = 0, cudaSuccess;
  }
}
template <class... Parameters>
cudaError_t cudaFuncSetAttribute(void (*)(Parameters...), cudaFuncAttribute, int bytes) {
  if (bytes > fake_cuda::control.shared_bytes) return cudaErrorInvalidValue;
  fake_cuda::shared_asked = {static_cast<size_t>(bytes), fake_cuda::current_device};
  return cudaSuccess;
}
inline cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  *free = fake_cuda::device_memory.Free(fake_cuda::current_device);
  *total = fake_cuda::DeviceMemory::kBytes;
  return cudaSuccess;
}

inline cudaError_t cudaMalloc(void** p, size_t bytes) {
  const cudaError_t error = fake_cuda::Allocate(p, bytes);
  if (error == cudaSuccess) fake_cuda::device_memory.Add(*p, bytes);
  return error;
}
inline cudaError_t cudaMallocHost(void** p, size_t bytes) { return fake_cuda::Allocate(p, bytes); }
inline cudaError_t cudaFree(void* p) {
  fake_cuda::device_memory.Remove(p);
  return fake_cuda::Release(p);
}
inline cudaError_t cudaFreeHost(void* p) { return fake_cuda::Release(p); }
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  return std::memcpy(to, from, bytes), cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  fake_cuda::Submit(stream, [=] { std::memcpy(to, from, bytes); });
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t stream) {
  fake_cuda::Submit(stream, [=] { std::memset(p, value, bytes); });
  return cudaSuccess;
}

inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = new fake_cuda::Stream;
  ++fake_cuda::control.live;
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  while (stream != nullptr && !stream->pending.empty()) stream->RunOne();
  return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  --fake_cuda::control.live;
  return cudaSuccess;
}

inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new FakeEvent;
  ++fake_cuda::control.live;
  return cudaSuccess;
}
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  --fake_cuda::control.live;
  return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (stream->device != event->device) return cudaErrorInvalidResourceHandle;
  auto mark = std::make_shared<fake_cuda::Event>();
  event->last = mark;
  event->stream = stream;
  fake_cuda::Submit(stream, [mark] { mark->done = true; });
  return cudaSuccess;
}
inline cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  while (!event->last->done) event->stream->RunOne();
  return static_cast<cudaError_t>(fake_cuda::control.wait_error.load());
}

inline cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (fake_cuda::control.capture_fails) return cudaErrorStreamCaptureUnsupported;
  stream->capturing = true;
  stream->captured = {{}, stream->device};
  return cudaSuccess;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  stream->capturing = false;
  *graph = new fake_cuda::Graph(stream->captured);
  ++fake_cuda::control.live;
  return cudaSuccess;
}
inline cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = new fake_cuda::Graph(*graph);
  ++fake_cuda::control.live;
  return cudaSuccess;
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  --fake_cuda::control.live;
  return cudaSuccess;
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) { return cudaGraphDestroy(graph); }
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
  if (stream->device != graph->device) return cudaErrorInvalidResourceHandle;
  ++fake_cuda::control.graph_launches;
  fake_cuda::Submit(stream, [nodes = graph->nodes] {
    for (const auto& node : nodes) node();
  });
  return cudaSuccess;
}

struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  if (const int error = fake_cuda::control.launch_error; error != 0) return static_cast<cudaError_t>(error);
  const int device = fake_cuda::current_device;
  if (config->stream != nullptr && config->stream->device != device) return cudaErrorInvalidResourceHandle;
  if ((fake_cuda::device_memory.IsForeign(&arguments, sizeof(arguments), device) || ...)) {
    return cudaErrorIllegalAddress;
  }
  const size_t shared =
      fake_cuda::shared_asked.device == device ? fake_cuda::shared_asked.bytes : fake_cuda::kSharedWithoutAsking;
  if (config->dynamicSmemBytes > shared || config->blockDim.x * config->blockDim.y > 1024) return cudaErrorInvalidValue;
  fake_cuda::shared_asked = {};
  ++fake_cuda::control.kernel_launches;
  fake_cuda::Submit(config->stream,
                    [=, grid = config->gridDim, block = config->blockDim, shared = config->dynamicSmemBytes] {
                      blockDim = block;
                      gridDim = grid;
                      const std::unique_ptr<char[]> memory(new char[shared]);
                      fake_cuda::shared_memory = memory.get();
                      for (unsigned b = grid.x; b-- > 0;) {
                        std::memset(memory.get(), 0xFF, shared);
                        for (unsigned y = block.y; y-- > 0;) {
                          for (unsigned x = block.x; x-- > 0;) {
                            blockIdx = dim3(b);
                            threadIdx = dim3(x, y);
                            kernel(arguments...);
                          }
                        }
                      }
                    });
  return cudaSuccess;
}
