#include "server/status/history.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace haarflow {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// Counters of a model that left and came back begin again at 0.
uint64_t Since(uint64_t before, uint64_t now) { return now >= before ? now - before : now; }

}  // namespace

template <class T>
void StatusHistory::Append(std::deque<T>* points, const T& point) const {
  points->push_back(point);
  if (points->size() > options_.points) points->pop_front();
}

void StatusHistory::Record(const std::map<std::string, ModelActivity>& activity, uint64_t drawn, int64_t streams,
                           double now) {
  MutexLock lock(&mutex_);
  std::erase_if(models_, [&](const auto& model) { return activity.count(model.first) == 0; });
  const double seconds = now - before_;
  const bool point = std::exchange(begun_, true) && seconds > 0;
  auto shown = static_cast<size_t>(
      std::count_if(models_.begin(), models_.end(), [](const auto& model) { return !model.second.points.empty(); }));
  for (const auto& [name, now_activity] : activity) {
    const SamplingObserver::Counts& counts = now_activity.counts;
    Model& model = models_[name];
    const SamplingObserver::Counts before = std::exchange(model.before, counts);
    if (!point) continue;
    const uint64_t proposals = Since(before.proposals, counts.proposals);
    if (model.points.empty() && (proposals == 0 || shown++ >= options_.models)) continue;
    const uint64_t chain = Since(before.chain_proposals, counts.chain_proposals);
    const uint64_t accepted = Since(before.accepted, counts.accepted);
    const double acceptance = chain > 0 ? static_cast<double>(accepted) / static_cast<double>(chain) : kNone;
    const double ess = proposals > 0 ? now_activity.ess.value_or(kNone) : kNone;
    Append(&model.points, {static_cast<float>(ess), static_cast<float>(acceptance),
                           static_cast<float>(static_cast<double>(proposals) / seconds)});
  }
  if (point) {
    Append(&intervals_, seconds);
    Append(&rate_, static_cast<double>(Since(drawn_before_, drawn)) / seconds);
    Append(&streams_, static_cast<double>(streams));
  }
  before_ = now;
  drawn_before_ = drawn;
}

StatusHistoryLines StatusHistory::Lines() const {
  StatusHistoryLines lines;
  MutexLock lock(&mutex_);
  for (const double seconds : intervals_) lines.seconds += seconds;
  lines.rate.assign(rate_.begin(), rate_.end());
  lines.streams.assign(streams_.begin(), streams_.end());
  for (const auto& [name, model] : models_) {
    if (model.points.empty()) continue;
    ModelHistory& shown = lines.models[name];
    const size_t absent = rate_.size() - model.points.size();  // before the model was there
    for (std::vector<double>* line : {&shown.ess, &shown.acceptance, &shown.rate}) line->assign(absent, kNone);
    for (const Point& point : model.points) {
      shown.ess.push_back(point.ess);
      shown.acceptance.push_back(point.acceptance);
      shown.rate.push_back(point.rate);
    }
  }
  return lines;
}

}  // namespace haarflow
