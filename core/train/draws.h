// Proposals of a model and densities of given fields by threads of this process.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/model/model.h"
#include "core/train/crew.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

struct DrawnWeights {
  std::vector<double> log_weight;
  std::vector<double> sign;  // of the magnetisation, +1 or -1, where asked for: scalars
};
// Proposals samples.begin .. samples.end - 1 of one seed. No number of threads changes a bit.
absl::StatusOr<DrawnWeights> DrawShare(const Model& model, const v1::Target& target, Share samples, uint64_t seed,
                                       bool signs, int threads);
// log w of fields [n][field] of the model's own target.
absl::StatusOr<std::vector<double>> WeighFields(const Model& model, const std::vector<double>& fields, int threads);

}  // namespace haarflow
