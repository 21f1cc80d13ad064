// Observables by name, for U(1) link fields.
//
//   plaquette              (1/N_P) sum_P cos theta_P, 1 on the cold field
//   wilson_loop_RxT        mean of cos over all R x T rectangles: R links along mu, T along nu, every pair mu != nu,
//                          every site (1 <= R, T, and both below the smallest extent)
//   charge                 Q = (1/2pi) sum_P arg(e^{i theta_P}), arg in [-pi, pi): an integer; two dimensions only
//   charge_squared         Q^2
//   charge_probability_q   1 where Q = q, else 0 (q may be negative)
//   action                 S with the target's beta
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/lattice/lattice.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

class ObservableSet {
 public:
  // INVALID_ARGUMENT for a name that is unknown, malformed, duplicated, or not defined on this lattice; more
  // than 64 names.
  static absl::StatusOr<ObservableSet> Create(const v1::Target& target, const std::vector<std::string>& names);

  const std::vector<std::string>& names() const { return names_; }
  size_t size() const { return names_.size(); }
  // Of one configuration, links [mu, ..., y, x]: values[size()]. Thread-safe.
  void Evaluate(const double* links, double* values) const;

 private:
  enum class Kind { kPlaquette, kWilsonLoop, kCharge, kChargeSquared, kChargeProbability, kAction };
  struct Entry {
    Kind kind;
    int64_t r = 0;
    int64_t t = 0;
    int64_t q = 0;
  };
  // What one configuration is reduced to before any entry is filled in: shared by plaquette, action, charge and its
  // functions.
  struct Sums {
    double cosines = 0;  // sum_P cos theta_P
    int64_t charge = 0;  // 2 dimensions only
  };
  static absl::StatusOr<Entry> Parse(const Lattice& lattice, const std::string& name);
  Sums PlaquetteSums(const double* links, double* angles) const;
  double WilsonLoop(const double* links, const Entry& entry, double* angles) const;
  friend std::optional<double> ExactExpectation(const v1::Target& target, const std::string& observable);
  explicit ObservableSet(const Lattice& lattice) : lattice_(lattice) {}
  Lattice lattice_;
  double beta_ = 0;
  bool needs_cosines_ = false;
  bool needs_charge_ = false;
  std::vector<std::string> names_;
  std::vector<Entry> entries_;
};

// The exact expectation value where it is known in closed form (two-dimensional torus), else nothing.
std::optional<double> ExactExpectation(const v1::Target& target, const std::string& observable);
// The exact log Z where it is known.
std::optional<double> ExactLogZ(const v1::Target& target);

}  // namespace haarflow
