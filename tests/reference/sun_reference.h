// SU(N) lattice gauge theory in plain loops over std::complex: the oracle that the code in core/ is tested against.
// Shares nothing with core/. Slow on purpose.
//
// A field is matrices in C order [mu, ..., y, x, row, column]; `shape` is [..., y, x]; direction mu moves along axis
// dims - 1 - mu.
#pragma once

#include <complex>
#include <cstdint>
#include <random>
#include <vector>

#include "tests/reference/u1_reference.h"

namespace haarflow::reference {

using Complex = std::complex<double>;
using SunField = std::vector<Complex>;
using Matrix = std::vector<Complex>;  // [row][column]

// From Haar measure: Gram-Schmidt of a Gaussian matrix, the last row times the phase that makes the determinant 1.
Matrix RandomSunMatrix(int n, std::mt19937_64* random);
SunField RandomSunField(const Shape& shape, int n, std::mt19937_64* random);
Complex Determinant(int n, const Matrix& m);
// Real and imaginary parts one after the other: [mu, ..., y, x, row, column, 2].
Field Numbers(const SunField& field);
// U_mu(x) -> g(x) U_mu(x) g(x + mu)^+ with a random g at every site.
SunField RandomGauge(const Shape& shape, int n, const SunField& field, std::mt19937_64* random);

// The product of the links along a path from `site`: steps mu + 1 forwards, -(mu + 1) backwards.
Matrix PathProduct(const Shape& shape, int n, const SunField& field, const Shape& site, const std::vector<int>& steps);

// Means of Re Tr / n over every site: of plaquettes and of 1x2 and 2x1 rectangles, over planes mu < nu; of r x t loops
// over ordered pairs mu != nu.
double SunPlaquette(const Shape& shape, int n, const SunField& field);
double SunRectangle(const Shape& shape, int n, const SunField& field);
double SunWilsonLoop(const Shape& shape, int n, const SunField& field, int64_t r, int64_t t);
// S = -(beta / n) [ (1 - 8 c1) sum_P Re Tr P + c1 sum_R Re Tr R ].
double SunAction(const Shape& shape, int n, double beta, double c1, const SunField& field);
// Tr L / n of the loop in the last direction through every site: [volume].
std::vector<Complex> SunPolyakov(const Shape& shape, int n, const SunField& field);
// Mean of Re L(x) L(x + r mu)^* over every site and every other direction mu.
double SunPolyakovCorrelator(const Shape& shape, int n, const SunField& field, int64_t r);
// 1/(32 pi^2) sum_x eps_{mu nu rho sigma} Tr F_{mu nu} F_{rho sigma}, F the traceless Hermitian part of the mean of the
// four leaves: all 24 terms.
double SunCloverCharge(const Shape& shape, int n, const SunField& field);

}  // namespace haarflow::reference
