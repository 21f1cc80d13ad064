// Targets: theories with their parameters on a lattice, checked completely and named by their bytes.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/digest.h"
#include "core/lattice/lattice.h"
#include "haarflow/v1/model.pb.h"

namespace haarflow {

// INVALID_ARGUMENT with the field's path, for example "target.lattice.shape[0] is 1; ...". Fields that this build does
// not know (a newer client's) are refused: they might change what the target is.
absl::Status ValidateTarget(const v1::Target& target);
// Lattice::Point() for a single matrix.
absl::StatusOr<Lattice> LatticeOf(const v1::Target& target);
// Refuses unknown fields anywhere in `message`, with their path.
absl::Status CheckNoUnknownFields(const google::protobuf::Message& message, const std::string& path);

// The one text of a target: what its digest is taken over and what manifests and files store, for example
// "haarflow target 1\nu1_wilson beta=2\nlattice 16x16 periodic\n". Numbers have 17 significant digits at most, shortest
// form that reads back exactly; -0 is 0. Requires a valid target. Two targets have the same text exactly when they are
// the same density: a phi^4 action is named by its couplings (core/action/phi4.h), whichever form gave them.
std::string CanonicalTarget(const v1::Target& target);
Digest TargetDigest(const v1::Target& target);
// "U(1) Wilson, beta = 2, 16x16", "U(1) Villain, beta = 2, theta_imaginary = 0.5, 16x16", "SU(3) Wilson, beta = 5,
// 16x16", "phi^4, m2 = -4, lambda = 8, 8x8": for people.
std::string DescribeTarget(const v1::Target& target);
// The same without the lattice.
std::string DescribeTheory(const v1::Target& target);

// "u1_wilson", "u1_villain", "u1_manton": the form of a U(1) action, in texts.
std::string U1TheoryName(const v1::Target& target);

// The theory's variables are links.
bool IsGauge(const v1::Target& target);
// How the numbers of a field are meant, as v1::SampleHeader says it: 1 U(1) angles, 2 scalars, 3 SU(N) matrices.
uint32_t FieldConvention(const v1::Target& target);
// The shape of one configuration, in float64 numbers: U(1) links [mu, ..., y, x], SU(N) links [mu, ..., y, x, row,
// column, 2] (real part, imaginary part), a single matrix [row, column, 2], one-component scalars [..., y, x], others
// [component, ..., y, x]. Requires a valid target.
std::vector<int64_t> FieldShape(const v1::Target& target);
int64_t FieldSize(const v1::Target& target);
// Fields of the same kind, components and lattice: what can be drawn for one can be weighted for the other.
bool SameFields(const v1::Target& a, const v1::Target& b);

// The action's numbers as kernels take them (core/kernel/table.h): {beta} (Wilson's: U(1) kernels know no other form
// and no theta term, core/model/model.h does); {beta, rectangle}; of a single matrix {beta c_1, beta c_2, beta c_3};
// {hop, quadratic, quartic}. Requires a valid target.
std::array<double, 3> ActionNumbers(const v1::Target& target);

// The theory's parameters by name, in a fixed order: "beta" and, in two dimensions, "theta_imaginary"; "beta",
// "rectangle"; "beta", "c1", "c2", "c3"; "m2", "lambda", "normalisation"; "kappa", "lambda".
std::vector<std::pair<std::string, double>> TheoryParameters(const v1::Target& target);
// INVALID_ARGUMENT when the theory has no such parameter (the message lists them). Does not check the value.
absl::Status SetTheoryParameter(const std::string& name, double value, v1::Target* target);
// A value that goes without saying: 0 of "rectangle" and "theta_imaginary", 0 and 1 of "normalisation".
bool IsUsual(const std::string& name, double value);
// The same parameters, and the same form of a U(1) action: targets that differ in numbers alone.
bool SameForm(const v1::Target& a, const v1::Target& b);

}  // namespace haarflow
