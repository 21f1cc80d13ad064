// Coupling layers of scalars with random weights, as planned, run by the kernels of one instruction set: what the tests
// of layers and gradients look at.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

#include "core/base/noise.h"
#include "core/flow/parameters.h"
#include "core/flow/scalar_coupling_plan.h"
#include "core/kernel/scalar_store.h"
#include "tests/reference/scalar_coupling_reference.h"

namespace haarflow::testing {

using kernel::kTile;
using kernel::TrainLoss;
using reference::Activation;
using reference::CouplingStack;
using reference::LineMap;
using Field = std::vector<double>;
constexpr double kCouplings[3] = {0.6, 0.2, 0.4};  // of the action
constexpr uint64_t kDrawSeed = 5, kTrainSeed = 6;

inline v1::ScalarCouplingStack Message(const CouplingStack& stack, bool float64) {
  v1::ScalarCouplingStack message;
  message.set_layers(static_cast<uint32_t>(stack.layers));
  message.set_shells(static_cast<uint32_t>(stack.shells));
  for (int width : stack.hidden) message.mutable_network()->add_hidden(static_cast<uint32_t>(width));
  for (int kernel : stack.kernel) message.mutable_network()->add_kernel(static_cast<uint32_t>(kernel));
  message.mutable_network()->set_activation(stack.activation == Activation::kSilu   ? v1::ACTIVATION_SILU
                                            : stack.activation == Activation::kTanh ? v1::ACTIVATION_TANH
                                                                                    : v1::ACTIVATION_LEAKY_RELU);
  message.mutable_network()->set_precision(float64 ? v1::PRECISION_FLOAT64 : v1::PRECISION_FLOAT32);
  if (stack.map.kind == LineMap::kSpline) {
    message.mutable_map()->mutable_spline()->set_bins(static_cast<uint32_t>(stack.map.bins));
    message.mutable_map()->mutable_spline()->set_range(stack.map.range);
  } else {
    message.mutable_map()->mutable_affine()->set_tanh(stack.map.kind == LineMap::kAffineTanh);
  }
  message.set_odd(stack.odd);
  return message;
}

// Numbers in the precision of the network, in memory fit for either.
inline std::vector<double> Converted(const double* values, size_t n, bool float64) {
  std::vector<double> memory(values, values + n);
  auto* narrow = reinterpret_cast<float*>(memory.data());
  for (size_t i = 0; i < n && !float64; ++i) narrow[i] = static_cast<float>(values[i]);
  return memory;
}

// A stage's taps in a given order: by input block (what `transposed` needs) or by weight block.
struct Taps {
  Taps(const StagePlan& stage, int32_t blocks, const std::vector<int32_t>& key) : begin(blocks + 1, 0) {
    for (int32_t k = 0; k < blocks; ++k) {
      for (int32_t s = 0; s < stage.sites; ++s) {
        for (int32_t t = stage.tap_begin[s]; t < stage.tap_begin[s + 1]; ++t) {
          if (key[t] != k) continue;
          site.push_back(s);
          input.push_back(stage.tap_input[t]);
          weight.push_back(stage.tap_weight[t]);
        }
      }
      begin[k + 1] = static_cast<int32_t>(site.size());
    }
  }
  std::vector<int32_t> begin, site, input, weight;
};

// A planned flow with random weights, drawn from and trained by one instruction set's kernels.
class CouplingFlow {
 public:
  CouplingFlow(const CouplingStack& stack, bool float64, const std::string& isa, double gain = 1)
      : stack_(stack), float64_(float64), kernels_(*kernel::ScalarKernelsFor(isa.c_str())) {
    const auto lattice = *Lattice::Create(stack.shape);
    plan_ = *PlanScalarCouplings(lattice, Message(stack, float64), "layers.0");
    for (const ScalarCouplingPlan& layer : plan_) layout_.AddStages(layer.stages, float64);
    for (const ParameterBlock& block : layout_.blocks()) {
      const bool bias = block.shape.size() == 1;
      // Of an order that keeps maps well conditioned.
      const double sigma = bias ? 0.2 : 0.5 / std::sqrt(static_cast<double>(block.shape[0] * block.shape[1]));
      for (int64_t i = 0; i < block.size; ++i) {
        const double z = NormalNoise(8, NoisePurpose::kInitial, 0, static_cast<uint32_t>(parameters.size()));
        const double x = gain * sigma * z;
        parameters.push_back(float64 ? x : static_cast<float>(x));
      }
    }
    for (int64_t x = 0; x < stack.volume(); ++x) sigma.push_back(0.8 + 0.05 * static_cast<double>(x % 7));
    MakeLayers();
    hf_scalar_flow flow{};
    flow.dims = static_cast<int32_t>(stack.shape.size());
    for (int a = 0; a < flow.dims; ++a) flow.shape[a] = static_cast<int32_t>(stack.shape[a]);
    flow.components = 1;
    flow.prior = {0, sigma.data()};
    flow.layers = static_cast<int32_t>(layers_.size());
    flow.layer = layers_.data();
    EXPECT_EQ(store_.Copy(flow), "");
    scratch_ = std::make_unique<kernel::ScalarScratch>(store_);
  }

