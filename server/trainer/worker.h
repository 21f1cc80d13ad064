// `haarflow-trainer work`: takes re-tuning jobs from a server, one after the other.
//
// A thread of its own heartbeats while the job runs, so that a long step costs no lease. The server may go away at any
// time: training goes on, and what could not be said is said when it is back. A job that was cancelled, or that the
// server has given to somebody else, is dropped within a step. Told to stop, the worker uploads its state and gives the
// job back; killed, its job is taken up by another from the last state uploaded.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "client/client.h"
#include "core/train/crew.h"
#include "server/log/log.h"

namespace haarflow {

struct WorkerOptions {
  std::string server;
  ClientOptions connection;  // token, TLS
  std::string name;          // empty: HOST-PID
  int threads = 1;
  Crew* crew = nullptr;  // the other ranks, where there are some
  std::string scratch;   // empty: a temporary directory
  double state_seconds = 15;
  bool once = false;
  LogFormat log_format = LogFormat::kText;
  std::function<bool()> stop;     // polled about ten times a second
  double patience_seconds = 900;  // without a server, before the job is dropped
};

// OK after `stop`, or after one job.
absl::Status RunWorker(const WorkerOptions& options);

}  // namespace haarflow
