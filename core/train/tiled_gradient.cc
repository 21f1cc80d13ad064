#include "core/train/tiled_gradient.h"

#include <algorithm>

#include "core/base/on_threads.h"
#include "core/base/status.h"

namespace haarflow {

using kernel::kTile;

namespace {
// A leaf costs an addition of all parameters, and the memory of some of them.
constexpr int64_t kMostLeaves = 256;
}  // namespace

int64_t SharedGradient::Leaves(int64_t n) { return std::min(n / kTile, kMostLeaves); }

Share SharedGradient::Fields(int64_t n, Share leaves) {
  const int64_t tiles = n / kTile, parts = Leaves(n);
  return {kTile * ShareOf(tiles, leaves.begin, parts).begin, kTile * ShareOf(tiles, leaves.end, parts).begin};
}

absl::Status TiledGradient::Evaluate(absl::Span<const double> parameters, const TrainingBatch& batch,
                                     std::vector<double>* gradient, BatchResult* result) {
  TreeSum sum(Leaves(batch.n));
  RETURN_IF_ERROR(EvaluateShare(parameters, batch, {0, Leaves(batch.n)}, &sum, result));
  *gradient = sum.Take();
  result->penalty = gradient->back();
  gradient->pop_back();
  return absl::OkStatus();
}

absl::Status TiledGradient::EvaluateShare(absl::Span<const double> parameters, const TrainingBatch& batch, Share leaves,
                                          TreeSum* sum, BatchResult* result) {
  if (static_cast<int64_t>(parameters.size()) != layout_.size()) {
    return absl::InvalidArgumentError(absl::StrCat(parameters.size(), " parameters for a flow of ", layout_.size()));
  }
  if (batch.n < kTile || batch.n % kTile != 0) {
    return absl::InvalidArgumentError(absl::StrCat("batch ", batch.n, " is not a positive multiple of ", kTile));
  }
  RETURN_IF_ERROR(Prepare(parameters, batch));
  const Share all = Fields(batch.n, leaves);
  result->log_q.resize(all.size());
  result->action.resize(all.size());
  result->field.resize(batch.keep_fields ? all.size() * field_size_ : 0);
  const int64_t used = std::min<int64_t>(static_cast<int64_t>(workers_.size()), leaves.size());
  std::vector<TreeSum> sums(used, TreeSum(Leaves(batch.n)));
  OnThreads(used, [&](int64_t t) {
    Worker& worker = *workers_[t];
    const Share mine = ShareOf(leaves.size(), t, used);
    for (int64_t leaf = leaves.begin + mine.begin; leaf < leaves.begin + mine.end; ++leaf) {
      std::fill(worker.gradient.begin(), worker.gradient.end(), 0.0);
      worker.penalty = 0;
      worker.Run(batch, Fields(batch.n, {leaf, leaf + 1}), {result, all.begin});
      std::vector<double> terms;
      terms.reserve(worker.gradient.size() + 1);
      terms = worker.gradient;
      terms.push_back(worker.penalty / static_cast<double>(batch.n));
      sums[t].Add(leaf, std::move(terms));
    }
  });
  for (TreeSum& part : sums) sum->Merge(std::move(part));
  return absl::OkStatus();
}

TrainNetwork::TrainNetwork(const std::vector<StagePlan>& stages, int32_t inputs, bool double_network,
                           size_t first_block)
    : double_network_(double_network), first_block_(first_block) {
  for (const StagePlan& plan : stages) {
    Stage& t = stages_.emplace_back();
    t.plan = &plan;
    t.inputs = inputs;
    t.by_weight_begin.assign(plan.weight_blocks + 1, 0);
    t.transposed_begin.assign(inputs + 1, 0);
    const size_t taps = plan.tap_input.size();
    for (size_t k = 0; k < taps; ++k) {
      ++t.by_weight_begin[plan.tap_weight[k] + 1];
      ++t.transposed_begin[plan.tap_input[k] + 1];
    }
    for (int32_t b = 0; b < plan.weight_blocks; ++b) t.by_weight_begin[b + 1] += t.by_weight_begin[b];
    for (int32_t i = 0; i < inputs; ++i) t.transposed_begin[i + 1] += t.transposed_begin[i];
    t.by_weight_site.resize(taps);
    t.by_weight_input.resize(taps);
    t.transposed_input.resize(taps);
    t.transposed_weight.resize(taps);
    auto next_weight = t.by_weight_begin;
    auto next_input = t.transposed_begin;
    for (int32_t site = 0; site < plan.sites; ++site) {
      for (int32_t k = plan.tap_begin[site]; k < plan.tap_begin[site + 1]; ++k) {
        const int32_t w = next_weight[plan.tap_weight[k]]++;
        t.by_weight_site[w] = site;
        t.by_weight_input[w] = plan.tap_input[k];
        const int32_t i = next_input[plan.tap_input[k]]++;
        t.transposed_input[i] = site;
        t.transposed_weight[i] = plan.tap_weight[k];
      }
    }
    const size_t size = static_cast<size_t>(plan.weight_blocks) * plan.rows_per_tap * plan.out_channels;
    t.weights.resize(size);
    t.transposed.resize(size);
    t.bias.resize(plan.out_channels);
    t.zero_bias.resize(plan.rows_per_tap);
    max_rows_ = std::max(max_rows_, int64_t{plan.sites} * plan.out_channels);
    inputs = plan.sites;
  }
}

template <class T>
void TrainNetwork::Convert(const double* weight, const double* bias, Stage* stage) {
  T* w = reinterpret_cast<T*>(stage->weights.data());
  T* t = reinterpret_cast<T*>(stage->transposed.data());
  T* b = reinterpret_cast<T*>(stage->bias.data());
  const int64_t rows = stage->plan->rows_per_tap, channels = stage->plan->out_channels;
  for (int64_t block = 0; block < stage->plan->weight_blocks; ++block) {
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

void TrainNetwork::SetWeights(const ParameterLayout& layout, absl::Span<const double> parameters) {
  for (size_t s = 0; s < stages_.size(); ++s) {
    const double* weight = parameters.data() + layout.blocks()[first_block_ + 2 * s].offset;
    const double* bias = parameters.data() + layout.blocks()[first_block_ + 2 * s + 1].offset;
    if (double_network_) {
      Convert<double>(weight, bias, &stages_[s]);
    } else {
      Convert<float>(weight, bias, &stages_[s]);
    }
  }
}

std::vector<kernel::TrainStage> TrainNetwork::MakeStages(const ParameterLayout& layout, double* gradient,
                                                         Scratch* scratch) const {
  std::vector<kernel::TrainStage> stages;
  for (size_t s = 0; s < stages_.size(); ++s) {
    const Stage& t = stages_[s];
    const StagePlan& plan = *t.plan;
    const int64_t rows = int64_t{plan.sites} * plan.out_channels;
    double* before = scratch->Rows(rows);
    double* output = plan.activation == HF_ACTIVATION_NONE ? before : scratch->Rows(rows);
    stages.push_back({{plan.sites, plan.out_channels, plan.rows_per_tap, plan.weight_blocks, plan.tap_begin.data(),
                       plan.tap_input.data(), plan.tap_weight.data(), t.weights.data(), t.bias.data(), plan.activation},
                      {t.inputs, plan.rows_per_tap, plan.out_channels, plan.weight_blocks, t.transposed_begin.data(),
                       t.transposed_input.data(), t.transposed_weight.data(), t.transposed.data(), t.zero_bias.data(),
                       HF_ACTIVATION_NONE},
                      t.by_weight_begin.data(),
                      t.by_weight_site.data(),
                      t.by_weight_input.data(),
                      gradient + layout.blocks()[first_block_ + 2 * s].offset,
                      gradient + layout.blocks()[first_block_ + 2 * s + 1].offset,
                      before,
                      output});
  }
  return stages;
}

}  // namespace haarflow
