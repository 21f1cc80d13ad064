// Names of files that are being written, and what becomes of those whose writer was killed.
#pragma once

#include <string>

namespace haarflow {

// PATH.tmp.HOST.NAMESPACE.PID.NUMBER: another one each time. NAMESPACE is that of process ids (Linux: containers that
// share a host's name do not share its processes), so that PID means one process.
std::string TemporaryNameOf(const std::string& path);

// Removes files of such names for `path` whose process was of this host and namespace, and no longer exists. Those of
// other hosts (a shared file system) and of living processes stay. Whatever fails here is left for the next writer.
void RemoveAbandoned(const std::string& path);

}  // namespace haarflow
