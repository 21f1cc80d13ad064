#pragma once

#include <ctime>
#include <string>

namespace haarflow {

// "2026-01-01T12:00:00Z": when a version was made, for its card.
inline std::string NowUtc() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

}  // namespace haarflow
