// Tables of priors and continuous flows as the GPU reads them.
#pragma once

#include <vector>

#include "core/kernel/cuda/cas_passes.h"

namespace haarflow::HF_ISA {

// Threads own points: slot i of a thread in a pass is point i % unit points of its unit i / unit points, and thread
// `lane`'s units are lane, lane + threads, ... What belongs to a thread's own points stands at slot * threads + lane
// (of modes in pairs, ScalarPacker::OwnedPoints), so that a warp reads it in one piece.
struct CasTables {
  int32_t sites, components;
  int32_t padded;  // numbers of a component in memory
  int32_t passes;
  PassTable pass[kMaxPasses];
  const int32_t* site_address;       // [sites]
  const int32_t* mode_address;       // [sites]
  int64_t owned_sites, owned_modes;  // slots * threads of the first and of the last pass
};

// Numbers of the states and of the kept field of a configuration where registers do not hold them.
HF_INLINE int64_t StateSize(int32_t components, const CasTables& cas) {
  return components * (3 * cas.owned_modes + cas.owned_sites);
}

// One continuous flow. The features of frequency 0 are one; the others' frequencies are over the number of sites, as
// they are applied to C (C phi).
struct ContinuousTable {
  int32_t steps, sines;
  int32_t linear;  // whether there is a feature of frequency 0
  int64_t columns;
  const double* kernel;            // [2 steps + 1][1 + sines][columns], the linear one first
  const int32_t* orbit;            // [owned modes]: column; null: the owned modes themselves
  std::vector<double> frequency;   // [sines]
  std::vector<double> divergence;  // [2 steps + 1][sines]: what a site adds to log q per unit of Runge-Kutta weight,
                                   // over the sum of sin(z) / z (two components) and cos z
};

// What a block does between two barriers. A run of continuous layers is a list of these (schedule.h), the same for
// every configuration: the device decides nothing.
struct PhaseRecord {
  enum Op : int32_t {
    kBegin,   // noise or rows to the buffer, at sites or modes
    kEnd,     // the buffer times `a` to rows or to the prior's density, from sites or modes
    kScale,   // modes times sigma
    kDivide,  // modes over sigma
    kPass,    // one pass of a transform
    kSine,    // last transposed pass; a sine of the field and its divergence; first pass
    kMode,    // last pass; a step at a thread's own frequencies; first transposed pass
  };
  enum Flag : int32_t {
    kAtModes = 1,
    kTransposed = 2,
    kFromWork = 4,  // reads the buffer: kSine else what it kept; kMode else nothing
    kToWork = 8,
    kRaw = 16,     // kMode: reads without a pass and takes that as the state
    kRawOut = 32,  // kMode: writes without a pass
    kKeep = 64,    // kSine: keeps the field
    kAdd = 128,    // kSine: before, the last pass of the sine before, which is added to the velocity
    kFull = 256,   // kMode: the last stage of a step
  };
  int32_t op, flags;
  int32_t pass;
  int32_t from, to;  // buffers
  int32_t unused;
  double a, b;  // kSine: frequency, divergence; kMode: weight in the sum of the step, from the state to the next
                // stage's input
  const double* kernel;  // of the sine that was transformed last, or null
  const int32_t* orbit;
  const double* next;  // kMode: of the linear feature at the next stage, or null
  const int32_t* next_orbit;
  HF_FN bool Has(int32_t flag) const { return (flags & flag) != 0; }
};

struct PriorTable {
  int32_t fourier;
  int32_t heat_bath;            // acts on even sites
  const double* sigma;          // [sites]
  const uint8_t* active;        // [sites], or null: all
  const uint8_t* owned_active;  // [owned sites], or null
};

}  // namespace haarflow::HF_ISA
