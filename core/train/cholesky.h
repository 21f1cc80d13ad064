// Linear equations with a positive definite matrix.
#pragma once

#include <vector>

namespace haarflow {

// Solves A x = b; x replaces b, and A [n][n], of which the lower triangle is read, is overwritten. False when A is not
// positive definite.
bool SolveCholesky(std::vector<double>* a, std::vector<double>* b);

}  // namespace haarflow
