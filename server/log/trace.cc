#include "server/log/trace.h"

namespace haarflow {

LogFields TraceFields(const TraceContext& trace) {
  LogFields fields = {{"trace_id", trace.trace_id}};
  if (!trace.parent_id.empty()) fields.emplace_back("parent_id", trace.parent_id);
  return fields;
}

}  // namespace haarflow
