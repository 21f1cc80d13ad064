// The file of tokens. What parses knows its callers again; what does not says so without repeating a line of the file,
// which may be a token. The first line is also tried as what a caller shows.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "server/auth/token_table.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const std::string first = text.substr(0, text.find('\n'));
  const auto table = haarflow::TokenTable::Parse(text);
  if (!table.ok()) {
    const std::string message(table.status().message());
    constexpr size_t kSecret = 24;  // shorter words may be part of any message
    for (size_t at = 0; at < text.size();) {
      size_t end = text.find_first_of(" \t\n", at);
      if (end == std::string::npos) end = text.size();
      if (end - at >= kSecret && message.find(text.substr(at, end - at)) != std::string::npos) std::abort();
      at = end + 1;
    }
    return 0;
  }
  for (const haarflow::Caller* caller : {table->ByToken(first), table->ByCertificate(first)}) {
    if (caller != nullptr && (caller->principal.empty() || caller->roles == 0 || caller->roles > 15)) std::abort();
  }
  if (haarflow::TokenTable::Parse(text)->size() != table->size()) std::abort();
  return 0;
}
