// SU(2) and SU(3) on one thread: draws of the bundled loop flows beside the arithmetic they cannot do without, perfect
// samplers and heat bath on the same targets, and Gauss-Newton steps.
//
// Counters: `configurations` and `effective` (x the card's ESS; heat bath: over 2 tau_int of the plaquette) per second;
// `ns_per_update` of a link; `MFLOP` of a configuration: the floor, multiplications and additions of the matrix
// products of every link update, of the links' own loops, exponential and block determinant.
#include <benchmark/benchmark.h>

#include "core/exact/estimate.h"
#include "core/flow/loop_plan.h"
#include "core/kernel/kernels.h"
#include "core/mcmc/sun_heat_bath.h"
#include "core/model/model.h"
#include "core/model/store.h"
#include "core/train/log_weight.h"
#include "tests/bench/bundled_draw.h"

namespace haarflow {
namespace {

using bench::DrawBundled;
using bench::LoadBundled;

struct Floor {
  double updates = 0, flops = 0;
};
// `steps`: of continuous flows.
Floor FloorOf(const LoopFlowPlan& plan, int32_t steps) {
  const bool su2 = plan.colours == 2;
  const double product = su2 ? 32 : 216, sum = su2 ? 8 : 36;
  Floor floor;
  for (const LoopStepPlan& step : plan.steps) {
    const LinkProgram& program = plan.programs[step.program];
    const double n = static_cast<double>(step.links.size()), products = static_cast<double>(program.products());
    const double loops = static_cast<double>(program.loops.size()), pairs = static_cast<double>(program.pairs.size());
    // Exponential, inverse differential and determinant; second derivatives: a symmetric product of gradients for every
    // loop, two combinations of gradients for every pair, three products for every twin.
    const double block =
        su2 ? 200 + 12 * program.paired + 12 * pairs
            : 1200 + 144 * program.paired + 128 * pairs + 3 * product * static_cast<double>(program.twins.size());
    // Continuous: five exponentials and products with the link in four stages, the divergence by sums over gradients.
    const double map = plan.is_continuous() ? 1.25 * (su2 ? 70 : 350) + 0.25 * product + (su2 ? 6 : 64) * pairs : block;
    floor.updates += n;
    floor.flops +=
        n * (product * (products + loops + 2) + sum * (static_cast<double>(program.ops.size()) - products) + map);
  }
  const double times = plan.is_continuous() ? 4.0 * steps : plan.sweeps;
  floor.updates *= times;
  floor.flops *= times;
  return floor;
}

void Draw(benchmark::State& state, const std::string& name) {
  const StoredModel stored = LoadBundled(name);
  const auto model = Model::Create(stored.spec, stored.weights, CpuKernels(), 0).value();
  const double n = DrawBundled(state, stored, *model);
  if (!stored.spec.prior().has_perfect()) {
    const Floor floor = FloorOf(PlanLoopFlow(stored.spec, stored.spec.target()).value(), model->steps());
    state.counters["MFLOP"] = 1e-6 * floor.flops;
    state.counters["GFLOP/s"] = benchmark::Counter(1e-9 * floor.flops * n, benchmark::Counter::kIsRate);
    state.counters["ns_per_update"] =
        benchmark::Counter(1e-9 * floor.updates * n, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  }
}

// Sweeps with two over-relaxations, on the target of a bundled model.
void HeatBath(benchmark::State& state, const std::string& name) {
  const v1::Target target = LoadBundled(name).spec.target();
  const Lattice lattice = LatticeOf(target).value();
  SunHeatBathOptions options;
  SunHeatBath chain = SunHeatBath::Create(lattice,
                                          {static_cast<int>(target.sun_wilson().colours()), target.sun_wilson().beta(),
                                           target.sun_wilson().rectangle()},
                                          options)
                          .value();
  for (int i = 0; i < 50; ++i) chain.Sweep();
  std::vector<std::vector<double>> action(chain.chains());
  for (auto _ : state) {
    chain.Sweep();
    for (int c = 0; c < chain.chains(); ++c) action[c].push_back(chain.Action(c));
  }
  double tau = 0;
  for (const auto& series : action) {
    if (const auto estimate = GammaMethod(series); estimate.ok()) tau += estimate->tau_int / chain.chains();
  }
  const double n = static_cast<double>(action[0].size()) * chain.chains();
  state.counters["configurations"] = benchmark::Counter(n, benchmark::Counter::kIsRate);
  state.counters["tau_int"] = tau;
  state.counters["effective"] = benchmark::Counter(n / std::max(1.0, 2 * tau), benchmark::Counter::kIsRate);
}

// log w with its derivatives at L = 4, all sweeps.
void Derivatives(benchmark::State& state, const std::string& name) {
  const StoredModel stored = LoadBundled(name);
  v1::Target target = stored.spec.target();
  for (uint32_t& extent : *target.mutable_lattice()->mutable_shape()) extent = 4;
  LoopFlowPlan plan = PlanLoopFlow(stored.spec, target).value();
  const std::vector<double> parameters = stored.weights.begin()->second.ToDoubles().value();
  const auto source = MakeLoopLogWeights(std::move(plan), 1);
  LogWeights out;
  uint64_t next = 0;
  for (auto _ : state) {
    if (!source->Evaluate(parameters, 1, next, 8, {target.sun_wilson().beta(), 0, 0}, state.range(0) == 1, &out).ok()) {
      state.SkipWithError("failed");
    }
    next += 8;
  }
  state.counters["fields"] = benchmark::Counter(static_cast<double>(next), benchmark::Counter::kIsRate);
}

#define HF_LOOP_BENCH(label, name)                                     \
  BENCHMARK_CAPTURE(Draw, label, name)->Unit(benchmark::kMillisecond); \
  BENCHMARK_CAPTURE(HeatBath, label, name)->Unit(benchmark::kMillisecond)
HF_LOOP_BENCH(su2_b2_2, "su2-l16-b2.2");
HF_LOOP_BENCH(su3_b5, "su3-l16-b5");
HF_LOOP_BENCH(su3_b6, "su3-l16-b6");
HF_LOOP_BENCH(su3_4d_b1, "su3-4x4x4x4-b1");
// Continuous: an update is a stage's force of a link.
BENCHMARK_CAPTURE(Draw, su3_leading, "su3-l8-b2-leading")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Draw, su3_4d_leading, "su3-4x4x4x4-b1-leading")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Draw, su2_perfect, "su2-l16-perfect")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Draw, su3_perfect, "su3-l16-perfect")->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Derivatives, su3_b5, "su3-l16-b5")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(Derivatives, su2_b2_2, "su2-l16-b2.2")->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace haarflow
