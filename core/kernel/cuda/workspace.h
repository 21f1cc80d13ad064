// Memory, stream and captured graphs of one draw at a time; a flow keeps a pool of them, one per thread at work.
#pragma once

#include <cstring>
#include <vector>

#include "core/kernel/cuda/network_tables.h"
#include "core/kernel/cuda/program.h"

namespace haarflow::isa_cuda {

class Workspace {
 public:
  // `capacity` is a multiple of sizes.lanes. HF_NO_MEMORY leaves an object that is good for destruction only.
  int32_t Create(const BufferSizes& sizes, int64_t capacity) {
    capacity_ = capacity;
    doubles_ = capacity * (sizes.field + 2) + sizes.couplings;
    const int64_t bytes[] = {capacity * sizes.columns * 8,
                             capacity * sizes.network[0],
                             capacity * sizes.network[1],
                             capacity * sizes.network[2],
                             capacity * sizes.sums * 8,
                             capacity * 8,
                             (2 * capacity + sizes.couplings) * 8,
                             doubles_ * 8,
                             sizes.scratch};
    int64_t offsets[std::size(bytes)], total = 0;
    for (size_t i = 0; i < std::size(bytes); ++i) {
      offsets[i] = total;
      total += (bytes[i] + kAlignment - 1) / kAlignment * kAlignment;
    }
    HF_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    HF_CUDA(cudaMalloc(&device_, total));
    const auto at = [&](int i) { return static_cast<char*>(device_) + offsets[i]; };
    const auto numbers = [&](int i) { return reinterpret_cast<double*>(at(i)); };
    buffers_ = {
        numbers(0), {at(1), at(2), at(3)}, numbers(4), numbers(5), reinterpret_cast<uint64_t*>(at(6)), numbers(7),
        at(8)};
    for (Staging& s : staging_) {
      HF_CUDA(cudaMallocHost(reinterpret_cast<void**>(&s.host), doubles_ * 8));
      HF_CUDA(cudaEventCreateWithFlags(&s.done, cudaEventDisableTiming));
    }
    return HF_OK;
  }

  Workspace() = default;
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  // Its device must be current. Errors are of no use here.
  ~Workspace() {
    for (const Captured& c : captured_) {
      if (c.graph != nullptr) cudaGraphExecDestroy(c.graph);
    }
    for (const Staging& s : staging_) {
      if (s.done != nullptr) cudaEventDestroy(s.done);
      if (s.host != nullptr) cudaFreeHost(s.host);
    }
    if (device_ != nullptr) cudaFree(device_);
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
    cudaGetLastError();
  }

  int64_t capacity() const { return capacity_; }
  cudaStream_t stream() const { return stream_; }
  const Buffers& buffers() const { return buffers_; }

  // Pinned host memory of sub-batch k, for names or fields with the action's numbers, and for results; and the event
  // after which it holds these. Two, so that the host copies results of one sub-batch while the device computes the
  // next.
  struct Staging {
    double* host = nullptr;
    cudaEvent_t done = nullptr;
  };
  const Staging& staging(int64_t k) const { return staging_[k & 1]; }

  // Runs enqueue(stream), which must do the same for equal (what, batch), on `stream`. From the second time on as a
  // graph that was captured once: a draw is hundreds of launches. The first time is launched plainly, as modules load
  // lazily then and capture does not allow it. Where capture fails launches stay plain.
  template <class F>
  int32_t Replay(int what, int64_t batch, bool use_graphs, cudaStream_t stream, const F& enqueue) {
    Captured* found = nullptr;
    for (Captured& c : captured_) {
      if (c.what == what && c.batch == batch) found = &c;
    }
    if (found == nullptr) {
      if (captured_.size() == kMaxCaptured) Forget(0);
      captured_.push_back({what, batch, nullptr});
      return enqueue(stream);
    }
    if (found->graph == nullptr && use_graphs && !capture_failed_) capture_failed_ = !Capture(found, enqueue);
    if (found->graph == nullptr) return enqueue(stream);
    HF_CUDA(cudaGraphLaunch(found->graph, stream));
    return HF_OK;
  }

 private:
  struct Captured {
    int what;
    int64_t batch;
    cudaGraphExec_t graph;
  };
  static constexpr size_t kMaxCaptured = 8;

  void Forget(size_t i) {
    if (captured_[i].graph != nullptr) cudaGraphExecDestroy(captured_[i].graph);
    captured_.erase(captured_.begin() + static_cast<std::ptrdiff_t>(i));
  }

  template <class F>
  bool Capture(Captured* c, const F& enqueue) {
    if (cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal) != cudaSuccess)
      return cudaGetLastError(), false;
    const int32_t code = enqueue(stream_);
    cudaGraph_t graph = nullptr;
    const bool ended = cudaStreamEndCapture(stream_, &graph) == cudaSuccess;
    const bool good = code == HF_OK && ended && cudaGraphInstantiate(&c->graph, graph, 0) == cudaSuccess;
    if (graph != nullptr) cudaGraphDestroy(graph);
    if (!good) c->graph = nullptr;
    cudaGetLastError();
    return good;
  }

  int64_t capacity_ = 0;
  int64_t doubles_ = 0;
  cudaStream_t stream_ = nullptr;
  void* device_ = nullptr;
  Buffers buffers_{};
  Staging staging_[2];
  std::vector<Captured> captured_;
  bool capture_failed_ = false;
};

}  // namespace haarflow::isa_cuda
