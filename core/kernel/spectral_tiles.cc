// Spectral coupling flows of SU(N) links behind the C table: a checked copy, and its work on tiles. Haar measure and
// the lattice action are those of loop flows.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "core/kernel/cpu/loop_isa.h"
#include "core/kernel/cpu/spectral_isa.h"
#include "core/kernel/spectral_store.h"
#include "core/kernel/tiles.h"

namespace haarflow::kernel {

std::string SpectralStore::Copy(const hf_spectral_flow& flow) {
  flow_ = flow;
  if (flow.colours != 2 && flow.colours != 3) return "colours are 2 or 3";
  if (flow.links < 1 || flow.layers < 0) return "links and layers must be positive";
  if (flow.single != 0 && flow.links != 1) return "a single matrix is one link";
  if (std::string e = CopyLoops(&flow_.plaquettes, 2); !e.empty()) return "plaquettes: " + e;
  if (std::string e = CopyLoops(&flow_.rectangles, 2); !e.empty()) return "rectangles: " + e;
  layers_.reserve(flow.layers);
  for (int32_t i = 0; i < flow.layers; ++i) {
    layers_.push_back(flow.layer[i]);
    if (std::string e = CopyLayer(&layers_.back()); !e.empty()) return "layer " + std::to_string(i) + ": " + e;
  }
  flow_.layer = layers_.data();
  links_ = {
      .colours = flow_.colours, .links = flow_.links, .plaquettes = flow_.plaquettes, .rectangles = flow_.rectangles};
  return "";
}

std::string SpectralStore::CopyLoops(hf_loops* loops, int32_t least) {
  if (loops->n < 0) return "negative number of loops";
  loops->begin = arrays_.Keep(loops->begin, int64_t{loops->n} + 1);
  if (loops->begin[0] != 0) return "loop offsets do not start at 0";
  for (int32_t i = 0; i < loops->n; ++i) {
    if (int64_t{loops->begin[i + 1]} - loops->begin[i] < least) return "a loop is too short";
  }
  loops->links = arrays_.Keep(loops->links, loops->begin[loops->n]);
  for (int32_t k = 0; k < loops->begin[loops->n]; ++k) {
    if (loops->links[k] < 0 || loops->links[k] / 2 >= flow_.links) return "a loop runs through an unknown link";
  }
  return "";
}

std::string SpectralStore::CopyLayer(hf_spectral_coupling* layer) {
  if (layer->active < 0 || layer->active_loops.n != layer->active) return "one active loop is needed per active link";
  if (!(layer->power >= -4 && layer->power <= 4)) return "the power is not in [-4, 4]";
  if (layer->mirror_loops.n != (layer->power == 0 ? 0 : layer->active)) return "mirror loops do not fit the power";
  layer->active_links = arrays_.Keep(layer->active_links, layer->active);
  if (std::string e = CopyLoops(&layer->active_loops, 1); !e.empty()) return "active loops: " + e;
  if (std::string e = CopyLoops(&layer->mirror_loops, 1); !e.empty()) return "mirror loops: " + e;
  if (std::string e = CopyLoops(&layer->features, 0); !e.empty()) return "features: " + e;
  std::vector<bool> active(flow_.links, false);
  for (int32_t i = 0; i < layer->active; ++i) {
    const int32_t link = layer->active_links[i];
    if (link < 0 || link >= flow_.links || active[link]) return "unknown active link, or one that occurs twice";
    active[link] = true;
  }
  // Frozen: all links of loops but the first of active and mirror loops, which is the active link, forwards.
  const auto check = [&](const hf_loops& loops, bool through) {
    for (int32_t i = 0; i < loops.n; ++i) {
      if (through && loops.links[loops.begin[i]] != 2 * layer->active_links[i]) return false;
      for (int32_t k = loops.begin[i] + (through ? 1 : 0); k < loops.begin[i + 1]; ++k) {
        if (active[loops.links[k] / 2]) return false;
      }
    }
    return true;
  };
  if (!check(layer->active_loops, true) || !check(layer->mirror_loops, true) || !check(layer->features, false)) {
    return "a loop runs through an active link where it must not";
  }
  const bool su3 = flow_.colours == 3;
  const auto in_range = [](int32_t x, int32_t low, int32_t high) { return x >= low && x <= high; };
  if (!in_range(layer->bins, 2, 64) ||
      (su3 && !(in_range(layer->ratio_bins, 2, 64) && in_range(layer->ratio_nodes, 1, 16)))) {
    return "the map's sizes are out of range";
  }
  const int64_t parameters =
      3 * int64_t{layer->bins} + 1 + (su3 ? layer->ratio_nodes * (3 * int64_t{layer->ratio_bins} + 1) : 0);
  const int64_t rows = int64_t{layer->features.n} * (su3 ? 2 : 1);
  max_feature_rows_ = std::max(max_feature_rows_, rows);
  return networks_.Copy(&layer->stage, layer->stages, rows, layer->double_network != 0, layer->active, parameters,
                        &arrays_);
}

namespace {

void ToField(int32_t colours, int32_t links, const double* const* halves, double* field) {
  for (int half = 0; half < kSpectralHalves; ++half) HalfToField(colours, links, halves[half], half, field);
}

class SpectralTiledFlow final : public TiledFlow {
 public:
  SpectralTiledFlow(const SpectralKernels& kernels, const LoopKernels& links) : kernels_(kernels), links_(links) {}
  std::string Copy(const hf_spectral_flow& flow) { return store_.Copy(flow); }
  int64_t field_size() const override {
    return int64_t{store_.flow().links} * 2 * store_.flow().colours * store_.flow().colours;
  }
  std::unique_ptr<Tile> MakeTile() const override { return std::make_unique<SpectralTile>(*this); }

