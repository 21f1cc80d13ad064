/* The table of C functions that a kernel module provides: pointers, sizes, a stream. Versioned by HAARFLOW_KERNELS_ABI.
 *
 * The CPU implementation of this table is linked in (core/kernel/cpu); the CUDA implementation is a module that is
 * loaded at run time (libhaarflow_cuda.so, symbol haarflow_kernels), so that one server binary serves machines with and
 * without a GPU.
 *
 * A flow is given as flat tables of integers and weights (the `plan`): nothing here knows masks or spec files. Fields
 * are U(1) angles in [-pi, pi), links 0 <= link < links (a signed link is 2 * link + (1 if traversed backwards)),
 * SU(N) matrices [link][row][column][real, imaginary part], or scalars [component][site] with sites in C order of
 * `shape`.
 *
 * Every function returns 0, or a code below with a message from last_error() of the same thread. Creation copies what
 * it is given. A flow may be drawn from by many threads at once. Arrays passed to flow_draw and flow_density are host
 * memory.
 *
 * Bits: a proposal is a function of (flow, seed, index) alone within one `numerics` class: neither the batch nor the
 * slot in it changes a bit. */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HAARFLOW_KERNELS_ABI 6u

enum { HF_OK = 0, HF_INVALID = 1, HF_NO_MEMORY = 2, HF_DEVICE_ERROR = 3, HF_DEVICE_LOST = 4 };
enum { HF_ACTIVATION_NONE = 0, HF_ACTIVATION_SILU = 1, HF_ACTIVATION_LEAKY_RELU = 2, HF_ACTIVATION_TANH = 3 };
enum { HF_MAP_SPLINE = 1, HF_MAP_MOEBIUS = 2, HF_MAP_NON_COMPACT = 3, HF_MAP_SHARP_SPLINE = 4 };

/* n closed paths: path i is the signed links[begin[i]] .. links[begin[i + 1] - 1]. */
typedef struct hf_loops {
  int32_t n;
  const int32_t* begin;
  const int32_t* links;
} hf_loops;

/* One convolution, evaluated at `sites` output sites. Output site s, channel o:
 *   bias[o] + sum over taps t of s, rows r < rows_per_tap: in[tap_input[t] * rows_per_tap + r] * w[(tap_weight[t] *
 * rows_per_tap + r)
 *   * out_channels + o]. The output's rows are [site][channel]. The first stage reads the features' rows [loop][cos,
 * sin]. */
typedef struct hf_stage {
  int32_t sites;
  int32_t out_channels;
  int32_t rows_per_tap;
  int32_t weight_blocks; /* weights are [weight_blocks][rows_per_tap][out_channels] */
  const int32_t* tap_begin;
  const int32_t* tap_input;
  const int32_t* tap_weight;
  const void* weights; /* float or double, as the layer's double_network says */
  const void* bias;    /* [out_channels] */
  int32_t activation;  /* applied to the output */
} hf_stage;

/* One coupling layer. The last stage has `active` sites, its channels are the parameters of the circle map. */
typedef struct hf_u1_coupling {
  int32_t active;
  const int32_t* active_links;
  hf_loops active_loops; /* one per active link, which it traverses forwards exactly once */
  hf_loops features;
  int32_t stages;
  const hf_stage* stage;
  int32_t map;    /* HF_MAP_* */
  int32_t pieces; /* bins or components */
  int32_t double_network;
} hf_u1_coupling;

typedef struct hf_u1_flow {
  int32_t links;
  int32_t layers;
  const hf_u1_coupling* layer;
  hf_loops plaquettes; /* for the action */
} hf_u1_flow;

/* Independent modes. fourier: field = C (sigma z) / sqrt(sites), C the cas transform below; else field[x] = sigma[x]
 * z[x]. z[component][site] are standard normal numbers, noise address dof = component * sites + site. With a heat bath
 * the field is C (sigma C z) / sites, z of the even sites. */
typedef struct hf_scalar_prior {
  int32_t fourier;
  const double* sigma; /* [sites], > 0 */
} hf_scalar_prior;

