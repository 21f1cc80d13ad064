// Scalar flows in CUDA: priors and continuous flows in blocks of threads (continuous.h), couplings in launches over
// columns (scalar_bodies.h), the heat bath and the action a configuration per block (heat_bath_bodies.h).
//
// The kernel of a run of continuous layers integrates all of its steps: a draw of such a flow is two launches, three
// with a heat bath. No atomics, no sum whose order depends on the batch or on a configuration's place in it.
//
// Environment, for measurements: HAARFLOW_CUDA_TABLE_BYTES, up to what size a layer's kernels are laid out by frequency
// (default 32 MiB), and what scalar_tables.h says. No bit depends on it.
#include <utility>

#include "core/kernel/cuda/scalar_launches.h"
#include "core/kernel/cuda/scalar_packer.h"

namespace haarflow::isa_cuda {
namespace {

class ScalarProgram final : public FlowProgram {
 public:
  explicit ScalarProgram(const hf_scalar_flow& flow) : flow_(flow) {}

  int32_t Prepare(int device) override {
    store_ = std::make_unique<kernel::ScalarFlowStore>();
    if (const std::string e = store_->Copy(flow_); !e.empty()) return Fail(HF_INVALID, e);
    int shared = 0, multiprocessors = 0;
    HF_CUDA(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    HF_CUDA(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
    bool many_sines = false;
    for (int32_t l = 0; l < flow_.layers; ++l) {
      const hf_scalar_continuous* c = flow_.layer[l].continuous;
      if (c == nullptr) continue;
      many_sines =
          many_sines || std::count_if(c->frequency, c->frequency + c->features, [](double w) { return w != 0; }) > 1;
    }
    layout_ = std::make_unique<ScalarLayout>(std::vector<int32_t>(flow_.shape, flow_.shape + flow_.dims),
                                             flow_.components, many_sines, DeviceLimits{shared, multiprocessors});
    Pack(nullptr);
    constexpr int64_t kMostScratch = int64_t{4} << 30;
    layout_->LimitBlocks(tables_.cas, kMostScratch);
    sizes_.field = store_->field_rows();
    sizes_.couplings = 3;
    sizes_.network[0] = network_bytes_[0];
    sizes_.network[1] = network_bytes_[1];
    sizes_.network[2] = reflected_bytes_;
    sizes_.scratch = layout_->scratch_bytes(tables_.cas);
    if (tables_.couplings.empty()) return HF_OK;
    sizes_.lanes = 128;
    sizes_.columns = sizes_.field;
    for (const ScalarCouplingTables& l : tables_.couplings) sizes_.sums = std::max<int64_t>(sizes_.sums, l.active);
    sizes_.graphs = true;
    return HF_OK;
  }

  std::vector<char> Pack(const char* base) override {
    Arena arena(base);
    tables_ = {};
    const int64_t table_bytes = FromEnvironment("HAARFLOW_CUDA_TABLE_BYTES", 32 << 20);
    ScalarPacker(store_->flow(), *layout_, table_bytes, &arena, &tables_).Pack(&network_bytes_, &reflected_bytes_);
    if (base != nullptr) store_.reset();
    return arena.bytes();
  }

  const BufferSizes& sizes() const override { return sizes_; }
  int32_t LaunchDraw(cudaStream_t stream, const Buffers& b, int64_t batch) const override {
    return ScalarLauncher(tables_, *layout_, stream, b, batch).Draw();
  }
  int32_t LaunchDensity(cudaStream_t stream, const Buffers& b, int64_t batch) const override {
    return ScalarLauncher(tables_, *layout_, stream, b, batch).Density();
  }

 private:
  const hf_scalar_flow flow_;                       // of the creator; in Prepare alone
  std::unique_ptr<kernel::ScalarFlowStore> store_;  // until everything is packed
  std::unique_ptr<ScalarLayout> layout_;
  ScalarTables tables_;
  NetworkBytes network_bytes_{};
  int64_t reflected_bytes_ = 0;
  BufferSizes sizes_;
};

}  // namespace

std::unique_ptr<FlowProgram> MakeScalarProgram(const hf_scalar_flow& flow) {
  return std::make_unique<ScalarProgram>(flow);
}

}  // namespace haarflow::isa_cuda
