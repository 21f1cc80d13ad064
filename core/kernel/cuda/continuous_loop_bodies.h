// What one GPU thread does for continuous flows of SU(N) links: see core/kernel/cpu/continuous_loop.inc for the method.
// Fields are [link][number][batch], forces [stage][link][generator][batch].
#pragma once

#include "core/kernel/cuda/loop_bodies.h"
#include "core/kernel/lie_integrator.h"

namespace haarflow::HF_ISA::sun {

// F of link a of a step. The link's row of `integral` grows by weight x the divergence of F.
template <int N>
struct VelocityBody {
  static constexpr int kMinBlocks = 2;
  static constexpr int kNumbers = Group<N>::kNumbers, kDim = Group<N>::kDim;

  LoopProgramTable program;
  int32_t active, shared_slots;
  const int32_t *link, *input;
  const double* coefficient;
  const double* field;
  double *force, *integral, *scratch;
  double weight;
  int64_t batch, scratch_numbers;

  HF_FN void operator()(int32_t a, int64_t c, double* shared, double* own_scratch) const {
    const LinkMemory<N> memory = {shared, own_scratch, shared_slots, program.slots};
    const int32_t* const inputs = input + int64_t{a} * program.view.inputs;
    LinkProgramRun<N>{program, memory, coefficient, inputs, field + c, batch}();
    StreamedMap<N> map(program, memory, coefficient);
    double u[kNumbers];
    Read<N>(field + int64_t{link[a]} * kNumbers * batch + c, batch, u);
    map.ForceAt(u, memory);
    double* const out = force + int64_t{link[a]} * kDim * batch + c;
    HF_UNROLL
    for (int b = 0; b < kDim; ++b) out[b * batch] = map.force[b];
    const double divergence = Laplacian<N, double>(map);
    double* const sum = integral + int64_t{link[a]} * batch + c;
    *sum = Fma(weight, divergence, *sum);
  }
};

// to = exp(sum_s weight[s] F_s) from. A unit is a link, whose row of `integral` becomes NaN where that is too large for
// its exponential.
template <int N>
struct MoveBody {
  static constexpr int kNumbers = Group<N>::kNumbers, kDim = Group<N>::kDim;
  double weight[kernel::kStages];
  const double* force;
  int64_t stage_stride;
  const double* from;
  double *to, *integral;
  int64_t batch;

  HF_FN void operator()(int32_t link, int64_t c) const {
    double x[kDim], e[kNumbers], u[kNumbers], square = 0;
    HF_UNROLL
    for (int a = 0; a < kDim; ++a) {
      x[a] = 0;
      HF_UNROLL
      for (int s = 0; s < kernel::kStages; ++s) {
        if (weight[s] != 0)
          x[a] = Fma(weight[s], force[s * stage_stride + (int64_t{link} * kDim + a) * batch + c], x[a]);
      }
      square = Fma(x[a], x[a], square);
    }
    Exponential<N, double>(x, e);
    Read<N>(from + int64_t{link} * kNumbers * batch + c, batch, u);
    MultiplyBy<N>(u, e);
    Write<N>(e, to + int64_t{link} * kNumbers * batch + c, batch);
    if (!(square < kLargestForce)) integral[int64_t{link} * batch + c] = NotANumber();
  }
};

}  // namespace haarflow::HF_ISA::sun