/* dphi/dt = v(phi, t), t from 0 to 1 in `steps` classical Runge-Kutta steps:
 *   v = (1/sites) C [ sum_f kernel[t][f][orbit[k]] (C g_f(phi))[k] ],
 *   g_f(phi) = phi sin(frequency[f] |phi|) / |phi|, or phi where frequency[f] is 0, |phi| over components,
 * C the cas transform: (C x)[k] = sum_y prod_axis cas(2 pi k_axis y_axis / extent) x[y], cas = cos + sin, C C = sites.
 * Tables at times i / (2 steps), i = 0 .. 2 steps. The divergence is sum_f at_origin[t][f] sum_x tr g_f'(phi_x),
 * at_origin[t][f] = (1/sites) sum_k kernel[t][f][orbit[k]], computed by the callee. */
typedef struct hf_scalar_continuous {
  int32_t features;
  int32_t steps;
  int32_t orbits;
  const double* frequency; /* [features], >= 0 */
  const int32_t* orbit;    /* [sites] */
  const double* kernel;    /* [2 steps + 1][features][orbits] */
} hf_scalar_continuous;

enum { HF_LINE_AFFINE = 1, HF_LINE_AFFINE_TANH = 2, HF_LINE_SPLINE = 3 };

/* One coupling layer of a one-component field. Feature row r: sum of the field over feature_sites[feature_begin[r] ..
 * feature_begin[r + 1] - 1], none of them active; the first stage reads these rows. The last stage has `active` sites,
 * its channels are the parameters of the line map: 2 (s, t), or 3 pieces + 1 for the spline. odd: the network is also
 * evaluated on the negated features, and the unconstrained parameters averaged with the reflected ones. */
typedef struct hf_scalar_coupling {
  int32_t active;
  const int32_t* active_sites;
  int32_t features;
  const int32_t* feature_begin;
  const int32_t* feature_sites;
  int32_t stages;
  const hf_stage* stage;
  int32_t map;    /* HF_LINE_* */
  int32_t pieces; /* bins */
  double range;   /* of the spline */
  int32_t odd;
  int32_t double_network;
} hf_scalar_coupling;

/* Exactly one of the two is set. */
typedef struct hf_scalar_layer {
  const hf_scalar_coupling* coupling;
  const hf_scalar_continuous* continuous;
} hf_scalar_layer;

typedef struct hf_scalar_flow {
  int32_t dims; /* 1..4 */
  int32_t shape[4];
  int32_t components; /* 1 or 2 */
  hf_scalar_prior prior;
  int32_t layers;
  const hf_scalar_layer* layer;
  /* 1: prior and layers act on the even sites (sum of coordinates even; even extents, one component), whose kernels and
   * sigma then have the period (pi, ..., pi) in momentum; odd sites are drawn from their exact conditional distribution
   * for the action's numbers `heat_bath_couplings`. */
  int32_t heat_bath;
  double heat_bath_couplings[3];
} hf_scalar_flow;

/* Loop flows of SU(N) links (arXiv:0907.5491). A step updates its active links one by one, U' = exp(F) U, F = sum_a T^a
 * d_a Phi(U), Phi = Re tr(U L) + sum over monomials of Re[ coefficient x scalar x product of t_j or t_j^* ] + sum over
 * twins of coefficient x Re tr(U M_a U M_b), t_j = tr(U M_j), T^a anti-Hermitian, tr T^a T^b = -delta_ab / 2. L, M_j
 * and the scalars come from a program of matrix operations on other links, none of them active in the same step. */
enum {
  HF_MATRIX_CLEAR = 0,     /* matrix out = 0 */
  HF_MATRIX_MULTIPLY = 1,  /* matrix out = a b */
  HF_MATRIX_ADD = 2,       /* matrix out += coefficient x a */
  HF_MATRIX_TRACE = 3,     /* scalar out = tr a */
  HF_MATRIX_ADD_TRACE = 4, /* matrix out += coefficient x scalar b x a */
  HF_SCALAR_CLEAR = 5,     /* scalar out = 0 */
  HF_SCALAR_ADD = 6,       /* scalar out += coefficient x scalar b, or x 1 where b is -1 */
};
/* A matrix operand is 2 i + (1 for its adjoint): input i for i < inputs, else matrix i - inputs. A scalar operand is
 * 2 s + (1 for its conjugate). A coefficient is a column of the flow's coefficients, or -1 for 1. */
