// Text that parses is a valid spec; its target has a name, fields of a size, and parameters; it is served.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/model/spec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto spec = haarflow::ParseSpec(std::string(reinterpret_cast<const char*>(data), size));
  if (!spec.ok()) return 0;
  if (!haarflow::ValidateTarget(spec->target()).ok()) std::abort();
  if (haarflow::CanonicalTarget(spec->target()).empty()) std::abort();
  if (haarflow::FieldSize(spec->target()) < 2 || haarflow::TheoryParameters(spec->target()).empty()) std::abort();
  if (!haarflow::ServesTarget(*spec, spec->target())) std::abort();
  return 0;
}
