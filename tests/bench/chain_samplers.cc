#include "tests/bench/chain_samplers.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/action/perfect.h"
#include "core/action/phi4.h"
#include "core/action/target.h"
#include "core/base/status.h"
#include "core/exact/estimate.h"
#include "core/exact/metropolis.h"
#include "core/kernel/kernels.h"
#include "core/mcmc/hmc.h"
#include "core/mcmc/phi4_cluster.h"
#include "core/mcmc/phi4_hmc.h"
#include "core/mcmc/sun_heat_bath.h"
#include "core/mcmc/sun_hmc.h"
#include "core/mcmc/u1_heat_bath.h"
#include "core/model/model.h"
#include "core/model/spec.h"

namespace haarflow::bench {
namespace {

constexpr double kAcceptance = 0.8;
constexpr int kTuningTrajectories = 10;

using Samplers = std::vector<std::unique_ptr<ChainSampler>>;

// -------------------------------------------------------------------------------------------------------------- models

std::string KindOf(const v1::ModelSpec& spec) {
  if (spec.prior().has_perfect()) return "perfect sampler";
  for (const v1::Layer& layer : spec.layers()) {
    if (layer.has_u1_coupling_stack() || layer.has_scalar_coupling_stack()) return "coupling flow";
    if (layer.has_loop_flow()) return "loop flow";
    if (layer.has_spectral_coupling_stack()) return "spectral flow";
    if (layer.has_continuous_loop_flow()) return "continuous loop flow";
    if (layer.has_scalar_continuous_flow()) return "continuous flow";
  }
  return "prior";
}

class ModelChain final : public ChainSampler {
 public:
  static absl::StatusOr<std::unique_ptr<ChainSampler>> Create(const StoredModel& stored, const v1::Target& target,
                                                              uint64_t seed) {
    ASSIGN_OR_RETURN(auto model, Model::Create(stored.spec, stored.weights, CpuKernels(), 0));
    return std::make_unique<ModelChain>(std::move(model), target, seed);
  }
  ModelChain(std::shared_ptr<const Model> model, const v1::Target& target, uint64_t seed)
      : model_(std::move(model)), target_(target), chain_(seed, 0, 0), seed_(seed) {}

  std::string Name() const override {
    const v1::ModelSpec& spec = model_->spec();
    return independent() ? KindOf(spec) : absl::StrCat(KindOf(spec), " `", spec.name(), "`");
  }
  std::string Remark() const override {
    if (independent()) return "independent";
    const double ess = weights_.weights().Ess();
    return absl::StrFormat("acceptance %.3f, ESS %s", chain_.Statistics().quality().acceptance(),
                           WithError(ess, weights_.EssError()));
  }
  int chains() const override { return 1; }
  bool independent() const override { return model_->spec().prior().has_perfect(); }
  void Advance() override {
    std::vector<uint64_t> seeds(kBatch, seed_), index(kBatch);
    for (uint64_t& i : index) i = next_++;
    if (!model_->Draw(target_, seeds, index, &proposals_).ok()) std::abort();
    states_.resize(kBatch);
    for (int i = 0; i < kBatch; ++i) {
      weights_.Add(proposals_.LogWeight(i));
      if (chain_.Look(proposals_.LogWeight(i)).accepted) {
        open_.assign(proposals_.Field(i), proposals_.Field(i) + proposals_.field_size);
      }
      states_[i] = open_;
    }
  }
  void Visit(const Visitor& visit) const override {
    for (const auto& state : states_) visit(0, state.data());
  }

 private:
  static constexpr int kBatch = 16;
  std::shared_ptr<const Model> model_;
  v1::Target target_;
  MetropolisChain chain_;
  PartitionEstimator weights_;
  uint64_t seed_, next_ = 0;
  Proposals proposals_;
  std::vector<double> open_;
  std::vector<std::vector<double>> states_;
};

// ------------------------------------------------------------------------------------------------------- Markov chains

// Chains of core/mcmc, which all have Field(chain).
template <typename Chains>
class MarkovChains final : public ChainSampler {
 public:
  using Update = void (Chains::*)();
  MarkovChains(std::string name, Chains chains, Update update, std::function<std::string(const Chains&)> remark)
      : name_(std::move(name)), chains_(std::move(chains)), update_(update), remark_(std::move(remark)) {}
  std::string Name() const override { return name_; }
  std::string Remark() const override { return remark_(chains_); }
  int chains() const override { return chains_.chains(); }
  void Advance() override { (chains_.*update_)(); }
  void Visit(const Visitor& visit) const override {
    for (int c = 0; c < chains_.chains(); ++c) visit(c, chains_.Field(c).data());
  }

