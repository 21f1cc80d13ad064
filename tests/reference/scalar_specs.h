// Small scalar specs for tests, and parameters that are anything but the start of training.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/noise.h"
#include "core/flow/scalar_plan.h"
#include "core/model/safetensors.h"
#include "core/model/spec.h"

namespace haarflow::testing {

struct ScalarOptions {
  std::vector<int> shape = {4, 4};
  std::string theory = "mass { m2: -1 lambda: 1.5 }";  // and components
  std::string prior = "free_field { m2: 1.5 learnable: true }";
  std::string layers = "layers { scalar_continuous_flow { frequencies: 2 max_frequency: 2.5 time_modes: 3 } }";
  std::string more;  // conditioning, training
};

inline std::string ScalarSpecText(const ScalarOptions& o) {
  return absl::StrCat("name: \"test\"\nspec_version: 1\ntarget { lattice { shape: [", absl::StrJoin(o.shape, ", "),
                      "] } phi4 { ", o.theory, " } }\nprior { ", o.prior, " }\n", o.layers, "\n", o.more);
}

inline v1::ModelSpec ScalarSpec(const ScalarOptions& o) { return ParseSpec(ScalarSpecText(o)).value(); }

constexpr char kHeatBath[] =
    "layers { scalar_continuous_flow { frequencies: 2 max_frequency: 2.5 time_modes: 3 } }\n"
    "layers { scalar_heat_bath {} }";

// The start of training with normal numbers of `scale` x the sizes in which parameters move added to it (a fifth of
// that in networks: maps stay well conditioned).
inline std::vector<double> RandomScalarParameters(const ScalarFlowPlan& plan, double scale, uint64_t seed = 5) {
  std::vector<double> values = plan.InitialValues(3);
  const std::vector<double> scales = plan.ParameterScales();
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] += scale * (scales[i] == 1 ? 0.2 : scales[i]) *
                 NormalNoise(seed, NoisePurpose::kInitial, 1, static_cast<uint32_t>(i));
  }
  return values;
}

inline TensorMap ToScalarTensors(const ScalarFlowPlan& plan, const std::vector<double>& values, int steps) {
  TensorMap tensors;
  for (const ParameterBlock& block : plan.layout.blocks()) {
    tensors[block.name] =
        Tensor::FromDoubles(block.float64 ? Tensor::Type::kFloat64 : Tensor::Type::kFloat32, block.shape,
                            {values.begin() + block.offset, values.begin() + block.offset + block.size});
  }
  if (plan.has_continuous_layer()) {
    tensors["steps"] = Tensor::FromDoubles(Tensor::Type::kFloat64, {1}, {static_cast<double>(steps)});
  }
  return tensors;
}

}  // namespace haarflow::testing
