// The CPU implementation of the table: owns copies of flows, cuts batches into tiles, picks the instruction set.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "core/kernel/cpu/isa.h"
#include "core/kernel/kernels.h"

namespace haarflow {
namespace {

using kernel::IsaKernels;
using kernel::kTile;
using kernel::TileWorkspace;

thread_local std::string last_error;

int32_t Fail(int32_t code, const std::string& message) {
  last_error = message;
  return code;
}

const char* LastError() { return last_error.c_str(); }
int32_t DeviceCount() { return 1; }

struct Free {
  void operator()(void* p) const { std::free(p); }
};
template <class T>
using Buffer = std::unique_ptr<T[], Free>;

// 64-byte aligned, at least one element.
template <class T>
Buffer<T> Allocate(int64_t n) {
  const size_t bytes = (static_cast<size_t>(n < 1 ? 1 : n) * sizeof(T) + 63) / 64 * 64;
  void* p = std::aligned_alloc(64, bytes);
  if (p == nullptr) throw std::bad_alloc();
  return Buffer<T>(static_cast<T*>(p));
}

// A deep copy of a flow and what its tiles need.
class CpuFlow {
 public:
  // Throws std::bad_alloc; returns what is wrong with the tables, or an empty string.
  std::string Copy(const hf_u1_flow& flow) {
    flow_ = flow;
    if (flow.links < 1 || flow.layers < 0) return "links and layers must be positive";
    if (std::string e = CopyLoops(&flow_.plaquettes); !e.empty()) return "plaquettes: " + e;
    layers_.reserve(flow.layers);
    for (int32_t i = 0; i < flow.layers; ++i) {
      layers_.push_back(flow.layer[i]);
      if (std::string e = CopyLayer(&layers_.back()); !e.empty()) return "layer " + std::to_string(i) + ": " + e;
    }
    flow_.layer = layers_.data();
    return "";
  }

  const hf_u1_flow& flow() const { return flow_; }

  // Scratch memory of one tile. One per thread at work.
  struct Scratch {
    Buffer<double> links;
    Buffer<double> features;
    Buffer<double> stage[2];
    TileWorkspace view;
  };
  Scratch MakeScratch() const {
    Scratch s;
    s.links = Allocate<double>(static_cast<int64_t>(flow_.links) * kTile);
    s.features = Allocate<double>(max_features_ * 2 * kTile);
    for (auto& stage : s.stage) stage = Allocate<double>(max_rows_ * kTile);
    s.view = {s.links.get(), s.features.get(), {s.stage[0].get(), s.stage[1].get()}};
    return s;
  }

 private:
  template <class T>
  const T* Keep(const T* data, int64_t n) {
    auto copy = Allocate<T>(n);
    if (n > 0) std::memcpy(copy.get(), data, static_cast<size_t>(n) * sizeof(T));
    const T* p = copy.get();
    owned_.push_back(std::unique_ptr<void, Free>(copy.release()));
    return p;
  }

  std::string CopyLoops(hf_loops* loops) {
    if (loops->n < 0) return "negative number of loops";
    loops->begin = Keep(loops->begin, int64_t{loops->n} + 1);
    for (int32_t i = 0; i < loops->n; ++i) {
      if (loops->begin[i] > loops->begin[i + 1]) return "loop offsets decrease";
    }
    if (loops->begin[0] != 0) return "loop offsets do not start at 0";
    loops->links = Keep(loops->links, loops->begin[loops->n]);
    for (int32_t k = 0; k < loops->begin[loops->n]; ++k) {
      if (loops->links[k] < 0 || loops->links[k] / 2 >= flow_.links) return "a loop runs through an unknown link";
    }
    return "";
  }

