// Exact values of interacting phi^4 theories by transfer matrices and Gauss-Legendre quadrature, written independently
// of core/: chains of one and two components, and two-dimensional strips a few sites wide.
//
// S = sum_x [ -hop sum_mu phi_x . phi_{x+mu} + quadratic phi_x^2 + quartic (phi_x^2)^2 ], periodic, Lebesgue measure.
#pragma once

#include <cstdint>
#include <vector>

namespace haarflow::reference {

struct QuarticSite {
  double hop = 0;
  double quadratic = 0;
  double quartic = 0;
};

struct Phi4Moments {
  double log_z = 0;
  double square = 0;              // <phi^2>
  double fourth = 0;              // <(phi^2)^2>
  std::vector<double> two_point;  // sum_x <phi_{0,0} . phi_{x,t}>, t = 0 .. length - 1 along the long direction
  double susceptibility = 0;      // their sum
};

// A chain of `length` sites by powers of the transfer matrix between quadrature points.
Phi4Moments QuarticChain(const QuarticSite& site, int64_t length);
// The O(2) chain: angular momenta decouple, T_m(r, r') = 2 pi I_m(hop r r') ...
Phi4Moments PlanarChain(const QuarticSite& site, int64_t length);
// A chain of 2 to 4 sites by the plain sum over all points: no transfer matrix.
Phi4Moments QuarticChainByBruteForce(const QuarticSite& site, int64_t length);

// `length` x `width` sites in two dimensions (arrays [length][width]): the kernel of a bond, exp(hop a b - (V(a) +
// V(b)) / 4), is expanded in its `states` leading eigenfunctions, a site becomes a tensor of four legs, a row of
// `width` of them closed in itself a matrix. The error is of the size of the first eigenvalue left out. states^width up
// to a few hundred.
Phi4Moments QuarticStrip(const QuarticSite& site, int64_t width, int64_t length, int states);

}  // namespace haarflow::reference
