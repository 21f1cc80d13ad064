// One line per event on stderr: time (ISO 8601, UTC), level, message, key=value; or the same as a JSON object.
//
//   Log(LogLevel::kInfo, "model loaded", {{"model", "u1-l8-b2"}, {"version", "3"}});
//   2026-01-01T12:00:00.123Z INFO model loaded model=u1-l8-b2 version=3
//   {"time":"2026-01-01T12:00:00.123Z","level":"INFO","message":"model loaded","model":"u1-l8-b2","version":"3"}
//
// A log never holds the server: when whoever reads stderr stalls and the pipe is full, lines are dropped, and the next
// one that is written says how many. Lines are at most 4 KiB: text is cut, of a JSON object the longest values are, so
// that it stays one.
//
// Values with blanks, quotes or control characters are quoted and escaped, so that a line stays a line; bytes that are
// no UTF-8 are replaced in JSON. Thread-safe: a line is one write(2).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace haarflow {

enum class LogLevel { kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };
using LogFields = std::vector<std::pair<std::string, std::string>>;

void Log(LogLevel level, const std::string& message, const LogFields& fields = {});
// Of the whole process; text at first.
void SetLogFormat(LogFormat format);
// Lines dropped since the start.
uint64_t DroppedLogLines();

// Fields that every line of this thread carries while the scope lives, in place of those of the scope outside it: the
// trace of a request. Work that is handed to another thread takes them along:
//   Post([fields = LogScope::Current(), work] { const LogScope scope(fields); work(); });
class LogScope {
 public:
  explicit LogScope(LogFields fields);
  ~LogScope();
  LogScope(const LogScope&) = delete;
  LogScope& operator=(const LogScope&) = delete;
  static const LogFields& Current();

 private:
  LogFields outer_;
};

// The line without its newline, as text without its time: for tests.
std::string FormatLogLine(LogLevel level, const std::string& message, const LogFields& fields);
std::string FormatJsonLine(const std::string& time, LogLevel level, const std::string& message,
                           const LogFields& fields);

}  // namespace haarflow