 private:
  std::string name_;
  Chains chains_;
  Update update_;
  std::function<std::string(const Chains&)> remark_;
};

template <typename Hmc>
std::string HmcRemark(const Hmc& hmc) {
  return absl::StrFormat("acceptance %.2f, %d steps of %.3f", hmc.acceptance(), hmc.steps(), hmc.step_size());
}

// Tuned and thermalised, for chains with a Trajectory().
template <typename Hmc>
absl::StatusOr<std::unique_ptr<ChainSampler>> Prepared(const std::string& name, Hmc hmc, const SamplerOptions& options,
                                                       int thermalisation) {
  for (int i = 0; i < options.thermalisation / 10; ++i) hmc.Trajectory();
  RETURN_IF_ERROR(hmc.Tune(kAcceptance, options.tuning_rounds, kTuningTrajectories));
  for (int i = 0; i < thermalisation; ++i) hmc.Trajectory();
  hmc.ResetCounters();
  return std::make_unique<MarkovChains<Hmc>>(name, std::move(hmc), &Hmc::Trajectory, HmcRemark<Hmc>);
}

// Fields of the target start chains in equilibrium: in charge sectors with their probabilities, where chains freeze.
template <typename Chains>
absl::Status StartInEquilibrium(const v1::Target& target, uint64_t seed, Chains* chains) {
  ASSIGN_OR_RETURN(const auto perfect, MakePerfectSampler(target));
  std::vector<double> field(FieldSize(target)), work;
  for (int c = 0; c < chains->chains(); ++c) {
    perfect->Draw(seed + 1000, static_cast<uint64_t>(c), field.data(), &work);
    chains->SetField(c, field.data());
  }
  return absl::OkStatus();
}

absl::Status AddU1(const v1::Target& target, const Lattice& lattice, const SamplerOptions& options, Samplers* all) {
  const double beta = target.u1_wilson().beta();
  for (const bool instantons : {false, true}) {
    U1HmcOptions hmc_options;
    hmc_options.seed = options.seed;
    hmc_options.instantons = instantons;
    // Tuned on chains of their own.
    ASSIGN_OR_RETURN(U1Hmc scout, U1Hmc::Create(lattice, beta, hmc_options));
    for (int i = 0; i < options.thermalisation / 10; ++i) scout.Trajectory();
    RETURN_IF_ERROR(scout.Tune(kAcceptance, options.tuning_rounds, kTuningTrajectories));
    hmc_options.steps = scout.steps();
    hmc_options.step_size = scout.step_size();
    ASSIGN_OR_RETURN(U1Hmc hmc, U1Hmc::Create(lattice, beta, hmc_options));
    RETURN_IF_ERROR(StartInEquilibrium(target, options.seed, &hmc));
    all->push_back(std::make_unique<MarkovChains<U1Hmc>>(instantons ? "HMC with instanton steps" : "HMC",
                                                         std::move(hmc), &U1Hmc::Trajectory, HmcRemark<U1Hmc>));
  }
  U1HeatBathOptions bath;
  bath.seed = options.seed;
  ASSIGN_OR_RETURN(U1HeatBath chains, U1HeatBath::Create(lattice, beta, bath));
  RETURN_IF_ERROR(StartInEquilibrium(target, options.seed + 1, &chains));
  all->push_back(
      std::make_unique<MarkovChains<U1HeatBath>>("heat bath", std::move(chains), &U1HeatBath::Sweep,
                                                 [](const U1HeatBath&) { return "2 over-relaxations a sweep"; }));
  return absl::OkStatus();
}

absl::Status AddSun(const v1::Target& target, const Lattice& lattice, const SamplerOptions& options, Samplers* all) {
  const SunCouplings couplings = SunCouplingsOf(target.sun_wilson());
  SunHmcOptions hmc_options;
  hmc_options.seed = options.seed;
  ASSIGN_OR_RETURN(SunHmc hmc, SunHmc::Create(lattice, couplings, hmc_options));
  ASSIGN_OR_RETURN(auto prepared, Prepared("HMC", std::move(hmc), options, options.thermalisation / 3));
  all->push_back(std::move(prepared));
  SunHeatBathOptions bath;
  bath.seed = options.seed;
  ASSIGN_OR_RETURN(SunHeatBath chains, SunHeatBath::Create(lattice, couplings, bath));
  for (int i = 0; i < options.thermalisation / 3; ++i) chains.Sweep();
  all->push_back(
      std::make_unique<MarkovChains<SunHeatBath>>("heat bath", std::move(chains), &SunHeatBath::Sweep,
                                                  [](const SunHeatBath&) { return "2 over-relaxations a sweep"; }));
  return absl::OkStatus();
}

absl::Status AddPhi4(const v1::Target& target, const Lattice& lattice, const SamplerOptions& options, Samplers* all) {
  const Phi4Couplings couplings = Phi4CouplingsOf(target.phi4(), lattice.dims());
  Phi4HmcOptions hmc_options;
  hmc_options.seed = options.seed;
  ASSIGN_OR_RETURN(Phi4Hmc hmc, Phi4Hmc::Create(lattice, couplings, hmc_options));
  ASSIGN_OR_RETURN(auto prepared, Prepared("HMC", std::move(hmc), options, options.thermalisation));
  all->push_back(std::move(prepared));
  Phi4ClusterOptions cluster;
  cluster.seed = options.seed;
  ASSIGN_OR_RETURN(Phi4Cluster chains, Phi4Cluster::Create(lattice, couplings, cluster));
  for (int i = 0; i < options.thermalisation; ++i) chains.Sweep();
  all->push_back(std::make_unique<MarkovChains<Phi4Cluster>>(
      "Metropolis and clusters", std::move(chains), &Phi4Cluster::Sweep,
      [](const Phi4Cluster&) { return "1 local sweep of 3 hits, then clusters"; }));
  return absl::OkStatus();
}

}  // namespace

std::string WithError(double value, double error) {
  if (!(error > 0 && std::isfinite(error))) return absl::StrFormat("%.3g", value);
  const int digits = std::clamp(1 - static_cast<int>(std::floor(std::log10(error))), 0, 6);
  const double unit = error >= 10 ? std::pow(10, std::floor(std::log10(error)) - 1) : std::pow(10, -digits);
  const double shown = std::round(value / unit) * unit, shown_error = std::max(std::round(error / unit), 1.0) * unit;
  std::string text = absl::StrFormat("%.*f", digits, shown);
  const size_t point = std::min(text.find('.'), text.size());
  for (size_t i = 3; i < point; i += 3) text.insert(point - i, 1, ',');
  return absl::StrFormat("%s(%.0f)", text,
                         error >= 1 && digits == 0 ? shown_error : shown_error * std::pow(10, digits));
}

absl::StatusOr<Samplers> SamplersOf(const v1::Target& target, const ModelStore& store, const SamplerOptions& options) {
  ASSIGN_OR_RETURN(const Lattice lattice, LatticeOf(target));
  Samplers all;
  ASSIGN_OR_RETURN(const std::vector<std::string> names, store.ListModels());
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(const StoredModel stored, store.LoadChampion(name));
    if (stored.spec.prior().has_perfect() || !ServesTarget(stored.spec, target)) continue;
    ASSIGN_OR_RETURN(auto chain, ModelChain::Create(stored, target, options.seed));
    all.push_back(std::move(chain));
  }
  if (CheckPerfectSampler(target).ok()) {
    StoredModel perfect;
    perfect.spec.set_name("perfect");
    perfect.spec.set_spec_version(1);
    *perfect.spec.mutable_target() = target;
    perfect.spec.mutable_prior()->mutable_perfect();
    ASSIGN_OR_RETURN(auto chain, ModelChain::Create(perfect, target, options.seed));
    all.push_back(std::move(chain));
  }
  if (target.has_u1_wilson()) RETURN_IF_ERROR(AddU1(target, lattice, options, &all));
  if (target.has_sun_wilson()) RETURN_IF_ERROR(AddSun(target, lattice, options, &all));
  if (target.has_phi4()) RETURN_IF_ERROR(AddPhi4(target, lattice, options, &all));
  return all;
}

}  // namespace haarflow::bench
