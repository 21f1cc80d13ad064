// What a kind of flow is to the module: its tables, the memory that it needs, and the launches of one sub-batch.
#pragma once

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "core/kernel/cuda/runtime.h"

namespace haarflow::isa_cuda {

struct DeviceLimits {
  int64_t shared_bytes = 0;  // of a block
  int64_t multiprocessors = 0;
};

inline int64_t FromEnvironment(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoll(text);
}

// Sizes of Buffers.
struct BufferSizes {
  int64_t field = 0;        // numbers of a field
  int32_t couplings = 1;    // the action's numbers
  int64_t lanes = 1;        // sub-batches are padded to multiples of this
  int64_t columns = 0;      // numbers per configuration
  int64_t network[3] = {};  // bytes per configuration
  int64_t sums = 0;         // numbers per configuration
  int64_t scratch = 0;      // bytes in all
  bool graphs = false;      // many launches: worth a graph
  int64_t PerConfiguration() const { return 8 * (field + columns + sums + 4) + network[0] + network[1] + network[2]; }
  int64_t Pad(int64_t n) const { return (n + lanes - 1) / lanes * lanes; }
};

// Device addresses for a sub-batch of `batch` configurations (a multiple of lanes); rows of columns are `batch` apart.
struct Buffers {
  double* columns;   // fields as [element][batch]
  void* network[3];  // features in [1], then stages alternate from [0]; [2]: the reflected network's parameters
  double* sums;      // rows to sum
  double* totals;    // [batch]
  uint64_t* names;   // seeds [batch], indices [batch], then the action's numbers
  double* results;   // fields [batch][field], log q [batch], action [batch]
  void* scratch;
  double* couplings(int64_t batch) const { return reinterpret_cast<double*>(names + 2 * batch); }
};

// A flow as one kind of program; immutable after Pack.
class FlowProgram {
 public:
  virtual ~FlowProgram() = default;
  // Checks and plans for the current device, number `device`. Before what follows. HF_INVALID with a message where
  // the tables are wrong. May throw std::bad_alloc. What the program was made from may go after this.
  virtual int32_t Prepare(int device) = 0;
  // The tables as they will stand at `base`: once with base null to learn the size, then with the true base.
  virtual std::vector<char> Pack(const char* base) = 0;
  virtual const BufferSizes& sizes() const = 0;
  // From names and the action's numbers to fields, log q and action.
  virtual int32_t LaunchDraw(cudaStream_t stream, const Buffers& b, int64_t batch) const = 0;
  // From fields in `results`, which may be destroyed, and the action's numbers to log q and action.
  virtual int32_t LaunchDensity(cudaStream_t stream, const Buffers& b, int64_t batch) const = 0;
};

std::unique_ptr<FlowProgram> MakeU1Program(const hf_u1_flow& flow);
std::unique_ptr<FlowProgram> MakeScalarProgram(const hf_scalar_flow& flow);
std::unique_ptr<FlowProgram> MakeLoopProgram(const hf_loop_flow& flow);

}  // namespace haarflow::isa_cuda
