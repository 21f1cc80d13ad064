// A model that draws: a verified spec and weights, laid out for a kernel module.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "core/kernel/table.h"
#include "core/model/sampler.h"
#include "core/model/store.h"

namespace haarflow {

// Immutable and thread-safe. Owns a flow of a kernel module.
class Model final : public Sampler {
 public:
  // INVALID_ARGUMENT when the weights' names, types or shapes are not those that the spec asks for (the tensor is
  // named). `kernels` must outlive the model: CpuKernels() or a loaded module; `device` is the module's device number.
  static absl::StatusOr<std::shared_ptr<const Model>> Create(const v1::ModelSpec& spec, const TensorMap& weights,
                                                             const hf_kernels& kernels, int device);
  ~Model() override;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const Lattice& lattice() const override { return lattice_; }
  const v1::Target& target() const override { return spec_.target(); }
  std::string numerics_class() const override;
  const v1::ModelSpec& spec() const { return spec_; }
  int64_t parameters() const { return parameters_; }

  absl::Status Draw(const v1::Target& target, absl::Span<const uint64_t> seed, absl::Span<const uint64_t> index,
                    Proposals* out) const override;
  // log q of given fields by the inverse map, and their action: out->field holds the fields on entry.
  absl::Status Density(const v1::Target& target, Proposals* out) const;

 private:
  Model(v1::ModelSpec spec, Lattice lattice, const hf_kernels& kernels);
  absl::Status KernelError(int32_t code, const std::string& what) const;

  v1::ModelSpec spec_;
  Lattice lattice_;
  const hf_kernels& kernels_;
  void* flow_ = nullptr;
  int64_t parameters_ = 0;
};

}  // namespace haarflow
