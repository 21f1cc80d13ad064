// Scalar phi^4 theory in plain loops, in any number of dimensions and components: the oracle that the code in core/ is
// tested against. Shares nothing with core/; every formula is written as it is defined, sums over pairs of sites
// included.
//
// A field is [component, ..., y, x] in C order; `shape` is [..., y, x], periodic; direction mu moves along axis
// dims - 1 - mu.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace haarflow::reference {

using Shape = std::vector<int64_t>;
using Field = std::vector<double>;

struct Phi4 {
  int components = 1;
  bool hopping_form = false;
  double m2 = 0;  // mass form: S = sum_x [ c (sum_mu (phi_{x+mu} - phi_x)^2 + m2 phi_x^2) + lambda (phi_x^2)^2 ]
  double normalisation = 1;  // c
  double kappa =
      0;  // hopping form: S = sum_x [ -2 kappa sum_mu phi_x phi_{x+mu} + (1 - 2 lambda) phi_x^2 + lambda (phi_x^2)^2 ]
  double lambda = 0;
};

Field RandomScalar(const Shape& shape, int components, std::mt19937_64* random);

double Phi4Action(const Shape& shape, const Phi4& theory, const Field& field);
// dS/dphi by the five-point rule, which is exact for polynomials of fourth degree.
Field Phi4ActionGradient(const Shape& shape, const Phi4& theory, const Field& field);

// The observables of one field: (1/V) sum phi^2, (1/V) sum (phi^2)^2, (1/V) sum_x sum_mu phi_x . phi_{x+mu}.
double PhiSquared(const Shape& shape, int components, const Field& field);
double PhiFourth(const Shape& shape, int components, const Field& field);
double NeighbourSum(const Shape& shape, int components, const Field& field);
// (1/V) sum_x phi_x, [component].
Field Magnetisation(const Shape& shape, int components, const Field& field);
// (1/V) sum_{x,y} phi_x . phi_y.
double Susceptibility(const Shape& shape, int components, const Field& field);
// (1/V) sum_{x,y} phi_x . phi_y cos(2 pi (x_mu - y_mu) / L_mu), averaged over the directions of the largest extent.
double StructureFactorMin(const Shape& shape, int components, const Field& field);
// (1/V) sum over pairs with y_0 - x_0 = t mod L_0 along the first axis of phi_x . phi_y.
double TwoPoint(const Shape& shape, int components, const Field& field, int64_t t);

// The free field (lambda 0) by dense linear algebra: the quadratic form read off the action, S = phi^T A phi.
struct FreeField {
  double log_z = 0;                // (N/2) log pi - (1/2) log det A
  std::vector<double> covariance;  // <phi_i phi_j> = A^-1 / 2, [N * N], N = components x volume
};
FreeField SolveFreeField(const Shape& shape, const Phi4& theory);

}  // namespace haarflow::reference