  int64_t sites() const { return stack_.volume(); }
  const std::vector<ScalarCouplingPlan>& plan() const { return plan_; }

  // Fields [kTile][sites] drawn with kDrawSeed, indices first, first + 1, ..., and their log q.
  std::vector<Field> Draw(uint64_t first, double* log_q) {
    uint64_t seed[kTile], index[kTile];
    for (int i = 0; i < kTile; ++i) seed[i] = kDrawSeed, index[i] = first + i;
    kernels_.draw_tile(store_.flow(), seed, index, scratch_->view(), log_q);
    return Rows(scratch_->view().field);
  }
  // The prior's fields z of given fields, and log q.
  std::vector<Field> Density(const std::vector<Field>& fields, double* log_q) {
    SetRows(fields, scratch_->view().field);
    kernels_.density_tile(store_.flow(), scratch_->view(), log_q);
    return Rows(scratch_->view().field);
  }
  // The layers alone: what they made the fields from, and the sums of their log-derivatives.
  std::pair<std::vector<Field>, Field> Invert(const std::vector<Field>& fields) {
    Field log_q(kTile);
    std::vector<Field> x = Density(fields, log_q.data());
    for (int i = 0; i < kTile; ++i) {
      for (int64_t s = 0; s < sites(); ++s) x[i][s] *= sigma[s];
      log_q[i] = PriorLogDensity(x[i]) - log_q[i];
    }
    return {x, log_q};
  }
  // Of a field that the prior drew, sigma z.
  template <class T>
  T PriorLogDensity(const std::vector<T>& field) const {
    T sum = 0;
    for (int64_t x = 0; x < sites(); ++x) {
      const T z = field[x] / sigma[x];
      sum -= 0.5 * z * z + std::log(sigma[x]) + 0.5 * std::log(2 * std::numbers::pi);
    }
    return sum;
  }
  // The gradient of the mean loss over a tile.
  std::vector<double> Gradient(TrainLoss loss, const std::vector<Field>& samples, double* log_q, double* action);

  std::vector<double> parameters, sigma;

 private:
  void MakeLayers();
  void MakeTraining(std::vector<double>* gradient);
  std::vector<Field> Rows(const double* rows) const {
    std::vector<Field> fields(kTile, Field(sites()));
    for (int64_t x = 0; x < sites(); ++x) {
      for (int i = 0; i < kTile; ++i) fields[i][x] = rows[x * kTile + i];
    }
    return fields;
  }
  void SetRows(const std::vector<Field>& fields, double* rows) const {
    for (int64_t x = 0; x < sites(); ++x) {
      for (int i = 0; i < kTile; ++i) rows[x * kTile + i] = fields[i][x];
    }
  }
  template <class T>
  const T* Keep(const std::vector<T>& values) {
    return arrays_.Keep(values);
  }
  double* Rows(int64_t n) {
    buffers_.push_back(kernel::Allocate<double>(n * kTile));
    return buffers_.back().get();
  }

