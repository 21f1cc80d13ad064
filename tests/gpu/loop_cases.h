// Loop flows for the tests of the CUDA module: specs with parameters that are anything but the start of training, as
// tables.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "core/base/file.h"
#include "core/base/noise.h"
#include "core/flow/loop_plan.h"
#include "core/model/spec.h"
#include "flow_handle.h"
#include "tests/reference/loop_specs.h"

namespace haarflow {

struct LoopCase {
  std::string name;
  std::string spec;
  double size;        // of the parameters
  int sweeps = 0;     // other than the spec's
  int32_t steps = 0;  // of continuous flows
  // Relative, of fields and log q: rounding errors of 1e-15 in each of some hundred operations, one link after another,
  // each of which stretches what came before by the norm of its derivative, at most e.
  // (The CPU's instruction sets differ by 5e-15 on these cases.)
  double tolerance = 1e-12;
  bool inverts = true;  // else up to the error of the integration
};
inline void PrintTo(const LoopCase& c, std::ostream* out) { *out << c.name; }

// A spec file of deploy/specs.
inline std::string SpecFile(const std::string& name) {
  return ReadFile(std::string(HAARFLOW_SPECS) + "/" + name + ".txtpb", kMaxSpecBytes).value();
}

inline std::vector<LoopCase> LoopCases() {
  using testing::ContinuousLoopSpec, testing::LoopSpec;
  const std::string per_mask = "per_mask: true ";
  std::vector<LoopCase> cases;
  for (const int colours : {2, 3}) {
    const std::string n = "Su" + std::to_string(colours);
    const double size = colours == 2 ? 0.16 : 0.3;
    const std::string joined = colours == 3 ? testing::kJoinedLoops : "";
    cases.push_back({n + "L4x8", LoopSpec(colours, "shape: 4 shape: 8", 2, 2, testing::kLoopClasses2d), size});
    cases.push_back(
        {n + "Products", LoopSpec(colours, "shape: 4 shape: 4", 2, 3, testing::kIndependentLoops + joined), size});
    cases.push_back(
        {n + "PerMask", LoopSpec(colours, "shape: 4 shape: 4", 2, 2, per_mask + testing::kLoopClasses2d), size});
    cases.push_back(
        {n + "L4x2x4", LoopSpec(colours, "shape: 4 shape: 2 shape: 4", 2, 1, testing::kIndependentLoops), size / 2});
    cases.push_back({n + "L4x4x4x2",
                     LoopSpec(colours, "shape: 4 shape: 4 shape: 4 shape: 2", 2, 1, testing::kManyLoopClasses4d),
                     size / 4});
    cases.push_back({n + "Fat", LoopSpec(colours, "shape: 4 shape: 4", 2, 1, testing::kFatLoops), size / 4});
    cases.push_back({n + "Continuous", ContinuousLoopSpec(colours, "shape: 3 shape: 3", 2, 3, testing::kLoopClasses2d),
                     size / 2, 0, 2});
    cases.back().inverts = false;
    cases.push_back(
        {n + "Continuous3d",
         ContinuousLoopSpec(colours, "shape: 3 shape: 2 shape: 2", 2, 1, testing::kIndependentLoops + joined), size / 4,
         0, 2});
    cases.back().inverts = false;
  }
  // All of the bundled model's classes.
  cases.push_back({"Su3L4x4x4x4", SpecFile("su3-4x4x4x4-b1"), 0.02, 1});
  return cases;
}

inline LoopCase LoopCaseNamed(const std::string& name) {
  for (const LoopCase& c : LoopCases()) {
    if (c.name == name) return c;
  }
  ADD_FAILURE() << "no case " << name;
  return {};
}

// A case's tables.
class LoopTablesOf {
 public:
  explicit LoopTablesOf(const LoopCase& c)
      : spec_(ParseSpec(c.spec).value()),
        plan_(PlanLoopFlow(spec_, spec_.target(), c.sweeps).value()),
        tables_(plan_, c.steps) {
    std::vector<double> parameters(plan_.layout.size());
    for (size_t i = 0; i < parameters.size(); ++i) {
      parameters[i] = c.size * (i % plan_.classes() == 0 ? 1.0 : 0.7 * std::cos(1.0 + 3.7 * static_cast<double>(i)));
    }
    tables_.Set(parameters);
  }
  const hf_loop_flow& view() const { return tables_.view(); }
  const LoopFlowPlan& plan() const { return plan_; }
  const double* couplings() const { return couplings_; }
  int64_t field_size() const { return plan_.lattice.links() * 2 * plan_.colours * plan_.colours; }

 private:
  const v1::ModelSpec spec_;
  const LoopFlowPlan plan_;
  LoopFlowTables tables_;
  const double couplings_[2] = {2.1, -0.08};
};

class LoopHandle : public FlowHandle {
 public:
  LoopHandle(const hf_kernels& kernels, const LoopTablesOf& tables) : LoopHandle(kernels, tables, tables.view()) {}
  // Another flow with the fields and the action of `tables`.
  LoopHandle(const hf_kernels& kernels, const LoopTablesOf& tables, const hf_loop_flow& flow)
      : FlowHandle(kernels, tables.couplings(), tables.field_size(),
                   [&](const hf_kernels& k, void** handle) { return k.loop_flow_create(&flow, 0, handle); }) {}
};

}  // namespace haarflow
