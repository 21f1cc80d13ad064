#include "client/endpoint.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
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

std::string ShuffleReplicas(const std::string& address) {
  if (address.rfind("ipv4:", 0) != 0 && address.rfind("ipv6:", 0) != 0) return address;
  const size_t scheme = address.find(':') + 1;
  std::vector<std::string> replicas = absl::StrSplit(address.substr(scheme), ',');
  std::shuffle(replicas.begin(), replicas.end(), std::random_device());
  return absl::StrCat(address.substr(0, scheme), absl::StrJoin(replicas, ","));
}

}  // namespace haarflow
