// A flow of spectral coupling layers of SU(N) links (arXiv:2008.05456), or of a single matrix, as tables: made once per
// model; drawing, inverting and training all run from them.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/flow/parameters.h"
#include "core/flow/u1_plan.h"
#include "core/kernel/table.h"
#include "core/lattice/lattice.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

struct SpectralLayerPlan : LinkCouplingPlan {
  LoopTable mirror_loops;  // none where power is 0
  double power = 0;
  int32_t bins = 0;
  int32_t ratio_bins = 0;   // 0 for SU(2)
  int32_t ratio_nodes = 0;  // 0 for SU(2)
};

struct SpectralFlowPlan {
  Lattice lattice;
  int colours = 0;
  bool single = false;
  std::vector<SpectralLayerPlan> layers;
  LoopTable plaquettes, rectangles;
  ParameterLayout layout;  // in layer, stage, (weight, bias) order

  int64_t links() const { return single ? 1 : lattice.links(); }
  int64_t table_entries() const;  // 32-bit numbers
  // Link updates of a draw.
  int64_t updates() const;
  // As U1InitialValues (core/flow/parameters.h).
  std::vector<double> InitialValues(uint64_t seed) const;
};

// Number of unconstrained parameters of one link's map.
int32_t SpectralMapParameterCount(int colours, const v1::SpectralMap& map);

// Whether `spec` has such layers. Every spec of a single matrix has, also without any.
bool IsSpectral(const v1::ModelSpec& spec);
// Requires a spec that ValidateSpec accepts, and IsSpectral. INVALID_ARGUMENT, naming layer and link, where a loop that
// is transformed contains a second active link, or where the tables would exceed 2^28 entries.
absl::StatusOr<SpectralFlowPlan> PlanSpectralFlow(const v1::ModelSpec& spec);

// Owns what view() points to. `plan` must outlive it.
class SpectralFlowTables {
 public:
  explicit SpectralFlowTables(const SpectralFlowPlan& plan);
  SpectralFlowTables(const SpectralFlowTables&) = delete;
  SpectralFlowTables& operator=(const SpectralFlowTables&) = delete;
  // plan.layout.size() numbers; stored in the precision of their networks.
  void Set(absl::Span<const double> parameters);
  const hf_spectral_flow& view() const { return flow_; }

 private:
  const SpectralFlowPlan& plan_;
  std::vector<double> doubles_;
  std::vector<float> floats_;
  std::vector<std::vector<hf_stage>> stages_;
  std::vector<hf_spectral_coupling> layers_;
  hf_spectral_flow flow_{};
};

}  // namespace haarflow
