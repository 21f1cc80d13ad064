// Refusals that say when to come back: google.rpc.RetryInfo as a payload of absl::Status. rpc/ puts payloads into the
// details of the gRPC status.
#pragma once

#include <chrono>
#include <optional>

#include "absl/status/status.h"

namespace haarflow {

inline constexpr char kRetryInfoUrl[] = "type.googleapis.com/google.rpc.RetryInfo";

absl::Status WithRetryInfo(absl::Status status, std::chrono::milliseconds delay);
// Nothing when the status carries none.
std::optional<std::chrono::milliseconds> RetryDelay(const absl::Status& status);

}  // namespace haarflow
