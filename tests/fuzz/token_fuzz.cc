// Resume tokens come from clients. One that parses either makes a chain or is refused; a chain saves itself again. The
// framing's checksum hides the message from the fuzzer, so the bytes are also tried as a message that SerializeToken
// frames.
#include <google/protobuf/stubs/logging.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "core/exact/metropolis.h"

namespace {

void Try(const haarflow::v1::ChainToken& token) {
  const auto chain = haarflow::MetropolisChain::FromToken(token);
  if (!chain.ok()) return;
  haarflow::v1::ChainToken saved;
  chain->Save(&saved);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  [[maybe_unused]] static const auto loud = google::protobuf::SetLogHandler(nullptr);
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  if (const auto token = haarflow::ParseToken(bytes); token.ok()) Try(*token);
  haarflow::v1::ChainToken message;
  if (!message.ParseFromString(bytes)) return 0;
  if (const auto token = haarflow::ParseToken(haarflow::SerializeToken(message)); token.ok()) Try(*token);
  return 0;
}
