// The U(1) Wilson gauge action in any dimension: S = -beta sum over plaquettes (x, mu < nu) of cos(theta_P).
// Fields are angles [mu, ..., y, x], float64.
#pragma once

#include <cstdint>

#include "core/lattice/lattice.h"

namespace haarflow {

// S of one configuration.
double U1WilsonActionOf(const Lattice& lattice, double beta, const double* links);

// dS / dtheta of one configuration, into gradient[links].
void U1WilsonGradient(const Lattice& lattice, double beta, const double* links, double* gradient);

// The angles of all `width` x `height` loops in the (mu, nu) plane, into angles[volume], not reduced mod 2 pi:
// angles[x] is the sum of the links of Rectangle(lattice, x, mu, nu, width, height) with their signs. 1 x 1 is theta_P.
void U1LoopAngles(const Lattice& lattice, const double* links, int mu, int nu, int64_t width, int64_t height,
                  double* angles);

}  // namespace haarflow
