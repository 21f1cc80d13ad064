#include "server/sampling/batching.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace haarflow {

int64_t SpreadOver(int64_t wanted, int64_t limit, int free) {
  const int64_t even = wanted / std::max(1, free) + (wanted % std::max(1, free) != 0 ? 1 : 0);
  return std::min(limit, (even + kTile - 1) / kTile * kTile);
}

std::chrono::nanoseconds LingerFor(int64_t wanted, int64_t full, int64_t quiet, std::chrono::nanoseconds waited,
                                   std::chrono::nanoseconds longest) {
  if (wanted >= full || quiet == 0 || waited >= longest) return std::chrono::nanoseconds(0);
  return longest - waited;
}

std::vector<int64_t> FairShares(const std::vector<int64_t>& wants, int64_t limit, uint64_t turn) {
  std::vector<int64_t> shares(wants.size(), 0);
  int64_t left = std::min(limit, std::accumulate(wants.begin(), wants.end(), int64_t{0}));
  while (left > 0) {
    int64_t hungry = 0;
    for (size_t i = 0; i < wants.size(); ++i) hungry += shares[i] < wants[i] ? 1 : 0;
    const int64_t each = left / hungry;
    for (size_t k = 0; k < wants.size() && left > 0; ++k) {
      const size_t i = (k + turn) % wants.size();
      const int64_t more = std::min({std::max<int64_t>(each, 1), wants[i] - shares[i], left});
      shares[i] += more;
      left -= more;
    }
  }
  return shares;
}

int64_t BatchSizer::Clamp(double size) const {
  return std::clamp(static_cast<int64_t>(std::min(size, 1e9)), options_.minimum, options_.maximum);
}

void BatchSizer::Measured(int64_t proposals, double seconds) {
  constexpr double kNew = 0.25;  // weight of the newest measurement
  const double rate = static_cast<double>(proposals) / std::max(seconds, 1e-6);
  rate_ = rate_ == 0 ? rate : (1 - kNew) * rate_ + kNew * rate;
  // Grows from what was really drawn: the rate of a small batch says little about a large one.
  const double most = std::max(4.0 * static_cast<double>(proposals), static_cast<double>(size_));
  size_ = Clamp(std::min(rate_ * options_.goal_seconds, most));
}

}  // namespace haarflow
