#include <algorithm>

#include "core/base/status.h"
#include "core/train/tiled_gradient.h"

namespace haarflow {
namespace {

using kernel::kTile;
using kernel::TrainLayer;
using kernel::TrainStage;
using kernel::TrainTile;

class U1Gradient final : public TiledGradient {
 public:
  U1Gradient(const U1FlowPlan& plan, int threads)
      : TiledGradient(U1ParameterLayout(plan), plan.lattice.links()), plan_(plan) {
    size_t block = 0;
    for (const U1LayerPlan& layer : plan_.layers) {
      networks_.emplace_back(layer.stages, layer.features.size(), layer.double_network, block);
      block += 2 * layer.stages.size();
    }
    for (int t = 0; t < threads; ++t) workers_.push_back(std::make_unique<U1Worker>(*this));
  }

 private:
  class U1Worker final : public Worker {
   public:
    explicit U1Worker(const U1Gradient& owner) : Worker(owner.layout().size()) {
      const U1FlowPlan& plan = owner.plan_;
      int64_t max_rows = 2, max_parameters = 1;
      couplings_.reserve(plan.layers.size());
      for (size_t l = 0; l < plan.layers.size(); ++l) {
        const U1LayerPlan& layer = plan.layers[l];
        const int32_t active = static_cast<int32_t>(layer.active_links.size());
        max_rows = std::max({max_rows, int64_t{2} * layer.features.size(), owner.networks_[l].max_rows()});
        max_parameters = std::max<int64_t>(max_parameters, CircleMapParameterCount(layer.map, layer.pieces));
        stages_.push_back(owner.networks_[l].MakeStages(owner.layout(), gradient.data(), &scratch_));
        couplings_.push_back({active, layer.active_links.data(), layer.active_loops.View(), layer.features.View(),
                              static_cast<int32_t>(layer.stages.size()), nullptr, layer.map, layer.pieces,
                              layer.double_network ? 1 : 0});
        layers_.push_back({&couplings_[l], stages_[l].data(), scratch_.Rows(2 * layer.features.size()),
                           scratch_.Rows(active), scratch_.Rows(active)});
      }
      const int64_t links = plan.lattice.links();
      tile_ = {static_cast<int32_t>(links),
               static_cast<int32_t>(layers_.size()),
               layers_.data(),
               plan.plaquettes.View(),
               0,
               false,
               0,
               scratch_.Rows(links),
               scratch_.Rows(links),
               scratch_.Rows(links),
               {scratch_.Rows(max_rows), scratch_.Rows(max_rows)},
               scratch_.Rows(max_parameters)};
    }

    void Run(const TrainingBatch& batch, Share fields, const Output& out) override {
      const kernel::IsaKernels& kernels = *kernel::IsaKernelsFor(kernel::BestInstructionSet());
      tile_.beta = batch.action[0];
      tile_.path_gradient = batch.path_gradient;
      tile_.scale = 1.0 / static_cast<double>(batch.n);
      for (int64_t at = fields.begin; at < fields.end; at += kTile) {
        uint64_t seed[kTile], index[kTile];
        for (int i = 0; i < kTile; ++i) {
          seed[i] = batch.seed;
          index[i] = batch.first_index + at + i;
        }
        kernels.train_tile(tile_, seed, index, out.log_q(at), out.action(at));
      }
    }

   private:
    Scratch scratch_;
    std::vector<hf_u1_coupling> couplings_;
    std::vector<std::vector<TrainStage>> stages_;
    std::vector<TrainLayer> layers_;
    TrainTile tile_;
  };

  absl::Status Prepare(absl::Span<const double> parameters, const TrainingBatch& batch) override {
    if (batch.samples != nullptr || batch.keep_fields)
      return absl::InvalidArgumentError("U(1) flows are trained by reverse KL alone");
    for (TrainNetwork& network : networks_) network.SetWeights(layout(), parameters);
    return absl::OkStatus();
  }

  const U1FlowPlan plan_;
  std::vector<TrainNetwork> networks_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SharedGradient>> MakeU1Gradient(const U1FlowPlan& plan, int threads) {
  if (threads < 1 || threads > 1024)
    return absl::InvalidArgumentError(absl::StrCat(threads, " threads; 1..1024 are possible"));
  try {
    return std::make_unique<U1Gradient>(plan, threads);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        "not enough memory for the training workspace; use a smaller lattice or fewer layers");
  }
}

}  // namespace haarflow
