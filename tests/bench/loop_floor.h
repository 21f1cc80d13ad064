// The arithmetic that a draw of a loop flow cannot do without: multiplications and additions of the matrix products of
// every link update, of the links' own loops, exponential and block determinant.
#pragma once

#include "core/flow/loop_plan.h"

namespace haarflow {

struct LoopFloor {
  double updates = 0, flops = 0;
};
// `steps`: of continuous flows.
inline LoopFloor LoopFloorOf(const LoopFlowPlan& plan, int32_t steps) {
  const bool su2 = plan.colours == 2;
  const double product = su2 ? 32 : 216, sum = su2 ? 8 : 36;
  LoopFloor floor;
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

}  // namespace haarflow
