#include "server/jobs/job_service.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <random>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_format.h"
#include "core/base/failpoint.h"
#include "core/base/file.h"
#include "core/base/status.h"
#include "server/jobs/retune_plan.h"
#include "server/log/log.h"

namespace haarflow {
namespace {

namespace fs = std::filesystem;
constexpr int kThreads = 3;
constexpr double kMostWaitSeconds = 60;
constexpr double kRetrySeconds = 5;
constexpr auto kLongestSleep = std::chrono::seconds(1);  // callers that have left are noticed
constexpr size_t kMostCandidates = 256;
constexpr size_t kMaxNameBytes = 128;

std::string NewJobId() {
  std::random_device device;
  return absl::StrFormat("job-%08x%08x", device(), device());
}

absl::Status Draining() { return absl::UnavailableError("the server is draining; ask again when it is back"); }

bool Printable(const std::string& text) {
  return !text.empty() && text.size() <= kMaxNameBytes &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c < 0x7F; });
}

}  // namespace

absl::StatusOr<std::unique_ptr<JobService>> JobService::Open(const Options& options, ModelStore store) {
  std::error_code error;
  fs::create_directories(options.directory + "/states", error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("creating the directory of jobs ", options.directory));
  JobQueue::Options queue_options;
  queue_options.table.file = options.directory + "/jobs.sqlite";
  queue_options.lease = options.lease;
  ASSIGN_OR_RETURN(auto queue, JobQueue::Open(queue_options));
  std::unique_ptr<JobService> service(new JobService(options, std::move(store), std::move(queue)));
  RETURN_IF_ERROR(service->Reconcile());
  service->queue_->SetListener([s = service.get()](const std::string& id, bool ended) { s->Changed(id, ended); });
  for (int i = 0; i < kThreads; ++i) service->threads_.emplace_back([s = service.get()] { s->Work(false); });
  service->threads_.emplace_back([s = service.get()] { s->Work(true); });
  service->threads_.emplace_back([s = service.get()] { s->Dispatch(); });
  return service;
}

JobService::JobService(const Options& options, ModelStore store, std::unique_ptr<JobQueue> queue)
    : options_(options), store_(std::move(store)), queue_(std::move(queue)), budget_(options.max_upload_bytes) {}

