#include "server/jobs/job_table.h"

#include <chrono>
#include <ctime>
#include <utility>

#include "core/base/status.h"
#include "server/sampling/retry.h"

namespace haarflow {
namespace {

// Forward only; a released script is never edited. Each begins where the one before it ended.
const std::vector<std::string>& Migrations() {
  static const std::vector<std::string> scripts = {
      R"sql(
CREATE TABLE jobs (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  idempotency_key TEXT NOT NULL UNIQUE,
  request BLOB NOT NULL,
  request_text TEXT NOT NULL,
  start_model TEXT NOT NULL,
  start_version INTEGER NOT NULL,
  start_digest BLOB NOT NULL,
  publish_model TEXT NOT NULL,
  priority INTEGER NOT NULL,
  state INTEGER NOT NULL,
  attempt INTEGER NOT NULL DEFAULT 0,
  barren_attempts INTEGER NOT NULL DEFAULT 0,
  fence INTEGER NOT NULL DEFAULT 0,
  worker TEXT NOT NULL DEFAULT '',
  progress BLOB NOT NULL DEFAULT x'',
  state_number INTEGER NOT NULL DEFAULT 0,
  state_digest BLOB NOT NULL DEFAULT x'',
  publishing INTEGER NOT NULL DEFAULT 0,
  published_version INTEGER NOT NULL DEFAULT 0,
  published_digest BLOB NOT NULL DEFAULT x'',
  promoted INTEGER NOT NULL DEFAULT 0,
  ess REAL NOT NULL DEFAULT 0,
  ess_error REAL NOT NULL DEFAULT 0,
  error TEXT NOT NULL DEFAULT '',
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL
);
CREATE INDEX jobs_by_state ON jobs (state, priority DESC, number);
CREATE TABLE job_events (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  job INTEGER NOT NULL REFERENCES jobs (number),
  time_ms INTEGER NOT NULL,
  what TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  detail TEXT NOT NULL
);
CREATE INDEX job_events_by_job ON job_events (job, number);
)sql",
      R"sql(
ALTER TABLE jobs ADD COLUMN trace_id TEXT NOT NULL DEFAULT '';
)sql",
  };
  return scripts;
}

constexpr auto kRetryLater = std::chrono::seconds(60);

constexpr char kColumns[] =
    "number, id, request, request_text, start_model, start_version, start_digest, publish_model, state, attempt, "
    "barren_attempts, fence, worker, progress, state_number, state_digest, publishing, published_version, "
    "published_digest, promoted, ess, ess_error, error, created_ms, updated_ms, trace_id";

absl::StatusOr<JobRecord> ReadRow(const SqlStatement& row) {
  JobRecord job;
  int at = 0;
  job.number = row.Integer(at++);
  job.id = row.Bytes(at++);
  const bool request = job.request.ParseFromString(row.Bytes(at++));
  job.request_text = row.Bytes(at++);
  job.start_model = row.Bytes(at++);
  job.start_version = static_cast<uint64_t>(row.Integer(at++));
  job.start_digest = row.Bytes(at++);
  job.publish_model = row.Bytes(at++);
  const int64_t state = row.Integer(at++);
  job.state = static_cast<v1::JobState>(state);
  job.attempt = static_cast<uint32_t>(row.Integer(at++));
  job.barren_attempts = static_cast<uint32_t>(row.Integer(at++));
  job.fence = static_cast<uint64_t>(row.Integer(at++));
  job.worker = row.Bytes(at++);
  const bool progress = job.progress.ParseFromString(row.Bytes(at++));
  job.state_number = static_cast<uint64_t>(row.Integer(at++));
  job.state_digest = row.Bytes(at++);
  job.publishing = row.Integer(at++) != 0;
  job.published_version = static_cast<uint64_t>(row.Integer(at++));
  job.published_digest = row.Bytes(at++);
  job.promoted = row.Integer(at++) != 0;
  job.ess = row.Real(at++);
  job.ess_error = row.Real(at++);
  job.error = row.Bytes(at++);
  job.created_ms = row.Integer(at++);
  job.updated_ms = row.Integer(at++);
  job.trace_id = row.Bytes(at++);
  if (request && progress && v1::JobState_IsValid(static_cast<int>(state))) return job;
  return absl::DataLossError(
      absl::StrCat("the row of job ", job.id, " does not parse; restore the job table from a copy"));
}

