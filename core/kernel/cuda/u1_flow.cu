// The CUDA module: the table of core/kernel/table.h for U(1) coupling flows. Loaded at run time
// (core/kernel/loader.cc).
//
// A draw is cut into sub-batches that fit the workspace. Each is a fixed sequence of launches of the bodies in
// u1_bodies.h: prior; per layer features, stages, coupling and sum of log-derivatives; cosines and action; fields to
// rows. No atomics, no reduction whose order depends on the batch: a configuration's bits are a function of its name
// alone.
//
// Environment: HAARFLOW_CUDA_BATCH, the largest sub-batch (default 16384); HAARFLOW_CUDA_GRAPHS=0 launches without
// graphs. Neither changes a bit.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "core/kernel/cuda/u1_launches.h"

namespace haarflow::isa_cuda {
namespace {

// ------------------------------------------------------------------------------------------------------------ a flow

class CudaFlow {
 public:
  explicit CudaFlow(int device) : device_(device) {}

  ~CudaFlow() {
    DeviceScope scope(device_);
    if (scope.Enter() != HF_OK) return;  // no device, no memory to give back
    idle_.clear();
    if (memory_ != nullptr) cudaFree(memory_);
    cudaGetLastError();
  }

  int32_t Create(const hf_u1_flow& flow) {
    Arena sizing(nullptr);
    FlowTables unused;
    if (const std::string e = FlowPacker(&sizing, &unused).Pack(flow); !e.empty()) return Fail(HF_INVALID, e);
    DeviceScope scope(device_);
    HF_TRY(scope.Enter());
    HF_CUDA(cudaMalloc(&memory_, std::max<size_t>(sizing.bytes().size(), kAlignment)));
    Arena arena(static_cast<const char*>(memory_));
    FlowPacker(&arena, &tables_).Pack(flow);
    HF_CUDA(cudaMemcpy(memory_, arena.bytes().data(), arena.bytes().size(), cudaMemcpyHostToDevice));
    return ChooseLargestBatch();
  }

  int32_t Draw(int64_t n, const uint64_t* seed, const uint64_t* index, double beta, double* links, double* log_q,
               double* action, cudaStream_t stream) {
    return Run(
        kDraw, n, links, log_q, action, stream,
        [=](const Buffers& b, double* host, int64_t first, int64_t used, int64_t batch, cudaStream_t on) {
          // Lanes beyond `used` repeat the last name: padding that no result depends on.
          auto* names = reinterpret_cast<uint64_t*>(host);
          for (int64_t i = 0; i < batch; ++i) {
            names[i] = seed[first + std::min(i, used - 1)];
            names[batch + i] = index[first + std::min(i, used - 1)];
          }
          host[2 * batch] = beta;
          HF_CUDA(cudaMemcpyAsync(b.names, names, (2 * batch + 1) * sizeof(uint64_t), cudaMemcpyHostToDevice, on));
          return int32_t{HF_OK};
        });
  }

  int32_t Density(int64_t n, const double* links, double beta, double* log_q, double* action, cudaStream_t stream) {
    const int64_t row = tables_.links;
    return Run(
        kDensity, n, nullptr, log_q, action, stream,
        [=](const Buffers& b, double* host, int64_t first, int64_t used, int64_t batch, cudaStream_t on) {
          std::copy_n(links + first * row, used * row, host);
          for (int64_t i = used; i < batch; ++i) std::copy_n(links + (first + used - 1) * row, row, host + i * row);
          host[batch * row] = beta;
          HF_CUDA(cudaMemcpyAsync(b.results, host, batch * row * sizeof(double), cudaMemcpyHostToDevice, on));
          HF_CUDA(cudaMemcpyAsync(b.beta(batch), host + batch * row, sizeof(double), cudaMemcpyHostToDevice, on));
          return int32_t{HF_OK};
        });
  }

 private:
  enum What { kDraw, kDensity };

