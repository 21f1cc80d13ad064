// Where tests kill a process: at a named point, and nowhere else.
//
// A process that was started with HAARFLOW_FAILPOINT=NAME ends at Failpoint("NAME") as by SIGKILL: nothing is flushed,
// no destructor runs. NAME:FILE also makes FILE first, so that a test knows that the point was reached. Without the
// variable a failpoint is one comparison.
#pragma once

namespace haarflow {

void Failpoint(const char* name);

}  // namespace haarflow