JobService::~JobService() {
  Drain();
  {
    MutexLock lock(&mutex_);
    stop_ = true;
    work_there_.NotifyAll();
    dispatch_.NotifyAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

// A crash after a version was published and before the job table knew; uploaded states that no job knows.
absl::Status JobService::Reconcile() {
  ASSIGN_OR_RETURN(const std::vector<JobRecord> held, queue_->Held());
  for (const JobRecord& job : held) {
    if (!job.publishing) continue;
    v1::Lease lease;
    lease.set_job_id(job.id);
    lease.set_fence(job.fence);
    ASSIGN_OR_RETURN(const std::optional<Manifest> manifest, FindPublished(store_, job));
    if (!manifest.has_value()) {
      RETURN_IF_ERROR(queue_->AbandonPublication(lease, "the server stopped before the version was published"));
      continue;
    }
    JobQueue::Publication publication{.version = manifest->version, .digest = manifest->digest.Bytes()};
    publication.ess = manifest->card.quality().ess();
    publication.ess_error = manifest->card.quality().ess_error();
    ASSIGN_OR_RETURN(publication.promoted, IsChampion(store_, job.publish_model, manifest->version));
    if (!publication.promoted) {
      const std::string reason = Judge(job.request, manifest->card, nullptr).reason;
      publication.error = reason.empty() ? "kept as candidate beside the champion" : reason;
    }
    RETURN_IF_ERROR(queue_->EndPublication(lease, publication).status());
    Log(LogLevel::kInfo, "job found published", {{"job", job.id}, {"model", job.publish_model}});
  }
  std::set<std::string> known;
  for (int64_t before = 0;;) {
    v1::ListJobsRequest request;
    if (before > 0) request.set_page_token(absl::StrCat(before));
    ASSIGN_OR_RETURN(const v1::ListJobsResponse page, queue_->List(request));
    for (const v1::Job& job : page.jobs()) {
      if (!IsTerminal(job.state())) known.insert(job.job_id());
    }
    if (!absl::SimpleAtoi(page.next_page_token(), &before)) break;
  }
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(options_.directory + "/states", error)) {
    const std::string name = entry.path().filename().string();
    if (known.count(name.substr(0, name.find('.'))) == 0) fs::remove(entry.path(), error);
  }
  return absl::OkStatus();
}

// --------------------------------------------------------------------------------------------------------- threads

bool JobService::Post(std::function<void()> work, bool urgent) {
  MutexLock lock(&mutex_);
  if (stop_) return false;
  (urgent ? urgent_work_ : work_).push_back([fields = LogScope::Current(), work = std::move(work)] {
    const LogScope scope(fields);  // of the request that this is part of
    work();
  });
  work_there_.NotifyAll();
  return true;
}

void JobService::Work(bool urgent) {
  while (true) {
    std::function<void()> work;
    {
      MutexLock lock(&mutex_);
      std::deque<std::function<void()>>& queue = urgent ? urgent_work_ : work_;
      while (queue.empty() && !stop_) work_there_.Wait(&mutex_);
      if (queue.empty()) return;
      work = std::move(queue.front());
      queue.pop_front();
    }
    work();
  }
}

void JobService::Changed(const std::string& job_id, bool ended) {
  if (ended) RemoveStates(job_id, "");
  bool watched = false;
  {
    MutexLock lock(&mutex_);
    changed_ = true;
    dispatch_.NotifyAll();
    watched = watches_.count(job_id) > 0;
  }
  if (!watched) return;
  const absl::StatusOr<JobSnapshot> snapshot = queue_->Snapshot(job_id);
  std::vector<std::shared_ptr<JobWatch>> alive;
  {
    MutexLock lock(&mutex_);
    std::vector<std::weak_ptr<JobWatch>>& list = watches_[job_id];
    std::erase_if(list, [](const std::weak_ptr<JobWatch>& w) { return w.expired(); });
    for (const auto& weak : list) {
      if (auto watch = weak.lock()) alive.push_back(std::move(watch));
    }
    if (list.empty() || (snapshot.ok() && IsTerminal(snapshot->job.state()))) watches_.erase(job_id);
  }
  for (const auto& watch : alive) snapshot.ok() ? watch->Push(*snapshot) : watch->End(snapshot.status());
}

absl::Status JobService::Watch(const std::string& job_id, const std::shared_ptr<JobWatch>& watch) {
  {
    MutexLock lock(&mutex_);
    if (draining_) return Draining();
    watches_[job_id].push_back(watch);
  }
  const bool posted = Post([this, job_id, watch] {
    const absl::StatusOr<JobSnapshot> snapshot = queue_->Snapshot(job_id);
    if (absl::IsNotFound(snapshot.status()) || (snapshot.ok() && IsTerminal(snapshot->job.state()))) {
      MutexLock lock(&mutex_);
      watches_.erase(job_id);  // nothing will change; other watchers have a look of their own coming
    }
    snapshot.ok() ? watch->Push(*snapshot) : watch->End(snapshot.status());
  });
  return posted ? absl::OkStatus() : Draining();
}

void JobService::Drain() {
  std::list<Waiter> waiters;
  std::vector<std::shared_ptr<JobWatch>> watches;
  {
    MutexLock lock(&mutex_);
    draining_ = true;
    waiters.swap(waiters_);
    for (const auto& [id, list] : watches_) {
      for (const auto& weak : list) {
        if (auto watch = weak.lock()) watches.push_back(std::move(watch));
      }
    }
    watches_.clear();
  }
  for (Waiter& waiter : waiters) waiter.done(Draining());
  for (const auto& watch : watches) watch->End(Draining());
}

// ---------------------------------------------------------------------------------------------------------- leasing

void JobService::LeaseJob(const v1::LeaseJobRequest& request, std::function<bool()> gone, LeaseDone done) {
  if (!Printable(request.worker())) {
    return done(absl::InvalidArgumentError("worker must be 1 to 128 printable characters without blanks"));
  }
  const double seconds = request.wait_seconds();
  if (!(seconds >= 0 && seconds <= kMostWaitSeconds)) {
    return done(absl::InvalidArgumentError(absl::StrCat("wait_seconds is ", seconds, "; it must be 0 to 60")));
  }
  Waiter waiter{request.worker(),
                JobQueue::Clock::now() + std::chrono::milliseconds(static_cast<int64_t>(seconds * 1e3)),
                std::move(gone), std::move(done), LogScope::Current()};
  {
    MutexLock lock(&mutex_);
    if (!draining_) {
      waiters_.push_back(std::move(waiter));
      changed_ = true;
      dispatch_.NotifyAll();
      return;
    }
  }
  waiter.done(Draining());
}

void JobService::Dispatch() {
  while (true) {
    std::list<Waiter> waiters;
    bool draining = false;
    {
      MutexLock lock(&mutex_);
      if (stop_) return;
      changed_ = false;
      draining = draining_;
      waiters.swap(waiters_);
    }
    auto until = JobQueue::Clock::now() + kLongestSleep;
    if (!draining) {  // a draining server refuses heartbeats: silence says nothing then
      const auto expired = queue_->ExpireLeases();
      if (!expired.ok()) Log(LogLevel::kError, "leases", {{"error", std::string(expired.status().message())}});
      if (expired.ok() && *expired > 0) {
        Log(LogLevel::kWarning, "leases ran out", {{"jobs", absl::StrCat(*expired)}});
        if (options_.on_expired != nullptr) options_.on_expired(*expired);
      }
      waiters = ServeWaiters(std::move(waiters));
      until = std::min(queue_->NextExpiry(), until);
    }
    for (const Waiter& waiter : waiters) until = std::min(until, waiter.until);
    {
      MutexLock lock(&mutex_);
      draining = draining_;
      if (!draining) waiters_.splice(waiters_.begin(), waiters);
      const auto now = JobQueue::Clock::now();
      if (!changed_ && !stop_ && until > now) dispatch_.WaitFor(&mutex_, until - now);
    }
    for (Waiter& waiter : waiters) waiter.done(Draining());
  }
}

// Those that go on waiting.
std::list<JobService::Waiter> JobService::ServeWaiters(std::list<Waiter> waiters) {
  std::list<Waiter> rest;
  for (Waiter& waiter : waiters) {
    const LogScope scope(waiter.log_fields);
    if (waiter.gone()) {
      waiter.done(absl::CancelledError("the trainer has left"));
      continue;
    }
    const absl::StatusOr<std::optional<JobRecord>> job = queue_->Lease(waiter.worker);
    if (!job.ok()) {
      waiter.done(job.status());
    } else if (job->has_value()) {
      Log(LogLevel::kInfo, "job leased",
          {{"job", (*job)->id}, {"worker", waiter.worker}, {"attempt", absl::StrCat((*job)->attempt)}});
      waiter.done(Leased(**job));
    } else if (waiter.until <= JobQueue::Clock::now()) {
      v1::LeaseJobResponse none;
      none.set_retry_after_seconds(kRetrySeconds);
      waiter.done(std::move(none));
    } else {
      rest.push_back(std::move(waiter));
    }
  }
  return rest;
}

absl::StatusOr<v1::LeaseJobResponse> JobService::Leased(const JobRecord& job) const {
  v1::LeaseJobResponse response;
  response.mutable_lease()->set_job_id(job.id);
  response.mutable_lease()->set_fence(job.fence);
  *response.mutable_job() = ToJob(job);
  response.set_lease_seconds(std::chrono::duration<double>(options_.lease).count());
  response.set_start_digest(job.start_digest);
  const absl::StatusOr<StoredModel> start = store_.Load(job.start_model, job.start_version);
  absl::StatusOr<v1::ModelSpec> spec = start.ok() ? RetunedSpec(start->spec, job.publish_model, job.request.target())
                                                  : absl::StatusOr<v1::ModelSpec>(start.status());
  if (spec.ok()) {
    *response.mutable_spec() = *std::move(spec);
    return response;
  }
  v1::HeartbeatRequest failure;
  *failure.mutable_lease() = response.lease();
  if (absl::IsUnavailable(spec.status())) {
    failure.set_release(true);
  } else {
    failure.set_failure(absl::StrCat("the version to start from cannot be used any more: ", spec.status().message()));
  }
  queue_->Heartbeat(failure).status().IgnoreError();
  return spec.status();
}

// ---------------------------------------------------------------------------------------------------------- re-tune

absl::StatusOr<std::vector<RetuneCandidate>> JobService::Candidates(const std::string& model) const {
  std::vector<std::string> names = {model};
  if (model.empty()) {
    ASSIGN_OR_RETURN(names, store_.ListModels());
  }
  std::vector<RetuneCandidate> candidates;
  for (const std::string& name : names) {
    const absl::StatusOr<ModelIndex> index = store_.ReadIndex(name);
    if (!index.ok() && !model.empty()) return index.status();
    if (!index.ok()) continue;
    const auto champion = index->aliases.find(kChampionAlias);
    for (auto it = index->versions.rbegin(); it != index->versions.rend(); ++it) {
      const bool is_champion = champion != index->aliases.end() && champion->second == it->first;
      // Of a named family all versions, of the others those that are served.
      if ((model.empty() && !is_champion) || candidates.size() >= kMostCandidates) continue;
      absl::StatusOr<StoredModel> stored = store_.Load(name, it->first);
      if (stored.ok()) candidates.push_back({std::move(stored->manifest), std::move(stored->spec), is_champion});
    }
  }
  return candidates;
}

absl::StatusOr<v1::Job> JobService::Retune(const v1::RetuneRequest& request) {
  RETURN_IF_ERROR(CheckRetuneRequest(request));
  // A repeated call must find its job whatever has become of the models since.
  std::string text;
  ASSIGN_OR_RETURN(std::optional<v1::Job> known, queue_->FindKey(request.idempotency_key(), &text));
  if (known.has_value() && text == CanonicalRequest(request)) return *std::move(known);
  JobRecord job;
  if (!known.has_value()) {
    ASSIGN_OR_RETURN(std::vector<RetuneCandidate> candidates, Candidates(request.model()));
    ASSIGN_OR_RETURN(RetunePlan plan, PlanRetune(candidates, request));
    const absl::StatusOr<StoredModel> present = store_.LoadChampion(plan.publish_model);
    const bool other = present.ok() && CanonicalTarget(present->spec.target()) != CanonicalTarget(request.target());
    if (other && request.publish_as().empty()) {
      return absl::AlreadyExistsError(absl::StrCat("the result would become a version of ", plan.publish_model,
                                                   ", which serves ", DescribeTarget(present->spec.target()),
                                                   "; give publish_as"));
    }
    job.request = std::move(plan.request);
    job.start_model = std::move(plan.start_model);
    job.start_version = plan.start_version;
    job.start_digest = plan.start_digest.Bytes();
    job.publish_model = std::move(plan.publish_model);
  } else {
    job.request = request;  // refused by the table, with the job that has the key
  }
  job.id = NewJobId();
  job.request_text = CanonicalRequest(request);
  for (const auto& [name, value] : LogScope::Current()) {
    if (name == "trace_id") job.trace_id = value;
  }
  ASSIGN_OR_RETURN(v1::Job submitted, queue_->Submit(job));
  Log(LogLevel::kInfo, "job submitted",
      {{"job", submitted.job_id()},
       {"from", absl::StrCat(submitted.start_model(), "/", submitted.start_version())},
       {"target", DescribeTarget(request.target())}});
  return submitted;
}

}  // namespace haarflow
