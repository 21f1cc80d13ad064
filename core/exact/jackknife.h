// The jackknife: an estimate from all bins, and its error from the estimates that leave one bin out.
#pragma once

#include <cstddef>
#include <vector>

namespace haarflow {

struct Jackknife {
  double corrected = 0;  // bias-corrected estimate
  double error = 0;
};
// The error is +inf, and nothing is corrected, where an estimate is not finite: one bin carries everything.
Jackknife JackknifeOf(double all, const std::vector<double>& leave_out);

// out[j] = combination of all value[i] with i != j, from both ends: no subtraction, hence no cancellation when one
// dominates.
template <typename T, typename Combine>
std::vector<T> LeaveOneOut(const std::vector<T>& value, T zero, Combine combine) {
  std::vector<T> out(value.size(), zero);
  T before = zero;
  for (size_t j = 0; j < value.size(); ++j) {
    out[j] = before;
    before = combine(before, value[j]);
  }
  T after = zero;
  for (size_t j = value.size(); j-- > 0;) {
    out[j] = combine(out[j], after);
    after = combine(after, value[j]);
  }
  return out;
}

}  // namespace haarflow
