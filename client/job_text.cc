#include "client/job_text.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/theory.h"
#include "core/action/target.h"

namespace haarflow {
namespace {

std::string TargetText(const v1::Target& target) {
  return ValidateTarget(target).ok() ? DescribeTarget(target) : std::string("-");
}

std::string EssText(const v1::Job& job) {
  if (job.published_version() != 0) return ValueWithError(job.ess(), job.ess_error());
  return job.progress().ess() > 0 ? Significant(job.progress().ess(), 3) : "-";
}

std::string ResultText(const v1::Job& job) {
  if (job.published_version() == 0) return job.published_model();
  return absl::StrCat(job.published_model(), "/", job.published_version(), job.promoted() ? "" : " (candidate)");
}

}  // namespace

std::string JobStateText(v1::JobState state) {
  const std::string name = v1::JobState_Name(state);
  const std::string prefix = "JOB_STATE_";
  return name.compare(0, prefix.size(), prefix) == 0 ? name.substr(prefix.size()) : "UNKNOWN";
}

std::string JobsText(const v1::ListJobsResponse& response) {
  std::vector<std::vector<std::string>> rows = {
      {"job", "state", "from", "target", "ESS", "asked", "result", "created"}};
  for (const v1::Job& job : response.jobs()) {
    rows.push_back({job.job_id(), JobStateText(job.state()), absl::StrCat(job.start_model(), "/", job.start_version()),
                    TargetText(job.request().target()), EssText(job), Significant(job.request().requested_ess(), 4),
                    ResultText(job), job.created()});
  }
  return Table(rows, {false, false, false, false, true, true, false, false});
}

std::string JobsTopText(const v1::ListJobsResponse& response) {
  constexpr int kMostEnded = 5;
  std::vector<std::vector<std::string>> rows = {{"job", "state", "target", "progress", "ESS", "asked", "time"}};
  int ended = 0;
  for (const v1::Job& job : response.jobs()) {
    const bool over = job.state() == v1::JOB_STATE_SUCCEEDED || job.state() == v1::JOB_STATE_FAILED ||
                      job.state() == v1::JOB_STATE_CANCELLED;
    if (over && ++ended > kMostEnded) continue;
    const v1::JobProgress& p = job.progress();
    std::string progress = over ? ResultText(job) : p.stage();
    if (!over && p.total_steps() > 0) {
      absl::StrAppend(&progress, progress.empty() ? "" : ", ", "step ", p.step(), "/", p.total_steps());
    }
    rows.push_back({job.job_id(), JobStateText(job.state()), TargetText(job.request().target()), progress, EssText(job),
                    Significant(job.request().requested_ess(), 4),
                    absl::StrCat(ClockTime(p.seconds()), " of ", ClockTime(job.request().budget_seconds()))});
  }
  return rows.size() == 1 ? "" : Table(rows, {false, false, false, false, true, true, true});
}

std::string JobText(const v1::Job& job) {
  std::vector<std::vector<std::string>> rows = {
      {"job", job.job_id()},
      {"state", JobStateText(job.state())},
      {"target", TargetText(job.request().target())},
      {"from", absl::StrCat(job.start_model(), "/", job.start_version())},
      {"result", ResultText(job)},
      {"ESS", absl::StrCat(EssText(job), " of ", Significant(job.request().requested_ess(), 4), " asked for")},
      {"budget", absl::StrCat(ClockTime(job.progress().seconds()), " of ", ClockTime(job.request().budget_seconds()))},
      {"attempts", absl::StrCat(job.attempt())},
  };
  if (!job.worker().empty()) rows.push_back({"trainer", job.worker()});
  if (!job.trace_id().empty()) rows.push_back({"trace", job.trace_id()});
  if (!job.error().empty()) rows.push_back({"why", job.error()});
  std::string text = Table(rows, {false, false});
  if (job.events().empty()) return text;
  rows.clear();
  for (const v1::JobEvent& event : job.events()) rows.push_back({event.time(), event.what(), event.detail()});
  return absl::StrCat(text, "\n", Table(rows, {false, false, false}));
}

std::string JobLine(const v1::Job& job) {
  const v1::JobProgress& p = job.progress();
  std::vector<std::string> parts = {JobStateText(job.state())};
  if (!p.stage().empty()) parts.push_back(p.stage());
  if (p.ess() > 0) parts.push_back(absl::StrCat("ESS ", Significant(p.ess(), 3)));
  if (p.total_steps() > 0) parts.push_back(absl::StrCat("step ", p.step(), "/", p.total_steps()));
  if (p.seconds() > 0) {
    parts.push_back(absl::StrCat(ClockTime(p.seconds()), " of ", ClockTime(job.request().budget_seconds())));
  }
  return absl::StrJoin(parts, "  ");
}

Json JobJson(const v1::Job& job) {
  const v1::JobProgress& p = job.progress();
  Json events = Json::array();
  for (const v1::JobEvent& event : job.events()) {
    events.push_back(
        {{"time", event.time()}, {"what", event.what()}, {"attempt", event.attempt()}, {"detail", event.detail()}});
  }
  return {{"job", job.job_id()},
          {"state", JobStateText(job.state())},
          {"target", TargetText(job.request().target())},
          {"requested_ess", job.request().requested_ess()},
          {"budget_seconds", job.request().budget_seconds()},
          {"from", {{"model", job.start_model()}, {"version", job.start_version()}}},
          {"result",
           {{"model", job.published_model()},
            {"version", job.published_version()},
            {"digest", Hex(job.published_digest())},
            {"champion", job.promoted()},
            {"ess", job.ess()},
            {"ess_error", job.ess_error()}}},
          {"attempt", job.attempt()},
          {"worker", job.worker()},
          {"trace_id", job.trace_id()},
          {"error", job.error()},
          {"created", job.created()},
          {"updated", job.updated()},
          {"progress",
           {{"stage", p.stage()},
            {"path", p.path()},
            {"ess", p.ess()},
            {"step", p.step()},
            {"total_steps", p.total_steps()},
            {"seconds", p.seconds()},
            {"seconds_left", p.seconds_left()}}},
          {"events", std::move(events)}};
}

}  // namespace haarflow
