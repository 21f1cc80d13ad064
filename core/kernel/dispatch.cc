// The CPU implementation of the table: owns copies of flows, cuts batches into tiles, picks the instruction set.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "core/kernel/cpu/isa.h"
#include "core/kernel/cpu/loop_isa.h"
#include "core/kernel/cpu/scalar_isa.h"
#include "core/kernel/cpu/spectral_isa.h"
#include "core/kernel/kernels.h"
#include "core/kernel/tiles.h"

namespace haarflow {
namespace {

using kernel::IsaKernels;
using kernel::kTile;
using kernel::LoopKernels;
using kernel::ScalarKernels;
using kernel::SpectralKernels;
using kernel::TiledFlow;

thread_local std::string last_error;

int32_t Fail(int32_t code, const std::string& message) {
  last_error = message;
  return code;
}

const char* LastError() { return last_error.c_str(); }
int32_t DeviceCount() { return 1; }

void ToRows(const double* tile, int64_t size, int64_t used, double* out) {
  for (int64_t e = 0; e < size; ++e) {
    for (int64_t i = 0; i < used; ++i) out[i * size + e] = tile[e * kTile + i];
  }
}

// Slots beyond `used` repeat the last configuration: padding that no result depends on.
void FromRows(const double* in, int64_t size, int64_t used, double* tile) {
  for (int64_t e = 0; e < size; ++e) {
    for (int64_t i = 0; i < kTile; ++i) tile[e * kTile + i] = in[std::min(i, used - 1) * size + e];
  }
}

// Calls f(tile, first, used) for every tile of n configurations.
template <class F>
int32_t ForTiles(const TiledFlow& flow, int64_t n, const F& f) {
  try {
    const auto tile = flow.MakeTile();
    for (int64_t first = 0; first < n; first += kTile) f(*tile, first, std::min<int64_t>(kTile, n - first));
    return HF_OK;
  } catch (const std::bad_alloc&) {
    return Fail(HF_NO_MEMORY, "not enough memory for a tile's scratch space");
  }
}

void Destroy(void* handle) { delete static_cast<TiledFlow*>(handle); }

int32_t Draw(const void* handle, int64_t n, const uint64_t* seed, const uint64_t* index, const double* couplings,
             double* field, double* log_q, double* action, void* /*stream*/) {
  const auto& flow = *static_cast<const TiledFlow*>(handle);
  const int64_t size = flow.field_size();
  return ForTiles(flow, n, [&](TiledFlow::Tile& tile, int64_t first, int64_t used) {
    uint64_t tile_seed[kTile], tile_index[kTile];
    double tile_log_q[kTile], tile_action[kTile];
    for (int64_t i = 0; i < kTile; ++i) {
      tile_seed[i] = seed[first + std::min(i, used - 1)];
      tile_index[i] = index[first + std::min(i, used - 1)];
    }
    tile.Draw(tile_seed, tile_index, couplings, tile_log_q, tile_action);
    ToRows(tile.field, size, used, field + first * size);
    std::copy_n(tile_log_q, used, log_q + first);
    std::copy_n(tile_action, used, action + first);
  });
}

int32_t Density(const void* handle, int64_t n, const double* field, const double* couplings, double* log_q,
                double* action, void* /*stream*/) {
  const auto& flow = *static_cast<const TiledFlow*>(handle);
  const int64_t size = flow.field_size();
  return ForTiles(flow, n, [&](TiledFlow::Tile& tile, int64_t first, int64_t used) {
    double tile_log_q[kTile], tile_action[kTile];
    FromRows(field + first * size, size, used, tile.field);
    tile.Density(couplings, tile_log_q, tile_action);
    std::copy_n(tile_log_q, used, log_q + first);
    std::copy_n(tile_action, used, action + first);
  });
}

// A new flow for the table's handle.
template <class Make>
int32_t Create(int32_t device, void** handle, const Make& make) {
  if (device != 0) return Fail(HF_INVALID, "the CPU is device 0, not " + std::to_string(device));
  try {
    std::string wrong;
    std::unique_ptr<TiledFlow> flow = make(&wrong);
    if (flow == nullptr) return Fail(HF_INVALID, wrong);
    *handle = flow.release();
    return HF_OK;
  } catch (const std::bad_alloc&) {
    return Fail(HF_NO_MEMORY, "not enough memory for the flow's tables");
  }
}

template <const IsaKernels* (*kIsa)(), const ScalarKernels* (*kScalarIsa)(), const LoopKernels* (*kLoopIsa)(),
          const SpectralKernels* (*kSpectralIsa)()>
struct CpuTable {
  static int32_t CreateU1(const hf_u1_flow* flow, int32_t device, void** handle) {
    return Create(device, handle, [&](std::string* wrong) { return MakeU1TiledFlow(*flow, *kIsa(), wrong); });
  }
  static int32_t CreateScalar(const hf_scalar_flow* flow, int32_t device, void** handle) {
    return Create(device, handle, [&](std::string* wrong) { return MakeScalarTiledFlow(*flow, *kScalarIsa(), wrong); });
  }
  static int32_t CreateLoop(const hf_loop_flow* flow, int32_t device, void** handle) {
    return Create(device, handle, [&](std::string* wrong) { return MakeLoopTiledFlow(*flow, *kLoopIsa(), wrong); });
  }
  static int32_t CreateSpectral(const hf_spectral_flow* flow, int32_t device, void** handle) {
    return Create(device, handle, [&](std::string* wrong) {
      return MakeSpectralTiledFlow(*flow, *kSpectralIsa(), *kLoopIsa(), wrong);
    });
  }

