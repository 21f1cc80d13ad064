// Small random flows as tables: hand-made, with everything that a kernel must get right and nothing that a lattice
// would need.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "core/kernel/table.h"

namespace haarflow {

struct Loops {
  std::vector<int32_t> begin = {0};
  std::vector<int32_t> links;
  void Add(const std::vector<int32_t>& path) {
    links.insert(links.end(), path.begin(), path.end());
    begin.push_back(static_cast<int32_t>(links.size()));
  }
  hf_loops View() const { return {static_cast<int32_t>(begin.size()) - 1, begin.data(), links.data()}; }
};

struct Stage {
  hf_stage view{};
  std::vector<int32_t> tap_begin = {0}, tap_input, tap_weight;
  std::vector<char> weights, bias;
};

inline int32_t Parameters(int32_t map, int32_t pieces) {
  return map == HF_MAP_SPLINE || map == HF_MAP_SHARP_SPLINE ? 3 * pieces + 1
         : map == HF_MAP_MOEBIUS                            ? 2 * pieces + 1
                                                            : pieces + 1;
}

// `layers` layers that alternate between links 0, 3, 6 ... and 1, 4, 7 ... as active ones. Every third link is never
// active: features and the far side of loops run through these and the inactive ones. Two or three stages, channel
// counts that fill no block evenly.
class RandomFlow {
 public:
  RandomFlow(int32_t links, int32_t layers, int32_t map, int32_t pieces, bool double_network, uint32_t seed)
      : random_(seed) {
    for (int32_t i = 0; i < layers; ++i) AddLayer(links, i, map, pieces, double_network);
    for (int32_t i = 0; i < links; ++i)
      plaquettes_.Add({2 * i, 2 * ((i + 1) % links), 2 * ((i + 2) % links) + 1, 2 * ((i + 5) % links) + 1});
    view_ = {links, layers, couplings_.data(), plaquettes_.View()};
  }
  RandomFlow(const RandomFlow&) = delete;
  RandomFlow& operator=(const RandomFlow&) = delete;

  const hf_u1_flow& view() const { return view_; }

 private:
  struct Layer {
    std::vector<int32_t> active_links;
    Loops active_loops, features;
    std::vector<std::unique_ptr<Stage>> stages;
    std::vector<hf_stage> views;
  };

  int32_t Below(int32_t n) { return std::uniform_int_distribution<int32_t>(0, n - 1)(random_); }

  void AddLayer(int32_t links, int32_t number, int32_t map, int32_t pieces, bool double_network) {
    Layer& layer = *layers_.emplace_back(std::make_unique<Layer>());
    std::vector<int32_t> passive;
    for (int32_t link = 0; link < links; ++link) {
      (link % 3 == number % 2 ? layer.active_links : passive).push_back(link);
    }
    const auto any = [&] { return 2 * passive[Below(static_cast<int32_t>(passive.size()))] + Below(2); };
    for (const int32_t link : layer.active_links) layer.active_loops.Add({any(), 2 * link, any(), any()});
    const int32_t features = 7;
    for (int32_t i = 0; i < features; ++i) layer.features.Add({any(), any(), any(), any()});
    const auto active = static_cast<int32_t>(layer.active_links.size());
    const int32_t hidden = number % 2 == 0 ? 6 : 21;
    AddStage(&layer, 9, hidden, 2, features, HF_ACTIVATION_SILU + number % 3, double_network);
    if (number % 2 == 1) AddStage(&layer, 5, 9, hidden, 9, HF_ACTIVATION_TANH, double_network);
    AddStage(&layer, active, Parameters(map, pieces), number % 2 == 1 ? 9 : hidden, number % 2 == 1 ? 5 : 9,
             HF_ACTIVATION_NONE, double_network);
    for (const auto& stage : layer.stages) layer.views.push_back(stage->view);
    couplings_.push_back({active, layer.active_links.data(), layer.active_loops.View(), layer.features.View(),
                          static_cast<int32_t>(layer.views.size()), layer.views.data(), map, pieces, double_network});
  }

  void AddStage(Layer* layer, int32_t sites, int32_t channels, int32_t rows_per_tap, int32_t inputs, int32_t activation,
                bool double_network) {
    Stage& s = *layer->stages.emplace_back(std::make_unique<Stage>());
    const int32_t blocks = 3;
    for (int32_t site = 0; site < sites; ++site) {
      for (int32_t tap = Below(4); tap >= 0; --tap) {
        s.tap_input.push_back(Below(inputs));
        s.tap_weight.push_back(Below(blocks));
      }
      s.tap_begin.push_back(static_cast<int32_t>(s.tap_input.size()));
    }
    Fill(&s.weights, blocks * rows_per_tap * channels, double_network);
    Fill(&s.bias, channels, double_network);
    s.view = {sites,
              channels,
              rows_per_tap,
              blocks,
              s.tap_begin.data(),
              s.tap_input.data(),
              s.tap_weight.data(),
              s.weights.data(),
              s.bias.data(),
              activation};
  }

  void Fill(std::vector<char>* bytes, int32_t n, bool double_network) {
    std::uniform_real_distribution<double> number(-0.4, 0.4);
    for (int32_t i = 0; i < n; ++i) {
      const double d = number(random_);
      const auto f = static_cast<float>(d);
      const size_t size = double_network ? sizeof(d) : sizeof(f), offset = bytes->size();
      bytes->resize(offset + size);
      std::memcpy(bytes->data() + offset, double_network ? static_cast<const void*>(&d) : &f, size);
    }
  }

  std::mt19937 random_;
  std::vector<std::unique_ptr<Layer>> layers_;
  std::vector<hf_u1_coupling> couplings_;
  Loops plaquettes_;
  hf_u1_flow view_{};
};

// Proposals of one table, and what they are asked for.
struct Drawn {
  std::vector<double> links, log_q, action;
  Drawn(const hf_kernels& kernels, const void* flow, int32_t links_each, const std::vector<uint64_t>& seed,
        const std::vector<uint64_t>& index, double beta, int32_t* code, void* stream = nullptr)
      : links(seed.size() * links_each), log_q(seed.size()), action(seed.size()) {
    *code = kernels.flow_draw(flow, static_cast<int64_t>(seed.size()), seed.data(), index.data(), &beta, links.data(),
                              log_q.data(), action.data(), stream);
  }
};

}  // namespace haarflow
