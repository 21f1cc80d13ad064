// The status page: one HTML document, nothing beside it. No script and no foreign resource; what comes from models,
// jobs and callers is escaped; names of callers are not on it.
#pragma once

#include <string>

#include "server/status/snapshot.h"

namespace haarflow {

// `refresh`: the browser is told to ask again every few seconds.
std::string RenderStatusPage(const StatusSnapshot& snapshot, bool refresh);
// What the page allows its browser: its own style sheet, by its SHA-256, and nothing else.
std::string StatusPagePolicy();

}  // namespace haarflow
