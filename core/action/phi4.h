// The phi^4 action in 1 to 4 dimensions, one component or two (O(2)): the one form that every parametrisation of
// v1::Phi4Action reduces to. Fields are [component, ..., y, x] (one component: [..., y, x]), float64, periodic.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/lattice/lattice.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

// S = sum_x [ -hop sum_mu phi_x . phi_{x+mu} + quadratic phi_x^2 + quartic (phi_x^2)^2 ], phi^2 the sum over
// components.
struct Phi4Couplings {
  int components = 1;
  double hop = 0;
  double quadratic = 0;
  double quartic = 0;
  friend bool operator==(const Phi4Couplings&, const Phi4Couplings&) = default;
};
// Requires a theory that sets a form. `dims` is the lattice's.
Phi4Couplings Phi4CouplingsOf(const v1::Phi4Action& action, int dims);

// INVALID_ARGUMENT, beginning with `who`, unless the couplings are finite, components 1 or 2, and exp(-S) can be
// integrated and computed: quartic > 0, or quartic = 0 and quadratic > dims |hop|; and the lowest S of a site above
// -1e9.
absl::Status CheckPhi4Couplings(const std::string& who, int dims, const Phi4Couplings& couplings);

// S of one configuration.
double Phi4ActionOf(const Lattice& lattice, const Phi4Couplings& couplings, const double* field);
// dS / dphi of one configuration, into gradient[components * volume].
void Phi4Gradient(const Lattice& lattice, const Phi4Couplings& couplings, const double* field, double* gradient);

// sum_x sum_mu phi_x . phi_{x+mu}, sum_x phi_x^2, sum_x (phi_x^2)^2: what S and its derivatives are made of.
struct Phi4Sums {
  double neighbours = 0;
  double squares = 0;
  double quartics = 0;
};
Phi4Sums Phi4SumsOf(const Lattice& lattice, int components, const double* field);

// The eigenvalues l_k of the quadratic form, S = sum_k l_k |phi_k|^2 for quartic = 0: l_k = quadratic - hop sum_mu cos
// k_mu, [volume], k = 2 pi n / L with n the coordinates of site k. Free field: log Z = components/2 sum_k log(pi /
// l_k).
std::vector<double> Phi4Spectrum(const Lattice& lattice, const Phi4Couplings& couplings);
// log Z where it is known in closed form: quartic = 0 and every l_k > 0.
std::optional<double> FreeScalarLogZ(const Lattice& lattice, const Phi4Couplings& couplings);

}  // namespace haarflow
