// Tables of the one-site conditional distribution of phi^4: what HeatBathTable points to.
#pragma once

#include <vector>

#include "core/kernel/cpu/scalar_isa.h"

namespace haarflow::kernel {

class HeatBathStore {
 public:
  // The density exp(-quadratic x^2 - quartic x^4 + b x) / z(b), b = hop x a sum of neighbours. Requires quartic > 0, or
  // quartic = 0 and quadratic > 0.
  HeatBathStore(double hop, double quadratic, double quartic);
  HeatBathStore(const HeatBathStore&) = delete;
  HeatBathStore& operator=(const HeatBathStore&) = delete;
  const HeatBathTable& view() const { return table_; }

 private:
  HeatBathTable table_{};
  std::vector<double> log_z_;
  std::vector<double> centre_;
};

}  // namespace haarflow::kernel
