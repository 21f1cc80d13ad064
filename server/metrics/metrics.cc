#include "server/metrics/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <unistd.h>

#include <cstdio>
#include <exception>

#include "absl/strings/str_cat.h"
#include "server/metrics/collectors.h"
#include "server/metrics/families.h"

namespace haarflow {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Registry;

using Buckets = Histogram::BucketBoundaries;

const Buckets& RequestSeconds() {
  static const auto& buckets = *new Buckets{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 60};
  return buckets;
}
const Buckets& WaitSeconds() {
  static const auto& buckets =
      *new Buckets{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
  return buckets;
}
const Buckets& SwapSeconds() {
  static const auto& buckets = *new Buckets{0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 600};
  return buckets;
}

}  // namespace

struct Metrics::Families {
  std::shared_ptr<Registry> registry = std::make_shared<Registry>();
  std::shared_ptr<ProcessCollector> process = std::make_shared<ProcessCollector>();
  std::shared_ptr<ScrapeCollector> scrape = std::make_shared<ScrapeCollector>();
  Registry* r = registry.get();

  Family<Counter>& requests = CounterFamily(r, "haarflow_requests_total");
  Family<Histogram>& request_duration = HistogramFamily(r, "haarflow_request_duration_seconds");
  Histogram& first_configuration =
      HistogramFamily(r, "haarflow_time_to_first_configuration_seconds").Add({}, RequestSeconds());
  Counter& stream_bytes = CounterFamily(r, "haarflow_stream_bytes_total").Add({});
  Histogram& queue_wait = HistogramFamily(r, "haarflow_queue_wait_seconds").Add({}, WaitSeconds());
  Gauge& queue_depth = GaugeFamily(r, "haarflow_queue_depth").Add({});
  Gauge& open_calls = GaugeFamily(r, "haarflow_open_calls").Add({});
  Gauge& active_streams = GaugeFamily(r, "haarflow_active_streams").Add({});
  Family<Counter>& rejected = CounterFamily(r, "haarflow_rejected_total");
  Counter& cancelled = CounterFamily(r, "haarflow_cancelled_total").Add({});
  Counter& stall_seconds = CounterFamily(r, "haarflow_stream_stall_seconds_total").Add({});
  Gauge& device_healthy = GaugeFamily(r, "haarflow_device_healthy").Add({});
  Family<Counter>& model_swaps = CounterFamily(r, "haarflow_model_swap_total");
  Histogram& swap_seconds = HistogramFamily(r, "haarflow_model_swap_seconds").Add({}, SwapSeconds());
  Counter& leases_expired = CounterFamily(r, "haarflow_job_lease_expired_total").Add({});
  Family<Counter>& published = CounterFamily(r, "haarflow_job_published_total");
  Family<Gauge>& build_info = GaugeFamily(r, "haarflow_build_info");
  ModelMetrics models{r};

  // Last: it serves the registry above and stops first.
  std::unique_ptr<prometheus::Exposer> exposer;
};

Metrics::Metrics() : families_(std::make_unique<Families>()) {}
Metrics::~Metrics() = default;

absl::StatusOr<std::unique_ptr<Metrics>> Metrics::Create(const BuildInfo& build, const std::string& listen) {
  auto metrics = std::unique_ptr<Metrics>(new Metrics());
  Families& f = *metrics->families_;
  f.build_info.Add({{"version", build.version}, {"device", build.device}, {"numerics", build.numerics}}).Set(1);
  f.device_healthy.Set(1);
  if (listen.empty()) return metrics;
  try {
    f.exposer = std::make_unique<prometheus::Exposer>(listen, 2);
    f.exposer->RegisterCollectable(f.registry);
    f.exposer->RegisterCollectable(f.process);
    f.exposer->RegisterCollectable(f.scrape);
  } catch (const std::exception& e) {
    return absl::UnavailableError(absl::StrCat("metrics cannot listen on ", listen, ": ", e.what()));
  }
  const size_t colon = listen.rfind(':');
  const std::string host = colon == std::string::npos || colon == 0 ? "0.0.0.0" : listen.substr(0, colon);
  const std::vector<int> ports = f.exposer->GetListeningPorts();
  metrics->address_ = absl::StrCat(host, ":", ports.empty() ? 0 : ports.front());
  return metrics;
}

std::string Metrics::Text() const {
  auto families = families_->registry->Collect();
  for (auto& family : families_->process->Collect()) families.push_back(std::move(family));
  for (auto& family : families_->scrape->Collect()) families.push_back(std::move(family));
  return prometheus::TextSerializer().Serialize(families);
}

void Metrics::SetSource(std::function<ScrapeValues()> source) { families_->scrape->SetSource(std::move(source)); }

void Metrics::OnBatch(const ServedModel& model, int64_t proposals, double seconds) {
  families_->models.OnBatch(model, proposals, seconds);
}
void Metrics::OnLogWeights(const ServedModel& model, const Digest& target, absl::Span<const double> log_weights) {
  families_->models.OnLogWeights(model, target, log_weights);
}
void Metrics::OnProgress(const ServedModel& model, const Counts& counts) {
  families_->models.OnProgress(model, counts);
}
void Metrics::OnQueueWait(double seconds) { families_->queue_wait.Observe(seconds); }
void Metrics::OnQueueDepth(int64_t proposals) { families_->queue_depth.Set(static_cast<double>(proposals)); }
void Metrics::OnStall(double seconds) { families_->stall_seconds.Increment(seconds); }
void Metrics::OnOpenCalls(int change) { families_->open_calls.Increment(change); }
void Metrics::OnStreams(int change) { families_->active_streams.Increment(change); }
void Metrics::OnRejected(const char* reason) { families_->rejected.Add({{"reason", reason}}).Increment(); }
void Metrics::OnFirstConfiguration(double seconds) { families_->first_configuration.Observe(seconds); }
void Metrics::OnStreamBytes(uint64_t bytes) { families_->stream_bytes.Increment(static_cast<double>(bytes)); }
void Metrics::OnCancelled() { families_->cancelled.Increment(); }
void Metrics::SetDeviceHealthy(bool healthy) { families_->device_healthy.Set(healthy ? 1 : 0); }

uint64_t Metrics::ResidentBytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return 0;
  long total = 0;
  long resident = 0;
  const int read = std::fscanf(file, "%ld %ld", &total, &resident);
  std::fclose(file);
  return read == 2 ? static_cast<uint64_t>(resident) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) : 0;
}

void Metrics::OnModelSwap(const std::string& outcome, double seconds) {
  families_->model_swaps.Add({{"outcome", outcome}}).Increment();
  if (seconds > 0) families_->swap_seconds.Observe(seconds);
}

void Metrics::OnRequest(const std::string& method, const std::string& code, double seconds) {
  families_->requests.Add({{"method", method}, {"code", code}}).Increment();
  families_->request_duration.Add({{"method", method}}, RequestSeconds()).Observe(seconds);
}

void Metrics::OnLeasesExpired(int leases) { families_->leases_expired.Increment(leases); }

void Metrics::OnPublished(bool champion) {
  families_->published.Add({{"outcome", champion ? "champion" : "candidate"}}).Increment();
}

void Metrics::SetModels(const std::vector<std::shared_ptr<const ServedModel>>& models) {
  families_->models.Keep(models);
}

std::map<std::string, ModelActivity> Metrics::Activity() const { return families_->models.Activity(); }

bool Metrics::device_healthy() const { return families_->device_healthy.Value() != 0; }
int64_t Metrics::queue_depth() const { return static_cast<int64_t>(families_->queue_depth.Value()); }

}  // namespace haarflow
