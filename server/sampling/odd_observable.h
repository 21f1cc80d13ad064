// A sign that averages to exactly 0 by a symmetry of the theory: how a stream notices that a model misses a mode.
#pragma once

#include <cstdint>

#include "haarflow/v1/model.pb.h"

namespace haarflow {

// Scalar fields: the sign of M = sum_x phi_x of the first component (phi -> -phi). Other theories: none.
// Thread-safety: immutable.
class OddObservable {
 public:
  // Requires a valid target.
  explicit OddObservable(const v1::Target& target);
  // Of one configuration: -1, 0 or 1, for WeightStatistics::Add; 0 where there is none.
  double Sign(const double* field) const;

 private:
  int64_t sites_ = 0;  // 0: none
};

}  // namespace haarflow
