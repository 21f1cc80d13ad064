// Jobs as the server offers them: the queue, the files of trainers, publication, and those who wait. Knows no gRPC.
//
// Threads: Post runs work on a few threads of the service's own (SQLite, files and publications wait for disks, which
// gRPC's threads must not); one more thread returns lost jobs to the queue and answers LeaseJob calls that wait.
//
// Thread-safety: thread-safe. Ownership: owns the queue; the model store belongs to the one coordinator.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/mutex.h"
#include "core/model/store.h"
#include "haarflow/v1/tuning.pb.h"
#include "haarflow/v1/worker.pb.h"
#include "server/jobs/job_queue.h"
#include "server/jobs/message_source.h"
#include "server/jobs/publication.h"
#include "server/jobs/upload.h"
#include "server/log/log.h"

namespace haarflow {

class JobService {
 public:
  struct Options {
    std::string directory;  // of the job table and of uploaded states; made if absent; on a disk of this host
    std::chrono::milliseconds lease{30000};
    uint64_t max_state_bytes = uint64_t{1} << 30;
    uint64_t max_upload_bytes = uint64_t{2} << 30;  // in memory, of all uploads together
    // After a version was published and before its job has succeeded, on a thread of the service.
    std::function<void(const std::string& model, uint64_t version, bool promoted)> on_published;
    // So many leases have run out.
    std::function<void(int leases)> on_expired;
  };
  // Opens the job table and brings it and the store to one mind about publications that a crash cut short.
  static absl::StatusOr<std::unique_ptr<JobService>> Open(const Options& options, ModelStore store);
  ~JobService();
  JobService(const JobService&) = delete;
  JobService& operator=(const JobService&) = delete;

  // False: the service stops, and `work` was not taken.
  // `urgent`: on a thread that nothing long ever holds; for heartbeats.
  bool Post(std::function<void()> work, bool urgent = false);
  // Those who wait are sent away with UNAVAILABLE; nobody waits from now on.
  void Drain();

  JobQueue& queue() { return *queue_; }
  UploadBudget& upload_budget() { return budget_; }
  const Options& options() const { return options_; }

  // All of these wait for disks: call them through Post.
  absl::StatusOr<v1::Job> Retune(const v1::RetuneRequest& request);
  absl::StatusOr<std::vector<NamedFile>> Checkpoint(const v1::Lease& lease);
  // ABORTED unless the lease is held, or its version is published already. Renews it.
  absl::Status CheckUploader(const v1::Lease& lease);
  absl::StatusOr<v1::UploadResponse> StoreState(const v1::Lease& lease, const std::string& digest,
                                                const std::string& bytes);
  absl::StatusOr<v1::UploadResponse> Publish(const v1::Lease& lease, const UploadedVersion& version);

  // Answers at once, or when a job comes, or after wait_seconds without one. `gone`: the caller has left.
  using LeaseDone = std::function<void(absl::StatusOr<v1::LeaseJobResponse>)>;
  void LeaseJob(const v1::LeaseJobRequest& request, std::function<bool()> gone, LeaseDone done);
  // The job now, and whenever it changes. An unknown job ends the stream with NOT_FOUND.
  absl::Status Watch(const std::string& job_id, const std::shared_ptr<JobWatch>& watch);

 private:
  struct Waiter {
    std::string worker;
    JobQueue::Clock::time_point until;
    std::function<bool()> gone;
    LeaseDone done;
    LogFields log_fields;  // of the call
  };
  JobService(const Options& options, ModelStore store, std::unique_ptr<JobQueue> queue);
  absl::Status Reconcile();
  absl::StatusOr<std::vector<struct RetuneCandidate>> Candidates(const std::string& model) const;
  absl::StatusOr<v1::LeaseJobResponse> Leased(const JobRecord& job) const;
  absl::StatusOr<PublishedVersion> PublishVerified(const JobRecord& job, const UploadedVersion& version);
  void Changed(const std::string& job_id, bool ended);
  void RemoveStates(const std::string& job_id, const std::string& keep) const;
  std::string StateFile(const std::string& job_id, const std::string& digest) const;
  void Work(bool urgent);
  void Dispatch();
  std::list<Waiter> ServeWaiters(std::list<Waiter> waiters);

  const Options options_;
  const ModelStore store_;
  const std::unique_ptr<JobQueue> queue_;
  UploadBudget budget_;
  Mutex states_mutex_;   // one state is stored at a time
  Mutex publish_mutex_;  // and one version published

  Mutex mutex_;
  CondVar work_there_;
  CondVar dispatch_;
  std::deque<std::function<void()>> work_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::function<void()>> urgent_work_ ABSL_GUARDED_BY(mutex_);
  std::list<Waiter> waiters_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::vector<std::weak_ptr<JobWatch>>> watches_ ABSL_GUARDED_BY(mutex_);
  bool changed_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace haarflow
