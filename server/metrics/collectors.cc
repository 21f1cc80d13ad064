#include "server/metrics/collectors.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/log/log.h"
#include "server/metrics/metric_table.h"
#include "server/metrics/metrics.h"

namespace haarflow {
namespace {

using Labels = std::vector<prometheus::ClientMetric::Label>;

// The family of a row of the table, without its metrics.
prometheus::MetricFamily FamilyOf(const std::string& name) {
  const MetricRow& row = MetricNamed(name);
  prometheus::MetricFamily family;
  family.name = row.name;
  family.help = row.help;
  family.type = row.type == "counter" ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
  return family;
}

void AddValue(prometheus::MetricFamily* family, Labels labels, double value) {
  prometheus::ClientMetric metric;
  metric.label = std::move(labels);
  metric.gauge.value = value;
  metric.counter.value = value;
  family->metric.push_back(std::move(metric));
}

prometheus::MetricFamily Single(const std::string& name, double value) {
  prometheus::MetricFamily family = FamilyOf(name);
  AddValue(&family, {}, value);
  return family;
}

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// -1: the kernel does not say.
double OpenFiles() {
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return -1;
  double count = -3;  // ".", "..", and the directory itself
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

// Unix time: that of the process's entry in /proc.
double StartSeconds() {
  static const double start = [] {
    struct stat entry {};
    if (stat("/proc/self", &entry) == 0) return static_cast<double>(entry.st_ctim.tv_sec);
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  }();
  return start;
}

}  // namespace

std::vector<prometheus::MetricFamily> ProcessCollector::Collect() const {
  std::vector<prometheus::MetricFamily> families;
  families.push_back(Single("process_resident_memory_bytes", static_cast<double>(Metrics::ResidentBytes())));
  families.push_back(Single("process_cpu_seconds_total", CpuSeconds()));
  if (const double open = OpenFiles(); open >= 0) families.push_back(Single("process_open_fds", open));
  families.push_back(Single("process_start_time_seconds", StartSeconds()));
  families.push_back(Single("haarflow_log_dropped_total", static_cast<double>(DroppedLogLines())));
  return families;
}

void ScrapeCollector::SetSource(Source source) {
  MutexLock lock(&mutex_);
  source_ = std::move(source);
}

std::vector<prometheus::MetricFamily> ScrapeCollector::Collect() const {
  ScrapeValues values;
  {
    MutexLock lock(&mutex_);
    if (source_ == nullptr) return {};
    values = source_();
  }
  std::vector<prometheus::MetricFamily> families;
  families.push_back(Single("haarflow_draining", values.draining ? 1 : 0));
  families.push_back(Single("haarflow_max_streams", static_cast<double>(values.max_streams)));
  if (values.store_free_bytes >= 0) {
    families.push_back(Single("haarflow_store_free_bytes", static_cast<double>(values.store_free_bytes)));
  }
  prometheus::MetricFamily memory = FamilyOf("haarflow_memory_bytes");
  prometheus::MetricFamily budget = FamilyOf("haarflow_memory_budget_bytes");
  for (const auto& [kind, bytes] : values.memory) {
    AddValue(&memory, {{"kind", kind}}, static_cast<double>(bytes.used));
    if (bytes.budget > 0) AddValue(&budget, {{"kind", kind}}, static_cast<double>(bytes.budget));
  }
  prometheus::MetricFamily gpu = FamilyOf("haarflow_gpu_memory_bytes");
  for (const ScrapeValues::GpuMemory& memory : values.gpu_memory) {
    AddValue(&gpu, {{"device", memory.device}, {"kind", "free"}}, static_cast<double>(memory.free));
    AddValue(&gpu, {{"device", memory.device}, {"kind", "used"}}, static_cast<double>(memory.used));
  }
  prometheus::MetricFamily models = FamilyOf("haarflow_models");
  for (const auto& [state, count] : values.models) AddValue(&models, {{"state", state}}, static_cast<double>(count));
  prometheus::MetricFamily ages = FamilyOf("haarflow_model_age_seconds");
  for (const ScrapeValues::ModelAge& age : values.ages) {
    AddValue(&ages, {{"model", age.model}, {"version", absl::StrCat(age.version)}}, age.seconds);
  }
  prometheus::MetricFamily jobs = FamilyOf("haarflow_jobs");
  prometheus::MetricFamily unchanged = FamilyOf("haarflow_job_unchanged_seconds");
  if (values.jobs.has_value()) {
    for (const auto& [state, of_state] : *values.jobs) {
      AddValue(&jobs, {{"state", state}}, static_cast<double>(of_state.count));
      if (of_state.unchanged_seconds) AddValue(&unchanged, {{"state", state}}, *of_state.unchanged_seconds);
    }
  }
  for (prometheus::MetricFamily* family : {&memory, &budget, &gpu, &models, &ages, &jobs, &unchanged}) {
    if (!family->metric.empty()) families.push_back(std::move(*family));
  }
  return families;
}

}  // namespace haarflow
