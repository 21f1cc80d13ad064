// A flow on a device: its memory, and how draws are cut into sub-batches that fit a workspace.
//
// Environment: HAARFLOW_CUDA_BATCH, the largest sub-batch (default 16384); HAARFLOW_CUDA_GRAPHS=0 launches without
// graphs. Neither changes a bit.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <utility>

#include "core/kernel/cuda/workspace.h"

namespace haarflow::isa_cuda {

class DeviceFlow {
 public:
  DeviceFlow(int device, std::unique_ptr<FlowProgram> program) : device_(device), program_(std::move(program)) {}

  ~DeviceFlow() {
    DeviceScope scope(device_);
    if (scope.Enter() != HF_OK) return;  // no device, no memory to give back
    idle_.clear();
    if (memory_ != nullptr) cudaFree(memory_);
    cudaGetLastError();
  }

  int32_t Create() {
    DeviceScope scope(device_);
    HF_TRY(scope.Enter());
    HF_TRY(program_->Prepare(device_));
    const size_t size = program_->Pack(nullptr).size();
    HF_CUDA(cudaMalloc(&memory_, std::max<size_t>(size, kAlignment)));
    const std::vector<char> bytes = program_->Pack(static_cast<const char*>(memory_));
    HF_CUDA(cudaMemcpy(memory_, bytes.data(), bytes.size(), cudaMemcpyHostToDevice));
    return ChooseLargestBatch();
  }

  int32_t Draw(int64_t n, const uint64_t* seed, const uint64_t* index, const double* couplings, double* field,
               double* log_q, double* action, cudaStream_t stream) {
    const int64_t numbers = sizes().couplings;
    return Run(kDraw, n, field, log_q, action, stream,
               [=](const Buffers& b, double* host, int64_t first, int64_t used, int64_t batch, cudaStream_t on) {
                 // Lanes beyond `used` repeat the last name: padding that no result depends on.
                 auto* names = reinterpret_cast<uint64_t*>(host);
                 for (int64_t i = 0; i < batch; ++i) {
                   names[i] = seed[first + std::min(i, used - 1)];
                   names[batch + i] = index[first + std::min(i, used - 1)];
                 }
                 std::copy_n(couplings, numbers, host + 2 * batch);
                 HF_CUDA(cudaMemcpyAsync(b.names, names, (2 * batch + numbers) * sizeof(uint64_t),
                                         cudaMemcpyHostToDevice, on));
                 return int32_t{HF_OK};
               });
  }

  int32_t Density(int64_t n, const double* field, const double* couplings, double* log_q, double* action,
                  cudaStream_t stream) {
    const int64_t row = sizes().field, numbers = sizes().couplings;
    return Run(kDensity, n, nullptr, log_q, action, stream,
               [=](const Buffers& b, double* host, int64_t first, int64_t used, int64_t batch, cudaStream_t on) {
                 std::copy_n(field + first * row, used * row, host);
                 for (int64_t i = used; i < batch; ++i)
                   std::copy_n(field + (first + used - 1) * row, row, host + i * row);
                 std::copy_n(couplings, numbers, host + batch * row);
                 HF_CUDA(cudaMemcpyAsync(b.results, host, batch * row * sizeof(double), cudaMemcpyHostToDevice, on));
                 HF_CUDA(cudaMemcpyAsync(b.couplings(batch), host + batch * row, numbers * sizeof(double),
                                         cudaMemcpyHostToDevice, on));
                 return int32_t{HF_OK};
               });
  }

 private:
  enum What { kDraw, kDensity };

  const BufferSizes& sizes() const { return program_->sizes(); }

