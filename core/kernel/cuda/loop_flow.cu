// Loop flows of SU(N) links in CUDA.
//
// A sub-batch is a fixed sequence of launches of the bodies in loop_bodies.h: Haar links; per pass one launch for all
// links of its mask; log q; action; fields to matrices. Continuous flows (continuous_loop_bodies.h) have, per stage,
// one launch for every direction and one that moves all links. No atomics, no sum whose order depends on the batch: a
// configuration's bits are a function of its name alone.
//
// One thread updates one link of one configuration, its matrices in registers, and interprets the link's matrix program
// (loop_program.h, in the order of loop_schedule.h): what a new class of loops adds to programs needs nothing here.
// sm_90: 250 registers for SU(3), so two blocks of 128 threads on a multiprocessor; 90 for SU(2).
//
// The floor, for an H200 (34e12 double-precision operations/s, 4.8e12 bytes/s); not yet measured on a GPU. A link's
// update in `su3-4x4x4x4-b1` is 265 matrix products (57 kflop), 185 additions of matrices (7), exponential, gradients
// and determinant (6); a draw is 2,048 of them: 4.2 us. In `su3-l16-b5` an update is 32 kflop, a draw 4,096: 3.8 us.
// Bytes that no order of work avoids are the different links that an update reads and the one that it writes, 94 and 30
// of 144 bytes: 5.8 us and 3.7 us.
//
// What the threads move is more: 272 reads of links (of those 92), 303 of slots (60 of them in the six slots of shared
// memory) and 70 in the map, 84 KB an update; 39 KB in `su3-l16-b5`. All of it from memory is 36 us and 34 us a draw;
// the second-level cache holds the fields of the configurations at work (2 x 132 blocks) and a part of the slots. So
// memory is the limit, by a factor of up to 9. Nine threads for a matrix would leave 54 slots for each link on the
// chip.
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
    packer_ = std::make_unique<sun::LoopPacker>(store_->flow());
    if (const std::string e = packer_->Resolve(); !e.empty()) return Fail(HF_INVALID, e);
    Arena arena(nullptr);
    tables_ = packer_->Pack(&arena);
    int shared = 0, multiprocessors = 0;
    HF_CUDA(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    HF_CUDA(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
    const DeviceLimits limits = {shared, multiprocessors};
    layout_ = flow_.colours == 2 ? sun::LoopLayout::For<2>(tables_, limits) : sun::LoopLayout::For<3>(tables_, limits);
    if (store_->field_size() > INT32_MAX) return Fail(HF_INVALID, "a field is too large");
    sizes_.field = store_->field_size();
    sizes_.couplings = 2;
    sizes_.lanes = 8;  // rows begin with a sector of memory
    const bool continuous = tables_.integration_steps > 0;
    // Continuous: three fields, and the forces of four stages.
    const int64_t forces = kernel::kStages * (tables_.colours == 2 ? sun::Group<2>::kDim : sun::Group<3>::kDim);
    sizes_.columns = tables_.links * (continuous ? 3 * store_->numbers() + forces : store_->numbers());
    sizes_.sums = std::max<int64_t>(continuous ? tables_.links : tables_.active,
                                    sun::TraceRows(tables_.plaquettes.n) + sun::TraceRows(tables_.rectangles.n));
    sizes_.scratch = layout_.scratch_bytes();
    sizes_.graphs = true;
    return HF_OK;
  }

  std::vector<char> Pack(const char* base) override {
    Arena arena(base);
    tables_ = packer_->Pack(&arena);
    if (base != nullptr) {
      packer_.reset();
      store_.reset();
    }
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
  std::unique_ptr<sun::LoopPacker> packer_;   // of its tables
  sun::LoopTables tables_;
  sun::LoopLayout layout_;
  BufferSizes sizes_;
};

}  // namespace

std::unique_ptr<FlowProgram> MakeLoopProgram(const hf_loop_flow& flow) { return std::make_unique<LoopProgram>(flow); }

}  // namespace haarflow::isa_cuda
