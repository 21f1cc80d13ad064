// What one instruction set's translation unit offers for spectral coupling flows of SU(N) links (arXiv:2008.05456):
// work on tiles of kTile configurations. Matrices are held as two halves of 8 configurations (core/kernel/cpu/sun.inc),
// networks work on whole tiles (core/kernel/cpu/network.inc).
#pragma once

#include <stdint.h>

#include "core/kernel/cpu/isa.h"

namespace haarflow::kernel {

constexpr int kSpectralHalves = 2;
constexpr int kSpectralScratch = 16;  // matrices

// Scratch memory of one tile, 64-byte aligned.
struct SpectralWorkspace {
  double* links[kSpectralHalves];  // [links] matrices
  double* scratch;                 // [kSpectralScratch] matrices
  void* features;                  // [rows of features][kTile], float or double
  void* stage[2];                  // [max sites x channels][kTile], float or double
};

struct SpectralTrainLayer {
  const hf_spectral_coupling* layer;
  const TrainStage* stage;
  void* features;                   // [rows of features]
  double* before[kSpectralHalves];  // [active] matrices: the links before the layer
};

struct SpectralTrainTile {
  const hf_spectral_flow* flow;
  const SpectralTrainLayer* layer;
  const double* couplings;
  bool path_gradient;
  double scale;  // of the gradients: 1 / batch
  SpectralWorkspace work;
  double* cotangent[kSpectralHalves];  // [links] matrices: derivatives with respect to each number
  double* score[kSpectralHalves];      // the same of log q
  void* grad_rows[2];                  // [max rows of any stage or features]
  double* grad_parameters;             // [max parameters of a map]
};

struct SpectralKernels {
  // The layers on the links in `work`: log_det[kTile] of that direction is added.
  void (*map_tile)(const hf_spectral_flow& flow, const SpectralWorkspace& work, bool inverse, double* log_det);
  // S of a single matrix in `work`.
  void (*single_action_tile)(const hf_spectral_flow& flow, const double* couplings, const SpectralWorkspace& work,
                             double* action);
  // The layers on the prior's links in tile.work: log_q[kTile]. Keeps what backward_tile needs.
  void (*forward_tile)(const SpectralTrainTile& tile, double* log_q);
  // After forward_tile: the gradient of scale x sum of (log q + S) with respect to all weights, added to the stages'
  // grad_weights and grad_bias. Reparameterisation, or without the score term (path gradient, arXiv:2206.09016). Leaves
  // the prior's links in tile.work.
  void (*backward_tile)(const SpectralTrainTile& tile);
};

const SpectralKernels* BaselineSpectralKernels();
const SpectralKernels* Avx2SpectralKernels();
const SpectralKernels* Avx512SpectralKernels();
// By name ("avx512", "avx2", "baseline"); null when this machine lacks it.
const SpectralKernels* SpectralKernelsFor(const char* instruction_set);

}  // namespace haarflow::kernel
