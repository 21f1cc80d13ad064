// The SU(N) Wilson gauge action with rectangles, N = 2 or 3, in any dimension:
//
//   S = -(beta/N) [ (1 - 8 c_1) sum_P Re Tr P + c_1 sum_R Re Tr R ],
//
// P the plaquettes, R the 1x2 and 2x1 rectangles, both of every site and every plane mu < nu. c_1 = 0 is Wilson's
// action, -1/12 the tree-level improved one of Luescher and Weisz, -0.331 Iwasaki's. Fields are matrices [mu, ..., y,
// x, row, column, 2] (real part, imaginary part), float64. On an extent of 2 a rectangle that is 2 long winds around
// the lattice: its links are those that the sum visits, whatever they are. All functions require colours to be 2 or 3,
// and are thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "core/lattice/lattice.h"

namespace haarflow {

// sum_x Re Tr of the `width` x `height` loop (width links along mu, height along nu) at every site x:
// U_mu(x) ... U_nu(x + width mu) ... U_mu(x + height nu)^+ ... U_nu(x)^+. 1 x 1 is the plaquette.
double SunLoopSum(const Lattice& lattice, int colours, const double* links, int mu, int nu, int64_t width,
                  int64_t height);

// What S is made of.
struct SunLoopSums {
  double plaquettes = 0;  // sum_P Re Tr P
  double rectangles = 0;  // sum_R Re Tr R
};
// `rectangles`: false leaves that sum 0.
SunLoopSums SunLoopSumsOf(const Lattice& lattice, int colours, const double* links, bool rectangles);
// The number of rectangles: 2 for every plaquette.
inline int64_t RectanglesOf(const Lattice& lattice) { return 2 * lattice.plaquettes(); }

// S of one configuration.
double SunWilsonActionOf(const Lattice& lattice, int colours, double beta, double rectangle, const double* links);

// Tr of the product of all links along mu through x, for the sites x whose coordinate in direction mu is 0, in the
// order of sites: (real part, imaginary part) of each, [2 volume / extent(mu)].
std::vector<double> SunPolyakovTraces(const Lattice& lattice, int colours, const double* links, int mu);

// The topological charge from the clover field strength, four dimensions:
//
//   Q = 1/(32 pi^2) sum_x eps_{mu nu rho sigma} Tr F_{mu nu}(x) F_{rho sigma}(x),   eps_{0123} = 1, 0 is x and 3 is t,
//
// F_{mu nu}(x) the traceless part of (C - C^+) / (8 i), C the sum of the four plaquettes in the (mu, nu) plane that
// begin and end at x, all with the orientation of U_mu(x) U_nu(x + mu) ...: Hermitian, a^2 g F in the continuum limit.
// An integer in that limit only.
double SunCloverCharge(const Lattice& lattice, int colours, const double* links);

}  // namespace haarflow
