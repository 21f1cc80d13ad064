#include "server/sampling/retry.h"

#include <string>

#include "absl/strings/cord.h"
#include "google/protobuf/duration.pb.h"

namespace haarflow {
namespace {
// RetryInfo { Duration retry_delay = 1; }: field 1, length-delimited. The message's own header is in no Debian package.
constexpr char kRetryDelayTag = 0x0A;
}  // namespace

absl::Status WithRetryInfo(absl::Status status, std::chrono::milliseconds delay) {
  google::protobuf::Duration duration;
  duration.set_seconds(delay.count() / 1000);
  duration.set_nanos(static_cast<int32_t>(delay.count() % 1000 * 1000000));
  const std::string value = duration.SerializeAsString();  // at most 17 bytes: its length is one byte
  std::string info;
  info += kRetryDelayTag;
  info += static_cast<char>(value.size());
  info += value;
  status.SetPayload(kRetryInfoUrl, absl::Cord(info));
  return status;
}

std::optional<std::chrono::milliseconds> RetryDelay(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryInfoUrl);
  if (!payload.has_value()) return std::nullopt;
  const std::string info(*payload);
  google::protobuf::Duration duration;
  if (info.size() < 2 || info[0] != kRetryDelayTag || !duration.ParseFromString(info.substr(2))) return std::nullopt;
  return std::chrono::milliseconds(duration.seconds() * 1000 + duration.nanos() / 1000000);
}

}  // namespace haarflow
