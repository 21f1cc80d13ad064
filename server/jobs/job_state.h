// The states of a job and what moves it from one to another: one table, without a database or a clock.
//
//                  lease               heartbeat, state
//      PENDING ------------> LEASED ------------------> RUNNING --- published, gate passed ---> SUCCEEDED
//         ^                    |                          |  |----- published, gate failed ---> FAILED
//         |--- release, expire ----------------------------  |----- failed, lost too often ---> FAILED
//         |----------------------------- cancel -------------|--------------------------------> CANCELLED
//
// A job that has a lease is held under its fence, a number that grows with every lease: whoever comes with another one
// has lost the job. From "publish" to its end only the server acts on the job: it can neither be cancelled nor expire.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "haarflow/v1/tuning.pb.h"

namespace haarflow {

enum class JobEvent {
  kLease,      // a trainer takes it
  kHeartbeat,  // the trainer works
  kState,      // the trainer has uploaded a resumable state
  kRelease,    // the trainer gives it back
  kExpire,     // the trainer was not heard of in time
  kFail,       // the trainer says that it cannot be done
  kCancel,     // the user
  kPublish,    // the trainer's result is complete and verified: the server begins to publish it
  kAbandon,    // publishing failed: the job is the trainer's again
  kPromote,    // published as champion
  kKeep,       // published as candidate: the gate did not pass
};

struct JobSituation {
  v1::JobState state = v1::JOB_STATE_PENDING;
  bool publishing = false;
  // Leases in a row that brought no state, the present one included, and how many there may be.
  uint32_t barren_attempts = 0;
  uint32_t max_attempts = 5;
};

bool IsTerminal(v1::JobState state);
bool IsHeld(v1::JobState state);  // LEASED or RUNNING
// "PENDING": for people.
std::string StateName(v1::JobState state);

// The state after `event`. ABORTED for an event of a trainer about a job that it does not hold, FAILED_PRECONDITION for
// what a user cannot do now.
absl::StatusOr<v1::JobState> NextState(const JobSituation& situation, JobEvent event);

}  // namespace haarflow
