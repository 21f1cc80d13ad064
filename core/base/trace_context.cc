#include "core/base/trace_context.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <random>

namespace haarflow {
namespace {

constexpr size_t kVersion = 2, kTraceId = 32, kParentId = 16, kFlags = 2;
constexpr size_t kLength = kVersion + 1 + kTraceId + 1 + kParentId + 1 + kFlags;
constexpr size_t kMostBytes = 512;

bool IsLowerHex(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}
bool IsZero(const std::string& text) { return text.find_first_not_of('0') == std::string::npos; }

}  // namespace

std::optional<TraceContext> ParseTraceparent(const std::string& header) {
  if (header.size() < kLength || header.size() > kMostBytes) return std::nullopt;
  const std::string version = header.substr(0, kVersion);
  const std::string trace = header.substr(kVersion + 1, kTraceId);
  const std::string parent = header.substr(kVersion + kTraceId + 2, kParentId);
  const std::string flags = header.substr(kLength - kFlags, kFlags);
  const bool dashes = header[kVersion] == '-' && header[kVersion + kTraceId + 1] == '-' &&
                      header[kVersion + kTraceId + kParentId + 2] == '-';
  const bool end = header.size() == kLength || (version != "00" && header[kLength] == '-');
  if (!dashes || !end || version == "ff" || !IsLowerHex(version) || !IsLowerHex(trace) || !IsLowerHex(parent) ||
      !IsLowerHex(flags) || IsZero(trace) || IsZero(parent)) {
    return std::nullopt;
  }
  return TraceContext{trace, parent};
}

TraceContext NewTrace() {
  // Names need to differ, not to be secret.
  thread_local std::mt19937_64 generator = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  char text[kTraceId + 1];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(generator()),
                static_cast<unsigned long long>(generator() | 1));
  return {text, ""};
}

std::string TraceparentOf(const TraceContext& trace) {
  // The second half of an id of its own: never zero.
  return "00-" + trace.trace_id + "-" + NewTrace().trace_id.substr(kTraceId - kParentId) + "-00";
}

}  // namespace haarflow
