// Families of the registry by the names of the metric table. Private to metrics/.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <string>

#include "server/metrics/metric_table.h"

namespace haarflow {

inline prometheus::Family<prometheus::Counter>& CounterFamily(prometheus::Registry* registry, const std::string& name) {
  return prometheus::BuildCounter().Name(name).Help(MetricNamed(name).help).Register(*registry);
}
inline prometheus::Family<prometheus::Gauge>& GaugeFamily(prometheus::Registry* registry, const std::string& name) {
  return prometheus::BuildGauge().Name(name).Help(MetricNamed(name).help).Register(*registry);
}
inline prometheus::Family<prometheus::Histogram>& HistogramFamily(prometheus::Registry* registry,
                                                                  const std::string& name) {
  return prometheus::BuildHistogram().Name(name).Help(MetricNamed(name).help).Register(*registry);
}

}  // namespace haarflow
