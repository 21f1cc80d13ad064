// W3C trace context (https://www.w3.org/TR/trace-context): which request of a user's a line or an error belongs to.
//
// Thread-safety: thread-safe.
#pragma once

#include <optional>
#include <string>

namespace haarflow {

struct TraceContext {
  std::string trace_id;   // 32 lower-case hexadecimal digits
  std::string parent_id;  // 16; empty when the caller has sent none and the server made the trace
};

// `header`: "00-<trace id>-<parent id>-<flags>", all lower-case hexadecimal; what a later version appends after a dash
// is ignored. Nothing for anything else: version ff, an id of zeros, capitals, another length. What is malformed comes
// from outside and is not to be shown anywhere.
std::optional<TraceContext> ParseTraceparent(const std::string& header);
// A trace of one's own, for a request that has none.
TraceContext NewTrace();
// The header of a call within `trace`, with a new parent id of one's own; not sampled, since nobody collects spans
// here.
std::string TraceparentOf(const TraceContext& trace);

}  // namespace haarflow
