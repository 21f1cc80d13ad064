// What models did over the last half hour, for the charts of the status page: a ring of points, bounded in points and
// in models.
//
// Example: history.Record(metrics.Activity(), scheduler.proposals_drawn(), seconds);  // every few seconds
// Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "core/base/mutex.h"
#include "server/metrics/model_metrics.h"

namespace haarflow {

// Equally spaced, the oldest first; NaN where nothing was drawn. All lines of a history have the same length.
struct ModelHistory {
  std::vector<double> ess;         // ESS / n of the latest weights (EssWindow)
  std::vector<double> acceptance;  // of the chains of this interval
  std::vector<double> rate;        // proposals per second
};
struct StatusHistoryLines {
  double seconds = 0;           // covered by the lines
  std::vector<double> rate;     // proposals per second, of all models
  std::vector<double> streams;  // open ones
  std::map<std::string, ModelHistory> models;
};

class StatusHistory {
 public:
  struct Options {
    size_t points = 360;
    size_t models = 256;  // with points: those drawn from first; a model that is gone makes room
  };
  explicit StatusHistory(const Options& options) : options_(options) {}
  StatusHistory() : StatusHistory(Options()) {}

  // One point more. `activity`: of every model since its series began, `drawn`: proposals of all models since the
  // start, `now`: seconds of any monotonic clock. The first call only remembers where counting begins. Models that
  // `activity` lacks are forgotten.
  void Record(const std::map<std::string, ModelActivity>& activity, uint64_t drawn, int64_t streams, double now);
  StatusHistoryLines Lines() const;

 private:
  struct Point {
    float ess, acceptance, rate;
  };
  struct Model {
    SamplingObserver::Counts before;
    std::deque<Point> points;  // from the first interval on in which it drew
  };
  template <class T>
  void Append(std::deque<T>* points, const T& point) const;

  const Options options_;
  mutable Mutex mutex_;
  bool begun_ ABSL_GUARDED_BY(mutex_) = false;
  double before_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t drawn_before_ ABSL_GUARDED_BY(mutex_) = 0;
  std::deque<double> intervals_ ABSL_GUARDED_BY(mutex_);  // seconds of each point
  std::deque<double> rate_ ABSL_GUARDED_BY(mutex_);
  std::deque<double> streams_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Model> models_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace haarflow
