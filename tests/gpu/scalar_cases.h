// Scalar flows for the tests of the CUDA module: specs with parameters that are anything but the start of training, as
// tables.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "flow_handle.h"
#include "tests/reference/scalar_specs.h"

namespace haarflow {

struct ScalarCase {
  std::string name;
  testing::ScalarOptions options;
  double tolerance = 1e-10;  // relative, of fields and log q
  double scale = 2;          // of the parameters
};
inline void PrintTo(const ScalarCase& c, std::ostream* out) { *out << c.name; }

inline std::string Sines(int frequencies) {
  return "layers { scalar_continuous_flow { frequencies: " + std::to_string(frequencies) +
         " max_frequency: 2.5 time_modes: 3 } }\n";
}

inline std::string Couplings(const std::string& map, bool odd, const std::string& precision = "FLOAT64") {
  return "layers { scalar_coupling_stack { layers: 3 network { hidden: [5, 9] kernel: [3, 1, 3] activation: "
         "ACTIVATION_SILU precision: PRECISION_" +
         precision + " } map { " + map + " } " + (odd ? "odd: true " : "") + "} }\n";
}

inline std::vector<ScalarCase> ScalarCases() {
  const std::string two_components = "components: 2 mass { m2: -1 lambda: 1 normalisation: 0.5 }";
  const std::string gaussian = "gaussian { sigma: 0.8 }", spline = "spline { bins: 5 range: 2.5 }";
  std::vector<ScalarCase> cases;
  const auto add = [&](const std::string& name, const std::vector<int>& shape, const std::string& layers = Sines(2)) {
    ScalarCase& c = cases.emplace_back();
    c.name = name;
    c.options.shape = shape;
    c.options.layers = layers;
    return &c.options;
  };
  // Radices: one pass per axis, two and three; odd ones; a prime above 7, whose transform is dense.
  add("L4x4", {4, 4});
  add("L8x8", {8, 8});
  add("L16x16", {16, 16});
  add("L32x32", {32, 32});
  add("L64x64", {64, 64});
  add("L5x3", {5, 3});
  add("L6x10", {6, 10});
  add("L7x12", {7, 12});
  add("L9x25", {9, 25});
  add("L18x20", {18, 20});
  add("L14x14", {14, 14});
  add("L16x3", {16, 3});
  add("L8x64", {8, 64});
  add("L96x2", {96, 2});
  add("L11x4", {11, 4});
  add("L4x13", {4, 13});
  add("L22x26", {22, 26});
  add("L8", {8})->theory = "hopping { kappa: 0.2 lambda: 0.5 }";
  add("L60", {60});
  add("L13", {13});
  add("L4x2x4", {4, 2, 4});
  add("L8x8x8", {8, 8, 8});
  add("L2x4x2x3", {2, 4, 2, 3});
  // Numbers of sines, several layers, priors.
  add("Linear", {4, 6}, Sines(0));
  add("OneSine", {4, 6}, Sines(1));
  add("FiveSines", {8, 4}, Sines(5));
  cases.back().scale = 0.5;  // frequencies stay positive
  add("ThreeLayers", {4, 6}, Sines(1) + Sines(0) + Sines(3));
  cases.back().scale = 1;
  add("GaussianPrior", {6, 4})->prior = gaussian;
  add("PriorAlone", {8, 6}, "");
  // Two components.
  add("O2L4x4", {4, 4})->theory = two_components;
  add("O2L5x6", {5, 6}, Sines(3))->theory = two_components;
  cases.back().scale = 1;
  add("O2L16x16", {16, 16})->theory = two_components;
  add("O2L11x2", {11, 2})->theory = two_components;
  add("O2GaussianPrior", {4, 4})->theory = two_components;
  cases.back().options.prior = gaussian;
  // Heat bath.
  const std::string bath = "layers { scalar_heat_bath {} }\n";
  add("BathL4x6", {4, 6}, Sines(2) + bath);
  add("BathL16x16", {16, 16}, Sines(2) + bath);
  add("BathL4x4x2", {4, 4, 2}, Sines(1) + bath)->theory = "mass { m2: 0.5 lambda: 0.3 }";
  add("BathL22x4", {22, 4}, Sines(2) + bath);
  // Couplings. With larger parameters inverse splines are ill-conditioned: the CPU's instruction sets differ by 1e-4.
  const size_t first_coupling = cases.size();
  add("Affine", {4, 6}, Couplings("affine {}", false));
  add("AffineOdd", {6, 4}, Couplings("affine {}", true))->prior = gaussian;
  add("AffineTanh", {8}, Couplings("affine { tanh: true }", false));
  add("Spline", {4, 4}, Couplings(spline, false))->prior = gaussian;
  add("SplineOdd", {4, 6}, Couplings(spline, true));
  add("SplineOddFloat", {4, 4}, Couplings(spline, true, "FLOAT32"));
  cases.back().tolerance = 1e-5;
  add("AffineFloat", {4, 4, 2}, Couplings("affine {}", true, "FLOAT32"));
  cases.back().tolerance = 1e-5;
  add("Mixed", {4, 6}, Sines(2) + Couplings(spline, true) + Sines(1) + Sines(2) + Couplings("affine {}", false));
  add("MixedCouplingsFirst", {4, 4}, Couplings("affine {}", true) + Sines(2));
  for (size_t i = first_coupling; i < cases.size(); ++i) cases[i].scale = 1;
  return cases;
}

inline ScalarCase ScalarCaseNamed(const std::string& name) {
  for (const ScalarCase& c : ScalarCases()) {
    if (c.name == name) return c;
  }
  ADD_FAILURE() << "no case " << name;
  return {};
}

// A case's tables.
class ScalarTablesOf {
 public:
  explicit ScalarTablesOf(const ScalarCase& c, int32_t steps = 3)
      : spec_(testing::ScalarSpec(c.options)),
        plan_(PlanScalarFlow(spec_).value()),
        tables_(plan_, steps),
        couplings_(ActionNumbers(spec_.target())) {
    tables_.Set(testing::RandomScalarParameters(plan_, c.scale), plan_.ConditioningModes(spec_.target()),
                couplings_.data());
  }
  const hf_scalar_flow& view() const { return tables_.view(); }
  const double* couplings() const { return couplings_.data(); }
  int64_t field_size() const { return plan_.components * plan_.lattice.volume(); }

 private:
  const v1::ModelSpec spec_;
  const ScalarFlowPlan plan_;
  ScalarFlowTables tables_;
  const std::array<double, 3> couplings_;
};

using ScalarProposals = FlowResults;

class ScalarHandle : public FlowHandle {
 public:
  ScalarHandle(const hf_kernels& kernels, const ScalarTablesOf& tables)
      : ScalarHandle(kernels, tables, tables.view()) {}
  // Another flow with the fields and the action of `tables`.
  ScalarHandle(const hf_kernels& kernels, const ScalarTablesOf& tables, const hf_scalar_flow& flow)
      : FlowHandle(kernels, tables.couplings(), tables.field_size(),
                   [&](const hf_kernels& k, void** handle) { return k.scalar_flow_create(&flow, 0, handle); }) {}
};

}  // namespace haarflow
