// What an operator does: which version serves, what is in memory, who is connected, tokens.
#include <unistd.h>

#include <condition_variable>
#include <iostream>
#include <mutex>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/commands.h"
#include "client/job_text.h"
#include "client/model_text.h"
#include "client/token.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

absl::StatusOr<ExitCode> ShowServed(const Globals& globals, const absl::StatusOr<v1::ModelInfo>& info) {
  if (!info.ok()) return info.status();
  if (globals.json) {
    PrintJson(ModelJson(*info));
    return kExitOk;
  }
  std::string text = absl::StrCat("model ", info->name(), " serves version ", info->version());
  if (info->pinned_version() != 0) absl::StrAppend(&text, ", pinned");
  if (!info->state_reason().empty()) absl::StrAppend(&text, "; ", info->state_reason());
  Print(text + "\n");
  return kExitOk;
}

std::string Mebibytes(uint64_t bytes) { return absl::StrCat(bytes >> 20, " MiB"); }

std::string TopText(const std::string& address, const v1::GetServerStatusResponse& status,
                    const v1::ListModelsResponse& models, const std::optional<v1::ListJobsResponse>& jobs,
                    double proposals_per_second) {
  std::string text = absl::StrCat(address, ", ", status.server().device(), ", up ", ClockTime(status.uptime_seconds()),
                                  status.draining() ? ", draining" : "", "\n");
  absl::StrAppend(&text, "streams ", status.active_streams(), " of ", status.max_streams(), ", buffers ",
                  Mebibytes(status.reserved_bytes()), " of ", Mebibytes(status.byte_budget()), ", models ",
                  Mebibytes(status.model_bytes()));
  if (status.model_byte_budget() > 0) absl::StrAppend(&text, " of ", Mebibytes(status.model_byte_budget()));
  absl::StrAppend(&text, ", resident ", Mebibytes(status.resident_bytes()), "\n");
  absl::StrAppend(&text, "proposals ", Grouped(status.proposals_drawn()));
  if (proposals_per_second >= 0) {
    absl::StrAppend(&text, ", ", Grouped(static_cast<uint64_t>(proposals_per_second)), " per second");
  }
  absl::StrAppend(&text, "\n\n", ModelsText(models));
  const std::string jobs_text = jobs.has_value() ? JobsTopText(*jobs) : "";
  if (!jobs_text.empty()) absl::StrAppend(&text, "\n", jobs_text);
  if (status.streams().empty()) return text;
  std::vector<std::vector<std::string>> rows = {
      {"stream", "method", "model", "version", "caller", "priority", "proposals", "since"}};
  for (const v1::StreamInfo& stream : status.streams()) {
    rows.push_back({absl::StrCat(stream.id()), stream.method(), stream.model(), absl::StrCat(stream.version()),
                    stream.principal(), stream.priority() == v1::PRIORITY_BULK ? "bulk" : "interactive",
                    Grouped(stream.proposals()), ClockTime(stream.seconds())});
  }
  return absl::StrCat(text, "\n", Table(rows, {false, false, false, true, false, false, true, true}));
}

// Nothing on a server that keeps no jobs, for a caller who may not see them, and while it drains.
absl::StatusOr<std::optional<v1::ListJobsResponse>> JobsIfAny(const Client& client) {
  absl::StatusOr<v1::ListJobsResponse> jobs = client.ListJobs(v1::ListJobsRequest());
  if (jobs.ok()) return std::optional<v1::ListJobsResponse>(*std::move(jobs));
  if (absl::IsFailedPrecondition(jobs.status()) || absl::IsPermissionDenied(jobs.status()) ||
      absl::IsUnavailable(jobs.status())) {
    return std::optional<v1::ListJobsResponse>();
  }
  return jobs.status();
}

Json TopJson(const v1::GetServerStatusResponse& status, const v1::ListModelsResponse& models,
             const std::optional<v1::ListJobsResponse>& jobs) {
  Json streams = Json::array();
  for (const v1::StreamInfo& stream : status.streams()) {
    streams.push_back({{"id", stream.id()},
                       {"method", stream.method()},
                       {"model", stream.model()},
                       {"version", stream.version()},
                       {"principal", stream.principal()},
                       {"bulk", stream.priority() == v1::PRIORITY_BULK},
                       {"proposals", stream.proposals()},
                       {"seconds", stream.seconds()}});
  }
  Json list = Json::array();
  for (const v1::ModelInfo& model : models.models()) list.push_back(ModelJson(model));
  Json shown_jobs;  // null: none are kept, or none may be seen
  if (jobs.has_value()) {
    shown_jobs = Json::array();
    for (const v1::Job& job : jobs->jobs()) shown_jobs.push_back(JobJson(job));
  }
  return {{"uptime_seconds", status.uptime_seconds()},
          {"draining", status.draining()},
          {"active_streams", status.active_streams()},
          {"max_streams", status.max_streams()},
          {"reserved_bytes", status.reserved_bytes()},
          {"byte_budget", status.byte_budget()},
          {"model_bytes", status.model_bytes()},
          {"model_byte_budget", status.model_byte_budget()},
          {"resident_bytes", status.resident_bytes()},
          {"proposals_drawn", status.proposals_drawn()},
          {"streams", std::move(streams)},
          {"models", std::move(list)},
          {"jobs", std::move(shown_jobs)}};
}