  CouplingStack stack_;
  bool float64_;
  const kernel::ScalarKernels& kernels_;
  std::vector<ScalarCouplingPlan> plan_;
  ParameterLayout layout_;
  kernel::ArrayStore arrays_;
  std::vector<kernel::Buffer<double>> buffers_;
  std::vector<std::vector<hf_stage>> stages_;
  std::vector<hf_scalar_coupling> couplings_;
  std::vector<hf_scalar_layer> layers_;
  kernel::ScalarFlowStore store_;
  std::unique_ptr<kernel::ScalarScratch> scratch_;
  std::vector<std::vector<kernel::TrainStage>> train_stages_;  // of each layer, then of its reflected network
  std::vector<kernel::TrainCoupling> train_couplings_;
  std::vector<kernel::ScalarTrainLayer> train_layers_;
};

inline void CouplingFlow::MakeLayers() {
  const double* values = parameters.data();
  for (const ScalarCouplingPlan& layer : plan_) {
    auto& stages = stages_.emplace_back();
    for (const StagePlan& s : layer.stages) {
      const size_t weights = static_cast<size_t>(s.weight_blocks) * s.rows_per_tap * s.out_channels;
      stages.push_back({s.sites, s.out_channels, s.rows_per_tap, s.weight_blocks, s.tap_begin.data(),
                        s.tap_input.data(), s.tap_weight.data(), Keep(Converted(values, weights, float64_)),
                        Keep(Converted(values + weights, s.out_channels, float64_)), s.activation});
      values += weights + s.out_channels;
    }
    EXPECT_EQ((values - parameters.data()) % stack_.LayerParameters(), 0);
  }
  for (size_t l = 0; l < plan_.size(); ++l) {
    const ScalarCouplingPlan& p = plan_[l];
    couplings_.push_back({static_cast<int32_t>(p.active_sites.size()), p.active_sites.data(),
                          static_cast<int32_t>(p.feature_begin.size()) - 1, p.feature_begin.data(),
                          p.feature_sites.data(), static_cast<int32_t>(stages_[l].size()), stages_[l].data(), p.map,
                          p.pieces, p.range, p.odd ? 1 : 0, p.double_network ? 1 : 0});
  }
  for (const hf_scalar_coupling& coupling : couplings_) layers_.push_back({&coupling, nullptr});
}

inline void CouplingFlow::MakeTraining(std::vector<double>* gradient) {
  train_stages_.assign(2 * plan_.size(), {});
  train_couplings_.clear();
  train_layers_.clear();
  double* out = gradient->data();
  const double* values = parameters.data();
  for (size_t l = 0; l < plan_.size(); ++l) {
    int32_t rows = couplings_[l].features;
    for (size_t s = 0; s < stages_[l].size(); ++s) {
      const StagePlan& stage = plan_[l].stages[s];
      const int32_t in = stage.rows_per_tap, channels = stage.out_channels, blocks = rows / in;
      const Taps by_input(stage, blocks, stage.tap_input), by_weight(stage, stage.weight_blocks, stage.tap_weight);
      const int64_t weights = int64_t{stage.weight_blocks} * in * channels;
      std::vector<double> transposed(weights), zero(in);
      for (int64_t b = 0; b < stage.weight_blocks; ++b) {
        for (int32_t r = 0; r < in; ++r) {
          for (int32_t o = 0; o < channels; ++o) {
            transposed[(b * channels + o) * in + r] = values[(b * in + r) * channels + o];
          }
        }
      }
      const hf_stage back = {blocks,
                             in,
                             channels,
                             stage.weight_blocks,
                             Keep(by_input.begin),
                             Keep(by_input.site),
                             Keep(by_input.weight),
                             Keep(Converted(transposed.data(), weights, float64_)),
                             Keep(zero),
                             HF_ACTIVATION_NONE};
      rows = stage.sites * channels;
      for (auto* network : {&train_stages_[2 * l], &train_stages_[2 * l + 1]}) {
        double* before = Rows(rows);
        network->push_back({stages_[l][s], back, Keep(by_weight.begin), Keep(by_weight.site), Keep(by_weight.input),
                            out, out + weights, before, stage.activation == HF_ACTIVATION_NONE ? before : Rows(rows)});
      }
      out += weights + channels;
      values += weights + channels;
    }
    const kernel::ScalarFlow& flow = store_.flow();
    train_couplings_.push_back({flow.layer[l].coupling, train_stages_[2 * l].data(), train_stages_[2 * l + 1].data(),
                                Rows(couplings_[l].features), Rows(couplings_[l].features), Rows(couplings_[l].active),
                                Rows(couplings_[l].active)});
  }
  for (const kernel::TrainCoupling& coupling : train_couplings_) train_layers_.push_back({&coupling, nullptr});
}

inline std::vector<double> CouplingFlow::Gradient(TrainLoss loss, const std::vector<Field>& samples, double* log_q,
                                                  double* action) {
  std::vector<double> gradient(parameters.size());
  MakeTraining(&gradient);
  kernel::ScalarTrainTile tile{};
  tile.flow = &store_.flow();
  tile.layer = train_layers_.data();
  tile.loss = loss;
  tile.scale = 1.0 / kTile;
  std::copy_n(kCouplings, 3, tile.couplings);
  double* rows = Rows(sites());
  if (loss == TrainLoss::kForward) SetRows(samples, rows);
  tile.samples = rows;
  tile.score = Rows(sites());
  tile.cotangent = Rows(sites());
  for (double*& scratch : tile.scratch) scratch = Rows(sites());
  tile.modes = Rows(sites());
  int64_t most = store_.max_network_rows();
  for (const hf_scalar_coupling& coupling : couplings_) most = std::max<int64_t>(most, coupling.features);
  for (void*& grad : tile.grad_rows) grad = Rows(most);
  tile.grad_parameters = Rows(stack_.map.parameters());
  uint64_t seed[kTile], index[kTile];
  for (int i = 0; i < kTile; ++i) seed[i] = kTrainSeed, index[i] = i;
  kernels_.train_tile(tile, seed, index, scratch_->view(), log_q, action);
  return gradient;
}

inline std::vector<std::string> InstructionSets() {
  std::vector<std::string> sets;
  for (const char* name : {"baseline", "avx2", "avx512"}) {
    if (kernel::ScalarKernelsFor(name) != nullptr) sets.push_back(name);
  }
  return sets;
}

inline std::vector<Field> RandomFields(int64_t sites, uint64_t seed) {
  std::vector<Field> fields(kTile, Field(sites));
  for (int i = 0; i < kTile; ++i) {
    for (int64_t x = 0; x < sites; ++x) {
      fields[i][x] = 1.2 * NormalNoise(seed, NoisePurpose::kInitial, i, static_cast<uint32_t>(x));
    }
  }
  return fields;
}

// What the prior draws.
inline Field DrawnField(const CouplingFlow& flow, NoisePurpose purpose, uint64_t seed, uint64_t index) {
  Field field;
  for (int64_t x = 0; x < flow.sites(); ++x) {
    field.push_back(flow.sigma[x] * NormalNoise(seed, purpose, index, static_cast<uint32_t>(x)));
  }
  return field;
}

inline double Largest(const std::vector<Field>& a, const std::vector<Field>& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    for (size_t x = 0; x < a[i].size(); ++x) worst = std::max(worst, std::abs(a[i][x] - b[i][x]));
  }
  return worst;
}
inline double Largest(const Field& a, const Field& b) { return Largest(std::vector<Field>{a}, std::vector<Field>{b}); }

}  // namespace haarflow::testing
