// The exact solution of two-dimensional SU(2) and SU(3) Wilson gauge theory on a torus (character expansion).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

namespace haarflow {

// S = -(beta/N) sum_P Re Tr P, Haar measure of volume 1, V = `volume` plaquettes. exp((beta/N) Re Tr U) = sum_R d_R c_R
// chi_R(U) over the irreducible representations R of dimension d_R (Drouffe and Zuber, Phys. Rept. 102 (1983) 1):
//
//   SU(2)   c_n = 2 I_n(beta) / beta, n = d_R = 1, 2, ...
//   SU(3)   c_(p,q) = (1/d_R) sum_k det_{ij} I_{l_j - j + i + k}(beta/3), l = (p + q, q, 0), k over all integers
//
// Thread-safe.
class SunTorus {
 public:
  // INVALID_ARGUMENT unless colours is 2 or 3, 1 <= volume <= 2^26 and 0 <= beta <= 1000.
  static absl::StatusOr<SunTorus> Create(int colours, int64_t volume, double beta);

  double LogZ() const;       // log sum_R c_R^V
  double Plaquette() const;  // <Re Tr P> / N = WilsonLoop(1)
  // <Re Tr W> / N of a contractible loop around 0 <= area <= volume plaquettes, f the fundamental representation:
  // (1 / (N Z)) sum_R sum_{R' in R x f} (d_R / d_R') c_R^A c_R'^{V-A}.
  double WilsonLoop(int64_t area) const;
  // <Tr L(x) Tr L(y)^+> / N^2 of two loops that wind once around the torus, in one direction, with 0 <= area <= volume
  // plaquettes between them: (1 / (N^2 Z)) sum_R sum_{R' in R x f} c_R^A c_R'^{V-A}.
  double PolyakovCorrelator(int64_t area) const;

  // The representations that matter to the above, the trivial one first, by growing p + q; SU(2): p = n - 1, q = 0.
  struct Coefficient {
    int p, q;
    double dimension;
    double ratio;  // c_R / c_0
  };
  std::vector<Coefficient> Coefficients() const;

 private:
  struct Representation {
    double dimension = 1;
    double ratio = 0;           // c_R / c_0
    std::vector<int> products;  // R' in R x f, those that matter
  };
  SunTorus(int colours, int64_t volume) : colours_(colours), volume_(volume) {}
  void AddSu2(double beta);
  void AddSu3(double beta);
  double ReducedZ() const;  // sum_R (c_R / c_0)^V
  template <typename Term>
  double SumOfPairs(int64_t area, const Term& factor) const;

  int colours_;
  int64_t volume_;
  double log_c0_ = 0;
  std::vector<Representation> representations_;
};

}  // namespace haarflow
