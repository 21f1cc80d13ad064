// A flow's tables as the GPU reads them: checked, weights repacked in channel groups, everything in one block of
// memory.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "core/kernel/cuda/u1_bodies.h"

namespace haarflow::HF_ISA {

constexpr int64_t kAlignment = 256;
constexpr int kBlocks[] = {16, 8, 4};

struct LayerTables {
  int32_t active;
  const int32_t* active_links;
  hf_loops active_loops, features;
  int32_t map, pieces;
  bool double_network;
  std::vector<StageTables> stages;
};

struct FlowTables {
  int32_t links = 0;
  hf_loops plaquettes{};
  std::vector<LayerTables> layers;
  // What one configuration needs: bytes of the two buffers that features and stages alternate between, and rows to sum.
  std::array<int64_t, 2> buffer_bytes{};
  int64_t sum_rows = 0;
};

// Bytes that will stand at `base`. Pack a flow once with base null to learn the size, then with the true base.
class Arena {
 public:
  explicit Arena(const char* base) : base_(base) {}

  template <class T>
  const T* Add(const T* data, int64_t n) {
    const size_t offset = bytes_.size();
    bytes_.resize((offset + n * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment);
    if (n > 0) std::memcpy(bytes_.data() + offset, data, n * sizeof(T));
    return reinterpret_cast<const T*>(reinterpret_cast<uintptr_t>(base_) + offset);
  }
  const std::vector<char>& bytes() const { return bytes_; }

 private:
  const char* base_;
  std::vector<char> bytes_;
};

// How many channels a thread works on: the least work, counting a load of input (per group and row) like 8
// multiply-adds.
inline int32_t BlockFor(int32_t channels) {
  int32_t best = 0;
  int64_t least = 0;
  for (const int32_t block : kBlocks) {
    const int64_t work = int64_t{(channels + block - 1) / block} * (4 * block + 8);
    if (best == 0 || work < least) best = block, least = work;
  }
  return best;
}

class FlowPacker {
 public:
  FlowPacker(Arena* arena, FlowTables* out) : arena_(arena), out_(out) {}

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

  template <class T>
  void PackWeights(const hf_stage& in, StageTables* out) {
    const int64_t block = out->block, padded = out->groups * block;
    const int64_t rows = int64_t{in.weight_blocks} * in.rows_per_tap;
    std::vector<T> weights(rows * in.out_channels), packed(rows * padded), bias(padded);
    // Byte by byte: weights come from files and may not be aligned.
    if (rows > 0) std::memcpy(weights.data(), in.weights, weights.size() * sizeof(T));
    std::memcpy(bias.data(), in.bias, in.out_channels * sizeof(T));
    for (int64_t b = 0; b < in.weight_blocks; ++b) {
      for (int64_t r = 0; r < in.rows_per_tap; ++r) {
        for (int64_t o = 0; o < in.out_channels; ++o) {
          packed[((b * out->groups + o / block) * in.rows_per_tap + r) * block + o % block] =
              weights[(b * in.rows_per_tap + r) * in.out_channels + o];
        }
      }
    }
    out->weights = arena_->Add(packed.data(), static_cast<int64_t>(packed.size()));
    out->bias = arena_->Add(bias.data(), padded);
  }

  std::string PackStage(const hf_stage& in, int64_t input_rows, bool double_network, StageTables* out) {
    if (in.sites < 0 || in.out_channels < 1 || in.rows_per_tap < 1 || in.weight_blocks < 0)
      return "sizes must be positive";
    if (in.tap_begin[0] != 0) return "tap offsets do not start at 0";
    for (int32_t s = 0; s < in.sites; ++s) {
      if (in.tap_begin[s] > in.tap_begin[s + 1]) return "tap offsets decrease";
    }
    const int32_t taps = in.tap_begin[in.sites];
    for (int32_t t = 0; t < taps; ++t) {
      if (in.tap_input[t] < 0 || (in.tap_input[t] + int64_t{1}) * in.rows_per_tap > input_rows)
        return "a tap reads outside its input";
      if (in.tap_weight[t] < 0 || in.tap_weight[t] >= in.weight_blocks) return "a tap has no weights";
    }
    const int32_t block = BlockFor(in.out_channels);
    *out = {in.sites,
            in.out_channels,
            in.rows_per_tap,
            (in.out_channels + block - 1) / block,
            block,
            in.activation,
            {},
            {},
            {},
            {},
            {}};
    if (int64_t{out->sites} * out->groups >= INT32_MAX) return "too many sites times channels";
    out->tap_begin = arena_->Add(in.tap_begin, int64_t{in.sites} + 1);
    out->tap_input = arena_->Add(in.tap_input, taps);
    out->tap_weight = arena_->Add(in.tap_weight, taps);
    if (double_network) {
      PackWeights<double>(in, out);
    } else {
      PackWeights<float>(in, out);
    }
    return "";
  }

  std::string PackLayer(const hf_u1_coupling& in) {
    if (in.active < 0 || in.active_loops.n != in.active) return "one active loop is needed per active link";
    const int limit = in.map == HF_MAP_SPLINE ? kMaxBins : 16;
    if (in.map < HF_MAP_SPLINE || in.map > HF_MAP_NON_COMPACT || in.pieces < 1 || in.pieces > limit)
      return "unknown circle map";
    if (in.stages < 1) return "a network has at least one stage";
    LayerTables layer = {
        in.active, arena_->Add(in.active_links, in.active), {}, {}, in.map, in.pieces, in.double_network != 0, {}};
    if (std::string e = PackLoops(in.active_loops, &layer.active_loops); !e.empty()) return "active " + e;
    if (std::string e = PackLoops(in.features, &layer.features); !e.empty()) return "feature " + e;
    if (std::string e = CheckActive(in); !e.empty()) return e;
    const int64_t scalar = in.double_network ? 8 : 4;
    int64_t rows = int64_t{in.features.n} * 2;
    const auto need = [&](int buffer) {
      out_->buffer_bytes[buffer] = std::max(out_->buffer_bytes[buffer], rows * scalar);
    };
    need(1);
    for (int32_t s = 0; s < in.stages; ++s) {
      if (std::string e = PackStage(in.stage[s], rows, in.double_network, &layer.stages.emplace_back()); !e.empty()) {
        return "stage " + std::to_string(s) + ": " + e;
      }
      rows = int64_t{in.stage[s].sites} * in.stage[s].out_channels;
      need(s & 1);
    }
    const hf_stage& last = in.stage[in.stages - 1];
    if (last.sites != in.active ||
        last.out_channels != CircleMapParameters(static_cast<CircleMapKind>(in.map), in.pieces)) {
      return "the last stage does not fit the circle map";
    }
    out_->sum_rows = std::max(out_->sum_rows, int64_t{in.active});
    out_->layers.push_back(std::move(layer));
    return "";
  }

  Arena* arena_;
  FlowTables* out_;
};

}  // namespace haarflow::HF_ISA
