// Between the C table and the kernels of one instruction set: copies of flows, and their work on tiles of 16
// configurations. Throws std::bad_alloc, nothing else; dispatch.cc turns that into a code.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "core/kernel/cpu/isa.h"

namespace haarflow::kernel {

struct FreeMemory {
  void operator()(void* p) const { std::free(p); }
};
template <class T>
using Buffer = std::unique_ptr<T[], FreeMemory>;

// 64-byte aligned, at least one element.
template <class T>
Buffer<T> Allocate(int64_t n) {
  const size_t bytes = (static_cast<size_t>(n < 1 ? 1 : n) * sizeof(T) + 63) / 64 * 64;
  void* p = std::aligned_alloc(64, bytes);
  if (p == nullptr) throw std::bad_alloc();
  return Buffer<T>(static_cast<T*>(p));
}

// Between a field [links][N][N][2][kTile] and a half of its configurations as rows of matrices
// (core/kernel/cpu/sun.inc).
void HalfToField(int32_t colours, int32_t links, const double* matrices, int half, double* field);
void HalfFromField(int32_t colours, int32_t links, const double* field, int half, double* matrices);

// Owns copies of arrays.
class ArrayStore {
 public:
  template <class T>
  const T* Keep(const T* data, int64_t n) {
    auto copy = Allocate<T>(n);
    if (n > 0) std::memcpy(copy.get(), data, static_cast<size_t>(n) * sizeof(T));
    const T* p = copy.get();
    arrays_.push_back(std::unique_ptr<void, FreeMemory>(copy.release()));
    return p;
  }
  template <class T>
  const T* Keep(const std::vector<T>& data) {
    return Keep(data.data(), static_cast<int64_t>(data.size()));
  }

 private:
  std::vector<std::unique_ptr<void, FreeMemory>> arrays_;
};

// Copies of a network's stages, and the largest number of rows that one of them puts out.
class NetworkStore {
 public:
  // Replaces `stage` by a copy. The network reads `input_rows` rows and puts out `sites` x `channels`. Returns what is
  // wrong with the tables, or an empty string.
  std::string Copy(const hf_stage** stage, int32_t stages, int64_t input_rows, bool double_network, int64_t sites,
                   int64_t channels, ArrayStore* arrays);
  int64_t max_rows() const { return max_rows_; }

 private:
  std::string CopyStage(hf_stage* stage, int64_t input_rows, int64_t scalar, ArrayStore* arrays);
  std::vector<std::unique_ptr<hf_stage[]>> stages_;
  int64_t max_rows_ = 0;
};

// A flow that draws tiles. Immutable; tiles may be at work in many threads.
class TiledFlow {
 public:
  // One thread's scratch memory. `field` holds rows of kTile numbers.
  class Tile {
   public:
    virtual ~Tile() = default;
    virtual void Draw(const uint64_t* seed, const uint64_t* index, const double* couplings, double* log_q,
                      double* action) = 0;
    // Of `field`, which is destroyed.
    virtual void Density(const double* couplings, double* log_q, double* action) = 0;
    double* field = nullptr;
  };
  virtual ~TiledFlow() = default;
  virtual int64_t field_size() const = 0;
  virtual std::unique_ptr<Tile> MakeTile() const = 0;
};

// A null flow comes with what is wrong with the tables.
std::unique_ptr<TiledFlow> MakeU1TiledFlow(const hf_u1_flow& flow, const IsaKernels& kernels, std::string* wrong);
struct LoopKernels;
std::unique_ptr<TiledFlow> MakeLoopTiledFlow(const hf_loop_flow& flow, const LoopKernels& kernels, std::string* wrong);
struct SpectralKernels;
std::unique_ptr<TiledFlow> MakeSpectralTiledFlow(const hf_spectral_flow& flow, const SpectralKernels& kernels,
                                                 const LoopKernels& links, std::string* wrong);
struct ScalarKernels;
std::unique_ptr<TiledFlow> MakeScalarTiledFlow(const hf_scalar_flow& flow, const ScalarKernels& kernels,
                                               std::string* wrong);

}  // namespace haarflow::kernel
