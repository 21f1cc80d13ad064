#include "server/metrics/ess_window.h"

#include <algorithm>
#include <cmath>

namespace haarflow {

double EssWindow::Window::Ratio() const {
  const WeightStatistics::Sums& a = before.weights.sums();
  const WeightStatistics::Sums& b = now.weights.sums();
  const double log_sum = LogAddExp(a.log_sum, b.log_sum);
  if (!std::isfinite(log_sum) || samples() == 0) return 0;
  const double log_squared = LogAddExp(a.log_sum_squared, b.log_sum_squared);
  return std::min(1.0, std::exp(2 * log_sum - log_squared) / static_cast<double>(samples()));
}

void EssWindow::Add(const Digest& target, absl::Span<const double> log_weights) {
  auto window = std::find_if(windows_.begin(), windows_.end(), [&](const Window& w) { return w.target == target; });
  if (window == windows_.end()) {
    windows_.push_front({target, {}, {}});
    if (windows_.size() > kTargets) windows_.pop_back();
  } else {
    windows_.splice(windows_.begin(), windows_, window);
  }
  Window& latest = windows_.front();
  for (const double log_weight : log_weights) {
    if (latest.now.samples == kHalf) {
      latest.before = latest.now;
      latest.now = Half();
    }
    latest.now.weights.Add(log_weight);
    ++latest.now.samples;
  }
}

uint64_t EssWindow::samples() const {
  uint64_t n = 0;
  for (const Window& window : windows_) n += window.samples();
  return n;
}

std::optional<double> EssWindow::Ratio() const {
  const uint64_t n = samples();
  if (n < kMinimum) return std::nullopt;
  double sum = 0;
  for (const Window& window : windows_) sum += static_cast<double>(window.samples()) * window.Ratio();
  return sum / static_cast<double>(n);
}

}  // namespace haarflow
