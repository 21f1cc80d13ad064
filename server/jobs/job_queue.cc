#include "server/jobs/job_queue.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "core/base/failpoint.h"
#include "core/base/status.h"

namespace haarflow {
namespace {
constexpr uint32_t kDefaultPage = 100, kMostPage = 1000;
constexpr size_t kMaxErrorBytes = 2000;
constexpr size_t kMaxProgressBytes = 16384;
// At most kMaxErrorBytes, whole UTF-8 characters.
std::string Shortened(const std::string& text) {
  size_t end = std::min(text.size(), kMaxErrorBytes);
  while (end > 0 && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

}  // namespace

absl::StatusOr<std::unique_ptr<JobQueue>> JobQueue::Open(const Options& options) {
  ASSIGN_OR_RETURN(auto table, JobTable::Open(options.table));
  ASSIGN_OR_RETURN(const std::vector<JobRecord> held, table->Held());
  std::unique_ptr<JobQueue> queue(new JobQueue(options, std::move(table)));
  MutexLock lock(&queue->mutex_);
  for (const JobRecord& job : held) queue->leases_[job.id] = {job.fence, queue->Now() + options.lease};
  return queue;
}

void JobQueue::Tell(const std::string& id, v1::JobState state) const {
  if (listener_ != nullptr) listener_(id, IsTerminal(state));
}

void JobQueue::Forget(const std::string& id) {
  leases_.erase(id);
  progress_.erase(id);
}

v1::Job JobQueue::Shown(const JobRecord& record) const {
  v1::Job job = ToJob(record);
  if (const auto it = progress_.find(record.id); it != progress_.end()) *job.mutable_progress() = it->second;
  return job;
}

v1::JobProgress JobQueue::ProgressOf(const std::string& id) const {
  MutexLock lock(&mutex_);
  const auto it = progress_.find(id);
  return it != progress_.end() ? it->second : v1::JobProgress();
}

absl::StatusOr<v1::Job> JobQueue::Submit(const JobRecord& job) {
  v1::Job shown;
  {
    MutexLock lock(&mutex_);
    ASSIGN_OR_RETURN(const JobRecord stored, table_->Submit(job));
    Failpoint("submitted");
    shown = Shown(stored);
  }
  Tell(shown.job_id(), shown.state());
  return shown;
}

absl::StatusOr<std::optional<v1::Job>> JobQueue::FindKey(const std::string& idempotency_key,
                                                         std::string* request_text) {
  MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(const std::optional<JobRecord> job, table_->FindKey(idempotency_key));
  if (!job.has_value()) return std::optional<v1::Job>();
  *request_text = job->request_text;
  return std::optional<v1::Job>(Shown(*job));
}

absl::StatusOr<v1::Job> JobQueue::Get(const std::string& id, bool with_events) {
  MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(const JobRecord record, table_->Get(id));
  v1::Job job = Shown(record);
  if (!with_events) return job;
  ASSIGN_OR_RETURN(const std::vector<v1::JobEvent> events, table_->Events(id));
  for (const v1::JobEvent& event : events) *job.add_events() = event;
  return job;
}

absl::StatusOr<JobSnapshot> JobQueue::Snapshot(const std::string& id) {
  MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(const JobRecord record, table_->Get(id));
  return JobSnapshot{Shown(record), ++snapshots_};
}

absl::StatusOr<v1::ListJobsResponse> JobQueue::List(const v1::ListJobsRequest& request) {
  int64_t before = 0;
  if (!request.page_token().empty() && (!absl::SimpleAtoi(request.page_token(), &before) || before <= 0)) {
    return absl::InvalidArgumentError("page_token is none that this server has given");
  }
  const uint32_t size = request.page_size() == 0 ? kDefaultPage : std::min(request.page_size(), kMostPage);
  MutexLock lock(&mutex_);
  // One more than asked for: whether there are more.
  ASSIGN_OR_RETURN(std::vector<JobRecord> jobs, table_->List(before, int64_t{size} + 1));
  v1::ListJobsResponse response;
  if (jobs.size() > size) {
    jobs.resize(size);
    response.set_next_page_token(absl::StrCat(jobs.back().number));
  }
  for (const JobRecord& job : jobs) *response.add_jobs() = Shown(job);
  return response;
}

absl::StatusOr<v1::Job> JobQueue::Cancel(const std::string& id) {
  v1::Job shown;
  {
    MutexLock lock(&mutex_);
    ASSIGN_OR_RETURN(const JobRecord record, table_->Cancel(id));
    shown = Shown(record);
    Forget(id);
  }
  Tell(id, shown.state());
  return shown;
}

absl::StatusOr<std::optional<JobRecord>> JobQueue::Lease(const std::string& worker) {
  std::optional<JobRecord> job;
  {
    MutexLock lock(&mutex_);
    ASSIGN_OR_RETURN(job, table_->Lease(worker));
    if (!job.has_value()) return job;
    leases_[job->id] = {job->fence, Now() + options_.lease};
    Failpoint("leased");
  }
  Tell(job->id, job->state);
  return job;
}

absl::StatusOr<JobRecord> JobQueue::Apply(const v1::Lease& lease, JobEvent event, const std::string& detail,
                                          const std::function<void(JobRecord*)>& change) {
  absl::StatusOr<JobRecord> job;
  {
    MutexLock lock(&mutex_);
    job = table_->Apply(lease.job_id(), lease.fence(), event, detail, change);
    if (!job.ok()) return job;
    if (IsHeld(job->state)) {
      leases_[job->id] = {job->fence, Now() + options_.lease};
    } else {
      Forget(job->id);
    }
  }
  Tell(job->id, job->state);
  return job;
}

absl::StatusOr<JobRecord> JobQueue::Check(const v1::Lease& lease) {
  return Apply(lease, JobEvent::kHeartbeat, "", nullptr);
}

absl::StatusOr<bool> JobQueue::Heartbeat(const v1::HeartbeatRequest& request) {
  const v1::Lease& lease = request.lease();
  if (request.progress().ByteSizeLong() > kMaxProgressBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("progress has ", request.progress().ByteSizeLong(), " bytes; at most ", kMaxProgressBytes));
  }
  {
    MutexLock lock(&mutex_);
    ASSIGN_OR_RETURN(const JobRecord job, table_->Get(lease.job_id()));
    if (job.state == v1::JOB_STATE_CANCELLED && job.fence == lease.fence()) return true;
    // Shown at once; on disk with the next state.
    if (IsHeld(job.state) && job.fence == lease.fence()) progress_[job.id] = request.progress();
  }
  if (!request.failure().empty()) {
    const std::string error = Shortened(request.failure());
    RETURN_IF_ERROR(Apply(lease, JobEvent::kFail, error, [&](JobRecord* job) {
                      job->error = error;
                      job->progress = request.progress();
                    }).status());
    return false;
  }
  if (request.release()) {
    RETURN_IF_ERROR(Apply(lease, JobEvent::kRelease, "", [](JobRecord* job) {
                      if (job->barren_attempts > 0) --job->barren_attempts;  // a trainer that stops is no lost one
                    }).status());
    return false;
  }
  RETURN_IF_ERROR(Apply(lease, JobEvent::kHeartbeat, "", nullptr).status());
  return false;
}

absl::StatusOr<JobRecord> JobQueue::RecordState(const v1::Lease& lease, const std::string& digest) {
  const v1::JobProgress progress = ProgressOf(lease.job_id());
  return Apply(lease, JobEvent::kState, "", [&](JobRecord* job) {
    ++job->state_number;
    job->state_digest = digest;
    job->barren_attempts = 0;
    job->progress = progress;
  });
}

absl::StatusOr<std::optional<JobRecord>> JobQueue::Published(const v1::Lease& lease) {
  MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(const JobRecord job, table_->Get(lease.job_id()));
  const bool published = job.published_version != 0 && job.fence == lease.fence() && IsTerminal(job.state);
  return published ? std::optional<JobRecord>(job) : std::nullopt;
}

absl::StatusOr<JobRecord> JobQueue::BeginPublication(const v1::Lease& lease) {
  return Apply(lease, JobEvent::kPublish, "", nullptr);
}

absl::Status JobQueue::AbandonPublication(const v1::Lease& lease, const std::string& why) {
  return Apply(lease, JobEvent::kAbandon, Shortened(why), nullptr).status();
}

absl::StatusOr<JobRecord> JobQueue::EndPublication(const v1::Lease& lease, const Publication& publication) {
  const v1::JobProgress progress = ProgressOf(lease.job_id());
  const JobEvent event = publication.promoted ? JobEvent::kPromote : JobEvent::kKeep;
  return Apply(lease, event, absl::StrCat("version ", publication.version), [&](JobRecord* job) {
    job->published_version = publication.version;
    job->published_digest = publication.digest;
    job->promoted = publication.promoted;
    job->ess = publication.ess;
    job->ess_error = publication.ess_error;
    job->error = Shortened(publication.error);
    job->state_digest.clear();
    if (progress.ByteSizeLong() > 0) job->progress = progress;
  });
}

absl::StatusOr<int> JobQueue::ExpireLeases() {
  std::vector<v1::Lease> late;
  {
    MutexLock lock(&mutex_);
    for (const auto& [id, lease] : leases_) {
      if (lease.second > Now()) continue;
      late.emplace_back().set_job_id(id);
      late.back().set_fence(lease.first);
    }
  }
  int expired = 0;
  for (const v1::Lease& lease : late) {
    {
      MutexLock lock(&mutex_);  // renewed meanwhile?
      const auto it = leases_.find(lease.job_id());
      if (it == leases_.end() || it->second.first != lease.fence() || it->second.second > Now()) continue;
    }
    const auto job = Apply(lease, JobEvent::kExpire, "", [](JobRecord* job) {
      if (job->state == v1::JOB_STATE_FAILED) {
        job->error = absl::StrCat("lost its trainer ", job->barren_attempts,
                                  " times in a row without progress; the last was ", job->worker);
      }
    });
    if (job.ok()) {
      ++expired;
    } else if (absl::IsAborted(job.status())) {
      // Being published by this server: it ends by itself.
      MutexLock lock(&mutex_);
      if (const auto it = leases_.find(lease.job_id()); it != leases_.end()) it->second.second = Now() + options_.lease;
    } else {
      return job.status();
    }
  }
  return expired;
}

JobQueue::Clock::time_point JobQueue::NextExpiry() const {
  MutexLock lock(&mutex_);
  auto next = Clock::time_point::max();
  for (const auto& [id, lease] : leases_) next = std::min(next, lease.second);
  return next;
}

absl::StatusOr<std::vector<JobTable::StateCount>> JobQueue::CountByState() {
  MutexLock lock(&mutex_);
  return table_->CountByState();
}

absl::StatusOr<std::vector<JobRecord>> JobQueue::Held() {
  MutexLock lock(&mutex_);
  return table_->Held();
}

}  // namespace haarflow
