#include <algorithm>
#include <array>

#include "core/base/noise.h"
#include "core/base/status.h"
#include "core/kernel/cpu/loop_isa.h"
#include "core/kernel/cpu/spectral_isa.h"
#include "core/train/tiled_gradient.h"

namespace haarflow {
namespace {

using kernel::kMatrixLanes;
using kernel::kSpectralHalves;
using kernel::kSpectralScratch;
using kernel::kTile;
using kernel::SpectralTrainLayer;
using kernel::SpectralTrainTile;
using kernel::TrainStage;

class SpectralGradient final : public TiledGradient {
 public:
  SpectralGradient(const SpectralFlowPlan& plan, int threads)
      : TiledGradient(plan.layout, plan.links() * 2 * plan.colours * plan.colours), plan_(plan), tables_(plan_) {
    size_t block = 0;
    for (const SpectralLayerPlan& layer : plan_.layers) {
      networks_.emplace_back(layer.stages, layer.features.size(), layer.double_network, block);
      block += 2 * layer.stages.size();
    }
    const hf_spectral_flow& flow = tables_.view();
    links_ = {
        .colours = flow.colours, .links = flow.links, .plaquettes = flow.plaquettes, .rectangles = flow.rectangles};
    for (int t = 0; t < threads; ++t) workers_.push_back(std::make_unique<SpectralWorker>(*this));
  }

 private:
  class SpectralWorker final : public Worker {
   public:
    explicit SpectralWorker(const SpectralGradient& owner) : Worker(owner.layout().size()), owner_(owner) {
      const SpectralFlowPlan& plan = owner.plan_;
      const hf_spectral_flow& flow = owner.tables_.view();
      int64_t max_rows = 2, max_parameters = 1;
      for (size_t l = 0; l < plan.layers.size(); ++l) {
        const SpectralLayerPlan& layer = plan.layers[l];
        const int64_t feature_rows = int64_t{plan.colours == 2 ? 1 : 2} * layer.features.size();
        max_rows = std::max({max_rows, feature_rows, owner.networks_[l].max_rows()});
        max_parameters = std::max<int64_t>(max_parameters, layer.stages.back().out_channels);
        stages_.push_back(owner.networks_[l].MakeStages(owner.layout(), gradient.data(), &scratch_));
        SpectralTrainLayer& train = layers_.emplace_back();
        train = {flow.layer + l, stages_[l].data(), scratch_.Rows(feature_rows), {}};
        for (double*& before : train.before) before = Matrices(static_cast<int64_t>(layer.active_links.size()));
      }
      tile_.flow = &flow;
      tile_.layer = layers_.data();
      for (int half = 0; half < kSpectralHalves; ++half) {
        tile_.work.links[half] = Matrices(plan.links());
        tile_.cotangent[half] = Matrices(plan.links());
        tile_.score[half] = Matrices(plan.links());
      }
      tile_.work.scratch = Matrices(kSpectralScratch);
      for (void*& rows : tile_.grad_rows) rows = scratch_.Rows(max_rows);
      tile_.grad_parameters = scratch_.Rows(max_parameters);
    }

    void Run(const TrainingBatch& batch, Share fields, const Output& out) override {
      const char* isa = kernel::BestInstructionSet();
      const kernel::SpectralKernels& kernels = *kernel::SpectralKernelsFor(isa);
      const kernel::LoopKernels& links = *kernel::LoopKernelsFor(isa);
      tile_.couplings = batch.action.data();
      tile_.path_gradient = batch.path_gradient;
      tile_.scale = 1.0 / static_cast<double>(batch.n);
      for (int64_t at = fields.begin; at < fields.end; at += kTile) {
        for (int half = 0; half < kSpectralHalves; ++half) {
          std::array<uint64_t, kMatrixLanes> seed, index;
          seed.fill(batch.seed);
          for (int i = 0; i < kMatrixLanes; ++i) index[i] = batch.first_index + at + half * kMatrixLanes + i;
          links.haar_tile(owner_.links_, static_cast<uint32_t>(NoisePurpose::kTraining), seed.data(), index.data(),
                          tile_.work.links[half]);
        }
        kernels.forward_tile(tile_, out.log_q(at));
        double* const action = out.action(at);
        if (tile_.flow->single != 0) {
          kernels.single_action_tile(*tile_.flow, tile_.couplings, tile_.work, action);
        } else {
          for (int half = 0; half < kSpectralHalves; ++half) {
            links.action_tile(owner_.links_, tile_.couplings, tile_.work.links[half], tile_.work.scratch,
                              action + half * kMatrixLanes);
          }
        }
        kernels.backward_tile(tile_);
      }
    }

   private:
    double* Matrices(int64_t n) {
      return scratch_.Rows(n * (owner_.plan_.colours == 2 ? 4 : 18) * kMatrixLanes / kTile);
    }

    const SpectralGradient& owner_;
    Scratch scratch_;
    std::vector<std::vector<TrainStage>> stages_;
    std::vector<SpectralTrainLayer> layers_;
    SpectralTrainTile tile_{};
  };

  absl::Status Prepare(absl::Span<const double> parameters, const TrainingBatch& batch) override {
    if (batch.samples != nullptr || batch.keep_fields) {
      return absl::InvalidArgumentError("spectral flows are trained by reverse KL alone");
    }
    for (TrainNetwork& network : networks_) network.SetWeights(layout(), parameters);
    return absl::OkStatus();
  }

  const SpectralFlowPlan plan_;
  const SpectralFlowTables tables_;  // its weights are not used: stages have theirs
  hf_loop_flow links_{};             // Haar measure and action
  std::vector<TrainNetwork> networks_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<SharedGradient>> MakeSpectralGradient(const SpectralFlowPlan& plan, int threads) {
  if (threads < 1 || threads > 1024) {
    return absl::InvalidArgumentError(absl::StrCat(threads, " threads; 1..1024 are possible"));
  }
  try {
    return std::make_unique<SpectralGradient>(plan, threads);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        "not enough memory for the training workspace; use a smaller lattice or fewer layers");
  }
}

}  // namespace haarflow
