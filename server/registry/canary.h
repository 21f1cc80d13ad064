// The canary check: is what was loaded as good as its card says?
//
// Draws fresh samples for the model's own target and compares: every weight finite or 0, at least one not 0, and the
// ESS not more than `sigmas` standard deviations below the card's, where the deviation is that of the card and of the
// fresh samples together. A card without a quality promises nothing, then finite weights are enough. A model that draws
// slowly gets fewer samples, not more time.
#pragma once

#include <chrono>
#include <cstdint>

#include "absl/status/status.h"
#include "core/model/sampler.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

struct CanaryOptions {
  uint64_t samples = 4096;
  uint64_t batch = 64;                   // at a time, so that the time is noticed
  uint64_t minimum = 256;                // however long they take: fewer have no error
  std::chrono::milliseconds time{2000};  // after which no further batch begins
  double sigmas = 4;
};

// FAILED_PRECONDITION: it is not; the message has both numbers. Otherwise the error of the draw; an exception of the
// sampler is one too, INTERNAL, since whoever checks does so on a thread that must go on.
absl::Status CanaryCheck(const Sampler& sampler, const v1::ModelCard& card, uint64_t seed,
                         const CanaryOptions& options);

}  // namespace haarflow
