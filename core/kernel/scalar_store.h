// Scalar flows for tile kernels: a checked copy of the C tables, with what is made of them (neighbours, twiddles, the
// heat bath's table), and scratch memory.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/kernel/cpu/scalar_isa.h"
#include "core/kernel/heat_bath.h"
#include "core/kernel/tiles.h"

namespace haarflow::kernel {

// Immutable but for Update. Throws std::bad_alloc.
class ScalarFlowStore {
 public:
  ScalarFlowStore() = default;
  ScalarFlowStore(const ScalarFlowStore&) = delete;
  ScalarFlowStore& operator=(const ScalarFlowStore&) = delete;

  // Returns what is wrong with the tables, or an empty string. Once.
  std::string Copy(const hf_scalar_flow& flow);
  // Takes sigma, frequencies, kernels and the heat bath's couplings of a flow of the same structure.
  void Update(const hf_scalar_flow& flow);

  const ScalarFlow& flow() const { return flow_; }
  int64_t field_rows() const { return int64_t{flow_.geometry.components} * flow_.geometry.sites; }
  int64_t max_extent() const;
  int64_t max_network_rows() const { return networks_.max_rows(); }
  int64_t max_features() const { return max_features_; }

 private:
  std::string CopyGeometry(const hf_scalar_flow& flow);
  void MakeAxis(int32_t extent, CasAxis* axis);
  std::string CopyContinuous(const hf_scalar_continuous& layer, ContinuousTables* tables);
  std::string CopyCoupling(hf_scalar_coupling* layer);
  void SetContinuous(const hf_scalar_continuous& layer, const ContinuousTables& tables);
  std::string CheckHalfPeriod() const;

  ArrayStore arrays_;
  NetworkStore networks_;
  ScalarFlow flow_{};
  std::vector<int32_t> opposite_;  // with a heat bath: the site at k + (pi, ..., pi)
  std::unique_ptr<HeatBathStore> heat_bath_;
  double heat_bath_couplings_[3] = {};
  std::vector<ScalarLayer> layers_;
  std::vector<std::unique_ptr<ContinuousTables>> continuous_;
  std::vector<std::unique_ptr<hf_scalar_coupling>> couplings_;
  int64_t max_features_ = 0;
};

// Scratch memory of one tile.
class ScalarScratch {
 public:
  explicit ScalarScratch(const ScalarFlowStore& flow);
  const ScalarWorkspace& view() const { return view_; }

 private:
  std::vector<Buffer<double>> buffers_;
  ScalarWorkspace view_{};
};

}  // namespace haarflow::kernel
