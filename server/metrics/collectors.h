// What is collected at each scrape: the process, from the kernel, and the running server, from a source.
//
// Thread-safety: thread-safe.
#pragma once

#include <prometheus/collectable.h>

#include <functional>
#include <vector>

#include "core/base/mutex.h"
#include "server/metrics/scrape_values.h"

namespace haarflow {

// prometheus-cpp has no collector of the process.
class ProcessCollector final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

class ScrapeCollector final : public prometheus::Collectable {
 public:
  using Source = std::function<ScrapeValues()>;
  // Null: nothing is collected. Returns when no scrape uses the source before any more.
  void SetSource(Source source);
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  mutable Mutex mutex_;
  Source source_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace haarflow
