// Memory of one thread that computes derivatives of a loop flow.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/flow/loop_plan.h"
#include "core/kernel/cpu/loop_isa.h"
#include "core/kernel/tiles.h"

namespace haarflow {

// For the tables `flow` of `plan`.
class LoopScratch {
 public:
  LoopScratch(const LoopFlowPlan& plan, const hf_loop_flow& flow) {
    using kernel::kMatrixLanes;
    const int64_t matrix = (plan.colours == 2 ? 4 : 18) * kMatrixLanes;
    int64_t matrices = 1, scalars = 0, loops = 0, active = 0;
    for (const LinkProgram& p : plan.programs) {
      matrices = std::max(matrices, static_cast<int64_t>(p.slot.size()));
      scalars = std::max(scalars, int64_t{p.scalars});
      loops = std::max(loops, static_cast<int64_t>(p.loops.size()));
    }
    for (const LoopStepPlan& s : plan.steps) active += static_cast<int64_t>(s.links.size());
    const bool continuous = plan.is_continuous();
    work.forward = {Take(plan.lattice.links() * matrix), Take(matrices * matrix), Take(scalars * 2 * kMatrixLanes),
                    Take((4 + loops) * matrix),
                    Take(continuous ? kernel::StageNumbers(plan.colours, plan.lattice.links()) : 0)};
    work.snapshots = Take(active * (continuous ? flow.integration_steps : plan.sweeps) * matrix);
    work.stages = Take(continuous ? kernel::TrainingStageNumbers(plan.colours, plan.lattice.links()) : 0);
    work.cotangent = Take(plan.lattice.links() * matrix);
    work.matrix_cotangent = Take(matrices * matrix);
    work.scalar_cotangent = Take(scalars * 2 * kMatrixLanes);
    work.gradient = Take(int64_t{flow.rows} * flow.columns * kMatrixLanes);
    work.tape = Take(kernel::kTapeBytes / static_cast<int64_t>(sizeof(double)));
  }
  kernel::LoopTrainWorkspace work{};

 private:
  double* Take(int64_t n) {
    buffers_.push_back(kernel::Allocate<double>(n));
    return buffers_.back().get();
  }
  std::vector<kernel::Buffer<double>> buffers_;
};

}  // namespace haarflow
