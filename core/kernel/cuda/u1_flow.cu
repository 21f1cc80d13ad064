// U(1) coupling flows in CUDA.
//
// A sub-batch is a fixed sequence of launches of the bodies in u1_bodies.h: prior; per layer features, stages, coupling
// and sum of log-derivatives; cosines and action; fields to rows. No atomics, no reduction whose order depends on the
// batch: a configuration's bits are a function of its name alone.
#include <utility>

#include "core/kernel/cuda/u1_launches.h"

namespace haarflow::isa_cuda {
namespace {

class U1Program final : public FlowProgram {
 public:
  explicit U1Program(const hf_u1_flow& flow) : flow_(flow) {}

  int32_t Prepare(int) override {
    Arena arena(nullptr);
    if (const std::string e = U1Packer(&arena, &tables_).Pack(flow_); !e.empty()) return Fail(HF_INVALID, e);
    sizes_.field = sizes_.columns = tables_.links;
    sizes_.lanes = 128;
    for (int i = 0; i < 2; ++i) sizes_.network[i] = tables_.network_bytes[i];
    sizes_.sums = tables_.sum_rows;
    sizes_.graphs = true;
    return HF_OK;
  }

  std::vector<char> Pack(const char* base) override {
    Arena arena(base);
    tables_ = {};
    U1Packer(&arena, &tables_).Pack(flow_);
    return arena.bytes();
  }

  const BufferSizes& sizes() const override { return sizes_; }
  int32_t LaunchDraw(cudaStream_t stream, const Buffers& b, int64_t batch) const override {
    return isa_cuda::LaunchDraw(stream, tables_, b, batch);
  }
  int32_t LaunchDensity(cudaStream_t stream, const Buffers& b, int64_t batch) const override {
    return isa_cuda::LaunchDensity(stream, tables_, b, batch);
  }

 private:
  const hf_u1_flow flow_;  // of the creator; not after Pack
  U1Tables tables_;
  BufferSizes sizes_;
};

}  // namespace

std::unique_ptr<FlowProgram> MakeU1Program(const hf_u1_flow& flow) { return std::make_unique<U1Program>(flow); }

}  // namespace haarflow::isa_cuda
