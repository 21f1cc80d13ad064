// Jobs without a server: the states by table, the durable table, leases on a clock of the test's own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <set>
#include <utility>

#include "server/jobs/job_queue.h"
#include "server/jobs/job_state.h"
#include "server/jobs/job_table.h"
#include "server/jobs/message_source.h"
#include "server/jobs/sqlite.h"

namespace haarflow {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace fs = std::filesystem;

// ----------------------------------------------------------------------------------------------------------- states

// Rows: states; columns: events in their order. A state's first letters, "!" ABORTED, "?" FAILED_PRECONDITION.
TEST(JobState, EveryEventInEveryStateByTable) {
  const std::vector<JobEvent> events = {JobEvent::kLease,   JobEvent::kHeartbeat, JobEvent::kState,  JobEvent::kRelease,
                                        JobEvent::kExpire,  JobEvent::kFail,      JobEvent::kCancel, JobEvent::kPublish,
                                        JobEvent::kAbandon, JobEvent::kPromote,   JobEvent::kKeep};
  struct Row {
    v1::JobState state;
    bool publishing;
    uint32_t barren;
    std::vector<std::string> next;
  };
  const std::vector<Row> rows = {
      {v1::JOB_STATE_PENDING, false, 0, {"LEA", "!", "!", "!", "!", "!", "CAN", "!", "!", "!", "!"}},
      {v1::JOB_STATE_LEASED, false, 1, {"!", "RUN", "RUN", "PEN", "PEN", "FAI", "CAN", "RUN", "!", "!", "!"}},
      {v1::JOB_STATE_RUNNING, false, 1, {"!", "RUN", "RUN", "PEN", "PEN", "FAI", "CAN", "RUN", "!", "!", "!"}},
      {v1::JOB_STATE_RUNNING, false, 5, {"!", "RUN", "RUN", "PEN", "FAI", "FAI", "CAN", "RUN", "!", "!", "!"}},
      {v1::JOB_STATE_RUNNING, true, 1, {"!", "RUN", "!", "!", "!", "!", "?", "RUN", "RUN", "SUC", "FAI"}},
      {v1::JOB_STATE_SUCCEEDED, false, 0, {"!", "!", "!", "!", "!", "!", "?", "!", "!", "!", "!"}},
      {v1::JOB_STATE_FAILED, false, 0, {"!", "!", "!", "!", "!", "!", "?", "!", "!", "!", "!"}},
      {v1::JOB_STATE_CANCELLED, false, 0, {"!", "!", "!", "!", "!", "!", "CAN", "!", "!", "!", "!"}},
  };
  for (const Row& row : rows) {
    std::vector<std::string> next;
    for (const JobEvent event : events) {
      const auto state = NextState({row.state, row.publishing, row.barren, 5}, event);
      next.push_back(state.ok() ? StateName(*state).substr(0, 3) : absl::IsAborted(state.status()) ? "!" : "?");
    }
    EXPECT_EQ(next, row.next) << StateName(row.state) << (row.publishing ? " publishing" : "");
  }
}

// ------------------------------------------------------------------------------------------------------------ table

class JobTableTest : public ::testing::Test {
 protected:
  JobTableTest() {
    std::string pattern = (fs::temp_directory_path() / "haarflow-jobs-XXXXXX").string();
    EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
    root_ = pattern;
    options_.file = root_ + "/jobs.sqlite";
    options_.now_ms = [this] { return now_ms_; };
  }
  ~JobTableTest() override { fs::remove_all(root_); }
  static JobRecord Job(const std::string& id, uint32_t priority = 0) {
    JobRecord job;
    job.id = id;
    job.request.set_idempotency_key("key-" + id);
    job.request.set_priority(priority);
    job.request_text = "text " + id;
    job.start_model = "m";
    job.start_version = 3;
    job.publish_model = "n";
    return job;
  }
  std::string root_;
  JobTable::Options options_;
  int64_t now_ms_ = 1767225600000;  // 2026-01-01
};

TEST_F(JobTableTest, WhatWasSubmittedIsThereAfterReopening) {
  {
    auto table = JobTable::Open(options_).value();
    ASSERT_TRUE(table->Submit(Job("a")).ok());
  }
  auto table = JobTable::Open(options_).value();
  const JobRecord job = table->Get("a").value();
  EXPECT_EQ(job.state, v1::JOB_STATE_PENDING);
  EXPECT_EQ(job.start_version, 3);
  EXPECT_EQ(ToJob(job).created(), "2026-01-01T00:00:00Z");
  EXPECT_EQ(table->Get("b").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(JobTableTest, AKeyBelongsToOneRequest) {
  auto table = JobTable::Open(options_).value();
  ASSERT_TRUE(table->Submit(Job("a")).ok());
  JobRecord again = Job("b");
  again.request.set_idempotency_key("key-a");
  EXPECT_EQ(table->Submit(again).status().code(), absl::StatusCode::kAlreadyExists);
  again.request_text = "text a";
  EXPECT_EQ(table->Submit(again)->id, "a");
  EXPECT_EQ(table->Count(v1::JOB_STATE_PENDING).value(), 1);
}

TEST_F(JobTableTest, TooManyWaitingJobsAreRefused) {
  options_.max_waiting = 2;
  auto table = JobTable::Open(options_).value();
  ASSERT_TRUE(table->Submit(Job("a")).ok());
  ASSERT_TRUE(table->Submit(Job("b")).ok());
  EXPECT_EQ(table->Submit(Job("c")).status().code(), absl::StatusCode::kResourceExhausted);
  ASSERT_TRUE(table->Cancel("a").ok());
  EXPECT_TRUE(table->Submit(Job("c")).ok());
}

TEST_F(JobTableTest, LeasesGoByPriorityThenAgeUnderFencesThatGrow) {
  auto table = JobTable::Open(options_).value();
  for (const auto& [id, priority] : std::vector<std::pair<std::string, uint32_t>>{{"a", 0}, {"b", 5}, {"c", 5}}) {
    ASSERT_TRUE(table->Submit(Job(id, priority)).ok());
  }
  std::vector<std::string> order;
  for (int i = 0; i < 3; ++i) order.push_back(table->Lease("w").value()->id);
  EXPECT_THAT(order, ElementsAre("b", "c", "a"));
  EXPECT_FALSE(table->Lease("w").value().has_value());
  EXPECT_EQ(table->Get("b")->fence, 1);
  ASSERT_TRUE(table->Apply("b", 1, JobEvent::kRelease, "").ok());
  EXPECT_EQ(table->Lease("w2").value()->fence, 2);
  EXPECT_EQ(table->Apply("b", 1, JobEvent::kHeartbeat, "").status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(table->Apply("b", 0, JobEvent::kHeartbeat, "").status().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(table->Apply("b", 2, JobEvent::kHeartbeat, "").ok());
  std::vector<std::string> what;
  const std::vector<v1::JobEvent> events = table->Events("b").value();
  for (const v1::JobEvent& event : events) what.push_back(event.what());
  EXPECT_THAT(what, ElementsAre("submitted", "leased", "released", "leased", "running"));
}

TEST_F(JobTableTest, ARefusedChangeHasChangedNothing) {
  auto table = JobTable::Open(options_).value();
  ASSERT_TRUE(table->Submit(Job("a")).ok());
  ASSERT_TRUE(table->Lease("w").ok());
  const size_t events = table->Events("a")->size();
  EXPECT_FALSE(table->Apply("a", 1, JobEvent::kPromote, "", [](JobRecord* job) { job->promoted = true; }).ok());
  EXPECT_FALSE(table->Get("a")->promoted);
  EXPECT_EQ(table->Get("a")->state, v1::JOB_STATE_LEASED);
  EXPECT_EQ(table->Events("a")->size(), events);
}

TEST_F(JobTableTest, OneProcessOwnsIt) {
  auto table = JobTable::Open(options_).value();
  const pid_t child = ::fork();
  if (child == 0) ::_exit(absl::IsUnavailable(JobTable::Open(options_).status()) ? 0 : 1);
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  table.reset();
  EXPECT_TRUE(JobTable::Open(options_).ok());
}

// Killed at any moment, again and again: it opens, what was acknowledged is there, nothing is there by half.
TEST_F(JobTableTest, AKilledProcessLosesNoAcknowledgedJob) {
  std::set<std::string> acknowledged;
  for (int round = 0; round < 10; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      auto table = JobTable::Open(options_).value();
      for (int i = 0;; ++i) {
        const std::string id = absl::StrCat(round, "-", i);
        if (!table->Submit(Job(id)).ok() || !table->Lease("w").ok()) ::_exit(1);
        (void)!::write(ends[1], (id + "\n").data(), id.size() + 1);
      }
    }
    ::close(ends[1]);
    std::string text;
    char c = 0;
    const size_t wanted = 5 + 7 * static_cast<size_t>(round % 4);
    while (text.size() < wanted && ::read(ends[0], &c, 1) == 1) text += c;
    ::kill(child, SIGKILL);
    while (::read(ends[0], &c, 1) == 1) text += c;
    ::close(ends[0]);
    ::waitpid(child, nullptr, 0);
    for (size_t at = 0, end = 0; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
      acknowledged.insert(text.substr(at, end - at));
    }
  }
  EXPECT_GE(acknowledged.size(), 20);
  auto table = JobTable::Open(options_).value();
  for (const std::string& id : acknowledged) {
    const auto job = table->Get(id);
    ASSERT_TRUE(job.ok()) << id;
    EXPECT_EQ(table->Events(id)->size(), 1 + job->attempt);  // submitted, and each lease with its event or not at all
  }
}

TEST_F(JobTableTest, DamageANewerSchemaAndNetworkFileSystemsAreRefused) {
  { auto table = JobTable::Open(options_).value(); }
  sqlite3* raw = nullptr;
  ASSERT_EQ(sqlite3_open(options_.file.c_str(), &raw), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(raw, "PRAGMA user_version = 99", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(raw);
  const auto newer = JobTable::Open(options_);
  EXPECT_EQ(newer.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(newer.status().message()), HasSubstr("schema version 99"));
  FILE* file = std::fopen(options_.file.c_str(), "w");
  std::fputs("this is no database, and never was one; it only has its name", file);
  std::fclose(file);
  EXPECT_EQ(JobTable::Open(options_).status().code(), absl::StatusCode::kDataLoss);
  for (const int64_t magic : {0x6969, 0x0BD00BD0, 0x47504653})
    EXPECT_TRUE(IsNetworkFileSystem(magic));  // NFS, Lustre, GPFS
  for (const int64_t magic : {0xEF53, 0x58465342, 0x01021994, 0x794C7630}) EXPECT_FALSE(IsNetworkFileSystem(magic));
}

// The mechanism, with scripts of the test's own: from every older version to the newest, all of a script or nothing.
TEST_F(JobTableTest, MigrationsGoForwardFromEveryVersion) {
  const std::vector<std::string> scripts = {"CREATE TABLE a (x)", "ALTER TABLE a ADD COLUMN y DEFAULT 7",
                                            "CREATE TABLE b (z)"};
  for (size_t from = 0; from <= scripts.size(); ++from) {
    const std::string file = absl::StrCat(root_, "/m", from);
    ASSERT_TRUE(SqlDatabase::Open(file).value()->Migrate({scripts.begin(), scripts.begin() + from}).ok());
    auto database = SqlDatabase::Open(file).value();
    EXPECT_TRUE(database->Migrate(scripts).ok());
    EXPECT_TRUE(database->Execute("INSERT INTO a (x) VALUES (1); INSERT INTO b (z) SELECT y FROM a").ok());
  }
  auto database = SqlDatabase::Open(root_ + "/bad").value();
  EXPECT_FALSE(database->Migrate({scripts[0], "CREATE TABLE c (x); nonsense"}).ok());
  EXPECT_FALSE(database->Execute("SELECT * FROM c").ok());
  EXPECT_TRUE(database->Migrate({scripts[0], "CREATE TABLE c (x)"}).ok());
}

// ------------------------------------------------------------------------------------------------------------ queue

class JobQueueTest : public JobTableTest {
 protected:
  std::unique_ptr<JobQueue> Open() {
    JobQueue::Options options;
    options.table = options_;
    options.lease = std::chrono::seconds(30);
    options.clock = [this] { return clock_; };
    return JobQueue::Open(options).value();
  }
  static v1::Lease LeaseOf(const JobRecord& job) {
    v1::Lease lease;
    lease.set_job_id(job.id);
    lease.set_fence(job.fence);
    return lease;
  }
  JobQueue::Clock::time_point clock_ = JobQueue::Clock::time_point() + std::chrono::hours(1);
};

TEST_F(JobQueueTest, AWatcherNeverSeesAnOlderStateAfterANewerOne) {
  const auto queue = Open();
  const std::string id = queue->Submit(Job("key")).value().job_id();
  const JobSnapshot waiting = queue->Snapshot(id).value();
  ASSERT_TRUE(queue->Lease("w").value().has_value());
  const JobSnapshot leased = queue->Snapshot(id).value();
  // Two threads took them in this order and got here in the other.
  JobWatch watch;
  watch.Push(leased);
  watch.Push(waiting);
  std::unique_ptr<v1::Job> seen;
  absl::Status end;
  ASSERT_EQ(watch.Poll(&seen, &end), Polled::kMessage);
  EXPECT_EQ(seen->state(), v1::JOB_STATE_LEASED);
  watch.Push(waiting);
  EXPECT_EQ(watch.Poll(&seen, &end), Polled::kPending) << "the older one came after it was read";
  ASSERT_TRUE(queue->Cancel(id).ok());
  watch.Push(queue->Snapshot(id).value());
  watch.Push(leased);
  ASSERT_EQ(watch.Poll(&seen, &end), Polled::kMessage);
  EXPECT_EQ(seen->state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(watch.Poll(&seen, &end), Polled::kEnd);
}

TEST_F(JobQueueTest, StatesAreCountedWithTheTimeOfTheOldestChange) {
  const auto queue = Open();
  ASSERT_TRUE(queue->Submit(Job("a")).ok());
  const int64_t submitted = std::exchange(now_ms_, now_ms_ + 1000);
  ASSERT_TRUE(queue->Submit(Job("b")).ok());
  const auto counts = queue->CountByState().value();
  ASSERT_EQ(counts.size(), 6u) << "every state, also those without jobs";
  EXPECT_EQ(counts[0].state, v1::JOB_STATE_PENDING);
  EXPECT_EQ(counts[0].jobs, 2);
  EXPECT_EQ(counts[0].oldest_update_ms, submitted);
  EXPECT_EQ(counts[5].jobs, 0);
}

TEST_F(JobQueueTest, SilenceCostsTheLeaseAndEveryWordRenewsIt) {
  auto queue = Open();
  ASSERT_TRUE(queue->Submit(Job("a")).ok());
  const v1::Lease lease = LeaseOf(*queue->Lease("w").value());
  v1::HeartbeatRequest beat;
  *beat.mutable_lease() = lease;
  for (int i = 0; i < 3; ++i) {
    clock_ += std::chrono::seconds(29);
    EXPECT_EQ(queue->ExpireLeases().value(), 0);
    EXPECT_TRUE(i == 1 ? queue->RecordState(lease, "digest").ok() : queue->Heartbeat(beat).ok());
  }
  clock_ += std::chrono::seconds(30);
  EXPECT_EQ(queue->NextExpiry(), clock_);
  EXPECT_EQ(queue->ExpireLeases().value(), 1);
  EXPECT_EQ(queue->Get("a", false)->state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(queue->Heartbeat(beat).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(queue->Lease("w2").value()->fence, 2);
}

TEST_F(JobQueueTest, ARestartedServerGivesWholeLeasesAnew) {
  v1::Lease lease;
  {
    auto queue = Open();
    ASSERT_TRUE(queue->Submit(Job("a")).ok());
    lease = LeaseOf(*queue->Lease("w").value());
  }
  clock_ += std::chrono::hours(5);
  auto queue = Open();
  EXPECT_EQ(queue->ExpireLeases().value(), 0);
  EXPECT_TRUE(queue->Check(lease).ok());
  clock_ += std::chrono::seconds(31);
  EXPECT_EQ(queue->ExpireLeases().value(), 1);
}

TEST_F(JobQueueTest, WhatIsBeingPublishedNeitherExpiresNorIsCancelled) {
  auto queue = Open();
  ASSERT_TRUE(queue->Submit(Job("a")).ok());
  const v1::Lease lease = LeaseOf(*queue->Lease("w").value());
  ASSERT_TRUE(queue->BeginPublication(lease).ok());
  clock_ += std::chrono::hours(1);
  EXPECT_EQ(queue->ExpireLeases().value(), 0);
  EXPECT_EQ(queue->Cancel("a").status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(queue->BeginPublication(lease).ok());  // taken up again after one that broke off
  ASSERT_TRUE(queue->EndPublication(lease, {.version = 4, .promoted = true, .ess = 0.9}).ok());
  EXPECT_EQ(queue->Get("a", false)->state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(queue->Published(lease).value()->published_version, 4);
}

TEST_F(JobQueueTest, ListenersHearOfEveryChangeAndProgressIsShownAtOnce) {
  auto queue = Open();
  std::vector<std::string> heard;
  queue->SetListener([&](const std::string& id, bool) { heard.push_back(id); });
  ASSERT_TRUE(queue->Submit(Job("a")).ok());
  v1::HeartbeatRequest beat;
  *beat.mutable_lease() = LeaseOf(*queue->Lease("w").value());
  beat.mutable_progress()->set_step(17);
  ASSERT_TRUE(queue->Heartbeat(beat).ok());
  EXPECT_THAT(heard, ElementsAre("a", "a", "a"));
  EXPECT_EQ(queue->Get("a", false)->progress().step(), 17);
  beat.set_release(true);
  ASSERT_TRUE(queue->Heartbeat(beat).ok());
  EXPECT_EQ(queue->Get("a", false)->state(), v1::JOB_STATE_PENDING);
}

}  // namespace
}  // namespace haarflow
