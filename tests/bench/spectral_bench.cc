// Spectral flows of SU(2) and SU(3) on one thread, beside the bundled loop flows and perfect samplers of the same
// targets: draws, and training steps.
//
// Counters: `configurations` and `effective` (x the card's ESS) per second; `ns_per_update` of a matrix.
#include <benchmark/benchmark.h>

#include "core/action/target.h"
#include "core/flow/spectral_plan.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"
#include "core/model/store.h"
#include "core/train/gradient.h"
#include "tests/bench/bundled_draw.h"

namespace haarflow {
namespace {

using bench::DrawBundled;
using bench::LoadBundled;

void Draw(benchmark::State& state, const std::string& name) {
  const StoredModel stored = LoadBundled(name);
  const auto model = Model::Create(stored.spec, stored.weights, CpuKernels(), 0).value();
  const double n = DrawBundled(state, stored, *model);
  if (!IsSpectral(stored.spec)) return;
  const double updates = static_cast<double>(PlanSpectralFlow(stored.spec)->updates());
  state.counters["ns_per_update"] =
      benchmark::Counter(1e-9 * updates * n, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

// One batch of 16 fields: 0 reparameterisation, 1 path gradient.
void Gradient(benchmark::State& state, const std::string& name) {
  const StoredModel stored = LoadBundled(name);
  const SpectralFlowPlan plan = PlanSpectralFlow(stored.spec).value();
  const auto source = MakeSpectralGradient(plan, 1).value();
  const std::vector<double> parameters = plan.InitialValues(1);
  TrainingBatch batch;
  batch.n = 16;
  batch.action = ActionNumbers(stored.spec.target());
  batch.path_gradient = state.range(0) == 1;
  std::vector<double> gradient;
  BatchResult result;
  for (auto _ : state) {
    if (!source->Evaluate(parameters, batch, &gradient, &result).ok()) state.SkipWithError("failed");
    batch.first_index += 16;
  }
  state.counters["fields"] = benchmark::Counter(static_cast<double>(batch.first_index), benchmark::Counter::kIsRate);
}

#define HF_DRAW(label, name) BENCHMARK_CAPTURE(Draw, label, name)->Unit(benchmark::kMillisecond)
HF_DRAW(su2_spectral, "su2-l16-b2.2-spectral");
HF_DRAW(su2_loops, "su2-l16-b2.2");
HF_DRAW(su2_perfect, "su2-l16-perfect");
HF_DRAW(su3_spectral, "su3-l16-b5-spectral");
HF_DRAW(su3_loops, "su3-l16-b5");
HF_DRAW(su3_perfect, "su3-l16-perfect");
HF_DRAW(su2_matrix, "su2-matrix-b9");
HF_DRAW(su3_matrix, "su3-matrix-b9");
BENCHMARK_CAPTURE(Gradient, su2, "su2-l8-b2.2-spectral")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Gradient, su3, "su3-l8-b5-spectral")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace haarflow
