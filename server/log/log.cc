#include "server/log/log.h"

#include <limits.h>
#include <poll.h>
#include <unistd.h>

#include <cctype>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <string>
#include <utility>

#include "core/base/mutex.h"

namespace haarflow {
namespace {

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
  static constexpr const char* kNames[] = {"INFO", "WARNING", "ERROR"};
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

void Log(LogLevel level, const std::string& message, const LogFields& fields) {
  std::string line = Now() + ' ' + FormatLogLine(level, message, fields);
  static Mutex mutex;
  static uint64_t dropped = 0;
  MutexLock lock(&mutex);
  // A pipe that says it can be written takes PIPE_BUF bytes at once; files and terminals always can.
  pollfd out{STDERR_FILENO, POLLOUT, 0};
  if (poll(&out, 1, 0) != 1 || (out.revents & POLLOUT) == 0) {
    ++dropped;
    return;
  }
  if (dropped > 0) line += " dropped_lines_before=" + std::to_string(std::exchange(dropped, 0));
  if (line.size() >= PIPE_BUF) line.resize(PIPE_BUF - 1);
  line += '\n';
  // A log that cannot be written is no reason to stop serving.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace haarflow