  static int32_t Forward(int32_t map, int32_t pieces, int64_t n, const double* x, const double* p, double* y, double* l,
                         void*) {
    return Padded(map, pieces, n, {x, p}, {y, l},
                  [&](int64_t m, int64_t stride, const double* const* in, double* const* out) {
                    kIsa()->circle_forward(map, pieces, m, stride, in[0], in[1], out[0], out[1]);
                  });
  }
  static int32_t Inverse(int32_t map, int32_t pieces, int64_t n, const double* y, const double* p, double* x, double* l,
                         void*) {
    return Padded(map, pieces, n, {y, p}, {x, l},
                  [&](int64_t m, int64_t stride, const double* const* in, double* const* out) {
                    kIsa()->circle_inverse(map, pieces, m, stride, in[0], in[1], out[0], out[1]);
                  });
  }
  static int32_t Backward(int32_t map, int32_t pieces, int64_t n, const double* x, const double* p, const double* gy,
                          const double* gl, double* gx, double* gp, void*) {
    return Padded(map, pieces, n, {x, p, gy, gl}, {gx, gp},
                  [&](int64_t m, int64_t stride, const double* const* in, double* const* out) {
                    kIsa()->circle_backward(map, pieces, m, stride, in[0], in[1], in[2], in[3], out[0], out[1]);
                  });
  }

  // Runs `f` on the multiple of kTile at the front, and on a padded copy of the rest. in[1] are the parameters; out[1]
  // has their shape for the backward map (four inputs).
  template <class F>
  static int32_t Padded(int32_t map, int32_t pieces, int64_t n, std::vector<const double*> in, std::vector<double*> out,
                        const F& f) {
    const bool spline = map == HF_MAP_SPLINE || map == HF_MAP_SHARP_SPLINE;
    const int64_t parameters = spline ? 3 * pieces + 1 : map == HF_MAP_MOEBIUS ? 2 * pieces + 1 : pieces + 1;
    const int64_t whole = n / kTile * kTile;
    if (whole > 0) f(whole, n, in.data(), out.data());
    if (whole == n) return HF_OK;
    std::vector<std::vector<double>> tail_in, tail_out;
    const auto rows_in = [&](size_t k) { return k == 1 ? parameters : 1; };
    const auto rows_out = [&](size_t k) { return k == 1 && in.size() == 4 ? parameters : 1; };
    std::vector<const double*> in_pointers;
    std::vector<double*> out_pointers;
    for (size_t k = 0; k < in.size(); ++k) {
      auto& rows = tail_in.emplace_back(rows_in(k) * kTile);
      for (int64_t r = 0; r < rows_in(k); ++r) {
        for (int64_t i = 0; i < kTile; ++i) rows[r * kTile + i] = in[k][r * n + std::min(whole + i, n - 1)];
      }
    }
    for (size_t k = 0; k < out.size(); ++k) tail_out.emplace_back(rows_out(k) * kTile);
    for (auto& rows : tail_in) in_pointers.push_back(rows.data());
    for (auto& rows : tail_out) out_pointers.push_back(rows.data());
    f(kTile, kTile, in_pointers.data(), out_pointers.data());
    for (size_t k = 0; k < out.size(); ++k) {
      for (int64_t r = 0; r < rows_out(k); ++r) {
        for (int64_t i = whole; i < n; ++i) out[k][r * n + i] = tail_out[k][r * kTile + (i - whole)];
      }
    }
    return HF_OK;
  }

