// Loop flows of SU(N) links behind the C table: work on tiles.
#include <memory>
#include <string>

#include "core/kernel/cpu/loop_isa.h"
#include "core/kernel/loop_store.h"
#include "core/kernel/tiles.h"

namespace haarflow::kernel {
namespace {

constexpr uint32_t kPriorPurpose = 1;  // NoisePurpose of core/base/noise.h

class LoopTiledFlow final : public TiledFlow {
 public:
  explicit LoopTiledFlow(const LoopKernels& kernels) : kernels_(kernels) {}

  std::string Copy(const hf_loop_flow& flow) { return store_.Copy(flow); }
  int64_t field_size() const override { return store_.field_size(); }
  std::unique_ptr<Tile> MakeTile() const override { return std::make_unique<LoopTile>(*this); }

 private:
  class LoopTile final : public Tile {
   public:
    explicit LoopTile(const LoopTiledFlow& owner) : owner_(owner) {
      const int64_t matrix = owner.store_.numbers() * kMatrixLanes;
      field_ = Allocate<double>(owner.store_.field_size() * kTile);
      links_ = Allocate<double>(owner.flow().links * matrix);
      matrices_ = Allocate<double>(owner.store_.max_slots() * matrix);
      scalars_ = Allocate<double>(owner.store_.max_scalars() * 2 * kMatrixLanes);
      product_ = Allocate<double>((4 + owner.store_.max_loops()) * matrix);
      const bool continuous = owner.flow().integration_steps > 0;
      stages_ = Allocate<double>(continuous ? StageNumbers(owner.flow().colours, owner.flow().links) : 0);
      work_ = {links_.get(), matrices_.get(), scalars_.get(), product_.get(), stages_.get()};
      field = field_.get();
    }

    void Draw(const uint64_t* seed, const uint64_t* index, const double* couplings, double* log_q,
              double* action) override {
      for (int half = 0; half < kTile; half += kMatrixLanes) {
        double smallest[kMatrixLanes];
        owner_.kernels_.haar_tile(owner_.flow(), kPriorPurpose, seed + half, index + half, work_.links);
        owner_.kernels_.map_tile(owner_.flow(), work_, log_q + half, smallest);
        for (int i = 0; i < kMatrixLanes; ++i) log_q[half + i] = -log_q[half + i];
        owner_.kernels_.action_tile(owner_.flow(), couplings, work_.links, work_.product, action + half);
        HalfToField(owner_.flow().colours, owner_.flow().links, work_.links, half / kMatrixLanes, field_.get());
      }
    }

    void Density(const double* couplings, double* log_q, double* action) override {
      for (int half = 0; half < kTile; half += kMatrixLanes) {
        HalfFromField(owner_.flow().colours, owner_.flow().links, field_.get(), half / kMatrixLanes, work_.links);
        owner_.kernels_.action_tile(owner_.flow(), couplings, work_.links, work_.product, action + half);
        owner_.kernels_.inverse_tile(owner_.flow(), work_, log_q + half);
        for (int i = 0; i < kMatrixLanes; ++i) log_q[half + i] = -log_q[half + i];
      }
    }

   private:
    const LoopTiledFlow& owner_;
    Buffer<double> field_, links_, matrices_, scalars_, product_, stages_;
    LoopWorkspace work_;
  };

  const hf_loop_flow& flow() const { return store_.flow(); }

  const LoopKernels& kernels_;
  LoopStore store_;
};

}  // namespace

std::unique_ptr<TiledFlow> MakeLoopTiledFlow(const hf_loop_flow& flow, const LoopKernels& kernels, std::string* wrong) {
  auto copy = std::make_unique<LoopTiledFlow>(kernels);
  *wrong = copy->Copy(flow);
  if (!wrong->empty()) return nullptr;
  return copy;
}

}  // namespace haarflow::kernel
