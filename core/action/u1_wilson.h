// The U(1) Wilson gauge action in any dimension: S = -beta sum over plaquettes (x, mu < nu) of cos(theta_P).
// Fields are angles [mu, ..., y, x], float64.
#pragma once

#include "core/lattice/lattice.h"

namespace haarflow {

// S of one configuration.
double U1WilsonActionOf(const Lattice& lattice, double beta, const double* links);

// dS / dtheta of one configuration, into force[links].
void U1WilsonGradient(const Lattice& lattice, double beta, const double* links, double* gradient);

}  // namespace haarflow
