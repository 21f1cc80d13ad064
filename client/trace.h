// The trace of this process: what its calls have in common in the servers' logs.
#pragma once

#include <string>

namespace haarflow {

// The header of one call: the trace of $TRACEPARENT where that is valid (a workflow's, a batch job's), else one of the
// process's own, with a parent id of the call's own.
std::string Traceparent();
// The id of that trace, 32 hexadecimal digits, once a call was made within it; empty before.
std::string TraceOfCalls();

}  // namespace haarflow
