// A flow's tables as the GPU reads them: checked, weights repacked in channel groups, everything in one block of
// memory.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "core/kernel/cuda/network_tables.h"
#include "core/kernel/cuda/u1_bodies.h"

namespace haarflow::HF_ISA {

struct U1LayerTables {
  int32_t active;
  const int32_t* active_links;
  hf_loops active_loops, features;
  int32_t map, pieces;
  NetworkTables network;
};

struct U1Tables {
  int32_t links = 0;
  hf_loops plaquettes{};
  std::vector<U1LayerTables> layers;
  // What one configuration needs: for the networks, and rows to sum.
  NetworkBytes network_bytes{};
  int64_t sum_rows = 0;
};

class U1Packer {
 public:
  U1Packer(Arena* arena, U1Tables* out) : arena_(arena), out_(out) {}

  // What is wrong with the flow, or an empty string. May throw std::bad_alloc.
  std::string Pack(const hf_u1_flow& flow) {
    if (flow.links < 1 || flow.links >= 1 << 30 || flow.layers < 0) return "links and layers must be positive";
    out_->links = flow.links;
    if (std::string e = PackLoops(flow.plaquettes, &out_->plaquettes); !e.empty()) return "plaquettes: " + e;
    out_->sum_rows = flow.plaquettes.n;
    for (int32_t i = 0; i < flow.layers; ++i) {
      if (std::string e = PackLayer(flow.layer[i]); !e.empty()) return "layer " + std::to_string(i) + ": " + e;
    }
    return "";
  }

 private:
  std::string PackLoops(const hf_loops& in, hf_loops* out) {
    if (in.n < 0 || in.n >= 1 << 29) return "the number of loops is out of range";
    if (in.begin[0] != 0) return "loop offsets do not start at 0";
    for (int32_t i = 0; i < in.n; ++i) {
      if (in.begin[i] > in.begin[i + 1]) return "loop offsets decrease";
    }
    for (int32_t k = 0; k < in.begin[in.n]; ++k) {
      if (in.links[k] < 0 || in.links[k] / 2 >= out_->links) return "a loop runs through an unknown link";
    }
    *out = {in.n, arena_->Add(in.begin, int64_t{in.n} + 1), arena_->Add(in.links, in.begin[in.n])};
    return "";
  }

  // Threads transform active links at once and in place: a loop must pass through no active link but its own, and that
  // once.
  std::string CheckActive(const hf_u1_coupling& layer) const {
    std::vector<int32_t> owner(out_->links, -1);
    for (int32_t i = 0; i < layer.active; ++i) {
      const int32_t link = layer.active_links[i];
      if (link < 0 || link >= out_->links) return "unknown active link";
      if (owner[link] >= 0) return "link " + std::to_string(link) + " is active twice";
      owner[link] = i;
    }
    for (int32_t i = 0; i < layer.active; ++i) {
      int32_t own = 0;
      for (int32_t k = layer.active_loops.begin[i]; k < layer.active_loops.begin[i + 1]; ++k) {
        const int32_t link = layer.active_loops.links[k];
        if (owner[link >> 1] < 0) continue;
        if (owner[link >> 1] != i || link & 1)
          return "active loop " + std::to_string(i) + " runs through another active link";
        ++own;
      }
      if (own != 1) return "active loop " + std::to_string(i) + " must traverse its link once";
    }
    return "";
  }

  std::string PackLayer(const hf_u1_coupling& in) {
    if (in.active < 0 || in.active_loops.n != in.active) return "one active loop is needed per active link";
    const int limit = in.map == HF_MAP_SPLINE || in.map == HF_MAP_SHARP_SPLINE ? kMaxBins : 16;
    if (in.map < HF_MAP_SPLINE || in.map > HF_MAP_SHARP_SPLINE || in.pieces < 1 || in.pieces > limit)
      return "unknown circle map";
    U1LayerTables layer = {in.active, arena_->Add(in.active_links, in.active), {}, {}, in.map, in.pieces, {}};
    if (std::string e = PackLoops(in.active_loops, &layer.active_loops); !e.empty()) return "active " + e;
    if (std::string e = PackLoops(in.features, &layer.features); !e.empty()) return "feature " + e;
    if (std::string e = CheckActive(in); !e.empty()) return e;
    std::string e = PackNetwork(in.stage, in.stages, int64_t{in.features.n} * 2, in.double_network != 0, in.active,
                                CircleMapParameters(static_cast<CircleMapKind>(in.map), in.pieces), arena_,
                                &layer.network, &out_->network_bytes);
    if (!e.empty()) return e;
    out_->sum_rows = std::max(out_->sum_rows, int64_t{in.active});
    out_->layers.push_back(std::move(layer));
    return "";
  }

  Arena* arena_;
  U1Tables* out_;
};

}  // namespace haarflow::HF_ISA
