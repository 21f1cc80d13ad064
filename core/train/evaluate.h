// How good a trained model is: quality on fresh proposals, the certified error of integrated densities, and what fields
// of the target say that the model's own proposals cannot.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/model/model.h"
#include "core/model/safetensors.h"
#include "core/train/crew.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

// log w of proposals 0 .. samples - 1 of one seed, for a target that the model serves.
absl::StatusOr<std::vector<double>> DrawLogWeights(const Model& model, const v1::Target& target, uint64_t samples,
                                                   uint64_t seed, int threads);
// The same for the model of a spec and its own target, by a team.
absl::StatusOr<std::vector<double>> DrawLogWeights(const v1::ModelSpec& spec, const TensorMap& weights,
                                                   uint64_t samples, uint64_t seed, const Team& team);

// ESS of log-weights with its jackknife error.
struct MeasuredEss {
  double ess = 0;
  double error = 0;
};
MeasuredEss QualityOf(const std::vector<double>& log_weight);

// The card of a model: ESS with a jackknife error, log Z, acceptance of a Metropolis chain, on `samples` fresh
// proposals of the served map. Also forward ESS and log Z from fields of the target where a chain or perfect sampler
// draws them, and unreliable_reason where the two sides disagree, or where the mean of an odd observable is not 0.
// Conditional models: quality at points over their intervals. Integrated flows: the change of log w when the served
// steps are doubled.
absl::StatusOr<v1::ModelCard> EvaluateModel(const v1::ModelSpec& spec, const TensorMap& weights, uint64_t samples,
                                            uint64_t seed, const Team& team);

// Error of log w that is certified for what is served: mean and standard deviation below this. The statistical error of
// log Z of a good model falls below 1e-3 at some 10^4 proposals already.
constexpr double kCertifiedLogWeightError = 1e-4;

// The smallest number of Runge-Kutta steps of a series for which doubling it changes log w on the same noise by less
// than kCertifiedLogWeightError, for the model's target and, of conditional models, at the ends and the middle of their
// intervals. FAILED_PRECONDITION when 256 steps do not: the flow is too stiff to be served.
absl::StatusOr<int32_t> CertifiedSteps(const v1::ModelSpec& spec, const TensorMap& weights, uint64_t seed,
                                       const Team& team);

}  // namespace haarflow
