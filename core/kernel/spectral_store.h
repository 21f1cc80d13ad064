// A checked copy of a spectral coupling flow's tables. Internal to this folder.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/kernel/tiles.h"

namespace haarflow::kernel {

class SpectralStore {
 public:
  // Returns what is wrong with the tables, or an empty string.
  std::string Copy(const hf_spectral_flow& flow);
  const hf_spectral_flow& flow() const { return flow_; }
  // A flow of the same links and action without layers: for Haar measure and action.
  const hf_loop_flow& links() const { return links_; }
  int64_t max_feature_rows() const { return max_feature_rows_; }
  int64_t max_rows() const { return networks_.max_rows(); }

 private:
  // Of at least `least` links each.
  std::string CopyLoops(hf_loops* loops, int32_t least);
  std::string CopyLayer(hf_spectral_coupling* layer);

  hf_spectral_flow flow_{};
  hf_loop_flow links_{};
  std::vector<hf_spectral_coupling> layers_;
  ArrayStore arrays_;
  NetworkStore networks_;
  int64_t max_feature_rows_ = 0;
};

}  // namespace haarflow::kernel
