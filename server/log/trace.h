// The trace that a log line belongs to.
#pragma once

#include "core/base/trace_context.h"
#include "server/log/log.h"

namespace haarflow {

// trace_id, and parent_id where there is one.
LogFields TraceFields(const TraceContext& trace);

}  // namespace haarflow
