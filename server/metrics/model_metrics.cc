#include "server/metrics/model_metrics.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "server/metrics/families.h"

namespace haarflow {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;

const Buckets& BatchSeconds() {
  static const auto& buckets = *new Buckets{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};
  return buckets;
}
const Buckets& BatchSizes() {
  static const auto& buckets =
      *new Buckets{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536};
  return buckets;
}

}  // namespace

ModelMetrics::ModelMetrics(prometheus::Registry* registry)
    : configurations_(CounterFamily(registry, "haarflow_configurations_total")),
      proposals_(CounterFamily(registry, "haarflow_proposals_total")),
      chain_proposals_(CounterFamily(registry, "haarflow_chain_proposals_total")),
      accepted_(CounterFamily(registry, "haarflow_accepted_total")),
      batch_size_(HistogramFamily(registry, "haarflow_batch_size")),
      batch_seconds_(HistogramFamily(registry, "haarflow_batch_seconds")),
      ess_ratio_(GaugeFamily(registry, "haarflow_ess_ratio")),
      model_info_(GaugeFamily(registry, "haarflow_model_info")) {}

ModelMetrics::Series& ModelMetrics::Of(const std::string& model) {
  const auto known = models_.find(model);
  if (known != models_.end()) return known->second;
  const prometheus::Labels labels = {{"model", model}};
  Series series{};  // histograms come with the first batch: an idle model has no forty series
  series.configurations = &configurations_.Add(labels);
  series.proposals = &proposals_.Add(labels);
  series.chain_proposals = &chain_proposals_.Add(labels);
  series.accepted = &accepted_.Add(labels);
  return models_.emplace(model, std::move(series)).first->second;
}

void ModelMetrics::OnBatch(const ServedModel& model, int64_t proposals, double seconds) {
  MutexLock lock(&mutex_);
  Series& series = Of(model.name());
  if (series.batch_size == nullptr) {
    const prometheus::Labels labels = {{"model", model.name()}};
    series.batch_size = &batch_size_.Add(labels, BatchSizes());
    series.batch_seconds = &batch_seconds_.Add(labels, BatchSeconds());
  }
  series.batch_size->Observe(static_cast<double>(proposals));
  series.batch_seconds->Observe(seconds);
}

void ModelMetrics::OnProgress(const ServedModel& model, const SamplingObserver::Counts& counts) {
  MutexLock lock(&mutex_);
  Series& series = Of(model.name());
  series.configurations->Increment(static_cast<double>(counts.configurations));
  series.proposals->Increment(static_cast<double>(counts.proposals));
  series.chain_proposals->Increment(static_cast<double>(counts.chain_proposals));
  series.accepted->Increment(static_cast<double>(counts.accepted));
  series.counts.configurations += counts.configurations;
  series.counts.proposals += counts.proposals;
  series.counts.chain_proposals += counts.chain_proposals;
  series.counts.accepted += counts.accepted;
}

void ModelMetrics::OnLogWeights(const ServedModel& model, const Digest& target, absl::Span<const double> log_weights) {
  MutexLock lock(&mutex_);
  Series& series = Of(model.name());
  series.latest = model.manifest.version;
  Version& version = series.versions[series.latest];
  version.window.Add(target, log_weights);
  const auto ratio = version.window.Ratio();
  if (!ratio.has_value()) return;
  if (version.ess == nullptr) {
    version.ess = &ess_ratio_.Add({{"model", model.name()}, {"version", absl::StrCat(series.latest)}});
  }
  version.ess->Set(*ratio);
}

void ModelMetrics::Remove(const Version& version) {
  if (version.ess != nullptr) ess_ratio_.Remove(version.ess);
  if (version.info != nullptr) model_info_.Remove(version.info);
}

void ModelMetrics::Remove(const Series& series) {
  configurations_.Remove(series.configurations);
  proposals_.Remove(series.proposals);
  chain_proposals_.Remove(series.chain_proposals);
  accepted_.Remove(series.accepted);
  if (series.batch_size != nullptr) {
    batch_size_.Remove(series.batch_size);
    batch_seconds_.Remove(series.batch_seconds);
  }
  for (const auto& [number, version] : series.versions) Remove(version);
}

void ModelMetrics::Keep(const std::vector<std::shared_ptr<const ServedModel>>& models) {
  MutexLock lock(&mutex_);
  std::map<std::string, uint64_t> served;
  for (const auto& model : models) {
    const uint64_t number = model->manifest.version;
    served[model->name()] = number;
    Version& version = Of(model->name()).versions[number];
    if (version.info != nullptr) continue;
    version.info = &model_info_.Add(
        {{"model", model->name()}, {"version", absl::StrCat(number)}, {"digest", model->digest().ShortHex()}});
    version.info->Set(1);
  }
  for (auto it = models_.begin(); it != models_.end();) {
    const auto kept = served.find(it->first);
    if (kept == served.end()) {
      Remove(it->second);
      it = models_.erase(it);
      continue;
    }
    std::map<uint64_t, Version>& versions = it->second.versions;
    for (auto version = versions.begin(); version != versions.end();) {
      if (version->first != kept->second) Remove(version->second);
      version = version->first != kept->second ? versions.erase(version) : std::next(version);
    }
    ++it;
  }
}

std::map<std::string, ModelActivity> ModelMetrics::Activity() const {
  std::map<std::string, ModelActivity> activity;
  MutexLock lock(&mutex_);
  for (const auto& [name, series] : models_) {
    ModelActivity& shown = activity[name];
    shown.counts = series.counts;
    const auto version = series.versions.find(series.latest);
    if (version == series.versions.end()) continue;
    shown.ess = version->second.window.Ratio();
    shown.ess_samples = version->second.window.samples();
  }
  return activity;
}

}  // namespace haarflow
