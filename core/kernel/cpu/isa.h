// What one instruction set's translation unit offers to the dispatcher: work on tiles of 16 configurations, one per
// vector slot.
#pragma once

#include <stdint.h>

#include "core/kernel/table.h"

namespace haarflow::kernel {

// Configurations are innermost: element e of a tile's array is a row of kTile numbers, so that each slot's arithmetic
// is identical.
constexpr int kTile = 16;

// Scratch memory of one tile, 64-byte aligned.
struct TileWorkspace {
  double* links;   // [links][kTile]
  void* features;  // [2 x max features][kTile], float or double
  void* stage[2];  // [max sites x channels][kTile], float or double
};

// One convolution with what its derivative needs. `transposed` maps gradients of outputs to gradients of inputs: the
// same taps seen from the inputs, transposed weights.
struct TrainStage {
  hf_stage forward;
  hf_stage transposed;
  const int32_t* by_weight_begin;  // [weight_blocks + 1]: the taps that use a block of weights ...
  const int32_t* by_weight_site;   // ... their output sites
  const int32_t* by_weight_input;  // ... and their input blocks
  double* grad_weights;            // [weight_blocks][rows_per_tap][out_channels], added to
  double* grad_bias;               // [out_channels], added to
  // What the forward pass leaves for the backward pass, float or double as the layer says, kTile per row:
  void* before_activation;  // [sites][out_channels]
  void* output;             // the same after the activation (the same memory when there is none)
};

struct TrainLayer {
  const hf_u1_coupling* layer;
  const TrainStage* stage;
  void* features;           // [2 x features]
  double* angles;           // [active]: active loops before the map
  double* log_derivatives;  // [active]
};

struct TrainTile {
  int32_t links;
  int32_t layers;
  const TrainLayer* layer;
  hf_loops plaquettes;
  double beta;
  bool path_gradient;
  double scale;             // of the gradients: 1 / batch
  double* angles;           // [links]
  double* gradient;         // [links]
  double* score;            // [links]
  void* grad_rows[2];       // [max rows of any stage or features]
  double* grad_parameters;  // [max parameters of a circle map]
};

struct IsaKernels {
  const char* numerics;
  // Prior and layers: links in `work` and log_q[kTile].
  void (*draw_tile)(const hf_u1_flow& flow, const uint64_t* seed, const uint64_t* index, const TileWorkspace& work,
                    double* log_q);
  // Inverse map of the links in `work` (destroyed): log_q[kTile].
  void (*density_tile)(const hf_u1_flow& flow, const TileWorkspace& work, double* log_q);
  // -beta sum cos(theta_P) of the links in `work`.
  void (*action_tile)(const hf_u1_flow& flow, double beta, const TileWorkspace& work, double* action);
  // 16 draws, and the gradient of scale x sum of (log q + S) with respect to all weights, added to grad_weights and
  // grad_bias. Reparameterisation, or without the score term (path gradient, arXiv:2206.09016): the score of q is
  // transported with the fields.
  void (*train_tile)(const TrainTile& tile, const uint64_t* seed, const uint64_t* index, double* log_q, double* action);
  // Circle maps on arrays; n is a multiple of kTile, rows of parameters are `stride` apart.
  void (*circle_forward)(int32_t map, int32_t pieces, int64_t n, int64_t stride, const double* x, const double* p,
                         double* y, double* l);
  void (*circle_inverse)(int32_t map, int32_t pieces, int64_t n, int64_t stride, const double* y, const double* p,
                         double* x, double* l);
  void (*circle_backward)(int32_t map, int32_t pieces, int64_t n, int64_t stride, const double* x, const double* p,
                          const double* gy, const double* gl, double* gx, double* gp);
  // Elementary functions, for tests: what = 0 exp, 1 log, 2 sin, 3 cos, 4 atan2(x, 1), 5 wrap, 6 (float) exp. n a
  // multiple of kTile.
  void (*elementary)(int32_t what, int64_t n, const double* x, double* y);
  // Leapfrog of HMC on [links][kTile] angles and momenta for the Wilson action: `steps` steps of size `epsilon`.
  void (*leapfrog_tile)(const hf_loops& plaquettes, int32_t links, double beta, int32_t steps, double epsilon,
                        double* angles, double* momenta, double* force);
};

// By name ("avx512", "avx2", "baseline"); null when this machine lacks it.
const IsaKernels* IsaKernelsFor(const char* instruction_set);
const char* BestInstructionSet();

const IsaKernels* BaselineKernels();
const IsaKernels* Avx2Kernels();
const IsaKernels* Avx512Kernels();

}  // namespace haarflow::kernel
