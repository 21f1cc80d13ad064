#include "core/action/perfect.h"

#include <cmath>
#include <utility>

#include "core/action/sun_perfect.h"
#include "core/action/sun_wilson.h"
#include "core/action/target.h"
#include "core/action/u1_flux_tree.h"
#include "core/action/u1_plaquette.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

// The tree of a larger lattice would take gigabytes.
constexpr int64_t kMaxVolume = int64_t{1} << 22;

}  // namespace

absl::Status CheckPerfectSampler(const v1::Target& target) {
  ASSIGN_OR_RETURN(const Lattice lattice, LatticeOf(target));
  if (!IsGauge(target)) {
    return absl::InvalidArgumentError(absl::StrCat(DescribeTheory(target), ": perfect samplers are for gauge fields"));
  }
  if (lattice.dims() != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("target.lattice has ", lattice.dims(), " dimensions; perfect samplers are for two"));
  }
  if (lattice.volume() > kMaxVolume) {
    return absl::InvalidArgumentError(
        absl::StrCat("target.lattice has ", lattice.volume(), " sites; perfect samplers take at most ", kMaxVolume));
  }
  const v1::SunWilsonAction& sun = target.sun_wilson();
  if (sun.rectangle() != 0) {
    return absl::InvalidArgumentError(absl::StrCat("target.sun_wilson.rectangle is ", sun.rectangle(),
                                                   "; perfect samplers are for the plaquette action, 0"));
  }
  const bool su3 = target.has_sun_wilson() && sun.colours() == 3;
  const double beta = target.has_u1_wilson() ? target.u1_wilson().beta() : sun.beta();
  if (su3 && !(beta >= 0 && beta <= SunPerfectSampler::kMaxBetaSu3)) {
    return absl::InvalidArgumentError(absl::StrCat("target.sun_wilson.beta is ", beta,
                                                   "; the perfect sampler of SU(3) takes 0..",
                                                   SunPerfectSampler::kMaxBetaSu3));
  }
  if (beta < 0 && lattice.volume() % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrCat("beta is ", beta, "; on an odd number of sites, ", lattice.volume(),
                                                   ", the perfect sampler needs beta >= 0"));
  }
  const double theta = target.u1_wilson().theta_imaginary();
  if (beta < 0 && theta != 0) {
    return absl::InvalidArgumentError(absl::StrCat("beta is ", beta, " and theta_imaginary ", theta,
                                                   "; with a theta term the perfect sampler needs beta >= 0"));
  }
  if (std::abs(theta) > U1PerfectSampler::kMaxTheta) {
    return absl::InvalidArgumentError(absl::StrCat("theta_imaginary is ", theta, "; the perfect sampler takes -",
                                                   U1PerfectSampler::kMaxTheta, "..", U1PerfectSampler::kMaxTheta));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<const PerfectSampler>> MakePerfectSampler(const v1::Target& target) {
  RETURN_IF_ERROR(CheckPerfectSampler(target));
  ASSIGN_OR_RETURN(const Lattice lattice, LatticeOf(target));
  if (target.has_sun_wilson()) {
    return SunPerfectSampler::Create(lattice, static_cast<int>(target.sun_wilson().colours()),
                                     target.sun_wilson().beta());
  }
  ASSIGN_OR_RETURN(U1PerfectSampler sampler, U1PerfectSampler::Create(lattice, U1PlaquetteOf(target)));
  return std::make_unique<const U1PerfectSampler>(std::move(sampler));
}

double GaugeActionOf(const v1::Target& target, const Lattice& lattice, const double* links) {
  if (target.has_u1_wilson()) return U1ActionOf(lattice, U1PlaquetteOf(target), links);
  const v1::SunWilsonAction& action = target.sun_wilson();
  return SunWilsonActionOf(lattice, static_cast<int>(action.colours()), action.beta(), action.rectangle(), links);
}

}  // namespace haarflow
