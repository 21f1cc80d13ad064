#include <algorithm>
#include <optional>

#include "core/action/target.h"
#include "core/base/noise.h"
#include "core/base/status.h"
#include "core/kernel/cpu/scalar_isa.h"
#include "core/kernel/scalar_store.h"
#include "core/train/tiled_gradient.h"

namespace haarflow {
namespace {

using kernel::kTile;
using kernel::TrainLoss;

// Degrees of freedom of kTraining above any site's: the conditioned parameters of a tile.
constexpr uint32_t kConditioningDof = 0xFFFFFF00u;

class ScalarGradient final : public TiledGradient {
 public:
  ScalarGradient(const ScalarFlowPlan& plan, int threads)
      : TiledGradient(plan.layout, plan.components * plan.lattice.volume()), plan_(plan) {
    for (const ScalarLayerPlan& layer : plan_.layers) {
      networks_.emplace_back();
      if (!layer.coupling.has_value()) continue;
      const ScalarCouplingPlan& c = *layer.coupling;
      const int32_t rows = static_cast<int32_t>(c.feature_begin.size()) - 1;
      networks_.back().emplace(c.stages, rows / c.stages[0].rows_per_tap, c.double_network, layer.first_block);
    }
    for (int t = 0; t < threads; ++t) workers_.push_back(std::make_unique<ScalarWorker>(*this));
  }

 private:
  class ScalarWorker final : public Worker {
   public:
    explicit ScalarWorker(const ScalarGradient& owner) : Worker(owner.layout().size()), owner_(owner) {}

    // Returns what is wrong with the tables, or an empty string. Throws std::bad_alloc.
    std::string PrepareFor(int32_t steps) {
      if (machine_ != nullptr && machine_->steps == steps) {
        machine_->is_set = false;
        return "";
      }
      machine_.reset();
      auto machine = std::make_unique<Machine>(owner_.plan_, steps);
      const std::string wrong = machine->Build(owner_, gradient.data());
      if (wrong.empty()) machine_ = std::move(machine);
      return wrong;
    }

    void Run(const TrainingBatch& batch, Share fields, const Output& out) override {
      const kernel::ScalarKernels& kernels = *kernel::ScalarKernelsFor(kernel::BestInstructionSet());
      Machine& m = *machine_;
      m.tile.loss = batch.samples != nullptr ? TrainLoss::kForward
                    : batch.path_gradient    ? TrainLoss::kPath
                                             : TrainLoss::kReparameterisation;
      m.tile.scale = 1.0 / static_cast<double>(batch.n);
      for (auto& layer : m.continuous) layer.penalty = batch.kinetic_penalty;
      const bool conditional = !owner_.plan_.conditioning.empty();
      // Once for all leaves of this worker.
      if (!conditional && !m.is_set) m.Set(owner_, owner_.plan_.target, batch.action.data());
      for (int64_t at = fields.begin; at < fields.end; at += kTile) {
        if (conditional) {
          const v1::Target target = owner_.RandomTarget(batch.seed, batch.first_index + at);
          m.Set(owner_, target, ActionNumbers(target).data());
        }
        uint64_t seed[kTile], index[kTile];
        for (int i = 0; i < kTile; ++i) {
          seed[i] = batch.seed;
          index[i] = batch.first_index + at + i;
        }
        if (batch.samples != nullptr) m.LoadSamples(batch.samples + at * m.rows);
        kernels.train_tile(m.tile, seed, index, m.work->view(), out.log_q(at), out.action(at));
        penalty += m.tile.penalty_value;
        if (batch.keep_fields) m.KeepFields(out.result->field.data() + (at - out.first) * m.rows);
        if (conditional) m.AddGradient(gradient);
      }
      if (!conditional) m.AddGradient(gradient);
    }

   private:
    // All that depends on the number of integration steps.
    struct Machine {
      Machine(const ScalarFlowPlan& plan, int32_t integration_steps)
          : steps(integration_steps), tables(plan, integration_steps) {}