  int32_t ChooseLargestBatch() {
    constexpr int64_t kMaxDeviceBytes = int64_t{8} << 30, kMaxPinnedBytes = int64_t{64} << 20;
    size_t free = 0, total = 0;
    HF_CUDA(cudaMemGetInfo(&free, &total));
    const int64_t per_configuration =
        tables_.links * 16 + tables_.buffer_bytes[0] + tables_.buffer_bytes[1] + tables_.sum_rows * 8 + 64;
    const int64_t device_bytes = std::min<int64_t>(kMaxDeviceBytes, static_cast<int64_t>(free / 2));
    int64_t most = 16384;
    if (const char* wanted = std::getenv("HAARFLOW_CUDA_BATCH")) most = std::clamp(std::atoll(wanted), 1ll, 65536ll);
    most = std::min({most, device_bytes / per_configuration, kMaxPinnedBytes / (tables_.links * 8 + 16)});
    largest_batch_ = std::max(kLanes, most / kLanes * kLanes);
    const char* graphs = std::getenv("HAARFLOW_CUDA_GRAPHS");
    use_graphs_ = graphs == nullptr || std::string(graphs) != "0";
    return HF_OK;
  }

  // An idle workspace, or a new one: large enough for n configurations, or as large as memory allows.
  int32_t Acquire(int64_t n, std::unique_ptr<Workspace>* out) {
    int64_t capacity = kLanes;
    while (capacity < n && capacity < largest_batch_) capacity *= 2;
    capacity = std::min(capacity, largest_batch_);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (auto it = idle_.begin(); it != idle_.end(); ++it) {
        if ((*it)->capacity() < capacity && (*it)->capacity() < most_possible_) continue;
        *out = std::move(*it);
        idle_.erase(it);
        return HF_OK;
      }
      if (!idle_.empty()) {  // grows
        *out = std::move(idle_.back());
        idle_.pop_back();
      }
      capacity = std::min(capacity, most_possible_);
    }
    while (true) {
      out->reset();
      *out = std::make_unique<Workspace>();
      const int32_t code = (*out)->Create(tables_, capacity);
      if (code != HF_NO_MEMORY) return code;
      const std::lock_guard<std::mutex> lock(mutex_);
      if (capacity == kLanes) {
        most_possible_ = INT64_MAX;  // the next draw tries anew
        return code;
      }
      capacity = std::max(kLanes, capacity / 2 / kLanes * kLanes);
      most_possible_ = std::min(most_possible_, capacity);
    }
  }

  // Sub-batches: `send` fills pinned memory and enqueues its copy to the device. Results of sub-batch k are collected
  // while k + 1 runs.
  template <class Send>
  int32_t Run(What what, int64_t n, double* links, double* log_q, double* action, cudaStream_t stream,
              const Send& send) {
    if (n <= 0) return HF_OK;
    DeviceScope scope(device_);
    HF_TRY(scope.Enter());
    std::unique_ptr<Workspace> work;
    HF_TRY(Acquire(n, &work));
    if (stream == nullptr) stream = work->stream();
    int32_t code = HF_OK;
    int64_t previous = -1;
    const int64_t step = work->capacity();
    for (int64_t first = 0; first < n && code == HF_OK; first += step) {
      code = Enqueue(what, *work, first / step, first, std::min(step, n - first), stream, send);
      if (code == HF_OK && previous >= 0) code = Collect(*work, previous / step, previous, step, links, log_q, action);
      previous = first;
    }
    if (code == HF_OK) code = Collect(*work, previous / step, previous, n - previous, links, log_q, action);
    if (code != HF_OK) {
      // What is still under way reads memory of this workspace, which is not used again.
      cudaStreamSynchronize(stream);
      cudaGetLastError();
      return code;
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(work));
    return HF_OK;
  }