// False when it was stopped meanwhile.
bool Sleep(double seconds, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock<std::mutex> lock(mutex);
  wake.wait_for(lock, stop, std::chrono::duration<double>(seconds), [] { return false; });
  return !stop.stop_requested();
}

}  // namespace

absl::StatusOr<ExitCode> RunPromote(const Globals& globals, const std::string& model, uint64_t version) {
  ASSIGN_OR_RETURN(const auto client, ConnectTo(globals));
  if (version == 0) {
    // Without a number: the candidate.
    ASSIGN_OR_RETURN(const v1::GetModelResponse shown, client->GetModel(model));
    for (const v1::ModelVersion& known : shown.model().versions()) {
      for (const std::string& alias : known.aliases()) version = alias == "candidate" ? known.version() : version;
    }
    if (version == 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("model ", model, " has no candidate; say which version: haarflow promote ", model, " VERSION"));
    }
  }
  return ShowServed(globals, client->SetAlias(model, "champion", version));
}

absl::StatusOr<ExitCode> RunRollback(const Globals& globals, const std::string& model) {
  ASSIGN_OR_RETURN(const auto client, ConnectTo(globals));
  return ShowServed(globals, client->Rollback(model));
}

absl::StatusOr<ExitCode> RunPin(const Globals& globals, const std::string& model, uint64_t version) {
  ASSIGN_OR_RETURN(const auto client, ConnectTo(globals));
  return ShowServed(globals, client->Pin(model, version));
}

absl::StatusOr<ExitCode> RunUnload(const Globals& globals, const std::string& model) {
  ASSIGN_OR_RETURN(const auto client, ConnectTo(globals));
  RETURN_IF_ERROR(client->UnloadModel(model));
  if (globals.json) {
    PrintJson({{"model", model}, {"state", "unloaded"}});
  } else {
    Print(absl::StrCat("model ", model, " is out of memory; the next request loads it\n"));
  }
  return kExitOk;
}

absl::StatusOr<ExitCode> RunTop(const Globals& globals, double seconds, const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const auto client, ConnectTo(globals));
  const bool terminal = ::isatty(STDOUT_FILENO) != 0;
  double rate = -1;
  std::optional<v1::GetServerStatusResponse> before;
  do {
    ASSIGN_OR_RETURN(v1::GetServerStatusResponse status, client->ServerStatus());
    ASSIGN_OR_RETURN(const v1::ListModelsResponse models, client->ListModels());
    ASSIGN_OR_RETURN(const std::optional<v1::ListJobsResponse> jobs, JobsIfAny(*client));
    if (before.has_value() && status.uptime_seconds() > before->uptime_seconds()) {
      rate = static_cast<double>(status.proposals_drawn() - before->proposals_drawn()) /
             (status.uptime_seconds() - before->uptime_seconds());
    }
    if (globals.json) {
      PrintJson(TopJson(status, models, jobs));
    } else {
      Print(absl::StrCat(terminal && seconds > 0 ? "\x1b[H\x1b[2J" : "",
                         TopText(globals.server, status, models, jobs, rate)));
    }
    std::fflush(stdout);
    before = std::move(status);
  } while (seconds > 0 && Sleep(seconds, stop));
  return kExitOk;
}

absl::StatusOr<ExitCode> RunToken(const Globals& globals, const std::string& name,
                                  const std::vector<std::string>& roles) {
  const auto made = MakeToken(name, roles);
  if (!made.ok()) return WithExitCode(made.status(), kExitUsage);
  if (globals.json) {
    PrintJson({{"token", made->token}, {"line", made->line}});
  } else {
    Print(absl::StrCat(made->token, "\n"));
    Note(absl::StrCat("for the server's token file (the token itself is shown this once):\n", made->line));
  }
  return kExitOk;
}

absl::StatusOr<ExitCode> RunLogin(const Globals& globals) {
  if (::isatty(STDIN_FILENO) != 0) Note("token:");
  std::string line;
  std::getline(std::cin, line);
  const absl::Status kept = KeepToken(std::string(absl::StripAsciiWhitespace(line)));
  if (!kept.ok()) return WithExitCode(kept, kExitLocalFile);
  ASSIGN_OR_RETURN(const std::string path, TokenPath());
  if (globals.json) {
    PrintJson({{"token_file", path}});
  } else {
    Print(absl::StrCat("kept in ", path, "\n"));
  }
  return kExitOk;
}

}  // namespace haarflow
