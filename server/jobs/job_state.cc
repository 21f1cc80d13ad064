#include "server/jobs/job_state.h"

#include "absl/strings/str_cat.h"

namespace haarflow {
namespace {

absl::StatusOr<v1::JobState> Cancelled(const JobSituation& now) {
  if (now.publishing) {
    return absl::FailedPreconditionError("the job is being published; it ends within moments");
  }
  if (now.state == v1::JOB_STATE_SUCCEEDED || now.state == v1::JOB_STATE_FAILED) {
    return absl::FailedPreconditionError(
        absl::StrCat("the job has ended already: ", StateName(now.state), "; there is nothing to cancel"));
  }
  return v1::JOB_STATE_CANCELLED;
}

}  // namespace

bool IsTerminal(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_FAILED || state == v1::JOB_STATE_CANCELLED;
}

bool IsHeld(v1::JobState state) { return state == v1::JOB_STATE_LEASED || state == v1::JOB_STATE_RUNNING; }

std::string StateName(v1::JobState state) {
  const std::string name = v1::JobState_Name(state);
  constexpr size_t kPrefix = sizeof("JOB_STATE_") - 1;
  return name.size() > kPrefix ? name.substr(kPrefix) : absl::StrCat("state ", static_cast<int>(state));
}

absl::StatusOr<v1::JobState> NextState(const JobSituation& now, JobEvent event) {
  if (event == JobEvent::kCancel) return Cancelled(now);
  if (event == JobEvent::kLease) {
    if (now.state == v1::JOB_STATE_PENDING) return v1::JOB_STATE_LEASED;
    return absl::AbortedError(absl::StrCat("the job is ", StateName(now.state), " and cannot be leased"));
  }
  // The trainer waits for its answer; or asks again after a publication that broke off. One is under way at a time.
  if ((event == JobEvent::kHeartbeat || event == JobEvent::kPublish) && now.publishing) return now.state;
  const bool ends_publication = event == JobEvent::kAbandon || event == JobEvent::kPromote || event == JobEvent::kKeep;
  if (!IsHeld(now.state) || now.publishing != ends_publication) {
    return absl::AbortedError(absl::StrCat("the job is ", StateName(now.state),
                                           now.publishing ? " and is being published" : "",
                                           "; the lease is of no use any more: drop the job"));
  }
  switch (event) {
    case JobEvent::kHeartbeat:
    case JobEvent::kState:
    case JobEvent::kPublish:
    case JobEvent::kAbandon:
      return v1::JOB_STATE_RUNNING;
    case JobEvent::kRelease:
      return v1::JOB_STATE_PENDING;
    case JobEvent::kExpire:
      return now.barren_attempts >= now.max_attempts ? v1::JOB_STATE_FAILED : v1::JOB_STATE_PENDING;
    case JobEvent::kPromote:
      return v1::JOB_STATE_SUCCEEDED;
    default:
      return v1::JOB_STATE_FAILED;  // kFail, kKeep
  }
}

}  // namespace haarflow