      std::string Build(const ScalarGradient& owner, double* gradient) {
        const ScalarFlowPlan& plan = owner.plan_;
        modes = plan.ConditioningModes(plan.target);
        tables.Set(owner.parameters_, modes, ActionNumbers(plan.target).data());
        if (std::string wrong = store.Copy(tables.view()); !wrong.empty()) return wrong;
        work = std::make_unique<kernel::ScalarScratch>(store);
        rows = store.field_rows();
        int64_t max_rows = std::max<int64_t>(1, store.max_features()), max_parameters = 1;
        couplings.reserve(plan.layers.size());
        continuous.reserve(plan.layers.size());
        stages.reserve(2 * plan.layers.size());
        for (size_t l = 0; l < plan.layers.size(); ++l) {
          gradients.emplace_back();
          if (plan.layers[l].coupling.has_value()) {
            const TrainNetwork& network = *owner.networks_[l];
            max_rows = std::max(max_rows, network.max_rows());
            max_parameters = std::max<int64_t>(
                max_parameters, LineMapParameterCount(plan.layers[l].coupling->map, plan.layers[l].coupling->pieces));
            AddCoupling(owner, l, gradient);
          } else {
            gradients.back() = tables.MakeGradient(l);
            AddContinuous(l);
          }
        }
        log_sigma.assign(plan.lattice.volume(), 0.0);
        tile.flow = &store.flow();
        tile.layer = layers.data();
        tile.score = scratch.Rows(rows);
        tile.cotangent = scratch.Rows(rows);
        for (double*& p : tile.scratch) p = scratch.Rows(rows);
        tile.modes = scratch.Rows(rows);
        for (void*& p : tile.grad_rows) p = scratch.Rows(max_rows);
        tile.grad_parameters = scratch.Rows(max_parameters);
        tile.grad_log_sigma = plan.learnable_prior ? log_sigma.data() : nullptr;
        samples = scratch.Rows(rows);
        tile.samples = samples;
        return "";
      }

      void AddCoupling(const ScalarGradient& owner, size_t l, double* gradient) {
        const TrainNetwork& network = *owner.networks_[l];
        const hf_scalar_coupling* layer = store.flow().layer[l].coupling;
        stages.push_back(network.MakeStages(owner.layout(), gradient, &scratch));
        const kernel::TrainStage* direct = stages.back().data();
        const kernel::TrainStage* reflected = nullptr;
        void* reflected_features = nullptr;
        if (layer->odd != 0) {
          stages.push_back(network.MakeStages(owner.layout(), gradient, &scratch));
          reflected = stages.back().data();
          reflected_features = scratch.Rows(layer->features);
        }
        couplings.push_back({layer, direct, reflected, scratch.Rows(layer->features), reflected_features,
                             scratch.Rows(layer->active), scratch.Rows(layer->active)});
        layers.push_back({&couplings.back(), nullptr});
      }

      void AddContinuous(size_t l) {
        const kernel::ContinuousTables* layer = store.flow().layer[l].continuous;
        kernel::TrainContinuous train{};
        train.tables = layer;
        train.checkpoints = scratch.Rows(layer->flow.steps * rows);
        train.stages = scratch.Rows(4 * rows);
        train.velocities = scratch.Rows(4 * rows);
        train.transforms = scratch.Rows(4 * layer->flow.features * rows);
        train.gradient_kernel = gradients[l].kernel.data();
        train.gradient_origin = gradients[l].origin.data();
        train.gradient_frequency = gradients[l].frequency.data();
        continuous.push_back(train);
        layers.push_back({nullptr, &continuous.back()});
      }

      void Set(const ScalarGradient& owner, const v1::Target& target, const double* action) {
        modes = owner.plan_.ConditioningModes(target);
        tables.Set(owner.parameters_, modes, action);
        store.Update(tables.view());
        std::copy_n(action, 3, tile.couplings);
        is_set = true;
      }

