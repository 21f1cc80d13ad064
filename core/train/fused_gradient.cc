#include <algorithm>
#include <cstdlib>
#include <thread>

#include "core/base/status.h"
#include "core/kernel/cpu/isa.h"
#include "core/train/gradient.h"

namespace haarflow {
namespace {

using kernel::kTile;
using kernel::TrainLayer;
using kernel::TrainStage;
using kernel::TrainTile;

// Taps of one stage, seen from its weights and from its inputs.
struct StageTables {
  std::vector<int32_t> by_weight_begin, by_weight_site, by_weight_input;
  std::vector<int32_t> transposed_begin, transposed_input, transposed_weight;
  int32_t inputs = 0;
};

StageTables MakeTables(const StagePlan& stage, int32_t inputs) {
  StageTables t;
  t.inputs = inputs;
  t.by_weight_begin.assign(stage.weight_blocks + 1, 0);
  t.transposed_begin.assign(inputs + 1, 0);
  const size_t taps = stage.tap_input.size();
  for (size_t k = 0; k < taps; ++k) {
    ++t.by_weight_begin[stage.tap_weight[k] + 1];
    ++t.transposed_begin[stage.tap_input[k] + 1];
  }
  for (int32_t b = 0; b < stage.weight_blocks; ++b) t.by_weight_begin[b + 1] += t.by_weight_begin[b];
  for (int32_t i = 0; i < inputs; ++i) t.transposed_begin[i + 1] += t.transposed_begin[i];
  t.by_weight_site.resize(taps);
  t.by_weight_input.resize(taps);
  t.transposed_input.resize(taps);
  t.transposed_weight.resize(taps);
  auto next_weight = t.by_weight_begin;
  auto next_input = t.transposed_begin;
  for (int32_t site = 0; site < stage.sites; ++site) {
    for (int32_t k = stage.tap_begin[site]; k < stage.tap_begin[site + 1]; ++k) {
      const int32_t w = next_weight[stage.tap_weight[k]]++;
      t.by_weight_site[w] = site;
      t.by_weight_input[w] = stage.tap_input[k];
      const int32_t i = next_input[stage.tap_input[k]]++;
      t.transposed_input[i] = site;
      t.transposed_weight[i] = stage.tap_weight[k];
    }
  }
  return t;
}

// Weights in the network's precision, with the transposed copy that gradients of inputs need.
struct StageWeights {
  std::vector<double> weights, transposed, bias, zero_bias;  // reinterpreted as float where the network is float
};

template <class T>
void ConvertWeights(const StagePlan& stage, const double* weight, const double* bias, StageWeights* out) {
  T* w = reinterpret_cast<T*>(out->weights.data());
  T* t = reinterpret_cast<T*>(out->transposed.data());
  T* b = reinterpret_cast<T*>(out->bias.data());
  const int64_t rows = stage.rows_per_tap, channels = stage.out_channels;
  for (int64_t block = 0; block < stage.weight_blocks; ++block) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t o = 0; o < channels; ++o) {
        const T value = static_cast<T>(weight[(block * rows + r) * channels + o]);
        w[(block * rows + r) * channels + o] = value;
        t[(block * channels + o) * rows + r] = value;
      }
    }
  }
  for (int64_t o = 0; o < channels; ++o) b[o] = static_cast<T>(bias[o]);
}

class FusedGradient final : public GradientSource {
 public:
  FusedGradient(const U1FlowPlan& plan, int threads) : plan_(plan), layout_(plan_), threads_(threads) {
    for (const U1LayerPlan& layer : plan_.layers) {
      auto& tables = tables_.emplace_back();
      auto& weights = weights_.emplace_back();
      int32_t inputs = layer.features.size();
      for (const StagePlan& stage : layer.stages) {
        tables.push_back(MakeTables(stage, inputs));
        const size_t size = static_cast<size_t>(stage.weight_blocks) * stage.rows_per_tap * stage.out_channels;
        weights.push_back({std::vector<double>(size), std::vector<double>(size),
                           std::vector<double>(stage.out_channels), std::vector<double>(stage.rows_per_tap)});
        inputs = stage.sites;
      }
    }
    for (int t = 0; t < threads_; ++t) workers_.push_back(std::make_unique<Worker>(*this));
  }

  absl::Status Evaluate(absl::Span<const double> parameters, const TrainingBatch& batch, std::vector<double>* gradient,
                        BatchResult* result) override {
    if (static_cast<int64_t>(parameters.size()) != layout_.size()) {
      return absl::InvalidArgumentError(absl::StrCat(parameters.size(), " parameters for a flow of ", layout_.size()));
    }
    if (batch.n < kTile || batch.n % kTile != 0) {
      return absl::InvalidArgumentError(absl::StrCat("batch ", batch.n, " is not a positive multiple of ", kTile));
    }
    SetWeights(parameters);
    result->log_q.resize(batch.n);
    result->action.resize(batch.n);
    const int used = static_cast<int>(std::min<int64_t>(threads_, batch.n / kTile));
    std::vector<std::thread> running;
    for (int t = 1; t < used; ++t) running.emplace_back([&, t] { workers_[t]->Run(batch, t, used, result); });
    workers_[0]->Run(batch, 0, used, result);
    for (auto& thread : running) thread.join();
    gradient->assign(layout_.size(), 0.0);
    for (int t = 0; t < used; ++t) {
      for (int64_t i = 0; i < layout_.size(); ++i) (*gradient)[i] += workers_[t]->gradient[i];
    }
    return absl::OkStatus();
  }

