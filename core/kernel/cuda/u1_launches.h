// The launches of one sub-batch, in order: what a draw and a density are made of.
#pragma once

#include <type_traits>

#include "core/kernel/cuda/workspace.h"

namespace haarflow::isa_cuda {

template <class T>
int32_t LaunchStage(cudaStream_t stream, const StageTables& s, const T* in, T* out, int64_t batch) {
  const int32_t units = s.sites * s.groups;
  const int64_t columns = batch / Pack<T>::kSize;
  switch (s.block) {
    case 16:
      return Launch(stream, units, columns, StageBody<T, 16>{s, in, out, batch});
    case 8:
      return Launch(stream, units, columns, StageBody<T, 8>{s, in, out, batch});
    default:
      return Launch(stream, units, columns, StageBody<T, 4>{s, in, out, batch});
  }
}

template <class T, bool kInverse>
int32_t LaunchCoupling(cudaStream_t stream, const LayerTables& l, const T* parameters, const Buffers& b,
                       int64_t batch) {
  const auto launch = [&](auto kind) {
    return Launch(
        stream, l.active, batch,
        CoupleBody<T, kind(), kInverse>{l.active_links, l.active_loops, l.pieces, parameters, b.links, b.sums, batch});
  };
  switch (static_cast<CircleMapKind>(l.map)) {
    case CircleMapKind::kSpline:
      return launch(std::integral_constant<CircleMapKind, CircleMapKind::kSpline>());
    case CircleMapKind::kMoebius:
      return launch(std::integral_constant<CircleMapKind, CircleMapKind::kMoebius>());
    default:
      return launch(std::integral_constant<CircleMapKind, CircleMapKind::kNonCompact>());
  }
}

template <class T, bool kInverse>
int32_t LaunchLayer(cudaStream_t stream, const LayerTables& l, const Buffers& b, int64_t batch) {
  const T* in = static_cast<T*>(b.network[1]);
  HF_TRY(
      Launch(stream, l.features.n, batch, FeatureBody<T>{l.features, b.links, static_cast<T*>(b.network[1]), batch}));
  for (size_t s = 0; s < l.stages.size(); ++s) {
    T* out = static_cast<T*>(b.network[s & 1]);
    HF_TRY(LaunchStage<T>(stream, l.stages[s], in, out, batch));
    in = out;
  }
  HF_TRY((LaunchCoupling<T, kInverse>(stream, l, in, b, batch)));
  return Launch(stream, 1, batch, AccumulateBody{l.active, b.sums, b.log_det, batch});
}

template <bool kInverse>
int32_t LaunchLayers(cudaStream_t stream, const FlowTables& flow, const Buffers& b, int64_t batch) {
  HF_CUDA(cudaMemsetAsync(b.log_det, 0, batch * sizeof(double), stream));
  const size_t layers = flow.layers.size();
  for (size_t i = 0; i < layers; ++i) {
    const LayerTables& l = flow.layers[kInverse ? layers - 1 - i : i];
    HF_TRY((l.double_network ? LaunchLayer<double, kInverse>(stream, l, b, batch)
                             : LaunchLayer<float, kInverse>(stream, l, b, batch)));
  }
  double* log_q = b.results + batch * flow.links;
  return Launch(stream, 1, batch, LogQBody{kInverse ? 1.0 : -1.0, b.log_det, log_q});
}

inline int32_t LaunchAction(cudaStream_t stream, const FlowTables& flow, const Buffers& b, int64_t batch) {
  HF_TRY(Launch(stream, flow.plaquettes.n, batch, CosineBody{flow.plaquettes, b.links, b.sums, batch}));
  double* action = b.results + batch * (flow.links + 1);
  return Launch(stream, 1, batch, ActionBody{flow.plaquettes.n, b.sums, b.beta(batch), action, batch});
}

// From names and beta to fields, log q and action.
inline int32_t LaunchDraw(cudaStream_t stream, const FlowTables& flow, const Buffers& b, int64_t batch) {
  HF_TRY(Launch(stream, flow.links, batch, PriorBody{b.names, b.links, batch}));
  HF_TRY(LaunchLayers<false>(stream, flow, b, batch));
  HF_TRY(LaunchAction(stream, flow, b, batch));
  return Launch(stream, flow.links, batch, ToRowsBody{b.links, b.results, flow.links, batch});
}

// From fields in `results` and beta to log q and action.
inline int32_t LaunchDensity(cudaStream_t stream, const FlowTables& flow, const Buffers& b, int64_t batch) {
  HF_TRY(Launch(stream, flow.links, batch, FromRowsBody{b.results, b.links, flow.links, batch}));
  HF_TRY(LaunchAction(stream, flow, b, batch));
  return LaunchLayers<true>(stream, flow, b, batch);
}

}  // namespace haarflow::isa_cuda