const char* EventName(JobEvent event) {
  switch (event) {
    case JobEvent::kLease:
      return "leased";
    case JobEvent::kHeartbeat:
      return "running";
    case JobEvent::kState:
      return "state";
    case JobEvent::kRelease:
      return "released";
    case JobEvent::kExpire:
      return "expired";
    case JobEvent::kFail:
      return "failed";
    case JobEvent::kCancel:
      return "cancelled";
    case JobEvent::kPublish:
      return "publishing";
    case JobEvent::kAbandon:
      return "publication failed";
    case JobEvent::kPromote:
      return "published as champion";
    case JobEvent::kKeep:
      return "published as candidate";
  }
  return "";
}

}  // namespace

absl::StatusOr<std::unique_ptr<JobTable>> JobTable::Open(const Options& options) {
  ASSIGN_OR_RETURN(auto database, SqlDatabase::Open(options.file));
  RETURN_IF_ERROR(Annotate(database->Migrate(Migrations()), options.file));
  return std::unique_ptr<JobTable>(new JobTable(options, std::move(database)));
}

int64_t JobTable::Now() const {
  if (options_.now_ms != nullptr) return options_.now_ms();
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

absl::StatusOr<std::optional<JobRecord>> JobTable::FindOne(const std::string& where,
                                                           const std::function<void(SqlStatement*)>& bind) {
  ASSIGN_OR_RETURN(SqlStatement select, database_->Prepare(absl::StrCat("SELECT ", kColumns, " FROM jobs ", where)));
  bind(&select);
  ASSIGN_OR_RETURN(const bool row, select.Step());
  if (!row) return std::optional<JobRecord>();
  ASSIGN_OR_RETURN(JobRecord job, ReadRow(select));
  return std::optional<JobRecord>(std::move(job));
}

absl::StatusOr<std::optional<JobRecord>> JobTable::FindKey(const std::string& idempotency_key) {
  return FindOne("WHERE idempotency_key = ?1", [&](SqlStatement* s) { s->BindText(1, idempotency_key); });
}

absl::StatusOr<JobRecord> JobTable::Get(const std::string& id) {
  ASSIGN_OR_RETURN(std::optional<JobRecord> job,
                   FindOne("WHERE id = ?1", [&](SqlStatement* s) { s->BindText(1, id); }));
  if (job.has_value()) return *std::move(job);
  return absl::NotFoundError(absl::StrCat("no job has the id \"", id.substr(0, 64), "\"; see `haarflow jobs`"));
}

absl::StatusOr<JobRecord> JobTable::Submit(const JobRecord& job) {
  JobRecord stored;
  RETURN_IF_ERROR(database_->Transaction([&]() -> absl::Status {
    ASSIGN_OR_RETURN(std::optional<JobRecord> known, FindKey(job.request.idempotency_key()));
    if (known.has_value()) {
      if (known->request_text != job.request_text) {
        return absl::AlreadyExistsError(absl::StrCat("the idempotency key belongs to job ", known->id,
                                                     ", which asks for something else; choose another key"));
      }
      stored = *std::move(known);
      return absl::OkStatus();
    }
    int64_t waiting = 0;
    for (const v1::JobState state : {v1::JOB_STATE_PENDING, v1::JOB_STATE_LEASED, v1::JOB_STATE_RUNNING}) {
      ASSIGN_OR_RETURN(const int64_t count, Count(state));
      waiting += count;
    }
    if (waiting >= options_.max_waiting) {
      return WithRetryInfo(
          absl::ResourceExhaustedError(absl::StrCat(waiting, " jobs wait or run already; ask again later")),
          kRetryLater);
    }
    ASSIGN_OR_RETURN(
        SqlStatement insert,
        database_->Prepare("INSERT INTO jobs (id, idempotency_key, request, request_text, start_model, "
                           "start_version, start_digest, publish_model, priority, state, created_ms, "
                           "updated_ms, trace_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11, ?12)"));
    insert.BindText(1, job.id).BindText(2, job.request.idempotency_key());
    insert.BindBlob(3, job.request.SerializeAsString()).BindText(4, job.request_text);
    insert.BindText(5, job.start_model).Bind(6, static_cast<int64_t>(job.start_version));
    insert.BindBlob(7, job.start_digest).BindText(8, job.publish_model);
    insert.Bind(9, static_cast<int64_t>(job.request.priority()));
    insert.Bind(10, int64_t{v1::JOB_STATE_PENDING}).Bind(11, Now());
    insert.BindText(12, job.trace_id);
    RETURN_IF_ERROR(insert.Run());
    ASSIGN_OR_RETURN(stored, Get(job.id));
    return AddEvent(stored, "submitted", absl::StrCat("from ", job.start_model, "/", job.start_version));
  }));
  return stored;
}

absl::StatusOr<std::vector<JobRecord>> JobTable::List(int64_t before, int64_t limit) {
  ASSIGN_OR_RETURN(SqlStatement select,
                   database_->Prepare(absl::StrCat("SELECT ", kColumns,
                                                   " FROM jobs WHERE number < ?1 ORDER BY number DESC LIMIT ?2")));
  select.Bind(1, before > 0 ? before : std::numeric_limits<int64_t>::max()).Bind(2, limit);
  std::vector<JobRecord> jobs;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, select.Step());
    if (!row) return jobs;
    ASSIGN_OR_RETURN(jobs.emplace_back(), ReadRow(select));
  }
}

