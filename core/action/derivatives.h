// dS / d parameter of a theory's own parameters: d log Z / d parameter = -<dS / d parameter>.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/action/u1_plaquette.h"
#include "core/lattice/lattice.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

//   U(1) Wilson            beta            -sum_P cos theta_P
//   U(1), other forms      beta            sum_P ds(theta_P)/dbeta (core/action/u1_plaquette.h)
//   U(1), two dimensions   theta_imaginary -Q
//   SU(N) Wilson           beta            -(1/N) [ (1 - 8 c_1) sum_P Re Tr P + c_1 sum_R Re Tr R ]
//                          rectangle       -(beta/N) [ sum_R Re Tr R - 8 sum_P Re Tr P ], of c_1
//   single SU(N) matrix    beta            -(1/N) sum_n c_n Re Tr U^n
//                          c1, c2, c3      -(beta/N) Re Tr U^n
//   phi^4, mass form       m2              c sum phi^2
//                          lambda          sum (phi^2)^2
//                          normalisation   -2 sum phi phi' + (2 d + m2) sum phi^2
//   phi^4, hopping form    kappa           -2 sum phi phi'
//                          lambda          sum (phi^2)^2 - 2 sum phi^2
// Each is linear in a few sums over the lattice, which are densities of ObservableSet times a number.
class ActionDerivatives {
 public:
  // INVALID_ARGUMENT for a target that is not valid.
  static absl::StatusOr<ActionDerivatives> Create(const v1::Target& target);

  // In the order of TheoryParameters.
  const std::vector<std::string>& parameters() const { return parameters_; }
  // Of one configuration: values[parameters().size()]. Thread-safe.
  void Evaluate(const double* field, double* values) const;

  // dS / d parameter = sum over terms of coefficient x observable (of ObservableSet).
  struct Term {
    std::string observable;
    double coefficient;
  };
  const std::vector<Term>& terms(size_t parameter) const { return terms_[parameter]; }

 private:
  ActionDerivatives(const v1::Target& target, Lattice lattice);

  Lattice lattice_;
  int colours_ = 0;         // of SU(N) links; 0: others
  int single_colours_ = 0;  // of a single SU(N) matrix; 0: others
  int components_ = 0;      // of scalars; 0: links
  U1Plaquette u1_;
  std::vector<std::string> parameters_;
  std::vector<std::vector<Term>> terms_;
};

}  // namespace haarflow
