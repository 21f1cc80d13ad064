// The job table with what is not durable: leases against this process's clock, progress between stored states, and who
// wants to know of changes.
//
// Leases are judged by the server's monotonic clock alone. A restarted server gives every held job a whole lease anew:
// trainers survive its restart, and a trainer that died meanwhile is noticed one lease later.
//
// Thread-safety: thread-safe; calls wait for the disk (some ten milliseconds), so not for gRPC's threads.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/mutex.h"
#include "haarflow/v1/tuning.pb.h"
#include "haarflow/v1/worker.pb.h"
#include "server/jobs/job_table.h"
#include "server/jobs/message_source.h"

namespace haarflow {

class JobQueue {
 public:
  using Clock = std::chrono::steady_clock;
  struct Options {
    JobTable::Options table;
    std::chrono::milliseconds lease{30000};
    std::function<Clock::time_point()> clock;  // the system's when null
  };
  static absl::StatusOr<std::unique_ptr<JobQueue>> Open(const Options& options);

  // Called after each change of a job, with no lock held, on the thread that made it. Before anything else is called.
  using Listener = std::function<void(const std::string& job_id, bool ended)>;
  void SetListener(Listener listener) { listener_ = std::move(listener); }

  // Users. Errors: JobTable's.
  absl::StatusOr<v1::Job> Submit(const JobRecord& job);
  absl::StatusOr<std::optional<v1::Job>> FindKey(const std::string& idempotency_key, std::string* request_text);
  absl::StatusOr<v1::Job> Get(const std::string& id, bool with_events);
  // For watchers, without events.
  absl::StatusOr<JobSnapshot> Snapshot(const std::string& id);
  // The newest first. INVALID_ARGUMENT for a page token that is none.
  absl::StatusOr<v1::ListJobsResponse> List(const v1::ListJobsRequest& request);
  absl::StatusOr<v1::Job> Cancel(const std::string& id);

  // Trainers. ABORTED: the lease is lost.
  absl::StatusOr<std::optional<JobRecord>> Lease(const std::string& worker);
  // Every one of these renews the lease.
  absl::StatusOr<JobRecord> Check(const v1::Lease& lease);
  // True: the job was cancelled.
  absl::StatusOr<bool> Heartbeat(const v1::HeartbeatRequest& request);
  absl::StatusOr<JobRecord> RecordState(const v1::Lease& lease, const std::string& digest);
  // The publication of this lease is complete already: what it published. For a trainer that asks again.
  absl::StatusOr<std::optional<JobRecord>> Published(const v1::Lease& lease);
  absl::StatusOr<JobRecord> BeginPublication(const v1::Lease& lease);
  absl::Status AbandonPublication(const v1::Lease& lease, const std::string& why);
  struct Publication {
    uint64_t version = 0;
    std::string digest;
    bool promoted = false;
    double ess = 0;
    double ess_error = 0;
    std::string error;  // of one that was not promoted
  };
  absl::StatusOr<JobRecord> EndPublication(const v1::Lease& lease, const Publication& publication);

  // Returns jobs whose trainers were not heard of in time to the queue; their number.
  absl::StatusOr<int> ExpireLeases();
  // When the next lease runs out; max() when none does.
  Clock::time_point NextExpiry() const;
  absl::StatusOr<std::vector<JobRecord>> Held();
  absl::StatusOr<std::vector<JobTable::StateCount>> CountByState();

 private:
  JobQueue(const Options& options, std::unique_ptr<JobTable> table) : options_(options), table_(std::move(table)) {}
  Clock::time_point Now() const { return options_.clock != nullptr ? options_.clock() : Clock::now(); }
  absl::StatusOr<JobRecord> Apply(const v1::Lease& lease, JobEvent event, const std::string& detail,
                                  const std::function<void(JobRecord*)>& change) ABSL_LOCKS_EXCLUDED(mutex_);
  v1::Job Shown(const JobRecord& record) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  v1::JobProgress ProgressOf(const std::string& id) const ABSL_LOCKS_EXCLUDED(mutex_);
  void Forget(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Tell(const std::string& id, v1::JobState state) const;

  const Options options_;
  Listener listener_;
  mutable Mutex mutex_;
  const std::unique_ptr<JobTable> table_ ABSL_PT_GUARDED_BY(mutex_);
  std::map<std::string, std::pair<uint64_t, Clock::time_point>> leases_ ABSL_GUARDED_BY(mutex_);  // fence, end
  std::map<std::string, v1::JobProgress> progress_ ABSL_GUARDED_BY(mutex_);
  uint64_t snapshots_ ABSL_GUARDED_BY(mutex_) = 0;  // taken so far
};

}  // namespace haarflow
