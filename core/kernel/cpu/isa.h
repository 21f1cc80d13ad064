// What one instruction set's translation unit offers to the dispatcher: work on tiles of 16 configurations, one per vector slot.
#pragma once

#include <stdint.h>

#include "core/kernel/table.h"

namespace haarflow::kernel {

// Configurations are innermost: element e of a tile's array is a row of kTile numbers, so that each slot's arithmetic is identical.
constexpr int kTile = 16;

// Scratch memory of one tile, 64-byte aligned.
struct TileWorkspace {
  double* links;      // [links][kTile]
  void* features;     // [2 x max features][kTile], float or double
  void* stage[2];     // [max sites x channels][kTile], float or double
};

struct IsaKernels {
  const char* numerics;
  // Prior and layers: links in `work` and log_q[kTile].
  void (*draw_tile)(const hf_u1_flow& flow, const uint64_t* seed, const uint64_t* index, const TileWorkspace& work, double* log_q);
  // Inverse map of the links in `work` (destroyed): log_q[kTile].
  void (*density_tile)(const hf_u1_flow& flow, const TileWorkspace& work, double* log_q);
  // -beta sum cos(theta_P) of the links in `work`.
  void (*action_tile)(const hf_u1_flow& flow, double beta, const TileWorkspace& work, double* action);
  // Circle maps on arrays; n is a multiple of kTile, rows of parameters are `stride` apart.
  void (*circle_forward)(int32_t map, int32_t pieces, int64_t n, int64_t stride, const double* x, const double* p, double* y,
                         double* l);
  void (*circle_inverse)(int32_t map, int32_t pieces, int64_t n, int64_t stride, const double* y, const double* p, double* x,
                         double* l);
  void (*circle_backward)(int32_t map, int32_t pieces, int64_t n, int64_t stride, const double* x, const double* p,
                          const double* gy, const double* gl, double* gx, double* gp);
  // Elementary functions, for tests: what = 0 exp, 1 log, 2 sin, 3 cos, 4 atan2(x, 1), 5 wrap, 6 (float) exp. n a multiple of kTile.
  void (*elementary)(int32_t what, int64_t n, const double* x, double* y);
  // Leapfrog of HMC on [links][kTile] angles and momenta for the Wilson action: `steps` steps of size `epsilon`.
  void (*leapfrog_tile)(const hf_loops& plaquettes, int32_t links, double beta, int32_t steps, double epsilon, double* angles,
                        double* momenta, double* force);
};

// By name ("avx512", "avx2", "baseline"); null when this machine lacks it.
const IsaKernels* IsaKernelsFor(const char* instruction_set);
const char* BestInstructionSet();

const IsaKernels* BaselineKernels();
const IsaKernels* Avx2Kernels();
const IsaKernels* Avx512Kernels();

}  // namespace haarflow::kernel
