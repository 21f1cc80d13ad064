// The numbers of a loop flow know nothing of the volume: the variance of log w per site, and ESS beside exp(-variance),
// of bundled flows on larger lattices than they were trained on. Usage: loop_transfer [FIELDS], 1024 when absent; the
// largest lattices take a quarter of them.
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "core/exact/weights.h"
#include "core/flow/loop_plan.h"
#include "core/model/store.h"
#include "core/train/log_weight.h"

namespace haarflow {
namespace {

void Measure(const StoredModel& stored, int dims, uint32_t extent, int64_t fields) {
  v1::Target target = stored.spec.target();
  target.mutable_lattice()->clear_shape();
  for (int mu = 0; mu < dims; ++mu) target.mutable_lattice()->add_shape(extent);
  LoopFlowPlan plan = PlanLoopFlow(stored.spec, target).value();
  const auto volume = static_cast<double>(plan.lattice.volume());
  const auto source = MakeLoopLogWeights(std::move(plan), 1);
  const std::vector<double> parameters = stored.weights.begin()->second.ToDoubles().value();
  LogWeights out;
  if (!source->Evaluate(parameters, 11, 0, fields, {target.sun_wilson().beta(), 0, 0}, false, &out).ok()) return;
  WeightStatistics weights;
  double mean = 0, square = 0, fourth = 0;
  const auto n = static_cast<double>(fields);
  for (double w : out.log_weight) {
    weights.Add(w);
    mean += w / n;
  }
  for (double w : out.log_weight) {
    square += (w - mean) * (w - mean) / (n - 1);
    fourth += std::pow(w - mean, 4) / n;
  }
  const double error = std::sqrt((fourth - square * square) / n);
  std::printf("%-16s %2u^%d  %5lld fields  Var/V %.3e +- %.1e  ESS %.4f  exp(-Var) %.4f  log Z/V %.6f\n",
              stored.spec.name().c_str(), extent, dims, static_cast<long long>(fields), square / volume, error / volume,
              weights.Ess(), std::exp(-square), weights.LogZ() / volume);
  std::fflush(stdout);
}

int Main(int argc, char** argv) {
  const int64_t fields = argc > 1 ? std::atoll(argv[1]) : 1024;
  const auto store = ModelStore::Open(HAARFLOW_MODELS).value();
  for (const char* name : {"su2-l16-b2.2", "su3-l16-b5"}) {
    const StoredModel stored = store.LoadChampion(name).value();
    for (uint32_t extent : {4U, 8U, 16U, 32U}) Measure(stored, 2, extent, extent == 32 ? fields / 4 : fields);
  }
  const StoredModel stored = store.LoadChampion("su3-4x4x4x4-b1").value();
  for (uint32_t extent : {4U, 8U}) Measure(stored, 4, extent, extent == 8 ? fields / 4 : fields);
  return 0;
}

}  // namespace
}  // namespace haarflow

int main(int argc, char** argv) { return haarflow::Main(argc, argv); }
