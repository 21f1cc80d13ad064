// A model that draws: a verified spec and weights, laid out for a kernel module.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "core/action/perfect.h"
#include "core/base/mutex.h"
#include "core/flow/scalar_plan.h"
#include "core/kernel/table.h"
#include "core/model/sampler.h"
#include "core/model/store.h"

namespace haarflow {

// A flow of a kernel module, or a perfect sampler.
using FlowHandle = std::shared_ptr<const void>;

// Thread-safe, and immutable but for a cache: a model that serves many targets lays out a flow for each that it is
// asked for, and keeps the last ones. Perfect samplers are drawn by threads of the CPU, whatever the device.
class Model final : public Sampler {
 public:
  // INVALID_ARGUMENT when the weights' names, types or shapes are not those that the spec asks for (the tensor is
  // named). `kernels` must outlive the model: CpuKernels() or a loaded module; `device` is the module's device number.
  // `steps`: Runge-Kutta steps of continuous flows instead of those in the weights; 0: those.
  static absl::StatusOr<std::shared_ptr<const Model>> Create(const v1::ModelSpec& spec, const TensorMap& weights,
                                                             const hf_kernels& kernels, int device, int32_t steps = 0);
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const Lattice& lattice() const override { return lattice_; }
  const v1::Target& target() const override { return spec_.target(); }
  std::string numerics_class() const override;
  bool Serves(const v1::Target& target) const override;
  const v1::ModelSpec& spec() const { return spec_; }
  int64_t parameters() const { return parameters_; }
  // Runge-Kutta steps of continuous flows; 0 where there are none.
  int32_t steps() const { return steps_; }

  absl::Status Draw(const v1::Target& target, absl::Span<const uint64_t> seed, absl::Span<const uint64_t> index,
                    Proposals* out) const override;
  // log q of given fields by the inverse map, and their action: out->field holds the fields on entry.
  absl::Status Density(const v1::Target& target, Proposals* out) const;

 private:
  Model(v1::ModelSpec spec, Lattice lattice, const hf_kernels& kernels, int device);
  absl::Status LoadU1(const TensorMap& weights);
  absl::Status LoadLoops(const TensorMap& weights, int32_t steps);
  absl::Status LoadSpectral(const TensorMap& weights);
  absl::Status LoadScalar(const TensorMap& weights, int32_t steps);
  absl::Status LoadPerfect(const TensorMap& weights);
  bool is_perfect() const { return spec_.prior().has_perfect(); }
  absl::StatusOr<FlowHandle> MakeScalarFlow(const v1::Target& target) const;
  absl::StatusOr<FlowHandle> MakePerfectFlow(const v1::Target& target) const;
  // Kernels evaluate Wilson's U(1) action: where the target has another form or a theta term, the action is evaluated
  // here.
  void CompleteAction(const v1::Target& target, Proposals* out) const;
  absl::Status DrawPerfect(const PerfectSampler& sampler, const v1::Target& target, absl::Span<const uint64_t> seed,
                           absl::Span<const uint64_t> index, Proposals* out) const;
  // log_q and action of the field of proposals first .. first + n - 1.
  void WeighPerfect(const PerfectSampler& sampler, const v1::Target& target, int64_t first, int64_t n,
                    Proposals* out) const;
  // The flow for `target`, after checking its fields.
  absl::StatusOr<FlowHandle> FlowFor(const v1::Target& target) const;
  absl::Status KernelError(int32_t code, const std::string& what) const;

  v1::ModelSpec spec_;
  Lattice lattice_;
  const hf_kernels& kernels_;
  int device_;
  FlowHandle flow_;  // for the model's own target
  int64_t parameters_ = 0;
  // Of scalar models.
  std::unique_ptr<const ScalarFlowPlan> scalar_plan_;
  std::vector<double> values_;
  int32_t steps_ = 0;
  // Of conditional and perfect models: flows by canonical target, the latest first.
  mutable Mutex mutex_;
  mutable std::list<std::pair<std::string, FlowHandle>> cache_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace haarflow
