#include "server/log/log.h"

#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "core/base/mutex.h"

namespace haarflow {
namespace {

constexpr const char* kNames[] = {"INFO", "WARNING", "ERROR"};
constexpr size_t kMostBytes = PIPE_BUF;  // written at once or not at all
constexpr size_t kShortest = 32;         // a value is not cut below
const std::string kCut = "...";          // the end of a value that was cut

std::atomic<LogFormat> log_format{LogFormat::kText};
std::atomic<uint64_t> dropped_lines{0};
thread_local LogFields scope_fields;

std::string Quoted(const std::string& value) {
  bool plain = !value.empty();
  for (const unsigned char c : value) plain = plain && std::isgraph(c) != 0 && c != '"' && c != '\\' && c != '=';
  if (plain) return value;
  std::string out = "\"";
  for (const unsigned char c : value) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20 || c == 0x7f) {
      char escaped[8];
      std::snprintf(escaped, sizeof escaped, "\\x%02x", c);
      out += escaped;
    } else {
      out += static_cast<char>(c);
    }
  }
  return out + '"';
}

std::string Now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto millis = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
  const std::time_t seconds = static_cast<std::time_t>(millis / 1000);
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  char text[32];
  const size_t n = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
  std::snprintf(text + n, sizeof text - n, ".%03dZ", static_cast<int>(millis % 1000));
  return text;
}

}  // namespace

std::string FormatLogLine(LogLevel level, const std::string& message, const LogFields& fields) {
  std::string line = kNames[static_cast<int>(level)];
  line += ' ';
  line += message;
  for (const auto& [key, value] : fields) {
    line += ' ';
    line += key;
    line += '=';
    line += Quoted(value);
  }
  return line;
}

std::string FormatJsonLine(const std::string& time, LogLevel level, const std::string& message,
                           const LogFields& fields) {
  nlohmann::ordered_json object = {{"time", time}, {"level", kNames[static_cast<int>(level)]}, {"message", message}};
  for (const auto& [key, value] : fields) object[key] = value;
  while (true) {
    std::string line = object.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    if (line.size() < kMostBytes) return line;
    auto longest = std::max_element(object.begin(), object.end(), [](const auto& a, const auto& b) {
      return a.template get_ref<const std::string&>().size() < b.template get_ref<const std::string&>().size();
    });
    std::string& value = longest->get_ref<std::string&>();
    if (value.size() <= kShortest) {  // thousands of fields
      object.erase(longest);
      continue;
    }
    // One byte less of a value is one byte less of the line, or more.
    const size_t excess = line.size() - kMostBytes + 1 + kCut.size();
    value = value.substr(0, std::max(kShortest - kCut.size(), value.size() - std::min(value.size(), excess))) + kCut;
  }
}

void SetLogFormat(LogFormat format) { log_format = format; }
uint64_t DroppedLogLines() { return dropped_lines; }

LogScope::LogScope(LogFields fields) : outer_(std::exchange(scope_fields, std::move(fields))) {}
LogScope::~LogScope() { scope_fields = std::move(outer_); }
const LogFields& LogScope::Current() { return scope_fields; }

void Log(LogLevel level, const std::string& message, const LogFields& fields) {
  LogFields all = fields;
  all.insert(all.end(), scope_fields.begin(), scope_fields.end());
  static Mutex mutex;
  static uint64_t unreported = 0;
  MutexLock lock(&mutex);
  // A pipe that says it can be written takes PIPE_BUF bytes at once; files and terminals always can.
  pollfd out{STDERR_FILENO, POLLOUT, 0};
  if (poll(&out, 1, 0) != 1 || (out.revents & POLLOUT) == 0) {
    ++unreported;
    ++dropped_lines;
    return;
  }
  if (unreported > 0) all.emplace_back("dropped_lines_before", std::to_string(std::exchange(unreported, 0)));
  std::string line = log_format == LogFormat::kJson ? FormatJsonLine(Now(), level, message, all)
                                                    : Now() + ' ' + FormatLogLine(level, message, all);
  if (line.size() >= kMostBytes) line.resize(kMostBytes - 1);
  line += '\n';
  // A log that cannot be written is no reason to stop serving.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace haarflow
