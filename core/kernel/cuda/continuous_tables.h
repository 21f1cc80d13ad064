// Tables of priors and continuous flows as the GPU reads them.
#pragma once

#include "core/kernel/cuda/cas_passes.h"

namespace haarflow::HF_ISA {

// Threads own points: slot i of a thread in a pass is point i % unit points of its unit i / unit points, and thread
// `lane`'s units are lane, lane + threads, ... What belongs to a thread's own points stands at slot * threads + lane, so
// that a warp reads it in one piece.
struct CasTables {
  int32_t sites, components;
  int32_t padded;                   // numbers of a component in memory
  int32_t passes;
  PassTable pass[kMaxPasses];
  const int32_t* site_address;      // [sites]
  const int32_t* mode_address;      // [sites]
  int64_t owned_sites, owned_modes; // slots * threads of the first and of the last pass
};

// Numbers of the states and of the kept field of a configuration where registers do not hold them.
HF_INLINE int64_t StateSize(int32_t components, const CasTables& cas) {
  return components * (3 * cas.owned_modes + cas.owned_sites);
}

// One continuous flow. The features of frequency 0 are one; the others' frequencies are over the number of sites, as
// they are applied to C (C phi).
struct ContinuousTable {
  int32_t steps, sines;
  int32_t linear;             // whether there is a feature of frequency 0
  int64_t columns;
  const double* kernel;       // [2 steps + 1][1 + sines][columns], the linear one first
  const int32_t* orbit;       // [owned modes]: column; null: the owned modes themselves
  const double* frequency;    // [sines]
  const double* divergence;   // [2 steps + 1][sines]: what a site adds to log q per unit of Runge-Kutta weight, over
                              // the sum of sin(z) / z (two components) and cos z
};

struct PriorTable {
  int32_t fourier;
  int32_t heat_bath;          // acts on even sites
  const double* sigma;        // [sites]
  const uint8_t* active;      // [sites], or null: all
  const uint8_t* owned_active;  // [owned sites], or null
};

}  // namespace haarflow::HF_ISA
