// The series that carry a model's name, and the latest weights behind haarflow_ess_ratio.
//
// A series comes with the first thing that is counted and goes when the model leaves service (Keep): otherwise every
// swap would leave some behind. A draw for the last streams of an unloaded model may bring one back until the next
// Keep, which comes at the latest when that version is destroyed.
//
// Lifetime: the registry must outlive it. Thread-safety: thread-safe; one lock is held from the lookup of a series to
// the end of its use, because Keep destroys them.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/base/mutex.h"
#include "server/metrics/ess_window.h"
#include "server/sampling/observer.h"

namespace haarflow {

// What one model did since its series began, and how good its latest weights were: for a history of it.
struct ModelActivity {
  SamplingObserver::Counts counts;
  std::optional<double> ess;  // of the version drawn from last
  uint64_t ess_samples = 0;
};

class ModelMetrics {
 public:
  explicit ModelMetrics(prometheus::Registry* registry);

  void OnBatch(const ServedModel& model, int64_t proposals, double seconds);
  void OnLogWeights(const ServedModel& model, const Digest& target, absl::Span<const double> log_weights);
  void OnProgress(const ServedModel& model, const SamplingObserver::Counts& counts);
  // These models are served now; series of others are removed.
  void Keep(const std::vector<std::shared_ptr<const ServedModel>>& models);

  std::map<std::string, ModelActivity> Activity() const;

 private:
  struct Version {
    EssWindow window;
    prometheus::Gauge* ess = nullptr;   // null below EssWindow::kMinimum
    prometheus::Gauge* info = nullptr;  // null while it is not the served one
  };
  struct Series {
    prometheus::Counter* configurations;
    prometheus::Counter* proposals;
    prometheus::Counter* chain_proposals;
    prometheus::Counter* accepted;
    prometheus::Histogram* batch_size;
    prometheus::Histogram* batch_seconds;
    std::map<uint64_t, Version> versions;
    uint64_t latest = 0;  // the version drawn from last
    SamplingObserver::Counts counts;
  };
  Series& Of(const std::string& model) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Remove(const Series& series) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Remove(const Version& version) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  prometheus::Family<prometheus::Counter>& configurations_;
  prometheus::Family<prometheus::Counter>& proposals_;
  prometheus::Family<prometheus::Counter>& chain_proposals_;
  prometheus::Family<prometheus::Counter>& accepted_;
  prometheus::Family<prometheus::Histogram>& batch_size_;
  prometheus::Family<prometheus::Histogram>& batch_seconds_;
  prometheus::Family<prometheus::Gauge>& ess_ratio_;
  prometheus::Family<prometheus::Gauge>& model_info_;

  mutable Mutex mutex_;
  std::map<std::string, Series> models_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace haarflow