absl::StatusOr<std::vector<JobRecord>> JobTable::Held() {
  ASSIGN_OR_RETURN(SqlStatement select,
                   database_->Prepare(absl::StrCat("SELECT ", kColumns, " FROM jobs WHERE state IN (?1, ?2)")));
  select.Bind(1, int64_t{v1::JOB_STATE_LEASED}).Bind(2, int64_t{v1::JOB_STATE_RUNNING});
  std::vector<JobRecord> jobs;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, select.Step());
    if (!row) return jobs;
    ASSIGN_OR_RETURN(jobs.emplace_back(), ReadRow(select));
  }
}

absl::StatusOr<int64_t> JobTable::Count(v1::JobState state) {
  ASSIGN_OR_RETURN(SqlStatement select, database_->Prepare("SELECT count(*) FROM jobs WHERE state = ?1"));
  select.Bind(1, int64_t{state});
  ASSIGN_OR_RETURN(const bool row, select.Step());
  return row ? select.Integer(0) : 0;
}

absl::StatusOr<std::vector<JobTable::StateCount>> JobTable::CountByState() {
  std::vector<StateCount> counts;
  for (int state = v1::JOB_STATE_PENDING; state <= v1::JOB_STATE_CANCELLED; ++state) {
    counts.push_back({static_cast<v1::JobState>(state), 0, 0});
  }
  ASSIGN_OR_RETURN(SqlStatement select,
                   database_->Prepare("SELECT state, count(*), min(updated_ms) FROM jobs GROUP BY state"));
  while (true) {
    ASSIGN_OR_RETURN(const bool row, select.Step());
    if (!row) return counts;
    for (StateCount& count : counts) {
      if (count.state == select.Integer(0)) count = {count.state, select.Integer(1), select.Integer(2)};
    }
  }
}

absl::StatusOr<std::vector<v1::JobEvent>> JobTable::Events(const std::string& id) {
  ASSIGN_OR_RETURN(const JobRecord job, Get(id));
  ASSIGN_OR_RETURN(
      SqlStatement select,
      database_->Prepare("SELECT time_ms, what, attempt, detail FROM job_events WHERE job = ?1 ORDER BY number"));
  select.Bind(1, job.number);
  std::vector<v1::JobEvent> events;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, select.Step());
    if (!row) return events;
    v1::JobEvent& event = events.emplace_back();
    event.set_time(TimeText(select.Integer(0)));
    event.set_what(select.Bytes(1));
    event.set_attempt(static_cast<uint32_t>(select.Integer(2)));
    event.set_detail(select.Bytes(3));
  }
}

absl::Status JobTable::AddEvent(const JobRecord& job, const std::string& what, const std::string& detail) {
  ASSIGN_OR_RETURN(SqlStatement insert,
                   database_->Prepare("INSERT INTO job_events (job, time_ms, what, attempt, detail) "
                                      "VALUES (?1, ?2, ?3, ?4, ?5)"));
  insert.Bind(1, job.number).Bind(2, Now()).BindText(3, what).Bind(4, int64_t{job.attempt}).BindText(5, detail);
  return insert.Run();
}

absl::Status JobTable::Store(const JobRecord& job) {
  ASSIGN_OR_RETURN(
      SqlStatement update,
      database_->Prepare("UPDATE jobs SET state = ?2, attempt = ?3, barren_attempts = ?4, fence = ?5, worker = ?6, "
                         "progress = ?7, state_number = ?8, state_digest = ?9, publishing = ?10, "
                         "published_version = ?11, published_digest = ?12, promoted = ?13, ess = ?14, ess_error = ?15, "
                         "error = ?16, updated_ms = ?17 WHERE number = ?1"));
  update.Bind(1, job.number).Bind(2, int64_t{job.state}).Bind(3, int64_t{job.attempt});
  update.Bind(4, int64_t{job.barren_attempts}).Bind(5, static_cast<int64_t>(job.fence)).BindText(6, job.worker);
  update.BindBlob(7, job.progress.SerializeAsString()).Bind(8, static_cast<int64_t>(job.state_number));
  update.BindBlob(9, job.state_digest).Bind(10, int64_t{job.publishing});
  update.Bind(11, static_cast<int64_t>(job.published_version)).BindBlob(12, job.published_digest);
  update.Bind(13, int64_t{job.promoted}).Bind(14, job.ess).Bind(15, job.ess_error).BindText(16, job.error);
  update.Bind(17, Now());
  return update.Run();
}

