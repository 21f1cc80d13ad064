// One matrix of SU(N), N = 2 or 3, with the density exp(-S) / Z, S = -(1/N) sum_{n = 1..3} b_n Re Tr U^n, Haar measure
// of volume 1.
#pragma once

#include <array>
#include <optional>

namespace haarflow {

// Tr U, Tr U^2, Tr U^3 of a matrix [row, column, 2]: real parts. `colours` is 2 or 3.
std::array<double, 3> SunPowerTraces(int colours, const double* matrix);

// log Z and <Re Tr U^n> / N by Weyl's formula: an integral of a smooth periodic function over the eigenvalue angles, by
// the trapezoidal rule with ever more points until log Z stands to 1e-13 of max(1, |log Z|). Nothing where 65536
// (SU(2)) or 1024 (SU(3)) points an angle are too few: |b_n| of hundreds. Thread-safe.
struct SunSingleSolution {
  double log_z = 0;
  std::array<double, 3> trace = {};
};
std::optional<SunSingleSolution> SolveSunSingle(int colours, const std::array<double, 3>& b);

}  // namespace haarflow
