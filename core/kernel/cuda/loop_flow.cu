// Loop flows of SU(N) links in CUDA.
//
// A sub-batch is a fixed sequence of launches of the bodies in loop_bodies.h: Haar links; per pass one launch for all
// links of its mask; log q; action; fields to matrices. No atomics, no sum whose order depends on the batch: a
// configuration's bits are a function of its name alone.
#include <utility>

#include "core/kernel/cuda/loop_launches.h"
#include "core/kernel/loop_store.h"

namespace haarflow::isa_cuda {
namespace {

class LoopProgram final : public FlowProgram {
 public:
  explicit LoopProgram(const hf_loop_flow& flow) : flow_(flow) {}

  int32_t Prepare(int device) override {
    store_ = std::make_unique<kernel::LoopStore>();
    if (const std::string e = store_->Copy(flow_); !e.empty()) return Fail(HF_INVALID, e);
    Arena arena(nullptr);
    if (const std::string e = sun::LoopPacker(&arena, &tables_).Pack(store_->flow()); !e.empty()) {
      return Fail(HF_INVALID, e);
    }
    int shared = 0, multiprocessors = 0;
    HF_CUDA(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    HF_CUDA(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
    const DeviceLimits limits = {shared, multiprocessors};
    layout_ = flow_.colours == 2 ? sun::LoopLayout::For<2>(tables_, limits) : sun::LoopLayout::For<3>(tables_, limits);
    if (store_->field_size() > INT32_MAX) return Fail(HF_INVALID, "a field is too large");
    sizes_.field = store_->field_size();
    sizes_.couplings = 2;
    sizes_.lanes = 8;  // rows begin with a sector of memory
    sizes_.columns = tables_.links * store_->numbers();
    sizes_.sums =
        std::max<int64_t>(tables_.active, sun::TraceRows(tables_.plaquettes.n) + sun::TraceRows(tables_.rectangles.n));
    sizes_.scratch = layout_.scratch_bytes();
    sizes_.graphs = true;
    return HF_OK;
  }

  std::vector<char> Pack(const char* base) override {
    Arena arena(base);
    sun::LoopPacker(&arena, &tables_).Pack(store_->flow());
    if (base != nullptr) store_.reset();
    return arena.bytes();
  }

  const BufferSizes& sizes() const override { return sizes_; }
  int32_t LaunchDraw(cudaStream_t stream, const Buffers& b, int64_t batch) const override {
    if (tables_.colours == 2) return sun::LoopLauncher<2>(tables_, layout_, stream, b, batch).Draw();
    return sun::LoopLauncher<3>(tables_, layout_, stream, b, batch).Draw();
  }
  int32_t LaunchDensity(cudaStream_t stream, const Buffers& b, int64_t batch) const override {
    if (tables_.colours == 2) return sun::LoopLauncher<2>(tables_, layout_, stream, b, batch).Density();
    return sun::LoopLauncher<3>(tables_, layout_, stream, b, batch).Density();
  }

 private:
  const hf_loop_flow flow_;                   // of the creator; in Prepare alone
  std::unique_ptr<kernel::LoopStore> store_;  // until everything is packed
  sun::LoopTables tables_;
  sun::LoopLayout layout_;
  BufferSizes sizes_;
};

}  // namespace

std::unique_ptr<FlowProgram> MakeLoopProgram(const hf_loop_flow& flow) { return std::make_unique<LoopProgram>(flow); }

}  // namespace haarflow::isa_cuda
