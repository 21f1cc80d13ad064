// How the command line speaks: numbers as physicists write them, aligned tables, one JSON document, exit codes.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "haarflow/v1/sampler.pb.h"

namespace haarflow {

using Json = nlohmann::ordered_json;

// Options before the sub-command.
struct Globals {
  std::string server;
  bool json = false;
  bool progress = true;
  std::string token_file;  // empty: $HAARFLOW_TOKEN_FILE, or what `haarflow login` keeps
  bool tls = false;
  std::string tls_ca;
  std::string tls_cert;
  std::string tls_key;
};

enum ExitCode : int {
  kExitOk = 0,
  kExitFailure = 1,  // a defect of this program
  kExitUsage = 2,
  kExitUnreachable = 3,
  kExitRefused = 4,
  kExitCorrupt = 5,
  kExitLocalFile = 6,
  kExitUnreliable = 7,
  kExitJobFailed = 8,
  kExitInterrupted = 130,
};
extern const char kExitCodeHelp[];

// A status that knows its exit code; others get theirs from the status code: what the server said.
absl::Status WithExitCode(const absl::Status& status, ExitCode code);
ExitCode ExitCodeOf(const absl::Status& status);

// Where a command's answer goes: to stdout, as text or as the one JSON document. Errors too: as one line on stderr, or
// as
// {"error": {"code", "message"}}.
void Print(const std::string& text);
void PrintJson(const Json& json);
void PrintError(const absl::Status& status, bool json);
// A line on stderr.
void Note(const std::string& text);

// Whether an error says anything: finite, and above the rounding of the value (a perfect flow has no other error).
bool IsStatistical(double value, double error);
// "0.69781(12)": two digits of error. One that is not statistical gives the plain value, or "value +- inf".
std::string ValueWithError(double value, double error);
// (value - exact) / error with a sign and two decimals; "-" where there is none.
std::string Pull(double value, double error, const std::optional<double>& exact);
// 12345 -> "12,345".
std::string Grouped(uint64_t number);
std::string Percent(double fraction);
// %.*g
std::string Significant(double value, int digits);
// "1:02:03", "0:07".
std::string ClockTime(double seconds);
std::string Hex(const std::string& bytes);

// Columns padded to their widest cell; every column but the first right-aligned where `right` says so.
std::string Table(const std::vector<std::vector<std::string>>& rows, const std::vector<bool>& right);

Json QualityJson(const v1::EnsembleQuality& quality);
Json StatisticsJson(const v1::ChainStatistics& statistics);
// The names of a stream: model, digests, target, seed.
Json HeaderJson(const v1::SampleHeader& header);
// "yes", or "no: reason".
std::string ReliableText(const v1::EnsembleQuality& quality);

}  // namespace haarflow
