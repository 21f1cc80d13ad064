#include "core/exact/jackknife.h"

#include <cmath>
#include <limits>

namespace haarflow {

Jackknife JackknifeOf(double all, const std::vector<double>& leave_out) {
  const double b = static_cast<double>(leave_out.size());
  double mean = 0;
  for (double x : leave_out) {
    if (!std::isfinite(x)) return {all, std::numeric_limits<double>::infinity()};
    mean += (x - all) / b;  // relative: what is corrected for is small
  }
  double sum = 0;
  for (double x : leave_out) sum += (x - all - mean) * (x - all - mean);
  return {all - (b - 1) * mean, std::sqrt((b - 1) / b * sum)};
}

}  // namespace haarflow