  std::string CopyStage(hf_stage* stage, int64_t input_rows, int64_t scalar) {
    if (stage->sites < 0 || stage->out_channels < 1 || stage->rows_per_tap < 1 || stage->weight_blocks < 0) {
      return "sizes must be positive";
    }
    stage->tap_begin = Keep(stage->tap_begin, int64_t{stage->sites} + 1);
    if (stage->tap_begin[0] != 0) return "tap offsets do not start at 0";
    for (int32_t s = 0; s < stage->sites; ++s) {
      if (stage->tap_begin[s] > stage->tap_begin[s + 1]) return "tap offsets decrease";
    }
    const int64_t taps = stage->tap_begin[stage->sites];
    stage->tap_input = Keep(stage->tap_input, taps);
    stage->tap_weight = Keep(stage->tap_weight, taps);
    for (int64_t t = 0; t < taps; ++t) {
      const bool input_ok =
          stage->tap_input[t] >= 0 && (stage->tap_input[t] + 1) * int64_t{stage->rows_per_tap} <= input_rows;
      if (!input_ok) return "a tap reads outside its input";
      if (stage->tap_weight[t] < 0 || stage->tap_weight[t] >= stage->weight_blocks) return "a tap has no weights";
    }
    const int64_t weights = int64_t{stage->weight_blocks} * stage->rows_per_tap * stage->out_channels;
    stage->weights = Keep(static_cast<const char*>(stage->weights), weights * scalar);
    stage->bias = Keep(static_cast<const char*>(stage->bias), stage->out_channels * scalar);
    max_rows_ = std::max(max_rows_, int64_t{stage->sites} * stage->out_channels);
    return "";
  }

  std::string CopyLayer(hf_u1_coupling* layer) {
    if (layer->active < 0 || layer->active_loops.n != layer->active) return "one active loop is needed per active link";
    layer->active_links = Keep(layer->active_links, layer->active);
    for (int32_t i = 0; i < layer->active; ++i) {
      if (layer->active_links[i] < 0 || layer->active_links[i] >= flow_.links) return "unknown active link";
    }
    if (std::string e = CopyLoops(&layer->active_loops); !e.empty()) return "active " + e;
    if (std::string e = CopyLoops(&layer->features); !e.empty()) return "feature " + e;
    max_features_ = std::max(max_features_, int64_t{layer->features.n});
    const int limit = layer->map == HF_MAP_SPLINE ? 64 : 16;
    if (layer->map < HF_MAP_SPLINE || layer->map > HF_MAP_NON_COMPACT || layer->pieces < 1 || layer->pieces > limit) {
      return "unknown circle map";
    }
    if (layer->stages < 1) return "a network has at least one stage";
    auto stages = std::make_unique<hf_stage[]>(layer->stages);
    int64_t rows = int64_t{layer->features.n} * 2;
    for (int32_t s = 0; s < layer->stages; ++s) {
      stages[s] = layer->stage[s];
      if (std::string e = CopyStage(&stages[s], rows, layer->double_network ? 8 : 4); !e.empty()) {
        return "stage " + std::to_string(s) + ": " + e;
      }
      rows = int64_t{stages[s].sites} * stages[s].out_channels;
    }
    const int64_t channels = layer->map == HF_MAP_SPLINE    ? 3 * layer->pieces + 1
                             : layer->map == HF_MAP_MOEBIUS ? 2 * layer->pieces + 1
                                                            : layer->pieces + 1;
    const hf_stage& last = stages[layer->stages - 1];
    if (last.sites != layer->active || last.out_channels != channels)
      return "the last stage does not fit the circle map";
    layer->stage = stages.get();
    stages_.push_back(std::move(stages));
    return "";
  }

