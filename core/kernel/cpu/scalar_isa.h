// What one instruction set's translation unit offers for scalar flows: work on tiles of 16 configurations, one per
// vector slot (core/kernel/cpu/isa.h). Element e of a tile's array is a row of kTile doubles; a field has components x
// sites elements.
#pragma once

#include <stdint.h>

#include "core/kernel/cpu/isa.h"

namespace haarflow::kernel {

// A cas transform over one axis: `levels` radix-2 steps down to a dense transform of `base` points.
struct CasAxis {
  int32_t extent;
  int32_t levels;
  int32_t base;            // odd; extent = base * 2^levels
  const double* twiddles;  // per level, from extent down: cos and sin of 2 pi k / n for k < n / 2, interleaved
  const double* table;     // [base / 2][base / 2][2]: cos and sin of 2 pi (j + 1) (k + 1) / base
};

// Geometry of a lattice of scalars.
struct ScalarGeometry {
  int32_t dims;
  int32_t sites;
  int32_t components;
  CasAxis axis[4];           // array order
  const int32_t* neighbour;  // [sites][2 dims]: ahead in each direction, then behind
};

struct ScalarWorkspace {
  double* field;    // [components x sites]
  double* rk[3];    // [components x sites] each: input and velocity of a Runge-Kutta stage, sum of a step
  double* work[2];  // [components x sites] each
  double* lines;    // [2 x largest extent]: one line of a transform before and after
  void* features;   // of couplings: [largest number of feature rows]
  void* stage[2];   // of couplings
  void* reflected;  // of odd couplings: parameters of the negated inputs
};

// A continuous flow; its kernel divided by the number of sites.
struct ContinuousTables {
  hf_scalar_continuous flow;
  const double* at_origin;  // [2 steps + 1][features]
};

struct ScalarLayer {
  const hf_scalar_coupling* coupling;  // or
  const ContinuousTables* continuous;
};

// The conditional distribution of one site given b = hop x the sum of its neighbours, exp(-quadratic x^2 - quartic x^4
// + b x) / z(b): a table of log z, which is even in b, at |b| = i spacing, i < points.
struct HeatBathTable {
  double quadratic, quartic, hop;
  double spacing;
  int32_t points;
  const double* log_z;   // [points][3]: value, first and second derivative
  const double* centre;  // [points]: c, where exp(-quartic (x^2 - c)^2) is a good acceptance probability
  // The same beyond the table: log z(b), its derivative, and c.
  void (*beyond)(const HeatBathTable& table, double b, double* log_z, double* mean, double* centre);
};

struct ScalarFlow {
  ScalarGeometry geometry;
  hf_scalar_prior prior;
  int32_t layers;
  const ScalarLayer* layer;
  // Sites that prior and layers act on: all, or (with a heat bath) the even ones; the others are zero until drawn.
  int32_t active;
  const int32_t* active_sites;
  double prior_log_volume;         // log |d field / d z| of the prior, all components
  const HeatBathTable* heat_bath;  // or null
  int32_t drawn;                   // sites that the heat bath draws
  const int32_t* drawn_sites;
};

// ---------------------------------------------------------------------------------------------------------- training

struct TrainCoupling {
  const hf_scalar_coupling* layer;
  const TrainStage* stage;            // of the network on the features, and
  const TrainStage* reflected_stage;  // on the negated ones (odd layers; the same gradients, buffers of its own)
  void* features;
  void* reflected_features;
  double* before;      // [active]: active sites before the map
  double* derivative;  // [active]: log-derivative of the map
};

struct TrainContinuous {
  const ContinuousTables* tables;
  double penalty;              // weight of the integral of |v|^2
  double* checkpoints;         // [steps][components x sites]: the field at the start of each step
  double* stages;              // [4][components x sites]: the inputs of a step's stages
  double* velocities;          // [4][components x sites]
  double* transforms;          // [4][features][components x sites]: C g_f of a step's stages
  double* gradient_kernel;     // [2 steps + 1][features][orbits], added to: by the kernel as it stands in `tables`
  double* gradient_origin;     // [2 steps + 1][features], added to: with respect to at_origin
  double* gradient_frequency;  // [features], added to
};

struct ScalarTrainLayer {
  const TrainCoupling* coupling;  // or
  const TrainContinuous* continuous;
};

// What a tile of training computes: fields from the prior's noise (purpose kTraining) or, for forward KL, from the
// inverse of given fields; then the gradient of scale x sum over the tile of
//   reverse, reparameterisation: log q + S;  reverse, path gradient (arXiv:2206.09016): the same without the score
//   term; forward: -log q.
// With a heat bath S is the effective action of the active sites, and log q their density.
enum class TrainLoss { kReparameterisation, kPath, kForward };

struct ScalarTrainTile {
  const ScalarFlow* flow;
  const ScalarTrainLayer* layer;
  TrainLoss loss;
  double scale;
  double couplings[3];
  const double* samples;    // kForward: [components x sites] rows of kTile
  double* score;            // [components x sites]: d log q / d field, kPath
  double* cotangent;        // [components x sites]: scale x d loss / d field, walking back through the layers
  double* scratch[5];       // [components x sites] each
  double* modes;            // [components x sites]: sigma z of the prior
  void* grad_rows[2];       // of couplings: [largest number of rows of any stage or features]
  double* grad_parameters;  // of couplings: [largest number of parameters of a map]
  double* grad_log_sigma;   // [sites], added to
  double penalty_value;     // out: sum over the tile of the penalties' values
};

struct ScalarKernels {
  // Prior, layers and heat bath: the field in work.field, log_q[kTile].
  void (*draw_tile)(const ScalarFlow& flow, const uint64_t* seed, const uint64_t* index, const ScalarWorkspace& work,
                    double* log_q);
  // log q of the field in work.field (which becomes the prior's).
  void (*density_tile)(const ScalarFlow& flow, const ScalarWorkspace& work, double* log_q);
  void (*action_tile)(const ScalarGeometry& geometry, const double* couplings, const double* field, double* action);
  // log_q[kTile] and action[kTile] of the tile's fields, gradients added to where the tile says.
  void (*train_tile)(ScalarTrainTile& tile, const uint64_t* seed, const uint64_t* index, const ScalarWorkspace& work,
                     double* log_q, double* action);
  // The cas transform of `components` fields in place, unnormalised.
  void (*cas_tile)(const ScalarGeometry& geometry, double* field, double* lines);
  // Line maps on arrays of n numbers, n a multiple of kTile; rows of parameters are `stride` apart. For tests.
  void (*line_forward)(int32_t map, int32_t pieces, double range, int64_t n, int64_t stride, const double* x,
                       const double* p, double* y, double* log_derivative);
  void (*line_inverse)(int32_t map, int32_t pieces, double range, int64_t n, int64_t stride, const double* y,
                       const double* p, double* x, double* log_derivative);
};

// By name ("avx512", "avx2", "baseline"); null when this machine lacks it.
const ScalarKernels* ScalarKernelsFor(const char* instruction_set);

const ScalarKernels* BaselineScalarKernels();
const ScalarKernels* Avx2ScalarKernels();
const ScalarKernels* Avx512ScalarKernels();

}  // namespace haarflow::kernel
