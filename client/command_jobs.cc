// retune, jobs, job, cancel.
#include <random>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "client/commands.h"
#include "client/job_text.h"
#include "client/progress.h"
#include "client/requests.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

std::string RandomKey() {
  std::random_device device;
  return absl::StrFormat("cli-%08x%08x%08x%08x", device(), device(), device(), device());
}

// "16x16" -> extents in array order.
absl::Status SetLattice(const std::string& text, v1::Target* target) {
  target->mutable_lattice()->clear_shape();
  for (const absl::string_view part : absl::StrSplit(text, 'x')) {
    uint32_t extent = 0;
    if (!absl::SimpleAtoi(part, &extent)) {
      return WithExitCode(absl::InvalidArgumentError("--lattice " + text + ": give extents as in 16x16"), kExitUsage);
    }
    target->mutable_lattice()->add_shape(extent);
  }
  return absl::OkStatus();
}

void PrintJob(const Globals& globals, const v1::Job& job) {
  globals.json ? PrintJson(JobJson(job)) : Print(JobText(job));
}

ExitCode CodeOf(const v1::Job& job) { return job.state() == v1::JOB_STATE_SUCCEEDED ? kExitOk : kExitJobFailed; }

absl::StatusOr<ExitCode> Watch(const Globals& globals, const Client& client, const std::string& job_id,
                               const std::stop_token& stop) {
  StreamOptions options;
  options.stop = stop;
  StatusLine line(globals.progress);
  bool lost = false;  // said once, whatever the number of attempts
  options.on_resume = [&](const absl::Status& reason) {
    line.Finish();
    if (!std::exchange(lost, true)) Note(absl::StrCat("the connection is lost (", reason.message(), "); asking again"));
  };
  const auto ended = client.WatchJob(job_id, options, [&](const v1::Job& job) {
    lost = false;
    line.Show(JobLine(job));
    return true;
  });
  line.Finish();
  if (!ended.ok()) return Interrupted(ended.status(), stop);
  ASSIGN_OR_RETURN(const v1::Job job, client.GetJob(job_id));  // with its events
  PrintJob(globals, job);
  return CodeOf(job);
}

}  // namespace

absl::StatusOr<ExitCode> RunRetune(const Globals& globals, const RetuneCommand& command, const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const auto client, ConnectTo(globals));
  v1::RetuneRequest request;
  ASSIGN_OR_RETURN(const v1::GetModelResponse model, client->GetModel(command.model));
  ASSIGN_OR_RETURN(*request.mutable_target(), WithSettings(model.model().target(), command.settings));
  if (!command.lattice.empty()) RETURN_IF_ERROR(SetLattice(command.lattice, request.mutable_target()));
  if (!command.any_model) request.set_model(command.model);
  request.set_requested_ess(command.ess);
  request.set_budget_seconds(command.budget_seconds);
  request.set_priority(command.priority);
  request.set_publish_as(command.publish_as);
  request.set_idempotency_key(command.key.empty() ? RandomKey() : command.key);
  ASSIGN_OR_RETURN(const v1::Job job, client->Retune(request));
  if (command.watch) {
    Note(
        absl::StrCat(job.job_id(), ": ", job.published_model(), " from ", job.start_model(), "/", job.start_version()));
    return Watch(globals, *client, job.job_id(), stop);
  }
  PrintJob(globals, job);
  return kExitOk;
}

absl::StatusOr<ExitCode> RunJobs(const Globals& globals, uint32_t count) {
  ASSIGN_OR_RETURN(const auto client, ConnectTo(globals));
  v1::ListJobsRequest request;
  v1::ListJobsResponse all;
  while (static_cast<uint32_t>(all.jobs_size()) < count) {
    request.set_page_size(std::min<uint32_t>(count - static_cast<uint32_t>(all.jobs_size()), 1000));
    ASSIGN_OR_RETURN(const v1::ListJobsResponse page, client->ListJobs(request));
    for (const v1::Job& job : page.jobs()) *all.add_jobs() = job;
    request.set_page_token(page.next_page_token());
    if (page.next_page_token().empty()) break;
  }
  if (globals.json) {
    Json jobs = Json::array();
    for (const v1::Job& job : all.jobs()) jobs.push_back(JobJson(job));
    PrintJson({{"jobs", std::move(jobs)}});
  } else {
    Print(all.jobs().empty() ? absl::StrCat("The server at ", globals.server, " has no jobs.\n") : JobsText(all));
  }
  return kExitOk;
}

absl::StatusOr<ExitCode> RunJob(const Globals& globals, const std::string& job_id, bool watch,
                                const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const auto client, ConnectTo(globals));
  if (watch) return Watch(globals, *client, job_id, stop);
  ASSIGN_OR_RETURN(const v1::Job job, client->GetJob(job_id));
  PrintJob(globals, job);
  return kExitOk;
}

absl::StatusOr<ExitCode> RunCancel(const Globals& globals, const std::string& job_id) {
  ASSIGN_OR_RETURN(const auto client, ConnectTo(globals));
  ASSIGN_OR_RETURN(const v1::Job job, client->CancelJob(job_id));
  PrintJob(globals, job);
  return kExitOk;
}

}  // namespace haarflow
