// One look at the running server, for those who watch it: the metrics' scrapes and the status page.
//
// Lifetime: its parts must outlive it. Thread-safety: thread-safe. A look waits for the job table (a disk), so not for
// gRPC's threads.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "core/kernel/kernels.h"
#include "haarflow/v1/sampler.pb.h"
#include "server/jobs/job_service.h"
#include "server/metrics/metrics.h"
#include "server/registry/model_manager.h"
#include "server/sampling/scheduler.h"
#include "server/status/snapshot.h"

namespace haarflow {

class ServerView {
 public:
  struct Parts {
    const ModelRegistry* registry = nullptr;
    const Scheduler* scheduler = nullptr;
    const Metrics* metrics = nullptr;
    const ModelManager* manager = nullptr;
    JobService* jobs = nullptr;  // null: none are kept
    std::string store;           // its directory
    v1::ServerInfo info;
    const hf_kernels* kernels = nullptr;
    std::vector<Device> devices;  // of `kernels`
  };
  explicit ServerView(Parts parts) : parts_(std::move(parts)) {}

  ScrapeValues Scrape() const;
  // Without its history.
  StatusSnapshot Snapshot() const;
  // A point of the history.
  void Record(StatusHistory* history) const;

 private:
  void AddJobs(StatusSnapshot* snapshot) const;

  const Parts parts_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// "READY": of a model or one of its versions, for people.
std::string ModelStateName(v1::ModelState state);

}  // namespace haarflow
