// Small specs for tests: every mask family, every circle map, networks of both precisions.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/noise.h"
#include "core/flow/parameters.h"
#include "core/model/safetensors.h"
#include "core/model/spec.h"

namespace haarflow::testing {

struct SpecOptions {
  std::vector<int> shape = {4, 4};
  double beta = 1.5;
  std::string masks;  // text of repeated `masks`
  int layers = 2;
  std::string active_loop = "width: 1 height: 1";
  std::string features = "features { width: 1 height: 1 } features { width: 2 height: 1 }";
  std::string network = "hidden: [6, 5] kernel: [3, 1, 3]";
  std::string activation = "ACTIVATION_SILU";
  bool float64 = true;
  std::string map = "spline { bins: 5 }";
  std::string training;
};

// Rows of active links every `period` rows (arXiv:2003.06413).
inline std::string StripeMasks(int period = 4) {
  std::string text;
  for (int offset = 0; offset < period; ++offset) {
    absl::StrAppend(&text, "masks { direction: 0 plane: 1 sublattices { offset: [", offset, ", 0] stride: [", period,
                    ", 1] } }\n");
    absl::StrAppend(&text, "masks { direction: 1 plane: 0 sublattices { offset: [0, ", offset, "] stride: [1, ", period,
                    "] } }\n");
  }
  return text;
}

// Two staggered sublattices: rows a and a + 2 with opposite column parity.
inline std::string StaggeredMasks() {
  std::string text;
  for (int a = 0; a < 2; ++a) {
    for (int p = 0; p < 2; ++p) {
      absl::StrAppend(&text, "masks { direction: 0 plane: 1 sublattices { offset: [", a, ", ", p,
                      "] stride: [4, 2] } sublattices { offset: [", a + 2, ", ", 1 - p, "] stride: [4, 2] } }\n");
      absl::StrAppend(&text, "masks { direction: 1 plane: 0 sublattices { offset: [", p, ", ", a,
                      "] stride: [2, 4] } sublattices { offset: [", 1 - p, ", ", a + 2, "] stride: [2, 4] } }\n");
    }
  }
  return text;
}

inline std::string SpecText(const SpecOptions& o) {
  return absl::StrCat("name: \"test\"\nspec_version: 1\ntarget { lattice { shape: [", absl::StrJoin(o.shape, ", "),
                      "] } u1_wilson { beta: ", o.beta,
                      " } }\nprior { uniform {} }\nlayers { u1_coupling_stack {\nlayers: ", o.layers, "\n",
                      o.masks.empty() ? StripeMasks() : o.masks, "active_loop { ", o.active_loop, " }\n", o.features,
                      "\nnetwork { ", o.network, " activation: ", o.activation,
                      " precision: ", o.float64 ? "PRECISION_FLOAT64" : "PRECISION_FLOAT32", " }\nmap { ", o.map,
                      " }\n} }\n", o.training);
}

// Weights that are anything but the identity, scaled with the fan-in so that maps stay well conditioned: hidden values
// and parameters of the circle maps are of order `scale`.
inline std::vector<double> RandomParameters(const ParameterLayout& layout, double scale, uint64_t seed = 7) {
  std::vector<double> values(layout.size());
  for (const ParameterBlock& block : layout.blocks()) {
    const bool bias = block.shape.size() == 1;
    const double sigma = bias ? 0.3 * scale : scale / std::sqrt(static_cast<double>(block.shape[0] * block.shape[1]));
    for (int64_t i = block.offset; i < block.offset + block.size; ++i) {
      values[i] = sigma * NormalNoise(seed, NoisePurpose::kInitial, 0, static_cast<uint32_t>(i));
    }
  }
  return values;
}

inline TensorMap ToTensors(const ParameterLayout& layout, const std::vector<double>& values) {
  TensorMap tensors;
  for (const ParameterBlock& block : layout.blocks()) {
    tensors[block.name] =
        Tensor::FromDoubles(block.float64 ? Tensor::Type::kFloat64 : Tensor::Type::kFloat32, block.shape,
                            {values.begin() + block.offset, values.begin() + block.offset + block.size});
  }
  return tensors;
}

}  // namespace haarflow::testing
