// Scalar flows on one thread: draws beside the arithmetic they cannot do without, gradients, and how long training
// takes to a given ESS.
//
// Counters: `configurations` and `effective` (x the card's ESS) per second; `MFLOP` of one configuration: the floor,
// for each Runge-Kutta stage and site a sine and cosine (44 operations) for each frequency, a cas transform for each
// feature and for the velocity (additions and multiplications of the fast transform), three operations to apply a
// kernel, four for the stage's sums; `of_peak` the rate of those operations over half of LibTorch's float32 matrix
// product on one thread, measured in the same run; `ns_per_stage_site`.
#include <benchmark/benchmark.h>

#include <ctime>

#include "core/base/file.h"
#include "core/exact/weights.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "core/model/spec.h"
#include "core/model/store.h"
#include "core/train/evaluate.h"
#include "core/train/trainer.h"
#ifdef HAARFLOW_HAVE_TORCH
#include "tests/bench/gemm.h"
#endif

namespace haarflow {
namespace {

double PeakFlops() {
#ifdef HAARFLOW_HAVE_TORCH
  static const double flops = GemmFlops() / 2;
  return flops;
#else
  return 0;
#endif
}

double ThreadSeconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Operations of the fast transform of a line: radix 2 down to an odd number of points.
double TransformOperations(int64_t n) {
  if (n == 1) return 0;
  if (n % 2 == 1) return static_cast<double>((n / 2) * (n / 2) * 6 + 2 * n);
  const int64_t pairs = std::max<int64_t>(0, (n / 2 - 1) / 2);
  return 2 * TransformOperations(n / 2) + static_cast<double>(6 * pairs + n);
}

// Of one configuration.
double Operations(const Model& model) {
  const Lattice& lattice = model.lattice();
  double transform = 0;  // per site
  for (int64_t extent : lattice.shape()) transform += TransformOperations(extent) / static_cast<double>(extent);
  double stage = 0;
  for (const v1::Layer& layer : model.spec().layers()) {
    const double sines = layer.scalar_continuous_flow().frequencies();
    stage += 44 * sines + (sines + 2) * transform + 3 * (sines + 1) + 4;
  }
  return stage * 4 * model.steps() * static_cast<double>(lattice.volume());
}

void Draw(benchmark::State& state, const std::string& name) {
  const StoredModel stored = ModelStore::Open(HAARFLOW_MODELS)->LoadChampion(name).value();
  const auto model = Model::Create(stored.spec, stored.weights, CpuKernels(), 0).value();
  constexpr int kBatch = 32;
  Proposals proposals;
  std::vector<uint64_t> seed(kBatch, 1), index(kBatch);
  uint64_t next = 0;
  for (auto _ : state) {
    for (uint64_t& i : index) i = next++;
    if (!model->Draw(model->target(), seed, index, &proposals).ok()) state.SkipWithError("draw failed");
  }
  const auto rate = [&](double per_configuration) {
    return benchmark::Counter(per_configuration * static_cast<double>(next), benchmark::Counter::kIsRate);
  };
  state.counters["configurations"] = rate(1);
  state.counters["effective"] = rate(stored.manifest.card.quality().ess());
  const double operations = Operations(*model);
  state.counters["MFLOP"] = operations * 1e-6;
  if (PeakFlops() > 0) state.counters["of_peak"] = rate(operations / PeakFlops());
  const double stages = 4.0 * model->steps() * static_cast<double>(model->lattice().volume());
  state.counters["ns_per_stage_site"] = benchmark::Counter(stages * static_cast<double>(next) * 1e-9,
                                                           benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

// Path-gradient steps of the spec's last phase.
void Step(benchmark::State& state, const std::string& name) {
  const StoredModel stored = ModelStore::Open(HAARFLOW_MODELS)->LoadChampion(name).value();
  const auto flow = MakeTrainableFlow(stored.spec).value();
  const auto source = flow->MakeGradient(1).value();
  const std::vector<double> parameters = flow->StartFrom({stored.spec, stored.weights}).value();
  TrainingBatch batch;
  batch.seed = 1;
  batch.n = 64;
  batch.action = ActionNumbers(stored.spec.target());
  batch.path_gradient = true;
  batch.integration_steps = 12;
  std::vector<double> gradient;
  BatchResult result;
  for (auto _ : state) {
    if (!source->Evaluate(parameters, batch, &gradient, &result).ok()) state.SkipWithError("gradient failed");
    batch.first_index += 64;
  }
  state.counters["fields"] =
      benchmark::Counter(64.0 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

// Seconds of one thread's training, evaluations not counted, until the ESS of 4,096 fresh proposals reaches 0.9 and
// 0.99.
void TimeToEss(benchmark::State& state, const std::string& name) {
  const std::string text = ReadFile(absl::StrCat(HAARFLOW_SPECS "/", name, ".txtpb"), kMaxSpecBytes).value();
  const v1::ModelSpec spec = ParseSpec(text).value();
  std::optional<StartingPoint> start;
  if (!spec.training().start_from().empty()) {
    StoredModel parent = ModelStore::Open(HAARFLOW_MODELS)->LoadByReference(spec.training().start_from()).value();
    start = StartingPoint{std::move(parent.spec), std::move(parent.weights)};
  }
  for (auto _ : state) {
    double evaluating = 0, to_90 = 0, to_99 = 0, ess = 0;
    const double begin = ThreadSeconds();
    std::unique_ptr<Trainer> trainer;
    TrainerOptions options;
    uint64_t next_look = 0;
    options.on_progress = [&](const TrainingProgress& p) {
      if (p.step < next_look) return true;
      next_look = p.step + p.step / 8 + 10;
      const double now = ThreadSeconds();
      const auto model = Model::Create(spec, trainer->Weights(16), CpuKernels(), 0).value();
      const std::vector<double> log_weight = DrawLogWeights(*model, spec.target(), 4096, 17, 1).value();
      WeightStatistics weights;
      for (double w : log_weight) weights.Add(w);
      ess = weights.Ess();
      if (ess > 0.9 && to_90 == 0) to_90 = now - begin - evaluating;
      if (ess > 0.99 && to_99 == 0) to_99 = now - begin - evaluating;
      evaluating += ThreadSeconds() - now;
      return to_99 == 0;
    };
    trainer = Trainer::Create(text, options, start.has_value() ? &*start : nullptr).value();
    const absl::Status status = trainer->Run();
    if (!status.ok() && !absl::IsCancelled(status)) state.SkipWithError("training failed");
    state.counters["s_to_0.9"] = to_90;
    state.counters["s_to_0.99"] = to_99;  // 0: not reached
    state.counters["ESS"] = ess;
    state.SetIterationTime(ThreadSeconds() - begin - evaluating);
  }
}

BENCHMARK_CAPTURE(Draw, l6, "phi4-l6-e1")->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(Draw, l8, "phi4-l8-e2")->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(Draw, l12, "phi4-l12-e4")->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(Draw, l16, "phi4-l16")->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(Draw, l32, "phi4-l32")->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(Step, l8, "phi4-l8-e2")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Step, l16, "phi4-l16")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Step, l32, "phi4-l32")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(TimeToEss, l6, "phi4-l6-e1")->Iterations(1)->UseManualTime()->Unit(benchmark::kSecond);
BENCHMARK_CAPTURE(TimeToEss, tutorial, "phi4-l8-tutorial")->Iterations(1)->UseManualTime()->Unit(benchmark::kSecond);
BENCHMARK_CAPTURE(TimeToEss, l8, "phi4-l8-e2")->Iterations(1)->UseManualTime()->Unit(benchmark::kSecond);
BENCHMARK_CAPTURE(TimeToEss, l16, "phi4-l16")->Iterations(1)->UseManualTime()->Unit(benchmark::kSecond);

}  // namespace
}  // namespace haarflow
