#include "server/registry/canary.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/guarded.h"
#include "core/base/status.h"
#include "core/exact/estimate.h"

namespace haarflow {

namespace {

absl::Status Compare(const Sampler& sampler, const v1::ModelCard& card, uint64_t seed, const CanaryOptions& options) {
  const auto end = std::chrono::steady_clock::now() + options.time;
  PartitionEstimator estimator;
  Proposals proposals;
  for (uint64_t done = 0; done < options.samples;) {
    if (done >= options.minimum && std::chrono::steady_clock::now() >= end) break;
    const uint64_t n = std::min(options.batch, options.samples - done);
    const std::vector<uint64_t> seeds(n, seed);
    std::vector<uint64_t> index(n);
    for (uint64_t i = 0; i < n; ++i) index[i] = done + i;
    RETURN_IF_ERROR(sampler.Draw(sampler.target(), seeds, index, &proposals));
    for (uint64_t i = 0; i < n; ++i) estimator.Add(proposals.LogWeight(static_cast<int64_t>(i)));
    done += n;
  }
  const WeightStatistics& weights = estimator.weights();
  const uint64_t drawn = weights.samples() + weights.sums().invalid_weights;
  if (weights.sums().invalid_weights > 0) {
    return absl::FailedPreconditionError(absl::StrCat("the canary check found ", weights.sums().invalid_weights,
                                                      " weights that are no numbers among ", drawn,
                                                      " fresh samples; do not serve this version"));
  }
  if (weights.sums().finite == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("the canary check found no weight above 0 among ", drawn, " fresh samples"));
  }
  const v1::EnsembleQuality& promised = card.quality();
  if (promised.samples() == 0) return absl::OkStatus();
  const double sigma = std::hypot(estimator.EssError(), promised.ess_error());
  constexpr double kRounding = 1e-9;  // a perfect sampler promises 1 +- 0
  if (weights.Ess() >= promised.ess() - options.sigmas * sigma - kRounding) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrFormat(
      "the canary check found ESS %.4f on %d fresh samples, its card promises %.4f +- %.4f: %.1f sigma below; "
      "evaluate it again before it is served",
      weights.Ess(), drawn, promised.ess(), promised.ess_error(), (promised.ess() - weights.Ess()) / sigma));
}

}  // namespace

absl::Status CanaryCheck(const Sampler& sampler, const v1::ModelCard& card, uint64_t seed,
                         const CanaryOptions& options) {
  return Guarded("the canary check", [&] { return Compare(sampler, card, seed, options); });
}

}  // namespace haarflow