      // [configuration][row] -> [row][slot].
      void LoadSamples(const double* fields) {
        for (int64_t r = 0; r < rows; ++r) {
          for (int i = 0; i < kTile; ++i) samples[r * kTile + i] = fields[i * rows + r];
        }
      }

      // What the tile drew.
      void KeepFields(double* fields) const {
        for (int64_t r = 0; r < rows; ++r) {
          for (int i = 0; i < kTile; ++i) fields[i * rows + r] = work->view().field[r * kTile + i];
        }
      }

      void AddGradient(std::vector<double>& gradient) {
        tables.AddGradient(modes, log_sigma, gradients, absl::MakeSpan(gradient));
        std::fill(log_sigma.begin(), log_sigma.end(), 0.0);
        for (auto& g : gradients) {
          for (std::vector<double>* part : {&g.kernel, &g.origin, &g.frequency}) {
            std::fill(part->begin(), part->end(), 0.0);
          }
        }
      }

      const int32_t steps;
      bool is_set = false;  // tables hold the parameters of this call
      ScalarFlowTables tables;
      kernel::ScalarFlowStore store;
      Scratch scratch;
      std::unique_ptr<kernel::ScalarScratch> work;
      int64_t rows = 0;
      std::vector<double> modes;
      std::vector<ScalarFlowTables::ContinuousGradient> gradients;
      std::vector<double> log_sigma;
      std::vector<std::vector<kernel::TrainStage>> stages;
      std::vector<kernel::TrainCoupling> couplings;
      std::vector<kernel::TrainContinuous> continuous;
      std::vector<kernel::ScalarTrainLayer> layers;
      double* samples = nullptr;
      kernel::ScalarTrainTile tile{};
    };

    const ScalarGradient& owner_;
    std::unique_ptr<Machine> machine_;
  };

  absl::Status Prepare(absl::Span<const double> parameters, const TrainingBatch& batch) override {
    if (batch.samples != nullptr && !plan_.conditioning.empty()) {
      return absl::InvalidArgumentError("conditional flows are trained by reverse KL alone");
    }
    parameters_.assign(parameters.begin(), parameters.end());
    for (auto& network : networks_) {
      if (network.has_value()) network->SetWeights(layout(), parameters);
    }
    try {
      for (auto& worker : workers_) {
        const std::string wrong = static_cast<ScalarWorker&>(*worker).PrepareFor(batch.integration_steps);
        if (!wrong.empty()) return absl::InvalidArgumentError(wrong);
      }
    } catch (const std::bad_alloc&) {
      return absl::ResourceExhaustedError(
          "not enough memory for the training workspace; use a smaller lattice or fewer integration_steps");
    }
    return absl::OkStatus();
  }

  v1::Target RandomTarget(uint64_t seed, uint64_t index) const {
    v1::Target target = plan_.target;
    for (size_t i = 0; i < plan_.conditioning.size(); ++i) {
      const v1::Conditioning& c = plan_.conditioning[i];
      const double u = UniformNoise(seed, NoisePurpose::kTraining, index, kConditioningDof + static_cast<uint32_t>(i));
      // The spec's interval has been checked: the parameter exists.
      (void)SetTheoryParameter(c.parameter(), c.low() + (c.high() - c.low()) * u, &target);
    }
    return target;
  }

  const ScalarFlowPlan plan_;
  std::vector<double> parameters_;
  std::vector<std::optional<TrainNetwork>> networks_;  // of couplings
};

}  // namespace

absl::StatusOr<std::unique_ptr<SharedGradient>> MakeScalarGradient(const ScalarFlowPlan& plan, int threads) {
  if (threads < 1 || threads > 1024)
    return absl::InvalidArgumentError(absl::StrCat(threads, " threads; 1..1024 are possible"));
  return std::make_unique<ScalarGradient>(plan, threads);
}

}  // namespace haarflow
