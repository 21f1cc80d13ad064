// The launches of one sub-batch, in order: what a draw and a density are made of.
#pragma once

#include <type_traits>

#include "core/kernel/cuda/network_launches.h"
#include "core/kernel/cuda/u1_tables.h"

namespace haarflow::isa_cuda {

template <class T, bool kInverse>
int32_t LaunchCoupling(cudaStream_t stream, const U1LayerTables& l, const T* parameters, const Buffers& b,
                       int64_t batch) {
  const auto launch = [&](auto kind) {
    return Launch(stream, l.active, batch,
                  CoupleBody<T, kind(), kInverse>{l.active_links, l.active_loops, l.pieces, parameters, b.columns,
                                                  b.sums, batch});
  };
  switch (static_cast<CircleMapKind>(l.map)) {
    case CircleMapKind::kSpline:
      return launch(std::integral_constant<CircleMapKind, CircleMapKind::kSpline>());
    case CircleMapKind::kSharpSpline:
      return launch(std::integral_constant<CircleMapKind, CircleMapKind::kSharpSpline>());
    case CircleMapKind::kMoebius:
      return launch(std::integral_constant<CircleMapKind, CircleMapKind::kMoebius>());
    default:
      return launch(std::integral_constant<CircleMapKind, CircleMapKind::kNonCompact>());
  }
}

template <class T, bool kInverse>
int32_t LaunchLayer(cudaStream_t stream, const U1LayerTables& l, const Buffers& b, int64_t batch) {
  HF_TRY(
      Launch(stream, l.features.n, batch, FeatureBody<T>{l.features, b.columns, static_cast<T*>(b.network[1]), batch}));
  const size_t last = l.network.stages.size() - 1;
  HF_TRY(LaunchNetwork<T>(stream, l.network, b, b.network[last & 1], batch));
  const T* in = static_cast<T*>(b.network[last & 1]);
  HF_TRY((LaunchCoupling<T, kInverse>(stream, l, in, b, batch)));
  return Launch(stream, 1, batch, AccumulateBody{l.active, b.sums, b.totals, batch});
}

template <bool kInverse>
int32_t LaunchLayers(cudaStream_t stream, const U1Tables& flow, const Buffers& b, int64_t batch) {
  HF_CUDA(cudaMemsetAsync(b.totals, 0, batch * sizeof(double), stream));
  const size_t layers = flow.layers.size();
  for (size_t i = 0; i < layers; ++i) {
    const U1LayerTables& l = flow.layers[kInverse ? layers - 1 - i : i];
    HF_TRY((l.network.double_network ? LaunchLayer<double, kInverse>(stream, l, b, batch)
                                     : LaunchLayer<float, kInverse>(stream, l, b, batch)));
  }
  double* log_q = b.results + batch * flow.links;
  return Launch(stream, 1, batch, LogQBody{kInverse ? 1.0 : -1.0, b.totals, log_q});
}

inline int32_t LaunchAction(cudaStream_t stream, const U1Tables& flow, const Buffers& b, int64_t batch) {
  HF_TRY(Launch(stream, flow.plaquettes.n, batch, CosineBody{flow.plaquettes, b.columns, b.sums, batch}));
  double* action = b.results + batch * (flow.links + 1);
  return Launch(stream, 1, batch, ActionBody{flow.plaquettes.n, b.sums, b.couplings(batch), action, batch});
}

// From names and beta to fields, log q and action.
inline int32_t LaunchDraw(cudaStream_t stream, const U1Tables& flow, const Buffers& b, int64_t batch) {
  HF_TRY(Launch(stream, flow.links, batch, PriorBody{b.names, b.columns, batch}));
  HF_TRY(LaunchLayers<false>(stream, flow, b, batch));
  HF_TRY(LaunchAction(stream, flow, b, batch));
  return Launch(stream, flow.links, batch, ToRowsBody{b.columns, b.results, flow.links, batch});
}

// From fields in `results` and beta to log q and action.
inline int32_t LaunchDensity(cudaStream_t stream, const U1Tables& flow, const Buffers& b, int64_t batch) {
  HF_TRY(Launch(stream, flow.links, batch, FromRowsBody{b.results, b.columns, flow.links, batch}));
  HF_TRY(LaunchAction(stream, flow, b, batch));
  return LaunchLayers<true>(stream, flow, b, batch);
}

}  // namespace haarflow::isa_cuda