 private:
  // One thread's tile, scratch memory and partial gradient.
  struct Worker {
    explicit Worker(const FusedGradient& owner) : gradient(owner.layout_.size()) {
      const U1FlowPlan& plan = owner.plan_;
      const int64_t links = plan.lattice.links() * kTile;
      int64_t max_rows = 2, max_parameters = 1;
      size_t block = 0;
      couplings.reserve(plan.layers.size());
      stages.resize(plan.layers.size());
      for (size_t l = 0; l < plan.layers.size(); ++l) {
        const U1LayerPlan& layer = plan.layers[l];
        const int32_t active = static_cast<int32_t>(layer.active_links.size());
        max_rows = std::max<int64_t>(max_rows, 2 * layer.features.size());
        max_parameters = std::max<int64_t>(max_parameters, CircleMapParameterCount(layer.map, layer.pieces));
        for (size_t s = 0; s < layer.stages.size(); ++s) {
          const StagePlan& stage = layer.stages[s];
          const StageTables& t = owner.tables_[l][s];
          const StageWeights& w = owner.weights_[l][s];
          const int64_t rows = int64_t{stage.sites} * stage.out_channels;
          max_rows = std::max(max_rows, rows);
          double* before = Scratch(rows * kTile);
          double* output = stage.activation == HF_ACTIVATION_NONE ? before : Scratch(rows * kTile);
          const auto& blocks = owner.layout_.blocks();
          stages[l].push_back(
              {{stage.sites, stage.out_channels, stage.rows_per_tap, stage.weight_blocks, stage.tap_begin.data(),
                stage.tap_input.data(), stage.tap_weight.data(), w.weights.data(), w.bias.data(), stage.activation},
               {t.inputs, stage.rows_per_tap, stage.out_channels, stage.weight_blocks, t.transposed_begin.data(),
                t.transposed_input.data(), t.transposed_weight.data(), w.transposed.data(), w.zero_bias.data(),
                HF_ACTIVATION_NONE},
               t.by_weight_begin.data(),
               t.by_weight_site.data(),
               t.by_weight_input.data(),
               gradient.data() + blocks[block].offset,
               gradient.data() + blocks[block + 1].offset,
               before,
               output});
          block += 2;
        }
        couplings.push_back({active, layer.active_links.data(), layer.active_loops.View(), layer.features.View(),
                             static_cast<int32_t>(layer.stages.size()), nullptr, layer.map, layer.pieces,
                             layer.double_network ? 1 : 0});
        layers.push_back({&couplings[l], stages[l].data(), Scratch(2 * layer.features.size() * kTile),
                          Scratch(active * kTile), Scratch(active * kTile)});
      }
      tile = {static_cast<int32_t>(plan.lattice.links()),
              static_cast<int32_t>(layers.size()),
              layers.data(),
              plan.plaquettes.View(),
              0,
              false,
              0,
              Scratch(links),
              Scratch(links),
              Scratch(links),
              {Scratch(max_rows * kTile), Scratch(max_rows * kTile)},
              Scratch(max_parameters * kTile)};
    }

    // Tiles first, first + step, ... of the batch.
    void Run(const TrainingBatch& batch, int first, int step, BatchResult* result) {
      std::fill(gradient.begin(), gradient.end(), 0.0);
      tile.beta = batch.beta;
      tile.path_gradient = batch.path_gradient;
      tile.scale = 1.0 / static_cast<double>(batch.n);
      for (int64_t at = first * kTile; at < batch.n; at += step * kTile) {
        uint64_t seed[kTile], index[kTile];
        for (int i = 0; i < kTile; ++i) {
          seed[i] = batch.seed;
          index[i] = batch.first_index + at + i;
        }
        kernel::IsaKernelsFor(kernel::BestInstructionSet())
            ->train_tile(tile, seed, index, result->log_q.data() + at, result->action.data() + at);
      }
    }

    double* Scratch(int64_t n) {
      const size_t bytes = (static_cast<size_t>(std::max<int64_t>(n, 1)) * sizeof(double) + 63) / 64 * 64;
      void* p = std::aligned_alloc(64, bytes);
      if (p == nullptr) throw std::bad_alloc();
      scratch.emplace_back(static_cast<double*>(p), &std::free);
      return scratch.back().get();
    }

    std::vector<double> gradient;
    std::vector<std::unique_ptr<double, decltype(&std::free)>> scratch;
    std::vector<hf_u1_coupling> couplings;
    std::vector<std::vector<TrainStage>> stages;
    std::vector<TrainLayer> layers;
    TrainTile tile;
  };

  void SetWeights(absl::Span<const double> parameters) {
    const auto& blocks = layout_.blocks();
    for (size_t b = 0; b < blocks.size(); b += 2) {
      const StagePlan& stage = plan_.layers[blocks[b].layer].stages[blocks[b].stage];
      StageWeights& weights = weights_[blocks[b].layer][blocks[b].stage];
      const double* weight = parameters.data() + blocks[b].offset;
      const double* bias = parameters.data() + blocks[b + 1].offset;
      if (blocks[b].double_network) {
        ConvertWeights<double>(stage, weight, bias, &weights);
      } else {
        ConvertWeights<float>(stage, weight, bias, &weights);
      }
    }
  }

  const U1FlowPlan plan_;
  const ParameterLayout layout_;
  const int threads_;
  std::vector<std::vector<StageTables>> tables_;
  std::vector<std::vector<StageWeights>> weights_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GradientSource>> MakeFusedGradient(const U1FlowPlan& plan, int threads) {
  if (threads < 1 || threads > 1024)
    return absl::InvalidArgumentError(absl::StrCat(threads, " threads; 1..1024 are possible"));
  try {
    return std::make_unique<FusedGradient>(plan, threads);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        "not enough memory for the training workspace; use a smaller lattice or fewer layers");
  }
}

}  // namespace haarflow
