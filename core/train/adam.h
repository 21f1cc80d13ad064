// Adam (arXiv:1412.6980) on a vector of float64 parameters, with bias correction.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace haarflow {

struct AdamState {
  std::vector<double> m, v;
  int64_t steps = 0;
};

struct AdamOptions {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
};

// `scales`: the optimiser sees parameter / scale (and scale x gradient, which the caller has made); empty: all 1.
void AdamStep(const AdamOptions& options, absl::Span<const double> gradient, absl::Span<const double> scales,
              AdamState* state, std::vector<double>* parameters);

// Scales `gradient` down to global norm `limit` (0: never) and returns the norm it had.
double ClipNorm(double limit, std::vector<double>* gradient);

}  // namespace haarflow
