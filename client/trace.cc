#include "client/trace.h"

#include <atomic>
#include <cstdlib>

#include "core/base/trace_context.h"

namespace haarflow {
namespace {

std::atomic<bool> called = false;

const TraceContext& OfThisProcess() {
  static const TraceContext* const trace = [] {
    const char* given = std::getenv("TRACEPARENT");
    const auto parsed = ParseTraceparent(given == nullptr ? "" : given);
    return new TraceContext(parsed.has_value() ? *parsed : NewTrace());
  }();
  return *trace;
}

}  // namespace

std::string Traceparent() {
  called = true;
  return TraceparentOf(OfThisProcess());
}

std::string TraceOfCalls() { return called ? OfThisProcess().trace_id : ""; }

}  // namespace haarflow
