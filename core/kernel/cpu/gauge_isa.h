// What one instruction set's translation unit offers to Markov chains of U(1) and SU(N) links: work on tiles of 8
// chains, one per lane. A matrix is `numbers` rows of 8 doubles (core/kernel/cpu/sun.inc): 4 of SU(2), 18 of SU(3); 2
// of U(1), cosine and sine.
#pragma once

#include <stdint.h>

namespace haarflow::kernel {

constexpr int kGaugeLanes = 8;

// Loops of one shape, seen from their links: Re tr(loop) = Re tr(U_l staple), the staple a product of `length` links.
struct GaugeStaples {
  double weight;           // of every loop in -S
  int32_t per_link;        // staples of a link; 0: no such loops
  int32_t length;          // links of a staple, >= 3
  const int32_t* operand;  // [links][per_link][length]: 2 x link, + 1 for its adjoint
};

// S = -sum over kinds of weight x sum over loops of Re tr(loop).
struct GaugeAction {
  int32_t colours;  // 1 to 3; 1 is U(1), with action, heat_bath, over_relax and reunitarise of plaquettes
  int32_t links;
  GaugeStaples kind[2];  // plaquettes, rectangles
};

struct GaugeKernels {
  // S of every lane: action[8].
  void (*action)(const GaugeAction& gauge, const double* links, double* action);
  // One sweep over all links in their order: every SU(2) subgroup of every link from its conditional distribution, by
  // rejection; an element that 64 attempts reject stays what it was, which is as exact (whether attempts fail depends
  // on the staple alone). Noise is addressed by (seed, index of the lane, link and subgroup, sweep and attempt). Only
  // for actions linear in every link: plaquettes.
  void (*heat_bath)(const GaugeAction& gauge, uint64_t seed, const uint64_t* index, uint32_t sweep, double* links);
  // One sweep of reflections of every SU(2) subgroup of every link about its staple: S stays what it was.
  void (*over_relax)(const GaugeAction& gauge, double* links);
  // Makes n matrices special unitary again.
  void (*reunitarise)(int32_t colours, int64_t n, double* links);
  // Standard normal components [n x (N^2 - 1)][8] of momenta P = sum_a P^a T^a; rows 2 k and 2 k + 1 share the block
  // at degree of freedom k.
  void (*momenta)(int32_t colours, int64_t n, uint64_t seed, const uint64_t* index, uint32_t step, double* momenta);
  // P^a -= step (d/dt) S(exp(t T^a) U_l).
  void (*kick)(const GaugeAction& gauge, double step, const double* links, double* momenta);
  // U_l <- exp(step P_l) U_l. largest[8] <- max(largest, sum_a (step P^a)^2): beyond 16 the exponential is not
  // accurate.
  void (*drift)(int32_t colours, int64_t n, double step, const double* momenta, double* links, double* largest);
};

// Numbers of the addresses of a sweep: attempts of a rejection sampler.
constexpr uint32_t kGaugeAttempts = 64;
constexpr uint32_t kGaugeMaxSweeps = (uint32_t{1} << 26) - 1;

const GaugeKernels* BaselineGaugeKernels();
const GaugeKernels* Avx2GaugeKernels();
const GaugeKernels* Avx512GaugeKernels();
// By name ("avx512", "avx2", "baseline"); null when this machine lacks it.
const GaugeKernels* GaugeKernelsFor(const char* instruction_set);

}  // namespace haarflow::kernel
