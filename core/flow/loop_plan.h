// A loop flow of SU(N) links as tables: masks, programs of matrix operations, and where the coefficients go. Together
// with coefficients it gives the tables that kernels run from (hf_loop_flow).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/flow/link_program.h"
#include "core/flow/parameters.h"
#include "core/kernel/table.h"
#include "core/lattice/lattice.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

// Active links of one mask, all of one direction.
struct LinkMaskSites {
  int mu = 0;
  std::vector<int64_t> sites;
};
// The masks of a sweep, in order, those of one direction together. They are translates of each other, and a mask looks
// the same from each of its links. INVALID_ARGUMENT when the lattice's extents do not fit.
absl::StatusOr<std::vector<LinkMaskSites>> LinkMasks(const Lattice& lattice, v1::LinkMaskFamily family);

struct LoopStepPlan {
  int32_t program = 0;
  std::vector<int32_t> links;
  std::vector<int32_t> inputs;  // [links][inputs of the program]
};

// One tensor, float64: NAME.coefficients [sweeps, or sweeps x masks; continuous: Chebyshev polynomials in
// time][classes]. A class's number multiplies the product of the traces divided by N each. A continuous flow has one
// sweep, of masks that hold all links of a direction and leave no term out.
struct LoopFlowPlan {
  std::string name;  // "layers.0"
  Lattice lattice;
  int colours = 3;
  int sweeps = 1;
  int masks = 1;
  bool per_mask = false;
  int time_modes = 0;               // > 0: continuous
  std::vector<double> class_scale;  // N^-loops
  std::vector<bool> is_plaquette;   // [classes]: one loop of four links
  std::vector<LinkProgram> programs;
  std::vector<LoopStepPlan> steps;  // one for each mask, in order
  ParameterLayout layout;

  bool is_continuous() const { return time_modes > 0; }
  int rows() const { return is_continuous() ? time_modes : per_mask ? sweeps * masks : sweeps; }
  int classes() const { return static_cast<int>(class_scale.size()); }
  // The leading-order trivialising map (arXiv:0907.5491), cut into sweeps or constant in time: exact by its weights
  // without any training.
  std::vector<double> InitialValues(double beta) const;
  // A flow of `fewer` sweeps stands for this one with equal numbers in groups of sweeps: its numbers are their sums,
  // and a change of them is shared.
  std::vector<double> SumSweeps(absl::Span<const double> parameters, int fewer) const;
  void AddToSweeps(absl::Span<const double> change, int fewer, std::vector<double>* parameters) const;
};

// Requires a spec that ValidateSpec accepts. On `target`'s lattice, which must have the spec's dimensions and suit the
// masks; `sweeps`: other than the spec's, 0: the spec's.
absl::StatusOr<LoopFlowPlan> PlanLoopFlow(const v1::ModelSpec& spec, const v1::Target& target, int sweeps = 0);
// INVALID_ARGUMENT, beginning with `path`.
absl::Status CheckLoopFlow(const v1::LoopFlow& flow, const v1::Target& target, const std::string& path);
absl::Status CheckContinuousLoopFlow(const v1::ContinuousLoopFlow& flow, const v1::Target& target,
                                     const std::string& path);

// What a phase of Gauss-Newton steps or of regressions trains for: the spec's target with the phase's shape and beta.
v1::Target LoopPhaseTarget(const v1::ModelSpec& spec, const v1::TrainingPhase& phase);

// Owns what view() points to. `plan` must outlive it.
class LoopFlowTables {
 public:
  // `integration_steps`: of a continuous flow.
  explicit LoopFlowTables(const LoopFlowPlan& plan, int32_t integration_steps = 0);
  LoopFlowTables(const LoopFlowTables&) = delete;
  LoopFlowTables& operator=(const LoopFlowTables&) = delete;
  // [rows][classes].
  void Set(absl::Span<const double> parameters);
  // The derivatives with respect to parameters, from those with respect to the coefficients of the view, which lie
  // `stride` numbers apart.
  void ToParameters(const double* gradient, int64_t stride, double* out) const;
  const hf_loop_flow& view() const { return flow_; }

 private:
  const LoopFlowPlan& plan_;
  hf_loop_flow flow_{};
  std::vector<hf_link_program> programs_;
  std::vector<hf_loop_step> steps_;
  std::vector<hf_loop_pass> passes_;
  std::vector<double> coefficients_;
  std::vector<double> mixing_;  // [rows of the view][rows of the parameters]
  std::vector<int32_t> plaquette_begin_, plaquette_links_, rectangle_begin_, rectangle_links_;
};

}  // namespace haarflow
