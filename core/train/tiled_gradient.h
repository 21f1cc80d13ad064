// What the fused gradients share: threads that walk over tiles, and networks with all that their derivative needs.
// Internal to this folder.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/flow/parameters.h"
#include "core/kernel/cpu/isa.h"
#include "core/kernel/tiles.h"
#include "core/train/gradient.h"

namespace haarflow {

// Aligned memory that lives as long as a worker.
class Scratch {
 public:
  // n rows of a tile.
  double* Rows(int64_t n) {
    buffers_.push_back(kernel::Allocate<double>(n * kernel::kTile));
    return buffers_.back().get();
  }

 private:
  std::vector<kernel::Buffer<double>> buffers_;
};

class TiledGradient : public SharedGradient {
 public:
  absl::Status Evaluate(absl::Span<const double> parameters, const TrainingBatch& batch, std::vector<double>* gradient,
                        BatchResult* result) final;
  absl::Status EvaluateShare(absl::Span<const double> parameters, const TrainingBatch& batch, Share leaves,
                             TreeSum* sum, BatchResult* result) final;

 protected:
  // Where the numbers of fields `first` and later of the batch go.
  struct Output {
    BatchResult* result;
    int64_t first;
    double* log_q(int64_t at) const { return result->log_q.data() + (at - first); }
    double* action(int64_t at) const { return result->action.data() + (at - first); }
  };
  // One thread's.
  class Worker {
   public:
    explicit Worker(int64_t parameters) : gradient(parameters) {}
    virtual ~Worker() = default;
    // The fields of the batch from fields.begin to fields.end, whole tiles; adds to `gradient`.
    virtual void Run(const TrainingBatch& batch, Share fields, const Output& out) = 0;
    std::vector<double> gradient;
    double penalty = 0;
  };
  TiledGradient(ParameterLayout layout, int64_t field_size) : layout_(std::move(layout)), field_size_(field_size) {}
  // Before the workers run. INVALID_ARGUMENT for what the flow cannot do.
  virtual absl::Status Prepare(absl::Span<const double> parameters, const TrainingBatch& batch) = 0;
  const ParameterLayout& layout() const { return layout_; }
  // Filled by the derived class: one per thread.
  std::vector<std::unique_ptr<Worker>> workers_;

 private:
  const ParameterLayout layout_;
  const int64_t field_size_;
};

// A network's taps seen from its weights and from its inputs, and its weights with their transposes.
class TrainNetwork {
 public:
  // `inputs`: blocks of rows that the first stage reads; `first_block` of the layout is the first stage's weight.
  TrainNetwork(const std::vector<StagePlan>& stages, int32_t inputs, bool double_network, size_t first_block);
  void SetWeights(const ParameterLayout& layout, absl::Span<const double> parameters);
  // Stages for one worker: gradients are added to its parameter gradient; output rows live in `scratch`.
  std::vector<kernel::TrainStage> MakeStages(const ParameterLayout& layout, double* gradient, Scratch* scratch) const;
  int64_t max_rows() const { return max_rows_; }

 private:
  struct Stage {
    const StagePlan* plan;
    std::vector<int32_t> by_weight_begin, by_weight_site, by_weight_input;
    std::vector<int32_t> transposed_begin, transposed_input, transposed_weight;
    int32_t inputs = 0;
    // Reinterpreted as float where the network is float.
    std::vector<double> weights, transposed, bias, zero_bias;
  };
  template <class T>
  static void Convert(const double* weight, const double* bias, Stage* stage);

  std::vector<Stage> stages_;
  bool double_network_;
  size_t first_block_;
  int64_t max_rows_ = 1;
};

}  // namespace haarflow
