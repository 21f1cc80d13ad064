#include "server/metrics/metric_table.h"

#include <cstdio>
#include <cstdlib>

namespace haarflow {

const std::vector<MetricRow>& MetricTable() {
  static const auto& rows = *new std::vector<MetricRow>{
      {"haarflow_requests_total", "counter", {"code", "method"}, "RPCs that have ended, by method and status code."},
      {"haarflow_request_duration_seconds",
       "histogram",
       {"method"},
       "Time from the first byte of an RPC to its status, streams included."},
      {"haarflow_time_to_first_configuration_seconds",
       "histogram",
       {},
       "Time from a Sample request to its first chunk handed to the transport."},
      {"haarflow_rejected_total",
       "counter",
       {"reason"},
       "Streams refused at admission, by the bound that refused them."},
      {"haarflow_cancelled_total",
       "counter",
       {},
       "RPCs cancelled by the client, its deadline or the connection; also in requests_total."},
      {"haarflow_open_calls", "gauge", {}, "Calls that wait, stream or upload: begun and not yet freed."},
      {"haarflow_active_streams", "gauge", {}, "Streams admitted and not yet gone."},
      {"haarflow_max_streams", "gauge", {}, "Streams that may be admitted at once (--max-streams)."},
      {"haarflow_stream_bytes_total", "counter", {}, "Bytes of stream messages handed to the transport."},
      {"haarflow_stream_stall_seconds_total", "counter", {}, "Time that full chunks waited for their clients."},

      {"haarflow_queue_depth", "gauge", {}, "Proposals that open streams could be given now."},
      {"haarflow_queue_wait_seconds",
       "histogram",
       {},
       "Time from the admission of a stream to the start of the first batch with proposals for it."},
      {"haarflow_batch_size", "histogram", {"model"}, "Proposals per batch of the device."},
      {"haarflow_batch_seconds", "histogram", {"model"}, "Duration of a batch, delivery to its streams included."},
      {"haarflow_device_healthy", "gauge", {}, "1 while the device works; 0, for good, after it has failed."},

      {"haarflow_configurations_total",
       "counter",
       {"model"},
       "Configurations made for Sample streams: closed chain states, or proposals with weight."},
      {"haarflow_proposals_total", "counter", {"model"}, "Proposals that streams have looked at, chains or not."},
      {"haarflow_chain_proposals_total",
       "counter",
       {"model"},
       "Proposals that Metropolis chains have looked at, burn-in included; acceptance is accepted over these."},
      {"haarflow_accepted_total", "counter", {"model"}, "Proposals that Metropolis chains have accepted."},
      {"haarflow_ess_ratio",
       "gauge",
       {"model", "version"},
       "ESS / n of the last 4,096 to 8,192 weights drawn for targets that the version was made for; absent below 256."},
      {"haarflow_models", "gauge", {"state"}, "Models of the store, by state."},
      {"haarflow_model_info", "gauge", {"digest", "model", "version"}, "1 for every model version served."},
      {"haarflow_model_age_seconds",
       "gauge",
       {"model", "version"},
       "Time since the card of the served version was made; absent where the card does not say."},
      {"haarflow_model_swap_total",
       "counter",
       {"outcome"},
       "What happened to versions: served, refused, loaded (for a token), unloaded, lease_ended, destroyed; "
       "store_error."},
      {"haarflow_model_swap_seconds",
       "histogram",
       {},
       "Time from the decision to load a version to its service, checks included."},
      {"haarflow_memory_bytes",
       "gauge",
       {"kind"},
       "Memory that budgets count: models (in memory, on the device) and streams (reserved for buffers)."},
      {"haarflow_memory_budget_bytes",
       "gauge",
       {"kind"},
       "The budgets of haarflow_memory_bytes; absent without a bound."},
      {"haarflow_gpu_memory_bytes",
       "gauge",
       {"device", "kind"},
       "Memory of a GPU, free and used, other processes included; absent on CPUs and after the device has failed."},

      {"haarflow_jobs", "gauge", {"state"}, "Jobs of the job table, by state; absent without --jobs."},
      {"haarflow_job_unchanged_seconds",
       "gauge",
       {"state"},
       "Of jobs in one state, the longest time since one was last stored: changed its state or brought a state file."},
      {"haarflow_job_lease_expired_total", "counter", {}, "Leases whose trainer was not heard of in time."},
      {"haarflow_job_published_total",
       "counter",
       {"outcome"},
       "Versions published by jobs: champion, or candidate (the gate did not pass)."},

      {"haarflow_build_info",
       "gauge",
       {"device", "numerics", "version"},
       "1, with the version and the numerics class."},
      {"haarflow_draining", "gauge", {}, "1 once the server takes no new calls."},
      {"haarflow_store_free_bytes", "gauge", {}, "Space left on the file system of the model store."},
      {"haarflow_log_dropped_total", "counter", {}, "Log lines dropped because whoever reads stderr stalled."},
      {"process_resident_memory_bytes", "gauge", {}, "Resident memory size in bytes."},
      {"process_cpu_seconds_total", "counter", {}, "User and system time of the process."},
      {"process_open_fds", "gauge", {}, "Open file descriptors."},
      {"process_start_time_seconds", "gauge", {}, "Start of the process, Unix time."},
  };
  return rows;
}

const MetricRow& MetricNamed(const std::string& name) {
  for (const MetricRow& row : MetricTable()) {
    if (row.name == name) return row;
  }
  std::fprintf(stderr, "no metric is named %s: metric_table.cc\n", name.c_str());
  std::abort();
}

}  // namespace haarflow
