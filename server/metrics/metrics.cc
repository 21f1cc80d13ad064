#include "server/metrics/metrics.h"

#include <prometheus/collectable.h>
#include <prometheus/counter.h>
#include <prometheus/exposer.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <map>

#include "absl/strings/str_cat.h"
#include "core/base/mutex.h"

namespace haarflow {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Registry;

using Buckets = Histogram::BucketBoundaries;

const Buckets& RequestSeconds() {
  static const Buckets buckets = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 60};
  return buckets;
}
const Buckets& BatchSeconds() {
  static const Buckets buckets = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};
  return buckets;
}
const Buckets& SwapSeconds() {
  static const Buckets buckets = {0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 600};
  return buckets;
}
const Buckets& QueueSeconds() {
  static const Buckets buckets = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
  return buckets;
}
const Buckets& BatchSizes() {
  static const Buckets buckets = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
  return buckets;
}

// Resident memory, from the kernel at each scrape: prometheus-cpp has no process collector.
class ProcessCollector final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    prometheus::MetricFamily family;
    family.name = "process_resident_memory_bytes";
    family.help = "Resident memory size in bytes.";
    family.type = prometheus::MetricType::Gauge;
    prometheus::ClientMetric metric;
    metric.gauge.value = static_cast<double>(Metrics::ResidentBytes());
    family.metric.push_back(metric);
    return {family};
  }
};

Family<Counter>& CounterFamily(Registry* registry, const char* name, const char* help) {
  return BuildCounter().Name(name).Help(help).Register(*registry);
}
Family<Gauge>& GaugeFamily(Registry* registry, const char* name, const char* help) {
  return BuildGauge().Name(name).Help(help).Register(*registry);
}
Family<Histogram>& HistogramFamily(Registry* registry, const char* name, const char* help) {
  return BuildHistogram().Name(name).Help(help).Register(*registry);
}

}  // namespace

struct Metrics::Families {
  std::shared_ptr<Registry> registry = std::make_shared<Registry>();
  std::shared_ptr<ProcessCollector> process = std::make_shared<ProcessCollector>();
  Registry* r = registry.get();

  Family<Counter>& requests = CounterFamily(r, "haarflow_requests_total", "RPCs by method and status code.");
  Family<Histogram>& request_duration =
      HistogramFamily(r, "haarflow_request_duration_seconds", "Time from the first byte of an RPC to its status.");
  Histogram& first_configuration =
      HistogramFamily(r, "haarflow_time_to_first_configuration_seconds",
                      "Time from a Sample request to its first chunk handed to the transport.")
          .Add({}, RequestSeconds());
  Family<Counter>& configurations =
      CounterFamily(r, "haarflow_configurations_total",
                    "Configurations made for streams: closed chain states or proposals with weight.");
  Family<Counter>& proposals = CounterFamily(r, "haarflow_proposals_total", "Proposals looked at.");
  Family<Counter>& accepted =
      CounterFamily(r, "haarflow_accepted_total", "Proposals accepted by independence Metropolis.");
  Counter& stream_bytes =
      CounterFamily(r, "haarflow_stream_bytes_total", "Bytes of stream messages handed to the transport.").Add({});
  Histogram& queue_wait =
      HistogramFamily(r, "haarflow_queue_wait_seconds", "Time from a stream's admission to its first batch.")
          .Add({}, QueueSeconds());
  Family<Histogram>& batch_size = HistogramFamily(r, "haarflow_batch_size", "Proposals per batch.");
  Family<Histogram>& batch_seconds = HistogramFamily(r, "haarflow_batch_seconds", "Duration of a batch.");
  Gauge& queue_depth =
      GaugeFamily(r, "haarflow_queue_depth", "Proposals that open streams could be given now.").Add({});
  Gauge& open_calls =
      GaugeFamily(r, "haarflow_open_calls", "Calls that wait, stream or upload: begun and not yet freed.").Add({});
  Gauge& active_streams = GaugeFamily(r, "haarflow_active_streams", "Streams admitted and not yet gone.").Add({});
  Family<Counter>& rejected = CounterFamily(r, "haarflow_rejected_total", "Streams refused at admission, by reason.");
  Counter& cancelled =
      CounterFamily(r, "haarflow_cancelled_total", "RPCs cancelled by the client, its deadline or the connection.")
          .Add({});
  Counter& stall_seconds =
      CounterFamily(r, "haarflow_stream_stall_seconds_total", "Time that full chunks waited for their clients.")
          .Add({});
  Gauge& device_healthy = GaugeFamily(r, "haarflow_device_healthy", "0 after the device has failed.").Add({});
  Family<Gauge>& model_info = GaugeFamily(r, "haarflow_model_info", "1 for every model version served.");
  Family<Counter>& model_swaps =
      CounterFamily(r, "haarflow_model_swap_total", "Versions served, refused, loaded for old streams, unloaded.");
  Histogram& swap_seconds =
      HistogramFamily(r, "haarflow_model_swap_seconds", "Time from the decision to load a version to its service.")
          .Add({}, SwapSeconds());
  Family<Gauge>& build_info = GaugeFamily(r, "haarflow_build_info", "1, with the version and the numerics class.");

  Mutex mutex;
  std::map<std::string, Gauge*> models ABSL_GUARDED_BY(mutex);

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
  return prometheus::TextSerializer().Serialize(families);
}

void Metrics::OnBatch(const ServedModel& model, int64_t proposals, double seconds) {
  families_->batch_size.Add({{"model", model.name()}}, BatchSizes()).Observe(static_cast<double>(proposals));
  families_->batch_seconds.Add({{"model", model.name()}}, BatchSeconds()).Observe(seconds);
}

void Metrics::OnProgress(const ServedModel& model, uint64_t proposals, uint64_t accepted, uint64_t configurations) {
  const prometheus::Labels labels = {{"model", model.name()}};
  families_->proposals.Add(labels).Increment(static_cast<double>(proposals));
  families_->accepted.Add(labels).Increment(static_cast<double>(accepted));
  families_->configurations.Add(labels).Increment(static_cast<double>(configurations));
}

void Metrics::OnQueueDepth(int64_t proposals) { families_->queue_depth.Set(static_cast<double>(proposals)); }
void Metrics::OnStall(double seconds) { families_->stall_seconds.Increment(seconds); }
void Metrics::OnOpenCalls(int change) { families_->open_calls.Increment(change); }
void Metrics::OnStreams(int change) { families_->active_streams.Increment(change); }
void Metrics::OnRejected(const char* reason) { families_->rejected.Add({{"reason", reason}}).Increment(); }
void Metrics::OnQueueWait(double seconds) { families_->queue_wait.Observe(seconds); }
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

void Metrics::SetModels(const std::vector<std::shared_ptr<const ServedModel>>& models) {
  MutexLock lock(&families_->mutex);
  std::map<std::string, Gauge*> now;
  for (const auto& model : models) {
    const std::string version = absl::StrCat(model->manifest.version);
    Gauge& gauge = families_->model_info.Add({{"model", model->name()}, {"version", version}});
    gauge.Set(1);
    now[absl::StrCat(model->name(), "/", version)] = &gauge;
  }
  for (const auto& [key, gauge] : families_->models) {
    if (now.count(key) == 0) families_->model_info.Remove(gauge);
  }
  families_->models = std::move(now);
}

}  // namespace haarflow
