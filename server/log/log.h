// One line per event on stderr: time (ISO 8601, UTC), level, message, key=value.
//
//   Log(LogLevel::kInfo, "model loaded", {{"model", "u1-l8-b2"}, {"version", "3"}});
//   2026-01-01T12:00:00.123Z INFO model loaded model=u1-l8-b2 version=3
//
// A log never holds the server: when whoever reads stderr stalls and the pipe is full, lines are dropped, and the next
// one that is written says how many. Lines are at most 4 KiB.
//
// Values with blanks, quotes or control characters are quoted and escaped, so that a line stays a line. Thread-safe: a
// line is one write(2).
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace haarflow {

enum class LogLevel { kInfo, kWarning, kError };
using LogFields = std::vector<std::pair<std::string, std::string>>;

void Log(LogLevel level, const std::string& message, const LogFields& fields = {});
// The line without its time and newline: for tests.
std::string FormatLogLine(LogLevel level, const std::string& message, const LogFields& fields);

}  // namespace haarflow
