// A continuous flow of a scalar field written out: double sums over sites, no transforms, one field at a time. What
// core/kernel computes with Hartley transforms, tiles and vector registers.
#pragma once

#include <vector>

namespace haarflow::reference {

struct ScalarFlow {
  std::vector<int> shape;  // array order
  int components = 1;
  std::vector<double> sigma;  // of each momentum [volume]: the prior's standard deviations
  bool even_sites_only = false;
  std::vector<double> frequency;  // [features], 0: linear
  // kernel(time, feature, displacement): K_f(d; t), displacement as a site index.
  std::vector<std::vector<std::vector<double>>> kernel;  // [2 steps + 1][features][volume]
};

struct FieldAndDensity {
  std::vector<double> field;  // [component][site]
  double log_q = 0;
};

// The prior's field of standard normal numbers z [component][site].
FieldAndDensity Prior(const ScalarFlow& flow, const std::vector<double>& z);
// v and its divergence.
FieldAndDensity Velocity(const ScalarFlow& flow, int time, const std::vector<double>& field);
// Classical Runge-Kutta from t = 0 to 1; log_q is what is added to log q.
FieldAndDensity Integrate(const ScalarFlow& flow, const std::vector<double>& field);

}  // namespace haarflow::reference