  static const hf_kernels* Table() {
    static const hf_kernels table = {HAARFLOW_KERNELS_ABI,
                                     sizeof(hf_kernels),
                                     kIsa()->numerics,
                                     LastError,
                                     DeviceCount,
                                     nullptr,
                                     CreateU1,
                                     CreateScalar,
                                     CreateLoop,
                                     CreateSpectral,
                                     Destroy,
                                     Draw,
                                     Density,
                                     Forward,
                                     Inverse,
                                     Backward};
    return &table;
  }
};

bool HaveAvx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
}
bool HaveAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

}  // namespace

namespace kernel {

const IsaKernels* IsaKernelsFor(const char* instruction_set) {
  const std::string name = instruction_set;
  if (name == "avx512" && HaveAvx512()) return Avx512Kernels();
  if (name == "avx2" && HaveAvx2()) return Avx2Kernels();
  if (name == "baseline") return BaselineKernels();
  return nullptr;
}

const LoopKernels* LoopKernelsFor(const char* instruction_set) {
  const std::string name = instruction_set;
  if (name == "avx512" && HaveAvx512()) return Avx512LoopKernels();
  if (name == "avx2" && HaveAvx2()) return Avx2LoopKernels();
  if (name == "baseline") return BaselineLoopKernels();
  return nullptr;
}
const SpectralKernels* SpectralKernelsFor(const char* instruction_set) {
  const std::string name = instruction_set;
  if (name == "avx512" && HaveAvx512()) return Avx512SpectralKernels();
  if (name == "avx2" && HaveAvx2()) return Avx2SpectralKernels();
  if (name == "baseline") return BaselineSpectralKernels();
  return nullptr;
}
const ScalarKernels* ScalarKernelsFor(const char* instruction_set) {
  const std::string name = instruction_set;
  if (name == "avx512" && HaveAvx512()) return Avx512ScalarKernels();
  if (name == "avx2" && HaveAvx2()) return Avx2ScalarKernels();
  if (name == "baseline") return BaselineScalarKernels();
  return nullptr;
}

const char* BestInstructionSet() {
  const char* wanted = std::getenv("HAARFLOW_CPU");
  if (wanted != nullptr && IsaKernelsFor(wanted) != nullptr) return wanted;
  return HaveAvx512() ? "avx512" : HaveAvx2() ? "avx2" : "baseline";
}

}  // namespace kernel

absl::StatusOr<const hf_kernels*> CpuKernelsFor(const std::string& instruction_set) {
  if (kernel::IsaKernelsFor(instruction_set.c_str()) == nullptr) {
    return absl::UnavailableError("this machine has no '" + instruction_set +
                                  "' instructions; use avx512, avx2 or baseline");
  }
  if (instruction_set == "avx512")
    return CpuTable<kernel::Avx512Kernels, kernel::Avx512ScalarKernels, kernel::Avx512LoopKernels,
                    kernel::Avx512SpectralKernels>::Table();
  if (instruction_set == "avx2")
    return CpuTable<kernel::Avx2Kernels, kernel::Avx2ScalarKernels, kernel::Avx2LoopKernels,
                    kernel::Avx2SpectralKernels>::Table();
  return CpuTable<kernel::BaselineKernels, kernel::BaselineScalarKernels, kernel::BaselineLoopKernels,
                  kernel::BaselineSpectralKernels>::Table();
}

const hf_kernels& CpuKernels() {
  static const hf_kernels* const table = *CpuKernelsFor(kernel::BestInstructionSet());
  return *table;
}

}  // namespace haarflow
