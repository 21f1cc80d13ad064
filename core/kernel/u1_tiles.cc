// U(1) flows on the CPU: a checked copy of the tables, and tiles.
#include <algorithm>

#include "core/kernel/tiles.h"

namespace haarflow::kernel {

namespace {

class U1TiledFlow final : public TiledFlow {
 public:
  explicit U1TiledFlow(const IsaKernels& kernels) : kernels_(kernels) {}

  std::string Copy(const hf_u1_flow& flow) {
    flow_ = flow;
    if (flow.links < 1 || flow.layers < 0) return "links and layers must be positive";
    if (std::string e = CopyLoops(&flow_.plaquettes); !e.empty()) return "plaquettes: " + e;
    layers_.reserve(flow.layers);
    for (int32_t i = 0; i < flow.layers; ++i) {
      layers_.push_back(flow.layer[i]);
      if (std::string e = CopyLayer(&layers_.back()); !e.empty()) return "layer " + std::to_string(i) + ": " + e;
    }
    flow_.layer = layers_.data();
    return "";
  }

  int64_t field_size() const override { return flow_.links; }
  std::unique_ptr<Tile> MakeTile() const override { return std::make_unique<U1Tile>(*this); }

 private:
  class U1Tile final : public Tile {
   public:
    explicit U1Tile(const U1TiledFlow& owner) : owner_(owner) {
      links_ = Allocate<double>(int64_t{owner.flow_.links} * kTile);
      features_ = Allocate<double>(owner.max_features_ * 2 * kTile);
      for (auto& stage : stage_) stage = Allocate<double>(owner.networks_.max_rows() * kTile);
      work_ = {links_.get(), features_.get(), {stage_[0].get(), stage_[1].get()}};
      field = links_.get();
    }
    void Draw(const uint64_t* seed, const uint64_t* index, const double* couplings, double* log_q,
              double* action) override {
      owner_.kernels_.draw_tile(owner_.flow_, seed, index, work_, log_q);
      owner_.kernels_.action_tile(owner_.flow_, couplings[0], work_, action);
    }
    void Density(const double* couplings, double* log_q, double* action) override {
      owner_.kernels_.action_tile(owner_.flow_, couplings[0], work_, action);
      owner_.kernels_.density_tile(owner_.flow_, work_, log_q);
    }

   private:
    const U1TiledFlow& owner_;
    Buffer<double> links_, features_, stage_[2];
    TileWorkspace work_;
  };

  std::string CopyLoops(hf_loops* loops) {
    if (loops->n < 0) return "negative number of loops";
    loops->begin = arrays_.Keep(loops->begin, int64_t{loops->n} + 1);
    for (int32_t i = 0; i < loops->n; ++i) {
      if (loops->begin[i] > loops->begin[i + 1]) return "loop offsets decrease";
    }
    if (loops->begin[0] != 0) return "loop offsets do not start at 0";
    loops->links = arrays_.Keep(loops->links, loops->begin[loops->n]);
    for (int32_t k = 0; k < loops->begin[loops->n]; ++k) {
      if (loops->links[k] < 0 || loops->links[k] / 2 >= flow_.links) return "a loop runs through an unknown link";
    }
    return "";
  }

  std::string CopyLayer(hf_u1_coupling* layer) {
    if (layer->active < 0 || layer->active_loops.n != layer->active) return "one active loop is needed per active link";
    layer->active_links = arrays_.Keep(layer->active_links, layer->active);
    for (int32_t i = 0; i < layer->active; ++i) {
      if (layer->active_links[i] < 0 || layer->active_links[i] >= flow_.links) return "unknown active link";
    }
    if (std::string e = CopyLoops(&layer->active_loops); !e.empty()) return "active " + e;
    if (std::string e = CopyLoops(&layer->features); !e.empty()) return "feature " + e;
    max_features_ = std::max(max_features_, int64_t{layer->features.n});
    const bool spline = layer->map == HF_MAP_SPLINE || layer->map == HF_MAP_SHARP_SPLINE;
    const int limit = spline ? 64 : 16;
    if (layer->map < HF_MAP_SPLINE || layer->map > HF_MAP_SHARP_SPLINE || layer->pieces < 1 || layer->pieces > limit) {
      return "unknown circle map";
    }
    const int64_t channels = spline                         ? 3 * layer->pieces + 1
                             : layer->map == HF_MAP_MOEBIUS ? 2 * layer->pieces + 1
                                                            : layer->pieces + 1;
    return networks_.Copy(&layer->stage, layer->stages, int64_t{layer->features.n} * 2, layer->double_network != 0,
                          layer->active, channels, &arrays_);
  }

  const IsaKernels& kernels_;
  hf_u1_flow flow_{};
  std::vector<hf_u1_coupling> layers_;
  ArrayStore arrays_;
  NetworkStore networks_;
  int64_t max_features_ = 0;
};

}  // namespace

std::unique_ptr<TiledFlow> MakeU1TiledFlow(const hf_u1_flow& flow, const IsaKernels& kernels, std::string* wrong) {
  auto copy = std::make_unique<U1TiledFlow>(kernels);
  *wrong = copy->Copy(flow);
  if (!wrong->empty()) return nullptr;
  return copy;
}

}  // namespace haarflow::kernel
