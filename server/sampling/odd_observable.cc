#include "server/sampling/odd_observable.h"

namespace haarflow {

OddObservable::OddObservable(const v1::Target& target) {
  if (!target.has_phi4()) return;
  sites_ = 1;
  for (const uint32_t extent : target.lattice().shape()) sites_ *= extent;
}

double OddObservable::Sign(const double* field) const {
  // Eight partial sums: a single one would be a chain of dependent additions.
  double partial[8] = {};
  int64_t x = 0;
  for (; x + 8 <= sites_; x += 8) {
    for (int lane = 0; lane < 8; ++lane) partial[lane] += field[x + lane];
  }
  double sum = 0;
  for (; x < sites_; ++x) sum += field[x];
  for (double p : partial) sum += p;
  if (sum == 0) return 0;
  return sum > 0 ? 1 : -1;
}

}  // namespace haarflow
