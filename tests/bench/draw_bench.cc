// Draws, training steps, and effective samples per second, on one thread, beside the arithmetic they cannot do without.
//
// Counters: `configurations` and `effective` per second; `MFLOP` the networks' multiply-adds x 2 of one configuration
// (active sites only: the floor); `of_gemm` the rate of those operations over LibTorch's float32 matrix product on one
// thread, measured in the same run; `KiB_out` the bytes of one configuration.
#include <benchmark/benchmark.h>

#include <filesystem>

#include "core/base/status.h"
#include "core/exact/estimate.h"
#include "core/exact/weights.h"
#include "core/kernel/kernels.h"
#include "core/mcmc/hmc.h"
#include "core/model/model.h"
#include "core/model/store.h"
#include "core/observable/observable.h"
#include "core/train/gradient.h"
#include "tests/reference/test_specs.h"
#ifdef HAARFLOW_HAVE_TORCH
#include "core/train/torch_gradient.h"
#include "tests/bench/gemm.h"
#endif

namespace haarflow {
namespace {

double Gemm() {
#ifdef HAARFLOW_HAVE_TORCH
  static const double flops = GemmFlops();
  return flops;
#else
  return 0;
#endif
}

struct Loaded {
  v1::ModelSpec spec;
  U1FlowPlan plan;
  std::vector<double> parameters;
  std::shared_ptr<const Model> model;
};

Loaded Random(const testing::SpecOptions& options) {
  auto spec = *ParseSpec(testing::SpecText(options));
  auto plan = *PlanU1Flow(spec);
  const ParameterLayout layout = U1ParameterLayout(plan);
  auto parameters = testing::RandomParameters(layout, 1.0);
  auto model = *Model::Create(spec, testing::ToTensors(layout, parameters), CpuKernels(), 0);
  return {std::move(spec), std::move(plan), std::move(parameters), std::move(model)};
}

// The architecture of the orientation numbers: 16 striped layers at L = 16, circular splines of 8 bins fed by
// plaquettes. Hidden "[]" is a linear map of the plaquette at the active site: all of a draw but the networks.
Loaded Orientation(const std::string& hidden) {
  testing::SpecOptions options;
  options.shape = {16, 16};
  options.beta = 2;
  options.layers = 16;
  options.float64 = false;
  options.features = "features { width: 1 height: 1 }";
  options.network = hidden == "[]" ? "kernel: [1]" : absl::StrCat("hidden: ", hidden, " kernel: [3, 3, 3]");
  options.activation = "ACTIVATION_LEAKY_RELU";
  options.map = "spline { bins: 8 }";
  return Random(options);
}

absl::StatusOr<Loaded> Bundled(const std::string& name) {
  ASSIGN_OR_RETURN(const ModelStore store, ModelStore::Open(HAARFLOW_MODELS));
  ASSIGN_OR_RETURN(const StoredModel stored, store.LoadChampion(name));
  ASSIGN_OR_RETURN(U1FlowPlan plan, PlanU1Flow(stored.spec));
  ASSIGN_OR_RETURN(auto model, Model::Create(stored.spec, stored.weights, CpuKernels(), 0));
  return Loaded{stored.spec, std::move(plan), {}, std::move(model)};
}

void Draws(benchmark::State& state, const Loaded& loaded) {
  const int64_t n = state.range(0);
  std::vector<uint64_t> seed(n, 1), index(n);
  Proposals proposals;
  uint64_t next = 0;
  for (auto _ : state) {
    for (int64_t i = 0; i < n; ++i) index[i] = next++;
    if (!loaded.model->Draw(loaded.model->target(), seed, index, &proposals).ok()) state.SkipWithError("draw failed");
    benchmark::DoNotOptimize(proposals.log_q.data());
  }
  const double configurations = static_cast<double>(state.iterations()) * static_cast<double>(n);
  const double flop = 2.0 * static_cast<double>(loaded.plan.multiply_adds());
  state.counters["configurations"] = benchmark::Counter(configurations, benchmark::Counter::kIsRate);
  state.counters["MFLOP"] = flop / 1e6;
  if (Gemm() > 0)
    state.counters["of_gemm"] = benchmark::Counter(configurations * flop / Gemm(), benchmark::Counter::kIsRate);
  state.counters["KiB_out"] = static_cast<double>(loaded.plan.lattice.links()) * 8 / 1024;
}

void Training(benchmark::State& state, const Loaded& loaded, GradientSource* source, bool path) {
  const int64_t n = state.range(0);
  std::vector<double> gradient;
  BatchResult result;
  uint64_t next = 0;
  for (auto _ : state) {
    if (!source->Evaluate(loaded.parameters, {1, next, n, {2.0}, path}, &gradient, &result).ok())
      state.SkipWithError("gradient failed");
    next += static_cast<uint64_t>(n);
  }
  state.counters["steps"] = benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
  state.counters["configurations"] =
      benchmark::Counter(static_cast<double>(state.iterations()) * static_cast<double>(n), benchmark::Counter::kIsRate);
}

// Independent-sample equivalents per second of the flow: draws x ESS (measured on the draws of the run).
void EffectiveFlow(benchmark::State& state, const Loaded& loaded) {
  constexpr int64_t n = 1024;
  std::vector<uint64_t> seed(n, 2), index(n);
  Proposals proposals;
  WeightStatistics weights;
  uint64_t next = 0;
  for (auto _ : state) {
    for (int64_t i = 0; i < n; ++i) index[i] = next++;
    if (!loaded.model->Draw(loaded.model->target(), seed, index, &proposals).ok()) state.SkipWithError("draw failed");
    for (int64_t i = 0; i < n; ++i) weights.Add(proposals.LogWeight(i));
  }
  state.counters["ESS"] = weights.Ess();
  state.counters["effective"] =
      benchmark::Counter(weights.Ess() * static_cast<double>(weights.samples()), benchmark::Counter::kIsRate);
}

// The same of HMC: trajectories / (2 tau_int) of Q^2 and of the plaquette, 16 chains at once (one vector register).
void EffectiveHmc(benchmark::State& state, const v1::Target& target, const char* observable, bool instantons) {
  const auto& shape = target.lattice().shape();
  const Lattice lattice = *Lattice::Create({shape.begin(), shape.end()});
  U1HmcOptions options;
  options.instantons = instantons;
  auto hmc = *U1Hmc::Create(lattice, target.u1_wilson().beta(), options);
  if (!hmc.Tune(0.8).ok()) state.SkipWithError("tuning failed");
  for (int i = 0; i < 200; ++i) hmc.Trajectory();
  const ObservableSet set = *ObservableSet::Create(target, {observable});
  std::vector<std::vector<double>> history(hmc.chains());
  for (auto _ : state) {
    hmc.Trajectory();
    state.PauseTiming();
    for (int c = 0; c < hmc.chains(); ++c) {
      double value;
      set.Evaluate(hmc.Field(c).data(), &value);
      history[c].push_back(value);
    }
    state.ResumeTiming();
  }
  double tau = 0;
  for (const auto& chain : history) {
    const auto estimate = GammaMethod(chain);
    if (estimate.ok()) tau += estimate->tau_int / static_cast<double>(history.size());
  }
  if (tau <= 0) return;
  state.counters["tau_int"] = tau;
  state.counters["acceptance"] = hmc.acceptance();
  state.counters["effective"] = benchmark::Counter(static_cast<double>(state.iterations()) * hmc.chains() / (2 * tau),
                                                   benchmark::Counter::kIsRate);
}

// Noise, action and copying: a draw without layers.
Loaded PriorAlone() {
  testing::SpecOptions options;
  options.shape = {16, 16};
  auto spec = *ParseSpec(testing::SpecText(options));
  spec.clear_layers();
  auto plan = *PlanU1Flow(spec);
  auto model = *Model::Create(spec, {}, CpuKernels(), 0);
  return {std::move(spec), std::move(plan), {}, std::move(model)};
}

int Register() {
  const auto prior = std::make_shared<Loaded>(PriorAlone());
  benchmark::RegisterBenchmark("draw/prior-alone-L16", [prior](benchmark::State& s) { Draws(s, *prior); })
      ->Arg(256)
      ->Unit(benchmark::kMillisecond);
  const auto linear = std::make_shared<Loaded>(Orientation("[]"));
  benchmark::RegisterBenchmark("draw/16-layers-L16/[]", [linear](benchmark::State& s) { Draws(s, *linear); })
      ->Arg(256)
      ->Unit(benchmark::kMillisecond);
  for (const std::string hidden : {"[8, 8]", "[32, 32]"}) {
    const auto loaded = std::make_shared<Loaded>(Orientation(hidden));
    benchmark::RegisterBenchmark(("draw/16-layers-L16/" + hidden).c_str(),
                                 [loaded](benchmark::State& s) { Draws(s, *loaded); })
        ->Arg(16)
        ->Arg(256)
        ->Arg(4096)
        ->Unit(benchmark::kMillisecond);
    for (const bool path : {false, true}) {
      const std::string name = (path ? "path/" : "reparameterisation/") + hidden;
      const std::shared_ptr<GradientSource> fused = *MakeU1Gradient(loaded->plan, 1);
      benchmark::RegisterBenchmark(
          ("train/fused/" + name).c_str(),
          [loaded, fused, path](benchmark::State& s) { Training(s, *loaded, fused.get(), path); })
          ->Arg(64)
          ->Unit(benchmark::kMillisecond);
#ifdef HAARFLOW_HAVE_TORCH
      const std::shared_ptr<GradientSource> torch = MakeTorchGradient(loaded->plan);
      benchmark::RegisterBenchmark(
          ("train/libtorch/" + name).c_str(),
          [loaded, torch, path](benchmark::State& s) { Training(s, *loaded, torch.get(), path); })
          ->Arg(64)
          ->Unit(benchmark::kMillisecond);
#endif
    }
  }
  for (const std::string name : {"u1-l8-b2", "u1-l16-b2"}) {
    auto bundled = Bundled(name);
    if (!bundled.ok()) continue;
    const auto loaded = std::make_shared<Loaded>(*std::move(bundled));
    benchmark::RegisterBenchmark(("draw/" + name).c_str(), [loaded](benchmark::State& s) { Draws(s, *loaded); })
        ->Arg(16)
        ->Arg(256)
        ->Arg(4096)
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("effective/flow/" + name).c_str(), [loaded](benchmark::State& s) {
      EffectiveFlow(s, *loaded);
    })->Unit(benchmark::kMillisecond);
    for (const char* observable : {"plaquette", "charge_squared"}) {
      benchmark::RegisterBenchmark(
          ("effective/hmc/" + name + "/" + observable).c_str(),
          [loaded, observable](benchmark::State& s) { EffectiveHmc(s, loaded->spec.target(), observable, false); })
          ->Iterations(4000)
          ->Unit(benchmark::kMillisecond);
    }
  }
  return 0;
}
const int registered = Register();

}  // namespace
}  // namespace haarflow
