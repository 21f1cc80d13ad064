// The seam between what draws proposals and what makes them exact: the server and the estimators know this interface
// alone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/action/target.h"
#include "core/lattice/lattice.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

// n proposals. Reused between calls: resized, never shrunk.
struct Proposals {
  int64_t n = 0;
  int64_t field_size = 0;      // doubles per configuration
  std::vector<double> field;   // [n][FieldShape(target)], links as angles in [-pi, pi)
  std::vector<double> log_q;   // [n]
  std::vector<double> action;  // [n]

  double LogWeight(int64_t i) const { return -action[i] - log_q[i]; }
  const double* Field(int64_t i) const { return field.data() + i * field_size; }
  void Resize(int64_t count, int64_t size_of_field);
};

// Thread-safe: many threads may draw at once.
class Sampler {
 public:
  virtual ~Sampler() = default;
  virtual const Lattice& lattice() const = 0;
  // The theory the model was made for. Any target of the same fields can be served, by its weights.
  virtual const v1::Target& target() const = 0;
  // Bits are promised within one class.
  virtual std::string numerics_class() const = 0;
  // Whether the model was made for `target` too: its own, or one within its conditioning.
  virtual bool Serves(const v1::Target& target) const {
    return CanonicalTarget(target) == CanonicalTarget(this->target());
  }
  // Doubles of one configuration.
  int64_t field_size() const { return FieldSize(target()); }
  // Proposals (seed[i], index[i]) with the action of `target`, which must have the same fields. A conditional model
  // draws from its flow for `target` where that lies within its intervals, else from the one for its own target.
  // INVALID_ARGUMENT for other fields, UNAVAILABLE when the device failed.
  virtual absl::Status Draw(const v1::Target& target, absl::Span<const uint64_t> seed, absl::Span<const uint64_t> index,
                            Proposals* out) const = 0;
};

}  // namespace haarflow
