// NERSC files: the bytes up to the first NUL NUL are the header's, what follows it the field's, whose checksum a fuzzer
// does not guess; so a field of zeros is also tried, whose sums are 0.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/io/nersc_file.h"

namespace {

void Try(const std::string& bytes) {
  const auto read = haarflow::ReadNersc(haarflow::MemorySource(bytes));
  if (!read.ok()) return;
  size_t numbers = 4 * haarflow::kLinkNumbers;
  for (const int64_t extent : read->shape) numbers *= static_cast<size_t>(extent);
  if (read->shape.size() != 4 || read->links.size() != numbers) std::abort();
  for (const double number : read->links) {
    if (!std::isfinite(number)) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  Try(bytes);
  const size_t end = bytes.find("END_HEADER\n");
  if (end == std::string::npos) return 0;
  for (const size_t field : {16 * 384, 16 * 576, 16 * 192, 16 * 288}) {  // 2^4 sites
    Try(bytes.substr(0, end + 11) + std::string(field, '\0'));
  }
  return 0;
}
