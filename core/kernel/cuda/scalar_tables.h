// A scalar flow as the module runs it: device tables, the shape of its blocks, and the order of its parts.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "core/kernel/cuda/cas_plan.h"
#include "core/kernel/cuda/continuous_tables.h"
#include "core/kernel/cuda/heat_bath_bodies.h"
#include "core/kernel/cuda/network_tables.h"
#include "core/kernel/cuda/program.h"

namespace haarflow::isa_cuda {

struct ScalarCouplingTables {
  int32_t active;
  const int32_t* active_sites;
  int32_t features;
  const int32_t *feature_begin, *feature_sites;
  int32_t map, pieces;
  double range;
  bool odd;
  NetworkTables network;
};

// A run of continuous layers (the first one with the prior, and maybe without layers), or one coupling.
struct ScalarPart {
  int32_t coupling = -1;  // index of the coupling, or -1
  std::vector<ContinuousTable> continuous;
  bool with_prior = false;
  double log_q_constant = 0;
  const PhaseRecord* phase[2] = {};  // forwards, backwards
  int32_t phases[2] = {};
};

struct ScalarTables {
  SiteTables sites{};
  CasTables cas{};
  PriorTable prior{};
  ConditionalTable conditional{};  // of the heat bath
  std::vector<ScalarCouplingTables> couplings;
  std::vector<ScalarPart> parts;
};

// How the blocks of the continuous part look. Environment, for measurements and tests; no bit depends on it:
// HAARFLOW_CUDA_REGISTERS=0 keeps states in memory, HAARFLOW_CUDA_SHARED_BYTES lowers what a block may use.
class ScalarLayout {
 public:
  ScalarLayout(const std::vector<int32_t>& shape, int32_t components, bool many_sines, const DeviceLimits& limits)
      : shared_limit_(limits.shared_bytes) {
    auto plan = std::make_unique<CasPlan>(shape, 8);
    auto large = std::make_unique<CasPlan>(shape, 16);
    const bool small_fits = Fits(*plan, 8), large_fits = components == 1 && Fits(*large, 16);
    if (large_fits && (!small_fits || large->passes().size() < plan->passes().size())) {
      slots_ = 16;
      plan = std::move(large);
    } else if (small_fits) {
      slots_ = 8;
    } else {
      plan = std::move(large);
    }
    const int64_t in_memory = std::clamp<int64_t>((plan->sites() / 4 + 31) / 32 * 32, 32, 512);
    threads_ = slots_ > 0 ? plan->Threads(slots_) : in_memory;
    // Small configurations share a block of one warp, which needs no barrier of a whole block.
    configurations_ = std::max<int64_t>(1, kWarp / threads_);
    plan->Place(threads_);
    plan_ = std::move(plan);
    buffers_ = many_sines || plan_->has_dense_pass() ? 2 : 1;
    if (FromEnvironment("HAARFLOW_CUDA_REGISTERS", 1) == 0) slots_ = 0;
    work_ = 8 * buffers_ * configurations_ * components * plan_->padded();
    const int64_t sums = 8 * configurations_ * threads_;
    global_work_ = work_ + sums > std::min(limits.shared_bytes, FromEnvironment("HAARFLOW_CUDA_SHARED_BYTES", 1 << 30));
    if (global_work_) slots_ = 0;
    shared_bytes_ = sums + (global_work_ ? 0 : work_);
    blocks_ = INT32_MAX;
    if (global_work_ || slots_ == 0) {
      blocks_ =
          limits.multiprocessors * std::clamp<int64_t>(limits.shared_bytes / shared_bytes_, 1, global_work_ ? 2 : 4);
    }
  }

  const CasPlan& plan() const { return *plan_; }
  int slots() const { return slots_; }
  int64_t shared_bytes() const { return shared_bytes_; }
  int64_t shared_limit() const { return shared_limit_; }
  int32_t buffers() const { return buffers_; }
  BlockShape Shape(int64_t batch) const {
    return {static_cast<int32_t>(threads_), static_cast<int32_t>(configurations_), batch};
  }
  int64_t threads() const { return threads_; }
  int64_t blocks() const { return blocks_; }
  // Bytes of a block in device memory: transforms, then states. Then limits the number of blocks to `most_bytes`.
  int64_t work_bytes() const { return global_work_ ? work_ : 0; }
  int64_t state_bytes(const CasTables& cas) const {
    return slots_ == 0 ? 8 * configurations_ * StateSize(cas.components, cas) : 0;
  }
  void LimitBlocks(const CasTables& cas, int64_t most_bytes) {
    const int64_t each = work_bytes() + state_bytes(cas);
    if (each > 0) blocks_ = std::clamp<int64_t>(most_bytes / each, 1, blocks_);
  }
  int64_t scratch_bytes(const CasTables& cas) const {
    const int64_t each = work_bytes() + state_bytes(cas);
    return each > 0 ? each * blocks_ : 0;
  }

 private:
  static bool Fits(const CasPlan& plan, int points) {
    constexpr int64_t kMostThreads = 256;  // with registers for the states
    return !plan.has_dense_pass() && plan.passes().size() <= kMaxPasses && plan.Threads(points) <= kMostThreads;
  }

  const int64_t shared_limit_;
  std::unique_ptr<CasPlan> plan_;
  int slots_ = 0;
  int64_t threads_, configurations_, work_, shared_bytes_, blocks_;
  int32_t buffers_;
  bool global_work_;
};

}  // namespace haarflow::isa_cuda
