// The launches of a network.
#pragma once

#include "core/kernel/cuda/network_tables.h"
#include "core/kernel/cuda/program.h"

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

// From features in b.network[1]; the last stage writes to `out`.
template <class T>
int32_t LaunchNetwork(cudaStream_t stream, const NetworkTables& network, const Buffers& b, void* out, int64_t batch) {
  const T* in = static_cast<const T*>(b.network[1]);
  for (size_t s = 0; s < network.stages.size(); ++s) {
    T* to = static_cast<T*>(s + 1 == network.stages.size() ? out : b.network[s & 1]);
    HF_TRY(LaunchStage<T>(stream, network.stages[s], in, to, batch));
    in = to;
  }
  return HF_OK;
}

}  // namespace haarflow::isa_cuda