absl::StatusOr<std::optional<JobRecord>> JobTable::Lease(const std::string& worker) {
  std::optional<JobRecord> leased;
  const auto oldest = [](SqlStatement* s) { s->Bind(1, int64_t{v1::JOB_STATE_PENDING}); };
  constexpr char kOldest[] = "WHERE state = ?1 ORDER BY priority DESC, number LIMIT 1";
  ASSIGN_OR_RETURN(const std::optional<JobRecord> any, FindOne(kOldest, oldest));
  if (!any.has_value()) return leased;  // without a write, most of the time
  RETURN_IF_ERROR(database_->Transaction([&]() -> absl::Status {
    ASSIGN_OR_RETURN(leased, FindOne(kOldest, oldest));
    if (!leased.has_value()) return absl::OkStatus();
    ASSIGN_OR_RETURN(leased->state, NextState({.state = leased->state}, JobEvent::kLease));
    ++leased->fence;
    ++leased->attempt;
    ++leased->barren_attempts;
    leased->worker = worker;
    RETURN_IF_ERROR(Store(*leased));
    return AddEvent(*leased, EventName(JobEvent::kLease), worker);
  }));
  return leased;
}

absl::StatusOr<JobRecord> JobTable::Apply(const std::string& id, uint64_t fence, JobEvent event,
                                          const std::string& detail, const std::function<void(JobRecord*)>& change) {
  return Change(id, fence, event, detail, change);
}

absl::StatusOr<JobRecord> JobTable::Cancel(const std::string& id) {
  return Change(id, std::nullopt, JobEvent::kCancel, "", nullptr);
}

absl::StatusOr<JobRecord> JobTable::Change(const std::string& id, std::optional<uint64_t> fence, JobEvent event,
                                           const std::string& detail, const std::function<void(JobRecord*)>& change) {
  ASSIGN_OR_RETURN(JobRecord job, Get(id));
  if (fence.has_value() && (*fence != job.fence || *fence == 0)) {
    return absl::AbortedError(
        absl::StrCat("job ", id, " has been leased again (fence ", job.fence, ", not ", *fence, "): drop the job"));
  }
  const JobSituation now = {job.state, job.publishing, job.barren_attempts, options_.max_attempts};
  absl::StatusOr<v1::JobState> next = NextState(now, event);
  if (!next.ok()) return Annotate(next.status(), absl::StrCat("job ", id));
  if (event == JobEvent::kHeartbeat && *next == job.state) return job;  // nothing that must survive a crash
  if (event == JobEvent::kCancel && *next == job.state) return job;     // cancelled again
  RETURN_IF_ERROR(database_->Transaction([&]() -> absl::Status {
    job.state = *next;
    job.publishing = event == JobEvent::kPublish;
    if (change != nullptr) change(&job);
    RETURN_IF_ERROR(Store(job));
    return AddEvent(job, EventName(event), detail);
  }));
  return job;
}

std::string TimeText(int64_t unix_ms) {
  const std::time_t seconds = static_cast<std::time_t>(unix_ms / 1000);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

v1::Job ToJob(const JobRecord& record) {
  v1::Job job;
  job.set_job_id(record.id);
  *job.mutable_request() = record.request;
  job.set_state(record.state);
  job.set_attempt(record.attempt);
  *job.mutable_progress() = record.progress;
  job.set_error(record.error);
  job.set_published_model(record.publish_model);
  job.set_published_version(record.published_version);
  job.set_published_digest(record.published_digest);
  job.set_promoted(record.promoted);
  job.set_ess(record.ess);
  job.set_ess_error(record.ess_error);
  job.set_start_model(record.start_model);
  job.set_start_version(record.start_version);
  job.set_worker(record.worker);
  job.set_created(TimeText(record.created_ms));
  job.set_trace_id(record.trace_id);
  job.set_updated(TimeText(record.updated_ms));
  return job;
}

}  // namespace haarflow