  int32_t ChooseLargestBatch() {
    constexpr int64_t kMaxDeviceBytes = int64_t{8} << 30, kMaxPinnedBytes = int64_t{64} << 20;
    size_t free = 0, total = 0;
    HF_CUDA(cudaMemGetInfo(&free, &total));
    const BufferSizes& s = sizes();
    const int64_t device_bytes = std::min<int64_t>(kMaxDeviceBytes, static_cast<int64_t>(free / 2));
    int64_t most = 16384;
    if (const char* wanted = std::getenv("HAARFLOW_CUDA_BATCH")) most = std::clamp(std::atoll(wanted), 1ll, 65536ll);
    most = std::min({most, device_bytes / s.PerConfiguration(), kMaxPinnedBytes / (s.field * 8 + 16)});
    largest_batch_ = std::max(s.lanes, most / s.lanes * s.lanes);
    const char* graphs = std::getenv("HAARFLOW_CUDA_GRAPHS");
    use_graphs_ = s.graphs && (graphs == nullptr || std::string(graphs) != "0");
    return HF_OK;
  }

  // An idle workspace, or a new one: large enough for n configurations, or as large as memory allows.
  int32_t Acquire(int64_t n, std::unique_ptr<Workspace>* out) {
    const int64_t lanes = sizes().lanes;
    int64_t capacity = lanes;
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
      const int32_t code = (*out)->Create(sizes(), capacity);
      if (code != HF_NO_MEMORY) return code;
      const std::lock_guard<std::mutex> lock(mutex_);
      if (capacity == lanes) {
        most_possible_ = INT64_MAX;  // the next draw tries anew
        return code;
      }
      capacity = std::max(lanes, capacity / 2 / lanes * lanes);
      most_possible_ = std::min(most_possible_, capacity);
    }
  }

  // Sub-batches: `send` fills pinned memory and enqueues its copy to the device. Results of sub-batch k are collected
  // while k + 1 runs.
  template <class Send>
  int32_t Run(What what, int64_t n, double* field, double* log_q, double* action, cudaStream_t stream,
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
      if (code == HF_OK && previous >= 0) code = Collect(*work, previous / step, previous, step, field, log_q, action);
      previous = first;
    }
    if (code == HF_OK) code = Collect(*work, previous / step, previous, n - previous, field, log_q, action);
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
    const int64_t batch = sizes().Pad(used);
    const Buffers& b = work.buffers();
    const Workspace::Staging& staging = work.staging(k);
    HF_TRY(send(b, staging.host, first, used, batch, stream));
    HF_TRY(work.Replay(what, batch, use_graphs_, stream, [&](cudaStream_t on) {
      return what == kDraw ? program_->LaunchDraw(on, b, batch) : program_->LaunchDensity(on, b, batch);
    }));
    const int64_t skip = what == kDraw ? 0 : batch * sizes().field;
    const int64_t bytes = (batch * (sizes().field + 2) - skip) * static_cast<int64_t>(sizeof(double));
    HF_CUDA(cudaMemcpyAsync(staging.host + skip, b.results + skip, bytes, cudaMemcpyDeviceToHost, stream));
    HF_CUDA(cudaEventRecord(staging.done, stream));
    return HF_OK;
  }

  int32_t Collect(const Workspace& work, int64_t k, int64_t first, int64_t used, double* field, double* log_q,
                  double* action) const {
    const Workspace::Staging& staging = work.staging(k);
    HF_CUDA(cudaEventSynchronize(staging.done));
    const int64_t batch = sizes().Pad(used), row = sizes().field;
    if (field != nullptr) std::copy_n(staging.host, used * row, field + first * row);
    std::copy_n(staging.host + batch * row, used, log_q + first);
    std::copy_n(staging.host + batch * (row + 1), used, action + first);
    return HF_OK;
  }

  const int device_;
  const std::unique_ptr<FlowProgram> program_;
  void* memory_ = nullptr;
  int64_t largest_batch_ = 1;
  bool use_graphs_ = true;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> idle_;  // guarded by mutex_
  int64_t most_possible_ = INT64_MAX;             // guarded by mutex_: what memory allowed so far
};

}  // namespace haarflow::isa_cuda
