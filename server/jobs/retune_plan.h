// From a request to a job: what it asks for is checked, the version to start from chosen, the result named.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/model/manifest.h"
#include "haarflow/v1/model.pb.h"
#include "haarflow/v1/tuning.pb.h"

namespace haarflow {

// A version that training may start from.
struct RetuneCandidate {
  Manifest manifest;
  v1::ModelSpec spec;
  bool champion = false;
};

struct RetunePlan {
  v1::RetuneRequest request;  // with what it left out filled in
  std::string start_model;
  uint64_t start_version = 0;
  Digest start_digest;
  std::string publish_model;
};

constexpr double kDefaultBudgetSeconds = 600;
constexpr double kMostBudgetSeconds = 30 * 86400.0;

// The request as such. INVALID_ARGUMENT with the field named.
absl::Status CheckRetuneRequest(const v1::RetuneRequest& request);
// What must be the same for two requests of one idempotency key: everything but the key.
std::string CanonicalRequest(const v1::RetuneRequest& request);

// The nearest candidate: on the same lattice before others, then by the distance of the theory's parameters, then by
// ESS. FAILED_PRECONDITION: none can be re-tuned to the target (with each one's reason), or a champion serves it
// already with the ESS asked for.
absl::StatusOr<RetunePlan> PlanRetune(const std::vector<RetuneCandidate>& candidates, const v1::RetuneRequest& request);

// What training makes of `start`: the same layers and plan with another name and target. INVALID_ARGUMENT where the
// layers do not fit the target's lattice.
absl::StatusOr<v1::ModelSpec> RetunedSpec(const v1::ModelSpec& start, const std::string& name,
                                          const v1::Target& target);

// A model's name made of a target: "su3-16x16-beta5.5", "phi4-6x6-m2-4-lambda6".
std::string NameOfTarget(const v1::Target& target);

}  // namespace haarflow
