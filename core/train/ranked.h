// What training and evaluation ask of a crew: each the same, bit for bit, as what one process does by itself.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "core/model/safetensors.h"
#include "core/train/crew.h"
#include "core/train/gradient.h"
#include "core/train/log_weight.h"
#include "core/train/target_samples.h"
#include "core/train/trivialising_regression.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

// The gradient of a spec that TrainableFlow::MakeGradient serves. `crew` must outlive it.
std::unique_ptr<GradientSource> MakeRankedGradient(const v1::ModelSpec& spec, Crew* crew);

// Log-weights of the loop flow PlanLoopFlow(spec, target, sweeps), which has `parameters` of them.
std::unique_ptr<LogWeightSource> MakeRankedLogWeights(const v1::ModelSpec& spec, const v1::Target& target, int sweeps,
                                                      int32_t integration_steps, int64_t parameters, Crew* crew);

// The terms of a regression for the continuous loop flow PlanLoopFlow(spec, target).
absl::StatusOr<TrivialisingTerms> RankedTerms(const v1::ModelSpec& spec, const v1::Target& target,
                                              int32_t integration_steps, const std::vector<double>& parameters,
                                              uint64_t seed, uint64_t first_index, int64_t n,
                                              const std::array<double, 3>& action, Crew* crew);

// A model by what it is made from; `steps` as for Model::Create.
struct ModelParts {
  const v1::ModelSpec& spec;
  const TensorMap& weights;
  int32_t steps = 0;
};
// Columns: log w and, for scalars when asked for, the sign of the magnetisation.
absl::StatusOr<Reply> RankedDraw(const ModelParts& model, const v1::Target& target, uint64_t samples, uint64_t seed,
                                 bool signs, Crew* crew);
// -log w of about `wanted` fields of the model's own target, drawn by Markov chains (DrawTargetSamples).
absl::StatusOr<std::vector<double>> RankedJudge(const ModelParts& model, int64_t wanted, uint64_t seed, Crew* crew);
absl::StatusOr<TargetSamples> RankedTargetSamples(const v1::Target& target, int64_t n, uint64_t seed,
                                                  TargetSampler sampler, Crew* crew);

}  // namespace haarflow
