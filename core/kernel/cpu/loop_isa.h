// What one instruction set's translation unit offers for flows of SU(N) links: work on tiles of 8 configurations, one
// per lane. A matrix is `numbers` rows of 8 doubles (core/kernel/cpu/sun.inc): 4 of SU(2), 18 of SU(3).
#pragma once

#include <stdint.h>

#include "core/kernel/table.h"

namespace haarflow::kernel {

constexpr int kMatrixLanes = 8;
constexpr int kMaxActiveLoops = 16;
constexpr int kMaxMonomials = 64;
constexpr int kMaxTwins = 8;

// Scratch memory of one tile, 64-byte aligned.
struct LoopWorkspace {
  double* links;     // [links] matrices
  double* matrices;  // [largest number of slots] matrices
  double* scalars;   // [largest number of scalars][2][8]
  double* product;   // [4 + largest number of active loops] matrices
  double* stages;    // continuous flows: StageNumbers
};
// Two fields and four forces.
constexpr int64_t StageNumbers(int32_t colours, int64_t links) {
  return links * (colours == 2 ? 2 * 4 + 4 * 3 : 2 * 18 + 4 * 8) * kMatrixLanes;
}

// With derivatives.
struct LoopTrainWorkspace {
  LoopWorkspace forward;     // matrices: [largest number of matrices]
  double* snapshots;         // [active links of all passes] matrices, before their update; continuous: [steps] fields
  double* cotangent;         // [links] matrices: d log w / d each number
  double* matrix_cotangent;  // [largest number of matrices] matrices
  double* scalar_cotangent;  // [largest number of scalars][2][8]
  double* gradient;          // [rows x columns][8]: d log w / d coefficient, set
  void* tape;                // kTapeBytes
  double* stages;            // continuous flows: TrainingStageNumbers
};
// Four fields and four cotangents of forces.
constexpr int64_t TrainingStageNumbers(int32_t colours, int64_t links) {
  return links * (colours == 2 ? 4 * 4 + 4 * 3 : 4 * 18 + 4 * 8) * kMatrixLanes;
}
// Of one link's update, with room to spare.
constexpr int64_t kTapeNodes = 32768;
constexpr int64_t kTapeBytes = kTapeNodes * (3 * 64 + 16);

struct LoopKernels {
  // Haar-distributed links.
  void (*haar_tile)(const hf_loop_flow& flow, uint32_t purpose, const uint64_t* seed, const uint64_t* index,
                    double* links);
  // The map, of the links in `work`: log_det[8] = log |det|, NaN where the map folds or a force is too large for its
  // exponential; smallest[8]: the smallest determinant of a link.
  void (*map_tile)(const hf_loop_flow& flow, const LoopWorkspace& work, double* log_det, double* smallest);
  // The inverse map: log_det of the forward map; NaN where it is not found.
  void (*inverse_tile)(const hf_loop_flow& flow, const LoopWorkspace& work, double* log_det);
  void (*action_tile)(const hf_loop_flow& flow, const double* couplings, const double* links, double* product,
                      double* action);
  // Haar links (purpose kTraining), the map, the action, and the gradient of log w = log_det - action.
  void (*train_tile)(const hf_loop_flow& flow, const double* couplings, const uint64_t* seed, const uint64_t* index,
                     const LoopTrainWorkspace& work, double* log_det, double* action, double* smallest);
  // Continuous flows. Haar links, followed through the steps; at time t = i / steps: minus_action[i][8], and in row 2 i
  // of work.gradient, for every column, div F - t F . grad S of its loops alone. log_det of the whole map.
  void (*trivialising_tile)(const hf_loop_flow& flow, const double* couplings, const uint64_t* seed,
                            const uint64_t* index, const LoopTrainWorkspace& work, double* minus_action,
                            double* log_det);
};

const LoopKernels* BaselineLoopKernels();
const LoopKernels* Avx2LoopKernels();
const LoopKernels* Avx512LoopKernels();
// By name ("avx512", "avx2", "baseline"); null when this machine lacks it.
const LoopKernels* LoopKernelsFor(const char* instruction_set);

}  // namespace haarflow::kernel
