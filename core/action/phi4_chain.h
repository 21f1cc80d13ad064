// The exact solution of one-component phi^4 in one dimension (a periodic chain: the quantum anharmonic oscillator at
// finite lattice spacing and temperature), by its transfer matrix.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/action/phi4.h"

namespace haarflow {

// T(x, y) = exp(hop x y - (v(x) + v(y)) / 2), v(x) = quadratic x^2 + quartic x^4, on equidistant points of [-R, R] with
// the trapezoidal rule, which converges faster than any power for such integrands; points are doubled until log Z stays
// within 1e-12 of itself. T is even under (x, y) -> (-x, -y): its even and odd eigenvectors are found apart.
// Z = Tr T^L, Lebesgue measure. Immutable, hence thread-safe.
class Phi4Chain {
 public:
  // INVALID_ARGUMENT unless the lattice has one dimension, there is one component, and CheckPhi4Couplings is content;
  // FAILED_PRECONDITION where 512 points do not converge.
  static absl::StatusOr<Phi4Chain> Create(const Lattice& lattice, const Phi4Couplings& couplings);

  double LogZ() const { return log_z_; }
  // <phi^2> and <phi^4>.
  double Square() const { return square_; }
  double Fourth() const { return fourth_; }
  // <phi_0 phi_t>, any t.
  double TwoPoint(int64_t t) const;

 private:
  Phi4Chain() = default;
  absl::Status Solve(const Phi4Couplings& couplings, double range, int points);

  int64_t length_ = 0;
  double log_z_ = 0;
  double square_ = 0;
  double fourth_ = 0;
  // Eigenvalues over the largest in size, of even and odd eigenvectors; tiny ones are left out.
  std::vector<double> even_;
  std::vector<double> odd_;
  double trace_ = 0;              // sum of their L-th powers
  std::vector<double> position_;  // <k|x|l>^2, [even][odd]
};

}  // namespace haarflow
