// What the reader accepts, the writer writes and the reader reads back the same.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/model/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto read = haarflow::ReadSafetensors(std::string(reinterpret_cast<const char*>(data), size));
  if (!read.ok()) return 0;
  const auto again = haarflow::ReadSafetensors(haarflow::WriteSafetensors(*read, {}));
  if (!again.ok() || again->size() != read->size()) std::abort();
  return 0;
}