typedef struct hf_matrix_op {
  int32_t code, out, a, b, coefficient;
} hf_matrix_op;
typedef struct hf_loop_monomial {
  int32_t coefficient;
  int32_t scalar;  /* operand, or -1 for 1 */
  int32_t loops;   /* 2 or 3 */
  int32_t loop[3]; /* 2 j + (1 for the conjugate) */
} hf_loop_monomial;
/* Second derivatives of the monomials in t_j and t_k (pair_term [begin, mixed)), in t_j and t_k^* ([mixed, end)); both
 * orders where j = k. */
typedef struct hf_loop_pair {
  int32_t j, k; /* j <= k */
  int32_t begin, mixed, end;
} hf_loop_pair;
/* A monomial without two of its loops: coefficient x scalar x the third loop, if any. */
typedef struct hf_pair_term {
  int32_t monomial;
  int32_t rest;      /* 2 j + (1 for the conjugate), or -1 */
  int32_t conjugate; /* of the whole */
} hf_pair_term;
/* SU(3). */
typedef struct hf_loop_twin {
  int32_t coefficient;
  int32_t a, b; /* loops */
} hf_loop_twin;
typedef struct hf_link_program {
  int32_t inputs;
  int32_t
      matrices; /* each is written by one MULTIPLY, or by one CLEAR and the ADDs that follow it, and only then read */
  const int32_t*
      slot; /* [matrices]: matrices with the same slot are never needed at once; for passes without derivatives */
  int32_t scalars;
  int32_t ops;
  const hf_matrix_op* op;
  int32_t linear;      /* matrix L */
  int32_t loops;       /* at most 16 */
  const int32_t* loop; /* [loops]: matrices M_j */
  int32_t monomials;
  const hf_loop_monomial* monomial;
  int32_t paired; /* loops below this one are in monomials */
  int32_t pairs;
  const hf_loop_pair* pair;
  int32_t pair_terms;
  const hf_pair_term* pair_term;
  int32_t twins;
  const hf_loop_twin* twin;
} hf_link_program;
typedef struct hf_loop_step {
  int32_t program;
  int32_t active;
  const int32_t* link;  /* [active] */
  const int32_t* input; /* [active][inputs of the program]: links */
} hf_loop_step;
typedef struct hf_loop_pass {
  int32_t step;
  int32_t row; /* of the coefficients */
} hf_loop_pass;
typedef struct hf_loop_flow {
  int32_t colours; /* 2 or 3 */
  int32_t links;
  int32_t programs;
  const hf_link_program* program;
  int32_t steps;
  const hf_loop_step* step;
  int32_t passes;
  const hf_loop_pass* pass;
  int32_t rows, columns;
  const double* coefficient; /* [rows][columns] */
  hf_loops plaquettes;       /* for the action: 4 links each */
  hf_loops rectangles;       /* 6 links each */
  /* 0: masked updates. n: dU/dt = F U for all links at once, t from 0 to 1, in n commutator-free Runge-Kutta steps of
   * fourth order; a pass for every step, each link active in exactly one; row i of the coefficients is that of time i /
   * (2 n), rows = 2 n + 1. log q integrates the divergence sum_a d_a F^a with the same stages. */
  int32_t integration_steps;
} hf_loop_flow;

/* Spectral coupling layers of SU(N) links (arXiv:2008.05456): see core/kernel/cpu/spectral_map.inc and
 * spectral_cell.inc for the map and its parameters. The matrix of an active link U is X = U S (S^+ S')^power, S the
 * links of its active loop after the first, which is U, S' those of its mirror loop. */
typedef struct hf_spectral_coupling {
  int32_t active;
  const int32_t* active_links;
  hf_loops active_loops; /* one per active link, which is its first, traversed forwards, and nowhere else */
  hf_loops mirror_loops; /* the same, or none where power is 0 */
  double power;          /* in [-4, 4] */
  hf_loops
      features; /* rows: real part of the trace over N; SU(3): and imaginary part. A loop of no links has trace N */
  int32_t stages;
  const hf_stage* stage;
  int32_t bins;
  int32_t ratio_bins;  /* SU(3) */
  int32_t ratio_nodes; /* SU(3) */
  int32_t double_network;
} hf_spectral_coupling;

