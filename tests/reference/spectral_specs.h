// Specs of small spectral coupling flows for tests.
#pragma once

#include <string>

namespace haarflow::testing {

// Masks of plaquettes that share no link with another active one: every second row, both directions.
inline const char kSpectralMasks2d[] = R"(
  masks { direction: 0 plane: 1 sublattices { offset: [0, 0] stride: [4, 2] } sublattices { offset: [2, 1] stride: [4, 2] } }
  masks { direction: 1 plane: 0 sublattices { offset: [1, 3] stride: [2, 4] } sublattices { offset: [0, 1] stride: [2, 4] } }
)";

struct SpectralOptions {
  int layers = 1;
  double towards_mirror = 0;
  std::string features = "features { width: 1 height: 1 } features { width: 2 height: 1 }";
  std::string kernels = "3, 1";
  std::string precision = "PRECISION_FLOAT64";
  std::string more;  // of training
};

inline std::string SpectralMapText(int colours) {
  return colours == 2 ? "map { bins: 5 }" : "map { bins: 4 ratio_bins: 3 ratio_nodes: 3 }";
}

// On a lattice, or of a single matrix where `shape` is empty; `theory` is the target's without its lattice.
inline std::string SpectralSpec(int colours, const std::string& shape, const std::string& theory,
                                const SpectralOptions& options = {}) {
  const bool single = shape.empty();
  std::string stack = "layers: " + std::to_string(options.layers) + " ";
  if (!single) {
    stack += kSpectralMasks2d + options.features + " towards_mirror: " + std::to_string(options.towards_mirror) + " ";
  }
  return "name: \"spectral\" spec_version: 1 target { " + (single ? "" : "lattice { " + shape + " } ") + theory +
         " } prior { uniform {} } layers { spectral_coupling_stack { " + stack + "network { hidden: 6 kernel: [" +
         (single ? "1, 1" : options.kernels) + "] activation: ACTIVATION_SILU precision: " + options.precision +
         " initialisation: INITIALISATION_FAN_IN } " + SpectralMapText(colours) +
         " } } training { seed: 3 evaluation_samples: 16384 " + options.more + " }";
}

// Theories.
inline const char kSquare[] = "shape: [4, 4]";
inline std::string Wilson(int colours) { return "sun_wilson { colours: " + std::to_string(colours) + " beta: 2 }"; }
inline std::string Single(int colours) {
  return "sun_matrix { colours: " + std::to_string(colours) + " beta: 5 c1: 0.17 c2: -0.65 c3: 1.22 }";
}

}  // namespace haarflow::testing
