// The exact solution of two-dimensional U(1) Wilson gauge theory on a torus of `volume` sites (character expansion).
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"

namespace haarflow {

// S = -beta sum_P cos theta_P, Haar measure dtheta / 2 pi. With I_n the modified Bessel functions, V the volume,
// c(nu) = (1/2pi) int_{-pi}^{pi} e^{beta cos p} cos(nu p) dp and Z(theta) = sum_n c(n + theta/2pi)^V:
class U1Torus {
 public:
  // INVALID_ARGUMENT unless 1 <= volume <= 2^26 and 0 <= beta <= 1000.
  static absl::StatusOr<U1Torus> Create(int64_t volume, double beta);

  double LogZ() const;                        // log sum_n I_n^V
  double Plaquette() const;                   // <cos theta_P> = d log Z / d beta / V
  double WilsonLoop(int64_t area) const;      // sum_n I_{n+1}^A I_n^{V-A} / Z, 0 <= area <= volume
  double ChargeSquared() const;               // <Q^2> = -d^2 log Z(theta) / dtheta^2 at 0
  double ChargeProbability(int64_t q) const;  // P(Q) = int dnu e^{-2 pi i nu Q} c(nu)^V / Z

 private:
  U1Torus(int64_t volume, double beta) : volume_(volume), beta_(beta) {}
  int64_t volume_;
  double beta_;
};

}  // namespace haarflow