typedef struct hf_spectral_flow {
  int32_t colours; /* 2 or 3 */
  int32_t links;
  int32_t layers;
  const hf_spectral_coupling* layer;
  hf_loops plaquettes; /* for the action: 4 links each */
  hf_loops rectangles; /* 6 links each */
  int32_t single;      /* 1: the action is that of a single matrix, and links is 1 */
} hf_spectral_flow;

/* The action's numbers, as flow_draw and flow_density take them. U(1): { beta }, S = -beta sum over plaquettes
 * cos(theta_P). Scalars: { hop, quadratic, quartic }, S = sum_x [ -hop sum_mu phi_x phi_{x+mu} + quadratic phi_x^2 +
 * quartic phi_x^4 ]. SU(N): { beta, c }, S = -(beta/N) [ (1 - 8 c) sum over plaquettes + c sum over rectangles ] Re tr.
 * A single matrix: { b_1, b_2, b_3 }, S = -(1/N) sum_n b_n Re tr U^n. */

typedef struct hf_kernels {
  uint32_t abi;         /* HAARFLOW_KERNELS_ABI */
  uint32_t size;        /* sizeof(hf_kernels) */
  const char* numerics; /* "cpu-avx512-r2-gcc12", "cuda-sm_90-r1" */
  const char* (*last_error)(void);
  int32_t (*device_count)(void);
  /* Bytes of a device's own memory, those of other processes included. Null where a module computes in host memory. */
  int32_t (*device_memory)(int32_t device, uint64_t* free, uint64_t* total);

  int32_t (*flow_create)(const hf_u1_flow* flow, int32_t device, void** handle);
  int32_t (*scalar_flow_create)(const hf_scalar_flow* flow, int32_t device, void** handle);
  /* Null where a module has no kernels for them. */
  int32_t (*loop_flow_create)(const hf_loop_flow* flow, int32_t device, void** handle);
  int32_t (*spectral_flow_create)(const hf_spectral_flow* flow, int32_t device, void** handle);
  void (*flow_destroy)(void* handle);

  /* n proposals named (seed[i], index[i]): prior and layers. field [n][size of a field], log_q [n] (Haar measure for
   * links, Lebesgue for scalars), action [n] with the numbers `couplings`. `stream` is a cudaStream_t or null. Returns
   * when the results are there. */
  int32_t (*flow_draw)(const void* handle, int64_t n, const uint64_t* seed, const uint64_t* index,
                       const double* couplings, double* field, double* log_q, double* action, void* stream);

  /* log q and action of n given fields, by the inverse map (continuous flows: by integrating backwards, which inverts
   * the computed map up to the integration error). */
  int32_t (*flow_density)(const void* handle, int64_t n, const double* field, const double* couplings, double* log_q,
                          double* action, void* stream);

  /* n circle maps on device memory (host memory for the CPU): parameters [parameters][n], x, y, log_derivative [n]. The
   * derivative of `inverse` is that of the inverse map. `backward`: gradients of a scalar with respect to x and the
   * parameters, given those with respect to y and log_derivative of the forward map. Pointers to parameters are double.
   */
  int32_t (*circle_map_forward)(int32_t map, int32_t pieces, int64_t n, const double* x, const double* parameters,
                                double* y, double* log_derivative, void* stream);
  int32_t (*circle_map_inverse)(int32_t map, int32_t pieces, int64_t n, const double* y, const double* parameters,
                                double* x, double* log_derivative, void* stream);
  int32_t (*circle_map_backward)(int32_t map, int32_t pieces, int64_t n, const double* x, const double* parameters,
                                 const double* grad_y, const double* grad_log_derivative, double* grad_x,
                                 double* grad_parameters, void* stream);
} hf_kernels;

/* What a module exports. */
typedef const hf_kernels* (*haarflow_kernels_fn)(void);

#ifdef __cplusplus
}
#endif
