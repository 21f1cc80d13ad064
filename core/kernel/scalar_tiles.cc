// Scalar flows on the CPU: tiles.
#include "core/kernel/scalar_store.h"

namespace haarflow::kernel {
namespace {

class ScalarTiledFlow final : public TiledFlow {
 public:
  explicit ScalarTiledFlow(const ScalarKernels& kernels) : kernels_(kernels) {}
  std::string Copy(const hf_scalar_flow& flow) { return store_.Copy(flow); }
  int64_t field_size() const override { return store_.field_rows(); }
  std::unique_ptr<Tile> MakeTile() const override { return std::make_unique<ScalarTile>(*this); }

 private:
  class ScalarTile final : public Tile {
   public:
    explicit ScalarTile(const ScalarTiledFlow& owner) : owner_(owner), scratch_(owner.store_) {
      field = scratch_.view().field;
    }
    void Draw(const uint64_t* seed, const uint64_t* index, const double* couplings, double* log_q,
              double* action) override {
      owner_.kernels_.draw_tile(owner_.store_.flow(), seed, index, scratch_.view(), log_q);
      owner_.kernels_.action_tile(owner_.store_.flow().geometry, couplings, field, action);
    }
    void Density(const double* couplings, double* log_q, double* action) override {
      owner_.kernels_.action_tile(owner_.store_.flow().geometry, couplings, field, action);
      owner_.kernels_.density_tile(owner_.store_.flow(), scratch_.view(), log_q);
    }

   private:
    const ScalarTiledFlow& owner_;
    ScalarScratch scratch_;
  };

  const ScalarKernels& kernels_;
  ScalarFlowStore store_;
};

}  // namespace

std::unique_ptr<TiledFlow> MakeScalarTiledFlow(const hf_scalar_flow& flow, const ScalarKernels& kernels,
                                               std::string* wrong) {
  auto copy = std::make_unique<ScalarTiledFlow>(kernels);
  *wrong = copy->Copy(flow);
  if (!wrong->empty()) return nullptr;
  return copy;
}

}  // namespace haarflow::kernel
