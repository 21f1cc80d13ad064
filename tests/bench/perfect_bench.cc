// Perfect samplers of two-dimensional gauge theories: configurations per second of one thread, log q and S included.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "core/action/perfect.h"
#include "core/kernel/kernels.h"
#include "core/model/model.h"

namespace haarflow {
namespace {

// colours (1: U(1)), extent, 10 beta.
void DrawPerfect(benchmark::State& state) {
  v1::ModelSpec spec;
  spec.set_name("perfect");
  spec.set_spec_version(1);
  for (int i = 0; i < 2; ++i)
    spec.mutable_target()->mutable_lattice()->add_shape(static_cast<uint32_t>(state.range(1)));
  const double beta = static_cast<double>(state.range(2)) / 10;
  if (state.range(0) == 1) {
    spec.mutable_target()->mutable_u1_wilson()->set_beta(beta);
  } else {
    spec.mutable_target()->mutable_sun_wilson()->set_colours(static_cast<uint32_t>(state.range(0)));
    spec.mutable_target()->mutable_sun_wilson()->set_beta(beta);
  }
  spec.mutable_prior()->mutable_perfect();
  const auto model = *Model::Create(spec, {}, CpuKernels(), 0);
  constexpr uint64_t kBatch = 64;
  std::vector<uint64_t> seed(kBatch, 1), index(kBatch);
  Proposals proposals;
  uint64_t next = 0;
  for (auto _ : state) {
    for (uint64_t& i : index) i = next++;
    if (!model->Draw(spec.target(), seed, index, &proposals).ok()) state.SkipWithError("Draw failed");
  }
  state.counters["configurations"] = benchmark::Counter(static_cast<double>(next), benchmark::Counter::kIsRate);
  state.counters["sites"] =
      benchmark::Counter(static_cast<double>(next * model->lattice().volume()), benchmark::Counter::kIsRate);
}
BENCHMARK(DrawPerfect)
    ->ArgNames({"colours", "extent", "10beta"})
    ->ArgsProduct({{1}, {8, 16, 32}, {20, 70}})
    ->ArgsProduct({{2}, {8, 16, 32}, {22}})
    ->ArgsProduct({{3}, {8, 16, 32}, {60}});

// Tables for another beta: what the first draw of a target costs.
void MakeTables(benchmark::State& state) {
  v1::Target target;
  for (int i = 0; i < 2; ++i) target.mutable_lattice()->add_shape(16);
  target.mutable_u1_wilson()->set_beta(static_cast<double>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(MakePerfectSampler(target));
}
BENCHMARK(MakeTables)->ArgName("beta")->Arg(2)->Arg(7)->Arg(1000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace haarflow
