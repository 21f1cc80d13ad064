// The durable table of jobs. Its columns, and what a crash leaves: server/jobs/README.md.
//
// Every call is one transaction: what it returned is on disk, what it refused has changed nothing. Every change also
// appends to job_events.
//
// Thread-safety: none; JobQueue holds it under its lock. Errors beside those named: SqlDatabase's.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "haarflow/v1/tuning.pb.h"
#include "server/jobs/job_state.h"
#include "server/jobs/sqlite.h"

namespace haarflow {

struct JobRecord {
  int64_t number = 0;  // ever increasing: the order of submission
  std::string id;
  v1::RetuneRequest request;
  std::string request_text;  // what must be the same for the same idempotency key
  std::string start_model;   // what training starts from
  uint64_t start_version = 0;
  std::string start_digest;
  std::string publish_model;

  v1::JobState state = v1::JOB_STATE_PENDING;
  uint32_t attempt = 0;  // leases so far
  uint32_t barren_attempts = 0;
  uint64_t fence = 0;  // of the last lease
  std::string worker;
  v1::JobProgress progress;   // as last stored
  uint64_t state_number = 0;  // uploaded states so far; 0: none
  std::string state_digest;   // of the last one; empty: none
  bool publishing = false;
  uint64_t published_version = 0;
  std::string published_digest;
  bool promoted = false;
  double ess = 0;
  double ess_error = 0;
  std::string error;
  int64_t created_ms = 0;  // Unix time
  int64_t updated_ms = 0;
  std::string trace_id;  // of the request that submitted it
};

class JobTable {
 public:
  struct Options {
    std::string file;
    uint32_t max_attempts = 5;   // leases in a row without a state, after which a job that loses its trainer has failed
    int64_t max_waiting = 1000;  // jobs that are not terminal
    std::function<int64_t()> now_ms;  // Unix time; the system's when null
  };
  static absl::StatusOr<std::unique_ptr<JobTable>> Open(const Options& options);

  // `job`: id, request, request_text, start and publish_model. A key that is there already returns that job:
  // ALREADY_EXISTS when its request_text is another one. RESOURCE_EXHAUSTED: too many are waiting.
  absl::StatusOr<JobRecord> Submit(const JobRecord& job);
  // NOT_FOUND.
  absl::StatusOr<JobRecord> Get(const std::string& id);
  absl::StatusOr<std::optional<JobRecord>> FindKey(const std::string& idempotency_key);
  // Jobs with a number below `before` (0: all), the newest first.
  absl::StatusOr<std::vector<JobRecord>> List(int64_t before, int64_t limit);
  absl::StatusOr<std::vector<v1::JobEvent>> Events(const std::string& id);
  // Those that a trainer holds.
  absl::StatusOr<std::vector<JobRecord>> Held();
  absl::StatusOr<int64_t> Count(v1::JobState state);
  struct StateCount {
    v1::JobState state = v1::JOB_STATE_UNSPECIFIED;
    int64_t jobs = 0;
    int64_t oldest_update_ms = 0;  // Unix time; of the one that was stored longest ago
  };
  // Every state, those without jobs too.
  absl::StatusOr<std::vector<StateCount>> CountByState();

  // The waiting job of the highest priority, the oldest first, under a new fence; nothing when none waits.
  absl::StatusOr<std::optional<JobRecord>> Lease(const std::string& worker);
  // Applies an event of the holder of `fence` and stores what `change` does to the record (may be null). NOT_FOUND;
  // ABORTED when the fence is not that of the present lease; the errors of NextState. An event that changes nothing
  // that is stored writes nothing.
  absl::StatusOr<JobRecord> Apply(const std::string& id, uint64_t fence, JobEvent event, const std::string& detail,
                                  const std::function<void(JobRecord*)>& change = nullptr);
  // The user's.
  absl::StatusOr<JobRecord> Cancel(const std::string& id);

 private:
  JobTable(const Options& options, std::unique_ptr<SqlDatabase> database)
      : options_(options), database_(std::move(database)) {}
  int64_t Now() const;
  absl::StatusOr<std::optional<JobRecord>> FindOne(const std::string& where,
                                                   const std::function<void(SqlStatement*)>& bind);
  absl::Status Store(const JobRecord& job);
  absl::Status AddEvent(const JobRecord& job, const std::string& what, const std::string& detail);
  absl::StatusOr<JobRecord> Change(const std::string& id, std::optional<uint64_t> fence, JobEvent event,
                                   const std::string& detail, const std::function<void(JobRecord*)>& change);

  const Options options_;
  const std::unique_ptr<SqlDatabase> database_;
};

// As the API shows it.
v1::Job ToJob(const JobRecord& record);
// "2026-01-01T12:00:00Z".
std::string TimeText(int64_t unix_ms);

}  // namespace haarflow
