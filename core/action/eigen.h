// Eigenvalues and eigenvectors of symmetric matrices: for exact solutions by transfer matrices.
#pragma once

#include <vector>

#include "absl/status/statusor.h"

namespace haarflow {

struct SymmetricEigen {
  std::vector<double> value;   // [n], in no order
  std::vector<double> vector;  // [which][n], orthonormal
};
// Of the symmetric n x n `matrix` [n * n]: Householder reduction and QL iteration with implicit shifts (EISPACK tred2
// and tql2), O(n^3). Errors are of the size of rounding times the largest eigenvalue. INTERNAL where it does not
// converge, as with entries that are not finite.
absl::StatusOr<SymmetricEigen> DiagonaliseSymmetric(int n, std::vector<double> matrix);

}  // namespace haarflow
