#include "core/action/derivatives.h"

#include <array>
#include <utility>
#include <vector>

#include "core/action/phi4.h"
#include "core/action/sun_single.h"
#include "core/action/sun_wilson.h"
#include "core/action/target.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

using Term = ActionDerivatives::Term;

std::vector<Term> TermsOf(const v1::Target& target, const Lattice& lattice, const std::string& parameter) {
  if (target.has_u1_wilson()) {
    if (parameter == "theta_imaginary") return {{"charge", -1}};
    const double plaquettes = static_cast<double>(lattice.plaquettes());
    if (U1PlaquetteOf(target).form == U1Plaquette::Form::kWilson) return {{"plaquette", -plaquettes}};
    return {{"energy", plaquettes}};
  }
  if (target.has_sun_wilson()) {
    const double beta = target.sun_wilson().beta();
    const double c1 = target.sun_wilson().rectangle();
    const double plaquettes = static_cast<double>(lattice.plaquettes());
    const double rectangles = static_cast<double>(RectanglesOf(lattice));
    if (parameter == "rectangle") return {{"plaquette", 8 * beta * plaquettes}, {"rectangle", -beta * rectangles}};
    std::vector<Term> terms = {{"plaquette", -(1 - 8 * c1) * plaquettes}};
    if (c1 != 0) terms.push_back({"rectangle", -c1 * rectangles});
    return terms;
  }
  if (target.has_sun_matrix()) {
    const v1::SunMatrixAction& action = target.sun_matrix();
    if (parameter == "beta") return {{"trace_1", -action.c1()}, {"trace_2", -action.c2()}, {"trace_3", -action.c3()}};
    return {{absl::StrCat("trace_", parameter.substr(1)), -action.beta()}};
  }
  const double volume = static_cast<double>(lattice.volume());
  if (target.phi4().has_hopping()) {
    if (parameter == "kappa") return {{"neighbour_sum", -2 * volume}};
    return {{"phi_fourth", volume}, {"phi_squared", -2 * volume}};
  }
  const v1::Phi4MassForm& mass = target.phi4().mass();
  const double normalisation = mass.normalisation() == 0 ? 1 : mass.normalisation();
  if (parameter == "m2") return {{"phi_squared", normalisation * volume}};
  if (parameter == "lambda") return {{"phi_fourth", volume}};
  return {{"neighbour_sum", -2 * volume}, {"phi_squared", (2 * lattice.dims() + mass.m2()) * volume}};
}

}  // namespace

absl::StatusOr<ActionDerivatives> ActionDerivatives::Create(const v1::Target& target) {
  RETURN_IF_ERROR(ValidateTarget(target));
  ASSIGN_OR_RETURN(Lattice lattice, LatticeOf(target));
  return ActionDerivatives(target, std::move(lattice));
}

ActionDerivatives::ActionDerivatives(const v1::Target& target, Lattice lattice) : lattice_(std::move(lattice)) {
  if (target.has_phi4()) components_ = Phi4CouplingsOf(target.phi4(), lattice_.dims()).components;
  if (target.has_u1_wilson()) u1_ = U1PlaquetteOf(target);
  if (target.has_sun_wilson()) colours_ = static_cast<int>(target.sun_wilson().colours());
  if (target.has_sun_matrix()) single_colours_ = static_cast<int>(target.sun_matrix().colours());
  for (const auto& [name, value] : TheoryParameters(target)) {
    parameters_.push_back(name);
    terms_.push_back(TermsOf(target, lattice_, name));
  }
}

void ActionDerivatives::Evaluate(const double* field, double* values) const {
  const double volume = static_cast<double>(lattice_.volume());
  Phi4Sums sums;
  double plaquette = 0;
  double rectangle = 0;
  double energy = 0;
  double charge = 0;
  std::array<double, 3> trace = {};
  if (single_colours_ > 0) {
    trace = SunPowerTraces(single_colours_, field);
  } else if (components_ > 0) {
    sums = Phi4SumsOf(lattice_, components_, field);
  } else if (colours_ > 0) {
    const SunLoopSums loops = SunLoopSumsOf(lattice_, colours_, field, /*rectangles=*/true);
    plaquette = loops.plaquettes / static_cast<double>(colours_ * lattice_.plaquettes());
    rectangle = loops.rectangles / static_cast<double>(colours_ * RectanglesOf(lattice_));
  } else {
    std::vector<double> angles(lattice_.volume());
    const U1PlaquetteSums u1 = U1PlaquetteSumsOf(lattice_, u1_, field, false, angles.data());
    plaquette = u1.cosines / static_cast<double>(lattice_.plaquettes());
    energy = u1.energy / static_cast<double>(lattice_.plaquettes());
    charge = static_cast<double>(u1.charge);
  }
  const auto density = [&](const std::string& observable) {
    if (observable == "plaquette") return plaquette;
    if (observable == "rectangle") return rectangle;
    if (observable == "energy") return energy;
    if (observable == "charge") return charge;
    if (single_colours_ > 0) return trace[observable.back() - '1'] / single_colours_;
    if (observable == "neighbour_sum") return sums.neighbours / volume;
    if (observable == "phi_squared") return sums.squares / volume;
    return sums.quartics / volume;
  };
  for (size_t i = 0; i < terms_.size(); ++i) {
    values[i] = 0;
    for (const Term& term : terms_[i]) values[i] += term.coefficient * density(term.observable);
  }
}

}  // namespace haarflow
