#include "client/output.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/trace.h"
#include "core/io/sample_rows.h"
#include "core/model/spec.h"

namespace haarflow {
namespace {

constexpr char kExitPayload[] = "haarflow/exit-code";

std::string Printf(const char* format, int digits, double value) {
  char text[400];
  std::snprintf(text, sizeof text, format, digits, value);
  return text;
}

}  // namespace

const char kExitCodeHelp[] =
    "Exit codes:\n"
    "  0  done\n"
    "  1  a defect of this program\n"
    "  2  wrong usage\n"
    "  3  the server cannot be reached, is draining, or did not answer in time\n"
    "  4  the server refused\n"
    "  5  corrupt data received or read\n"
    "  6  trouble with a local file\n"
    "  7  --require-reliable was given and the answer is not reliable\n"
    "  8  a job that was watched failed or was cancelled\n"
    "  130  interrupted";

absl::Status WithExitCode(const absl::Status& status, ExitCode code) {
  if (status.ok()) return status;
  absl::Status tagged = status;
  tagged.SetPayload(kExitPayload, absl::Cord(absl::StrCat(static_cast<int>(code))));
  return tagged;
}

ExitCode ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return kExitOk;
  if (const auto payload = status.GetPayload(kExitPayload)) {
    return static_cast<ExitCode>(std::atoi(std::string(*payload).c_str()));
  }
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kExitUnreachable;
    case absl::StatusCode::kDataLoss:
      return kExitCorrupt;
    case absl::StatusCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitRefused;
  }
}

void Print(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stdout); }

void PrintJson(const Json& json) { Print(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"); }

void Note(const std::string& text) {
  const std::string line = text + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

void PrintError(const absl::Status& status, bool json) {
  std::string message(status.message());
  std::replace(message.begin(), message.end(), '\n', ' ');
  const std::string trace = TraceOfCalls();  // to be quoted to whoever has the server's logs
  if (json) {
    Json error = {{"code", absl::StatusCodeToString(status.code())}, {"message", message}};
    if (!trace.empty()) error["trace_id"] = trace;
    PrintJson({{"error", std::move(error)}});
  } else {
    Note("haarflow: " + message + (trace.empty() ? "" : absl::StrCat(" (trace ", trace, ")")));
  }
}

std::string Significant(double value, int digits) { return Printf("%.*g", digits, value); }

bool IsStatistical(double value, double error) {
  constexpr double kRounding = 1e-13;
  return error > kRounding * std::abs(value) && std::isfinite(error);
}

std::string ValueWithError(double value, double error) {
  if (!std::isfinite(value) || std::isnan(error)) return Significant(value, 6);
  if (std::isinf(error)) return Significant(value, 6) + " +- inf";
  if (!IsStatistical(value, error)) return Significant(value, 13);
  // Two digits of error: 0.0961 -> 0.096, 0.0996 -> 0.10. Rounding may carry, hence through the text.
  const std::string rounded = Printf("%.*e", 1, error);
  const int exponent = std::atoi(rounded.c_str() + rounded.find('e') + 1);
  const double shown = std::atof(rounded.c_str());
  const int decimals = 1 - exponent;
  if (decimals <= 0) return Printf("%.*f", 0, value) + "(" + Printf("%.*f", 0, error) + ")";
  if (decimals > 17) return Significant(value, 17) + " +- " + Significant(error, 2);
  // 210.9(1.2): the error has a point where it reaches before the value's.
  const std::string digits =
      exponent >= 0 ? Printf("%.*f", decimals, shown) : Printf("%.*f", 0, shown * std::pow(10, decimals));
  return Printf("%.*f", decimals, value) + "(" + digits + ")";
}

std::string Pull(double value, double error, const std::optional<double>& exact) {
  if (!exact.has_value() || !IsStatistical(value, error)) return "-";
  return absl::StrFormat("%+.2f", (value - *exact) / error);
}

std::string Grouped(uint64_t number) {
  const std::string digits = std::to_string(number);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string Percent(double fraction) { return absl::StrFormat("%.1f %%", 100 * fraction); }

std::string ClockTime(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e8) return "-";
  const auto all = static_cast<int64_t>(std::llround(seconds));
  if (all >= 3600) return absl::StrFormat("%d:%02d:%02d", all / 3600, all / 60 % 60, all % 60);
  return absl::StrFormat("%d:%02d", all / 60, all % 60);
}

std::string Hex(const std::string& bytes) {
  std::string text;
  for (const unsigned char byte : bytes) absl::StrAppend(&text, absl::Hex(byte, absl::kZeroPad2));
  return text;
}

std::string Table(const std::vector<std::vector<std::string>>& rows, const std::vector<bool>& right) {
  std::vector<size_t> width(right.size(), 0);
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) line += "  ";
      if (right[i]) line.append(width[i] - row[i].size(), ' ');
      line += row[i];
      if (!right[i]) line.append(width[i] - row[i].size(), ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

Json QualityJson(const v1::EnsembleQuality& quality) {
  return {{"samples", quality.samples()},
          {"ess", quality.ess()},
          {"ess_error", quality.ess_error()},
          {"acceptance", quality.acceptance()},
          {"max_weight_share", quality.max_weight_share()},
          {"longest_rejection_run", quality.longest_rejection_run()},
          {"zero_weights", quality.zero_weights()},
          {"invalid_weights", quality.invalid_weights()},
          {"reliable", quality.reliable()},
          {"unreliable_reason", quality.unreliable_reason()}};
}

Json StatisticsJson(const v1::ChainStatistics& statistics) {
  return {{"steps", statistics.steps()},
          {"proposals", statistics.proposals()},
          {"accepted", statistics.accepted()},
          {"quality", QualityJson(statistics.quality())}};
}

Json HeaderJson(const v1::SampleHeader& header) {
  Json json = {{"model", header.model()},
               {"version", header.version()},
               {"model_digest", Hex(header.model_digest())},
               {"target", ValidateTarget(header.target()).ok() ? DescribeTarget(header.target()) : std::string()},
               {"target_digest", Hex(header.target_digest())},
               {"numerics_class", header.numerics_class()},
               {"mode", IsMetropolis(header) ? "metropolis" : "reweighted"},
               {"seed", header.seed()},
               {"first_index", header.next_index()},
               {"burn_in", header.burn_in()}};
  return json;
}

std::string ReliableText(const v1::EnsembleQuality& quality) {
  return quality.reliable() ? "yes" : "no: " + quality.unreliable_reason();
}

}  // namespace haarflow
