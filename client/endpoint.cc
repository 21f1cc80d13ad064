#include "client/endpoint.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "core/base/file.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

constexpr char kScheme[] = "file:";
constexpr uint64_t kMaxBytes = 64 << 10;

}  // namespace

bool IsEndpointFile(const std::string& address) { return address.rfind(kScheme, 0) == 0; }

absl::StatusOr<std::string> ResolveAddress(const std::string& address) {
  if (!IsEndpointFile(address)) return address;
  const std::string path = address.substr(sizeof(kScheme) - 1);
  const auto text = ReadFile(path, kMaxBytes);
  if (absl::IsNotFound(text.status())) {
    return absl::UnavailableError(absl::StrCat("no server has published its address at ", path,
                                               ": it does not run (yet), or was started with another --endpoint-file"));
  }
  RETURN_IF_ERROR(text.status());
  const auto json = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  const auto found = json.is_object() ? json.find("address") : json.end();
  if (!json.is_object() || found == json.end() || !found->is_string() || IsEndpointFile(*found)) {
    return absl::DataLossError(absl::StrCat(path, " is no endpoint file: no JSON object with an \"address\""));
  }
  return found->get<std::string>();
}

}  // namespace haarflow
