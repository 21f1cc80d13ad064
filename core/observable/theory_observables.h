// What one theory offers to ObservableSet: internal to this folder.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "core/lattice/lattice.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

class TheoryObservables {
 public:
  virtual ~TheoryObservables() = default;
  // Adds one observable; INVALID_ARGUMENT for a name that is unknown, malformed or not defined on this lattice.
  virtual absl::Status Add(const std::string& name) = 0;
  // Of one configuration, in the order in which they were added. Thread-safe.
  virtual void Evaluate(const double* field, double* values) const = 0;
  // The exact expectation value of observable i where it is known.
  virtual std::optional<double> Exact(size_t i) const = 0;
};

// Require a valid target of their theory.
std::unique_ptr<TheoryObservables> MakeU1Observables(const v1::Target& target, const Lattice& lattice);
std::unique_ptr<TheoryObservables> MakeSunObservables(const v1::Target& target, const Lattice& lattice);
std::unique_ptr<TheoryObservables> MakeSunSingleObservables(const v1::Target& target);
std::unique_ptr<TheoryObservables> MakeScalarObservables(const v1::Target& target, const Lattice& lattice);

// A decimal integer in the one way it is written: no sign but '-', no leading zero. Two spellings would be two names of
// one thing.
std::optional<int64_t> ParseInteger(const std::string& text);
// INVALID_ARGUMENT: `name` is unknown, `known` are.
absl::Status UnknownObservable(const std::string& name, const std::string& known);

}  // namespace haarflow