  template <class Send>
  int32_t Enqueue(What what, Workspace& work, int64_t k, int64_t first, int64_t used, cudaStream_t stream,
                  const Send& send) {
    const int64_t batch = PadBatch(used);
    const Buffers& b = work.buffers();
    const Workspace::Staging& staging = work.staging(k);
    HF_TRY(send(b, staging.host, first, used, batch, stream));
    HF_TRY(work.Replay(what, batch, use_graphs_, stream, [&](cudaStream_t on) {
      return what == kDraw ? LaunchDraw(on, tables_, b, batch) : LaunchDensity(on, tables_, b, batch);
    }));
    const int64_t skip = what == kDraw ? 0 : batch * tables_.links;
    const int64_t bytes = (batch * (tables_.links + 2) - skip) * static_cast<int64_t>(sizeof(double));
    HF_CUDA(cudaMemcpyAsync(staging.host + skip, b.results + skip, bytes, cudaMemcpyDeviceToHost, stream));
    HF_CUDA(cudaEventRecord(staging.done, stream));
    return HF_OK;
  }

  int32_t Collect(const Workspace& work, int64_t k, int64_t first, int64_t used, double* links, double* log_q,
                  double* action) const {
    const Workspace::Staging& staging = work.staging(k);
    HF_CUDA(cudaEventSynchronize(staging.done));
    const int64_t batch = PadBatch(used), row = tables_.links;
    if (links != nullptr) std::copy_n(staging.host, used * row, links + first * row);
    std::copy_n(staging.host + batch * row, used, log_q + first);
    std::copy_n(staging.host + batch * (row + 1), used, action + first);
    return HF_OK;
  }

  const int device_;
  FlowTables tables_;
  void* memory_ = nullptr;
  int64_t largest_batch_ = kLanes;
  bool use_graphs_ = true;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_;  // guarded by mutex_
  int64_t most_possible_ = INT64_MAX;             // guarded by mutex_: what memory allowed so far
};

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

int32_t Create(const hf_u1_flow* flow, int32_t device, void** handle) {
  return Guarded([&]() -> int32_t {
    HF_TRY(CheckDevice(device));
    auto made = std::make_unique<CudaFlow>(device);
    HF_TRY(made->Create(*flow));
    *handle = made.release();
    return HF_OK;
  });
}

void Destroy(void* handle) {
  Guarded([&]() -> int32_t {
    delete static_cast<CudaFlow*>(handle);
    return HF_OK;
  });
}

// Drawing changes the pool of workspaces alone, under its mutex.
CudaFlow* Flow(const void* handle) { return const_cast<CudaFlow*>(static_cast<const CudaFlow*>(handle)); }

int32_t Draw(const void* handle, int64_t n, const uint64_t* seed, const uint64_t* index, double beta, double* links,
             double* log_q, double* action, void* stream) {
  return Guarded([&] {
    return Flow(handle)->Draw(n, seed, index, beta, links, log_q, action, static_cast<cudaStream_t>(stream));
  });
}

int32_t Density(const void* handle, int64_t n, const double* links, double beta, double* log_q, double* action,
                void* stream) {
  return Guarded(
      [&] { return Flow(handle)->Density(n, links, beta, log_q, action, static_cast<cudaStream_t>(stream)); });
}

// f(kind) with the map as a compile-time constant. The current device and stream are the caller's.
template <class F>
int32_t ForMap(int32_t map, int32_t pieces, const F& f) {
  return Guarded([&]() -> int32_t {
    if (pieces < 1 || (map == HF_MAP_SPLINE && pieces > kMaxBins)) {
      return Fail(HF_INVALID, "a circle map of " + std::to_string(pieces) + " pieces");
    }
    switch (map) {
      case HF_MAP_SPLINE:
        return f(std::integral_constant<CircleMapKind, CircleMapKind::kSpline>());
      case HF_MAP_MOEBIUS:
        return f(std::integral_constant<CircleMapKind, CircleMapKind::kMoebius>());
      case HF_MAP_NON_COMPACT:
        return f(std::integral_constant<CircleMapKind, CircleMapKind::kNonCompact>());
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
  static const hf_kernels table = {HAARFLOW_KERNELS_ABI, sizeof(hf_kernels), cuda::Numerics(), cuda::LastError,
                                   cuda::DeviceCount,    cuda::Create,       cuda::Destroy,    cuda::Draw,
                                   cuda::Density,        cuda::Forward,      cuda::Inverse,    cuda::Backward};
  return &table;
}
