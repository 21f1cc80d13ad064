#include "server/status/server_view.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace haarflow {
namespace {

constexpr size_t kMostStreams = 100;
constexpr uint32_t kMostJobs = 20;

double Seconds(std::chrono::steady_clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

int64_t FreeBytes(const std::string& directory) {
  struct statvfs info {};
  if (statvfs(directory.c_str(), &info) != 0) return -1;
  return static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize);
}

std::map<std::string, ScrapeValues::Jobs> JobsByState(const std::vector<JobTable::StateCount>& counts) {
  std::map<std::string, ScrapeValues::Jobs> jobs;
  const int64_t now_ms = absl::ToUnixMillis(absl::Now());
  for (const JobTable::StateCount& count : counts) {
    ScrapeValues::Jobs& of_state = jobs[StateName(count.state)];
    of_state.count = count.jobs;
    if (count.jobs == 0 || IsTerminal(count.state)) continue;
    of_state.unchanged_seconds = std::max<double>(0, static_cast<double>(now_ms - count.oldest_update_ms) / 1e3);
  }
  return jobs;
}

}  // namespace

std::string ModelStateName(v1::ModelState state) {
  const std::string name = v1::ModelState_Name(state);
  const std::string prefix = "MODEL_STATE_";
  return name.compare(0, prefix.size(), prefix) == 0 ? name.substr(prefix.size()) : "UNKNOWN";
}

ScrapeValues ServerView::Scrape() const {
  ScrapeValues values;
  const Usage held = parts_.scheduler->held();
  const Usage& limits = parts_.scheduler->limits().all;
  values.draining = parts_.scheduler->draining();
  values.max_streams = limits.streams;
  values.memory["streams"] = {held.bytes, limits.bytes};
  values.memory["models"] = {parts_.manager->loaded_bytes(), parts_.manager->memory_budget()};
  for (const Device& device : parts_.devices) {
    uint64_t free = 0, total = 0;
    if (parts_.kernels->device_memory == nullptr) break;
    if (parts_.kernels->device_memory(device.number, &free, &total) != HF_OK) continue;
    values.gpu_memory.push_back({device.ToString(), free, total - free});
  }
  for (const v1::ModelState state :
       {v1::MODEL_STATE_READY, v1::MODEL_STATE_REFUSED, v1::MODEL_STATE_LOADING, v1::MODEL_STATE_UNLOADED}) {
    values.models[ModelStateName(state)] = 0;
  }
  for (const v1::ModelInfo& model : parts_.registry->List()) ++values.models[ModelStateName(model.state())];
  for (const auto& model : parts_.registry->Ready()) {
    absl::Time created;
    if (!absl::ParseTime(absl::RFC3339_full, model->manifest.card.created(), &created, nullptr)) continue;
    const double age = absl::ToDoubleSeconds(absl::Now() - created);
    values.ages.push_back({model->name(), model->manifest.version, std::max<double>(0, age)});
  }
  if (parts_.jobs != nullptr) {
    const auto counts = parts_.jobs->queue().CountByState();
    if (counts.ok()) values.jobs = JobsByState(*counts);
  }
  values.store_free_bytes = FreeBytes(parts_.store);
  return values;
}

StatusSnapshot ServerView::Snapshot() const {
  StatusSnapshot snapshot;
  snapshot.time = absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::Now(), absl::UTCTimeZone());
  snapshot.code_version = parts_.info.code_version();
  snapshot.device = parts_.info.device();
  snapshot.numerics = parts_.info.numerics_class();
  const auto now = std::chrono::steady_clock::now();
  snapshot.uptime_seconds = Seconds(now - start_);
  snapshot.draining = parts_.scheduler->draining();
  snapshot.device_healthy = parts_.metrics->device_healthy();
  const Usage held = parts_.scheduler->held();
  const Usage& limits = parts_.scheduler->limits().all;
  snapshot.active_streams = held.streams;
  snapshot.max_streams = limits.streams;
  snapshot.stream_bytes = held.bytes;
  snapshot.stream_byte_budget = limits.bytes;
  snapshot.model_bytes = parts_.manager->loaded_bytes();
  snapshot.model_byte_budget = parts_.manager->memory_budget();
  snapshot.resident_bytes = Metrics::ResidentBytes();
  snapshot.queue_depth = parts_.metrics->queue_depth();
  snapshot.proposals_drawn = parts_.scheduler->proposals_drawn();
  snapshot.models = parts_.registry->List();
  snapshot.activity = parts_.metrics->Activity();
  for (const Scheduler::ActiveStream& stream : parts_.scheduler->Streams(kMostStreams)) {
    snapshot.streams.push_back(
        {stream.method, stream.model, stream.version, stream.flow.bulk, stream.proposals, Seconds(now - stream.since)});
  }
  AddJobs(&snapshot);
  return snapshot;
}

void ServerView::AddJobs(StatusSnapshot* snapshot) const {
  snapshot->keeps_jobs = parts_.jobs != nullptr;
  if (parts_.jobs == nullptr) return;
  v1::ListJobsRequest request;
  request.set_page_size(kMostJobs);
  const auto jobs = parts_.jobs->queue().List(request);
  const auto counts = parts_.jobs->queue().CountByState();
  if (!jobs.ok() || !counts.ok()) {
    snapshot->jobs_error = std::string((jobs.ok() ? counts.status() : jobs.status()).message());
    return;
  }
  snapshot->jobs.assign(jobs->jobs().begin(), jobs->jobs().end());
  for (const JobTable::StateCount& count : *counts) snapshot->counts[StateName(count.state)] = count.jobs;
}

void ServerView::Record(StatusHistory* history) const {
  history->Record(parts_.metrics->Activity(), parts_.scheduler->proposals_drawn(), parts_.scheduler->active_streams(),
                  Seconds(std::chrono::steady_clock::now() - start_));
}

}  // namespace haarflow
