// Manifest and index. A fuzzer does not guess a SHA-256, so the input is sealed here first: the parsers behind the seal
// are what is tested (the unsealed input, too).
#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/base/digest.h"
#include "core/model/store.h"

namespace {

// As store.cc seals: the last member of the object is the digest of the bytes with its own digits as zeros.
std::string Sealed(const std::string& text) {
  const std::string zeros(64, '0');
  const std::string head = text + ",\n  \"sha256\": \"";
  return head + haarflow::Sha256Of(head + zeros + "\"\n}\n").Hex() + "\"\n}\n";
}

void Try(const std::string& text) {
  if (const auto index = haarflow::ParseIndex(text, "m"); index.ok()) {
    const auto again = haarflow::ParseIndex(haarflow::FormatIndex(*index, "m"), "m");
    if (!again.ok() || again->versions != index->versions || again->aliases != index->aliases) std::abort();
  }
  if (const auto manifest = haarflow::ParseManifest(text); manifest.ok()) {
    const auto formatted = haarflow::FormatManifest(*manifest);
    if (!formatted.ok() || !haarflow::ParseManifest(*formatted).ok()) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  Try(text);
  Try(Sealed(text));
  return 0;
}