 private:
  class SpectralTile final : public Tile {
   public:
    explicit SpectralTile(const SpectralTiledFlow& owner) : owner_(owner) {
      const hf_spectral_flow& flow = owner.store_.flow();
      const int64_t matrix = (flow.colours == 2 ? 4 : 18) * kMatrixLanes;
      field_ = Allocate<double>(owner.field_size() * kTile);
      for (auto& links : links_) links = Allocate<double>(flow.links * matrix);
      scratch_ = Allocate<double>(kSpectralScratch * matrix);
      features_ = Allocate<double>(owner.store_.max_feature_rows() * kTile);
      for (auto& stage : stage_) stage = Allocate<double>(owner.store_.max_rows() * kTile);
      work_ = {{links_[0].get(), links_[1].get()}, scratch_.get(), features_.get(), {stage_[0].get(), stage_[1].get()}};
      field = field_.get();
    }

    void Draw(const uint64_t* seed, const uint64_t* index, const double* couplings, double* log_q,
              double* action) override {
      constexpr uint32_t kPriorPurpose = 1;  // NoisePurpose of core/base/noise.h
      for (int half = 0; half < kSpectralHalves; ++half) {
        owner_.links_.haar_tile(owner_.store_.links(), kPriorPurpose, seed + half * kMatrixLanes,
                                index + half * kMatrixLanes, work_.links[half]);
      }
      double log_det[kTile] = {};
      owner_.kernels_.map_tile(owner_.store_.flow(), work_, false, log_det);
      for (int i = 0; i < kTile; ++i) log_q[i] = 0.0 - log_det[i];
      Action(couplings, action);
      ToField(owner_.store_.flow().colours, owner_.store_.flow().links, work_.links, field_.get());
    }

    void Density(const double* couplings, double* log_q, double* action) override {
      for (int half = 0; half < kSpectralHalves; ++half) {
        HalfFromField(owner_.store_.flow().colours, owner_.store_.flow().links, field_.get(), half, work_.links[half]);
      }
      Action(couplings, action);
      for (int i = 0; i < kTile; ++i) log_q[i] = 0;
      owner_.kernels_.map_tile(owner_.store_.flow(), work_, true, log_q);
    }

   private:
    void Action(const double* couplings, double* action) {
      if (owner_.store_.flow().single != 0) {
        return owner_.kernels_.single_action_tile(owner_.store_.flow(), couplings, work_, action);
      }
      for (int half = 0; half < kSpectralHalves; ++half) {
        owner_.links_.action_tile(owner_.store_.links(), couplings, work_.links[half], work_.scratch,
                                  action + half * kMatrixLanes);
      }
    }
    const SpectralTiledFlow& owner_;
    Buffer<double> field_, links_[kSpectralHalves], scratch_, features_, stage_[2];
    SpectralWorkspace work_;
  };

  const SpectralKernels& kernels_;
  const LoopKernels& links_;
  SpectralStore store_;
};

}  // namespace

std::unique_ptr<TiledFlow> MakeSpectralTiledFlow(const hf_spectral_flow& flow, const SpectralKernels& kernels,
                                                 const LoopKernels& links, std::string* wrong) {
  auto copy = std::make_unique<SpectralTiledFlow>(kernels, links);
  *wrong = copy->Copy(flow);
  if (!wrong->empty()) return nullptr;
  return copy;
}

}  // namespace haarflow::kernel
