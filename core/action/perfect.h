// Perfect samplers: independent fields of exactly the target's density, in two dimensions.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "core/lattice/lattice.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

// Immutable and thread-safe.
class PerfectSampler {
 public:
  virtual ~PerfectSampler() = default;
  // The density of what is drawn is exp(-S) / Z.
  virtual double log_z() const = 0;
  // The field of this name, FieldShape(target) numbers; a pure function of seed and index. `work` is scratch memory of
  // the calling thread.
  virtual void Draw(uint64_t seed, uint64_t index, double* field, std::vector<double>* work) const = 0;
};

// Whether a valid target has one: U(1) actions of every form and with a theta term (|theta_imaginary| <= 10), SU(2) and
// SU(3) (0 <= beta <= 24) Wilson actions without rectangles, in two dimensions, on at most 2^22 sites, an even number
// of them where beta is negative, which does not go with a theta term. INVALID_ARGUMENT with the reason.
absl::Status CheckPerfectSampler(const v1::Target& target);
absl::StatusOr<std::unique_ptr<const PerfectSampler>> MakePerfectSampler(const v1::Target& target);

// S of one gauge field.
double GaugeActionOf(const v1::Target& target, const Lattice& lattice, const double* links);

}  // namespace haarflow
