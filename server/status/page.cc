#include "server/status/page.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/action/target.h"
#include "core/base/digest.h"
#include "server/jobs/job_state.h"
#include "server/status/chart.h"
#include "server/status/server_view.h"
#include "server/status/style.h"

namespace haarflow {
namespace {

constexpr int kRefreshSeconds = 5;
constexpr size_t kMostCards = 24;     // with charts
constexpr size_t kMostModels = 1000;  // rows of the table
constexpr int kMostVersions = 20;     // of a model, the newest

// "1,234,567".
std::string Grouped(uint64_t value) {
  std::string digits = absl::StrCat(value);
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(static_cast<size_t>(at), 1, ',');
  return digits;
}
std::string Bytes(double bytes) {
  if (bytes < 1 << 20) return absl::StrFormat("%.0f KiB", bytes / (1 << 10));
  return bytes >= 1 << 30 ? absl::StrFormat("%.1f GiB", bytes / (1 << 30))
                          : absl::StrFormat("%.0f MiB", bytes / (1 << 20));
}
std::string Duration(double seconds) {
  const auto s = static_cast<int64_t>(std::clamp(seconds, 0.0, 1e12));
  if (s >= 172800) return absl::StrFormat("%d days", s / 86400);
  return s >= 3600 ? absl::StrFormat("%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60)
                   : absl::StrFormat("%d:%02d", s / 60, s % 60);
}
// In [0, 1], or a dash.
std::string Ratio(double value) { return std::isfinite(value) ? absl::StrFormat("%.3f", value) : "&ndash;"; }

std::string Pill(const std::string& text, const char* tone) {
  return absl::StrCat("<span class=\"pill ", tone, "\">", Escaped(text), "</span>");
}
std::string ModelPill(v1::ModelState state) {
  const char* tone = state == v1::MODEL_STATE_READY     ? "good"
                     : state == v1::MODEL_STATE_REFUSED ? "bad"
                     : state == v1::MODEL_STATE_LOADING ? "warn"
                                                        : "";
  return Pill(ModelStateName(state), tone);
}
std::string JobPill(v1::JobState state) {
  const char* tone = state == v1::JOB_STATE_SUCCEEDED                                  ? "good"
                     : state == v1::JOB_STATE_FAILED                                   ? "bad"
                     : state == v1::JOB_STATE_RUNNING || state == v1::JOB_STATE_LEASED ? "warn"
                                                                                       : "";
  return Pill(StateName(state), tone);
}

// A bar of `part` of the whole. One that shows a budget warns when little is left.
std::string Bar(double part, bool budget, const std::string& label) {
  const double width = std::isfinite(part) ? 100 * std::clamp(part, 0.0, 1.0) : 0;
  return absl::StrFormat(
      "<svg class=\"bar\" viewBox=\"0 0 100 8\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"%s\">"
      "<rect class=\"track\" width=\"100\" height=\"8\" rx=\"2\"/><rect class=\"fill%s\" width=\"%.1f\" height=\"8\" "
      "rx=\"2\"/></svg>",
      Escaped(label), budget && part > 0.9 ? " over" : "", width);
}

std::string Tile(const std::string& name, const std::string& value, const std::string& more) {
  return absl::StrCat("<div class=\"card tile\"><span>", name, "</span><b>", value, "</b>", more, "</div>");
}
std::string BudgetTile(const std::string& name, double used, double budget, const std::string& value) {
  if (budget <= 0) return Tile(name, value, "<span>no bound</span>");
  return Tile(name, value,
              Bar(used / budget, true, absl::StrFormat("%s: %.0f %% of the budget", name, 100 * used / budget)));
}

double LastFinite(const std::vector<double>& values) {
  for (auto it = values.rbegin(); it != values.rend(); ++it) {
    if (std::isfinite(*it)) return *it;
  }
  return std::nan("");
}

std::string Header(const StatusSnapshot& s, bool refresh) {
  const std::string health = !s.device_healthy ? Pill("DEVICE FAILED", "bad")
                             : s.draining      ? Pill("DRAINING", "warn")
                                               : Pill("SERVING", "good");
  const std::string again = refresh ? absl::StrCat("every ", kRefreshSeconds, " s, <a href=\"/?refresh=off\">pause</a>")
                                    : std::string("paused, <a href=\"/\">go on</a>");
  return absl::StrCat("<header><h1>haarflow</h1>", health, "<small>version ", Escaped(s.code_version), " &middot; ",
                      Escaped(s.device), " (", Escaped(s.numerics), ") &middot; up ", Duration(s.uptime_seconds),
                      "</small><small>", Escaped(s.time), " &middot; ", again, "</small></header>");
}

std::string Tiles(const StatusSnapshot& s) {
  const double rate = s.history.rate.empty() ? 0 : s.history.rate.back();
  std::string out = "<section class=\"tiles\">";
  absl::StrAppend(&out, Tile("proposals per second", Grouped(static_cast<uint64_t>(rate)),
                             Sparkline({"ess", s.history.rate}, "proposals per second over time")));
  absl::StrAppend(&out, Tile("proposals drawn", Grouped(s.proposals_drawn),
                             absl::StrCat("<span>", Grouped(static_cast<uint64_t>(std::max<int64_t>(0, s.queue_depth))),
                                          " wanted now</span>")));
  absl::StrAppend(&out, BudgetTile("streams", static_cast<double>(s.active_streams), static_cast<double>(s.max_streams),
                                   absl::StrCat(s.active_streams, " of ", s.max_streams)));
  absl::StrAppend(&out,
                  BudgetTile("buffers of streams", static_cast<double>(s.stream_bytes),
                             static_cast<double>(s.stream_byte_budget), Bytes(static_cast<double>(s.stream_bytes))));
  absl::StrAppend(
      &out, BudgetTile("models in memory", static_cast<double>(s.model_bytes), static_cast<double>(s.model_byte_budget),
                       Bytes(static_cast<double>(s.model_bytes))));
  absl::StrAppend(&out, Tile("resident memory", Bytes(static_cast<double>(s.resident_bytes)), ""));
  return out + "</section>";
}

std::string TheoryOf(const v1::ModelInfo& model) {
  return ValidateTarget(model.target()).ok() ? DescribeTarget(model.target()) : std::string();
}

// Where the axis of ratios may begin so that nothing is cut: good models differ in what they lack to 1.
double AxisBottom(const ModelHistory& lines, double promised) {
  double least = promised >= 0 ? promised : 1;
  for (const std::vector<double>* line : {&lines.ess, &lines.acceptance}) {
    for (const double value : *line) least = std::isfinite(value) ? std::min(least, value) : least;
  }
  return least >= 0.85 ? 0.8 : least >= 0.55 ? 0.5 : 0;
}

std::string ModelCard(const v1::ModelInfo& model, const ModelHistory& lines, const ModelActivity& activity,
                      double seconds) {
  const double promised = model.card().quality().samples() > 0 ? model.card().quality().ess() : -1;
  std::string out = absl::StrCat("<article class=\"card\"><h3>", Escaped(model.name()), " ", ModelPill(model.state()),
                                 "</h3><p>version ", model.version(), " &middot; ", Escaped(TheoryOf(model)), "</p>");
  if (!model.state_reason().empty()) absl::StrAppend(&out, "<p class=\"why\">", Escaped(model.state_reason()), "</p>");
  absl::StrAppend(&out, LineChart({{"acc", lines.acceptance}, {"ess", lines.ess}},
                                  {.bottom = AxisBottom(lines, promised),
                                   .reference = promised,
                                   .seconds = seconds,
                                   .label = "ESS and acceptance of " + model.name() + " over time"}));
  const double rate = lines.rate.empty() ? std::nan("") : lines.rate.back();
  absl::StrAppend(&out, "<dl><dt><i class=\"ess\"></i>ESS</dt><dd>", Ratio(activity.ess.value_or(std::nan(""))),
                  "</dd><dt><i class=\"acc\"></i>acceptance</dt><dd>", Ratio(LastFinite(lines.acceptance)),
                  "</dd><dt>card's ESS</dt><dd>", promised >= 0 ? Ratio(promised) : "&ndash;",
                  "</dd><dt>per second</dt><dd>",
                  std::isfinite(rate) ? Grouped(static_cast<uint64_t>(rate)) : "&ndash;", "</dd></dl></article>");
  return out;
}

// Those that were drawn from, the busiest first.
std::string Charts(const StatusSnapshot& s) {
  std::vector<std::pair<uint64_t, const v1::ModelInfo*>> busy;
  for (const v1::ModelInfo& model : s.models) {
    const auto activity = s.activity.find(model.name());
    if (activity == s.activity.end() || activity->second.counts.proposals == 0) continue;
    busy.emplace_back(activity->second.counts.proposals, &model);
  }
  std::stable_sort(busy.begin(), busy.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  if (busy.empty()) return "<p class=\"note\">Nothing has been drawn yet: charts come with the first stream.</p>";
  std::string out = "<section class=\"cards\">";
  for (size_t i = 0; i < busy.size() && i < kMostCards; ++i) {
    const v1::ModelInfo& model = *busy[i].second;
    const auto lines = s.history.models.find(model.name());
    absl::StrAppend(&out, ModelCard(model, lines == s.history.models.end() ? ModelHistory() : lines->second,
                                    s.activity.at(model.name()), s.history.seconds));
  }
  return out + "</section>";
}

std::string Versions(const v1::ModelInfo& model) {
  std::string out;
  for (int i = model.versions_size() - 1; i >= std::max(0, model.versions_size() - kMostVersions); --i) {
    const v1::ModelVersion& version = model.versions(i);
    const bool ready = version.state() == v1::MODEL_STATE_READY;
    std::string text = absl::StrCat("v", version.version());
    for (const std::string& alias : version.aliases()) absl::StrAppend(&text, " ", alias);
    if (!ready) absl::StrAppend(&text, ", ", absl::AsciiStrToLower(ModelStateName(version.state())));
    absl::StrAppend(&out, Pill(text, ready ? "good" : version.state() == v1::MODEL_STATE_REFUSED ? "bad" : ""));
  }
  return out;
}

std::string Models(const StatusSnapshot& s) {
  std::string out = absl::StrCat("<h2>Models <small>", s.models.size(), "</small></h2>");
  if (s.models.empty()) return out + "<p class=\"note\">The store has no models.</p>";
  absl::StrAppend(
      &out,
      "<div class=\"card wide\"><table><tr><th>model</th><th>state</th><th>versions</th><th class=\"n\">card's "
      "ESS</th><th class=\"n\">ESS</th><th class=\"n\">acceptance</th><th class=\"n\">proposals</th></tr>");
  for (size_t i = 0; i < s.models.size() && i < kMostModels; ++i) {
    const v1::ModelInfo& model = s.models[i];
    const auto known = s.activity.find(model.name());
    const ModelActivity activity = known == s.activity.end() ? ModelActivity() : known->second;
    const SamplingObserver::Counts& counts = activity.counts;
    const double acceptance = counts.chain_proposals > 0
                                  ? static_cast<double>(counts.accepted) / static_cast<double>(counts.chain_proposals)
                                  : std::nan("");
    const v1::EnsembleQuality& quality = model.card().quality();
    absl::StrAppend(&out, "<tr><td>", Escaped(model.name()), "<small>", Escaped(TheoryOf(model)), "</small>");
    if (!model.state_reason().empty()) {
      absl::StrAppend(&out, "<small class=\"why\">", Escaped(model.state_reason()), "</small>");
    }
    absl::StrAppend(&out, "</td><td>", ModelPill(model.state()));
    absl::StrAppend(&out, "</td><td>", Versions(model), "</td><td class=\"n\">",
                    Ratio(quality.samples() > 0 ? quality.ess() : std::nan("")), "</td><td class=\"n\">",
                    Ratio(activity.ess.value_or(std::nan(""))), "</td><td class=\"n\">", Ratio(acceptance),
                    "</td><td class=\"n\">", Grouped(counts.proposals), "</td></tr>");
  }
  out += "</table></div>";
  if (s.models.size() > kMostModels)
    absl::StrAppend(&out, "<p class=\"note\">", s.models.size() - kMostModels, " more</p>");
  return out;
}

std::string Streams(const StatusSnapshot& s) {
  std::string out = absl::StrCat("<h2>Streams <small>", s.active_streams, " open</small></h2>");
  if (s.streams.empty()) return out + "<p class=\"note\">No stream is open.</p>";
  absl::StrAppend(
      &out,
      "<div class=\"card wide\"><table><tr><th>method</th><th>model</th><th class=\"n\">version</th><th>priority"
      "</th><th class=\"n\">proposals</th><th class=\"n\">since</th></tr>");
  for (const StatusSnapshot::Stream& stream : s.streams) {
    absl::StrAppend(&out, "<tr><td>", Escaped(stream.method), "</td><td>", Escaped(stream.model),
                    "</td><td class=\"n\">", stream.version, "</td><td>", stream.bulk ? "bulk" : "interactive",
                    "</td><td class=\"n\">", Grouped(stream.proposals), "</td><td class=\"n\">",
                    Duration(stream.seconds), "</td></tr>");
  }
  out += "</table></div>";
  const int64_t more = s.active_streams - static_cast<int64_t>(s.streams.size());
  if (more > 0) absl::StrAppend(&out, "<p class=\"note\">", more, " more</p>");
  return out;
}

std::string JobProgress(const v1::Job& job) {
  const v1::JobProgress& p = job.progress();
  if (IsTerminal(job.state())) {
    if (job.published_version() == 0) return Escaped(job.error());
    return absl::StrCat(Escaped(job.published_model()), " version ", job.published_version(),
                        job.promoted() ? ", champion" : ", candidate",
                        job.error().empty() ? "" : absl::StrCat("<small>", Escaped(job.error()), "</small>"));
  }
  if (job.state() == v1::JOB_STATE_PENDING) return "waits for a trainer";
  const double budget = job.request().budget_seconds();
  std::string text = Escaped(p.stage());
  if (p.total_steps() > 0) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", "step ", Grouped(p.step()), " of ", Grouped(p.total_steps()));
  }
  const double part =
      std::max(p.path() < 1 ? p.path() : 0.0,
               p.total_steps() > 0 ? static_cast<double>(p.step()) / static_cast<double>(p.total_steps()) : p.path());
  return absl::StrCat(text, Bar(part, false, absl::StrFormat("%.0f %% of the stage", 100 * part)), "<small>",
                      Duration(p.seconds()), budget > 0 ? " of " + Duration(budget) : "", ", trainer ",
                      Escaped(job.worker()), "</small>");
}

std::string Jobs(const StatusSnapshot& s) {
  if (!s.keeps_jobs) return "";
  std::string out = "<h2>Jobs <small>";
  const char* comma = "";
  for (const auto& [state, count] : s.counts) {
    if (count == 0) continue;
    absl::StrAppend(&out, comma, count, " ", absl::AsciiStrToLower(state));
    comma = ", ";
  }
  out += "</small></h2>";
  if (!s.jobs_error.empty()) return out + "<p class=\"card\">" + Escaped(s.jobs_error) + "</p>";
  if (s.jobs.empty()) return out + "<p class=\"note\">No job was ever submitted.</p>";
  absl::StrAppend(&out,
                  "<div class=\"card wide\"><table><tr><th>job</th><th>state</th><th>target</th><th>progress</th>"
                  "<th class=\"n\">ESS</th><th class=\"n\">asked</th><th class=\"n\">attempt</th></tr>");
  for (const v1::Job& job : s.jobs) {
    const v1::Target& target = job.request().target();
    const double ess = job.published_version() != 0 ? job.ess() : job.progress().ess();
    absl::StrAppend(&out, "<tr><td>", Escaped(job.job_id()), "<small>from ", Escaped(job.start_model()), " ",
                    job.start_version(), "</small></td><td>", JobPill(job.state()), "</td><td>",
                    ValidateTarget(target).ok() ? Escaped(DescribeTarget(target)) : "&ndash;", "</td><td>",
                    JobProgress(job), "</td><td class=\"n\">", Ratio(ess > 0 ? ess : std::nan("")),
                    "</td><td class=\"n\">", Ratio(job.request().requested_ess()), "</td><td class=\"n\">",
                    job.attempt(), "</td></tr>");
  }
  return out + "</table></div>";
}

}  // namespace

std::string StatusPagePolicy() {
  static const std::string& policy = *new std::string([] {
    std::string hash;
    absl::Base64Escape(Sha256Of(kStatusStyle).Bytes(), &hash);
    return absl::StrCat("default-src 'none'; style-src 'sha256-", hash,
                        "'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
  }());
  return policy;
}

std::string RenderStatusPage(const StatusSnapshot& snapshot, bool refresh) {
  std::string page =
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>haarflow</title>"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><link rel=\"icon\" href=\"data:,\">";
  if (refresh) absl::StrAppend(&page, "<meta http-equiv=\"refresh\" content=\"", kRefreshSeconds, "\">");
  absl::StrAppend(&page, "<style>", kStatusStyle, "</style></head>\n<body><main>", Header(snapshot, refresh),
                  Tiles(snapshot), "<h2>ESS and acceptance <small>dashed: the ESS that the card promises</small></h2>",
                  Charts(snapshot));
  absl::StrAppend(&page, Jobs(snapshot), Streams(snapshot), Models(snapshot), "</main></body></html>\n");
  return page;
}

}  // namespace haarflow
