// What the status page shows: copies of what the server's parts say at one moment. The page knows nothing else, so it
// is tested without a server.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "haarflow/v1/sampler.pb.h"
#include "haarflow/v1/tuning.pb.h"
#include "server/metrics/model_metrics.h"
#include "server/status/history.h"

namespace haarflow {

struct StatusSnapshot {
  struct Stream {
    std::string method;
    std::string model;
    uint64_t version = 0;
    bool bulk = false;
    uint64_t proposals = 0;
    double seconds = 0;  // since it was admitted
  };

  std::string time;  // ISO 8601, UTC
  std::string code_version;
  std::string device;
  std::string numerics;
  double uptime_seconds = 0;
  bool draining = false;
  bool device_healthy = true;

  int64_t active_streams = 0, max_streams = 0;
  int64_t stream_bytes = 0, stream_byte_budget = 0;
  int64_t model_bytes = 0, model_byte_budget = 0;  // a budget of 0 is none
  uint64_t resident_bytes = 0;
  int64_t queue_depth = 0;
  uint64_t proposals_drawn = 0;

  std::vector<v1::ModelInfo> models;              // by name
  std::map<std::string, ModelActivity> activity;  // of those that were drawn from
  std::vector<Stream> streams;                    // the oldest first; there may be more
  bool keeps_jobs = false;
  std::string jobs_error;                 // the job table cannot be read
  std::map<std::string, int64_t> counts;  // jobs by state
  std::vector<v1::Job> jobs;              // the newest first; there may be more
  StatusHistoryLines history;
};

}  // namespace haarflow
