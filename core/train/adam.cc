#include "core/train/adam.h"

#include <cmath>

namespace haarflow {

void AdamStep(const AdamOptions& options, absl::Span<const double> gradient, absl::Span<const double> scales,
              AdamState* state, std::vector<double>* parameters) {
  state->m.resize(gradient.size());
  state->v.resize(gradient.size());
  ++state->steps;
  const double correction1 = 1 - std::pow(options.beta1, state->steps);
  const double correction2 = 1 - std::pow(options.beta2, state->steps);
  for (size_t i = 0; i < gradient.size(); ++i) {
    state->m[i] = options.beta1 * state->m[i] + (1 - options.beta1) * gradient[i];
    state->v[i] = options.beta2 * state->v[i] + (1 - options.beta2) * gradient[i] * gradient[i];
    const double step =
        options.learning_rate * (state->m[i] / correction1) / (std::sqrt(state->v[i] / correction2) + options.epsilon);
    (*parameters)[i] -= scales.empty() ? step : scales[i] * step;
  }
}

double ClipNorm(double limit, std::vector<double>* gradient) {
  double square = 0;
  for (double g : *gradient) square += g * g;
  const double norm = std::sqrt(square);
  if (limit > 0 && norm > limit) {
    for (double& g : *gradient) g *= limit / norm;
  }
  return norm;
}

}  // namespace haarflow