  hf_u1_flow flow_{};
  std::vector<hf_u1_coupling> layers_;
  std::vector<std::unique_ptr<hf_stage[]>> stages_;
  std::vector<std::unique_ptr<void, Free>> owned_;
  int64_t max_features_ = 0;
  int64_t max_rows_ = 0;
};

void ToRows(const TileWorkspace& work, int64_t links, int64_t used, double* out) {
  for (int64_t link = 0; link < links; ++link) {
    for (int64_t i = 0; i < used; ++i) out[i * links + link] = work.links[link * kTile + i];
  }
}

// Slots beyond `used` repeat the last configuration: padding that no result depends on.
void FromRows(const double* in, int64_t links, int64_t used, const TileWorkspace& work) {
  for (int64_t link = 0; link < links; ++link) {
    for (int64_t i = 0; i < kTile; ++i) work.links[link * kTile + i] = in[std::min(i, used - 1) * links + link];
  }
}

template <const IsaKernels* (*kIsa)()>
struct CpuTable {
  static int32_t Create(const hf_u1_flow* flow, int32_t device, void** handle) {
    if (device != 0) return Fail(HF_INVALID, "the CPU is device 0, not " + std::to_string(device));
    try {
      auto copy = std::make_unique<CpuFlow>();
      if (std::string e = copy->Copy(*flow); !e.empty()) return Fail(HF_INVALID, e);
      *handle = copy.release();
      return HF_OK;
    } catch (const std::bad_alloc&) {
      return Fail(HF_NO_MEMORY, "not enough memory for the flow's tables");
    }
  }

  static void Destroy(void* handle) { delete static_cast<CpuFlow*>(handle); }

  static int32_t Draw(const void* handle, int64_t n, const uint64_t* seed, const uint64_t* index, double beta,
                      double* links, double* log_q, double* action, void* /*stream*/) {
    const auto& flow = *static_cast<const CpuFlow*>(handle);
    return ForTiles(flow, n, [&](const TileWorkspace& work, int64_t first, int64_t used) {
      uint64_t tile_seed[kTile], tile_index[kTile];
      double tile_log_q[kTile], tile_action[kTile];
      for (int64_t i = 0; i < kTile; ++i) {
        tile_seed[i] = seed[first + std::min(i, used - 1)];
        tile_index[i] = index[first + std::min(i, used - 1)];
      }
      kIsa()->draw_tile(flow.flow(), tile_seed, tile_index, work, tile_log_q);
      kIsa()->action_tile(flow.flow(), beta, work, tile_action);
      ToRows(work, flow.flow().links, used, links + first * flow.flow().links);
      std::copy_n(tile_log_q, used, log_q + first);
      std::copy_n(tile_action, used, action + first);
    });
  }

  static int32_t Density(const void* handle, int64_t n, const double* links, double beta, double* log_q, double* action,
                         void* /*stream*/) {
    const auto& flow = *static_cast<const CpuFlow*>(handle);
    return ForTiles(flow, n, [&](const TileWorkspace& work, int64_t first, int64_t used) {
      double tile_log_q[kTile], tile_action[kTile];
      FromRows(links + first * flow.flow().links, flow.flow().links, used, work);
      kIsa()->action_tile(flow.flow(), beta, work, tile_action);
      kIsa()->density_tile(flow.flow(), work, tile_log_q);
      std::copy_n(tile_log_q, used, log_q + first);
      std::copy_n(tile_action, used, action + first);
    });
  }

  template <class F>
  static int32_t ForTiles(const CpuFlow& flow, int64_t n, const F& f) {
    try {
      const auto scratch = flow.MakeScratch();
      for (int64_t first = 0; first < n; first += kTile) f(scratch.view, first, std::min<int64_t>(kTile, n - first));
      return HF_OK;
    } catch (const std::bad_alloc&) {
      return Fail(HF_NO_MEMORY, "not enough memory for a tile's scratch space");
    }
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
    const int64_t parameters = map == HF_MAP_SPLINE    ? 3 * pieces + 1
                               : map == HF_MAP_MOEBIUS ? 2 * pieces + 1
                                                       : pieces + 1;
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
                                     Create,
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
  if (instruction_set == "avx512") return CpuTable<kernel::Avx512Kernels>::Table();
  if (instruction_set == "avx2") return CpuTable<kernel::Avx2Kernels>::Table();
  return CpuTable<kernel::BaselineKernels>::Table();
}

const hf_kernels& CpuKernels() {
  static const hf_kernels* const table = *CpuKernelsFor(kernel::BestInstructionSet());
  return *table;
}

}  // namespace haarflow
