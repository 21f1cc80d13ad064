#include "core/action/perfect.h"

#include <utility>

#include "core/action/sun_wilson.h"
#include "core/action/target.h"
#include "core/action/u1_flux_tree.h"
#include "core/action/u1_wilson.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

// The tree of a larger lattice would take gigabytes.
constexpr int64_t kMaxVolume = int64_t{1} << 22;

template <class Sampler>
class Wrapped final : public PerfectSampler {
 public:
  explicit Wrapped(Sampler sampler) : sampler_(std::move(sampler)) {}
  double log_z() const override { return sampler_.log_z(); }
  void Draw(uint64_t seed, uint64_t index, double* field, std::vector<double>* work) const override {
    sampler_.Draw(seed, index, field, work);
  }

 private:
  const Sampler sampler_;
};

template <class Sampler>
std::unique_ptr<const PerfectSampler> Wrap(Sampler sampler) {
  return std::make_unique<const Wrapped<Sampler>>(std::move(sampler));
}

}  // namespace

absl::Status CheckPerfectSampler(const v1::Target& target) {
  ASSIGN_OR_RETURN(const Lattice lattice, LatticeOf(target));
  if (!target.has_u1_wilson()) {
    return absl::InvalidArgumentError(absl::StrCat(DescribeTheory(target), ": only U(1) has a perfect sampler"));
  }
  if (lattice.dims() != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("target.lattice has ", lattice.dims(), " dimensions; perfect samplers are for two"));
  }
  if (lattice.volume() > kMaxVolume) {
    return absl::InvalidArgumentError(
        absl::StrCat("target.lattice has ", lattice.volume(), " sites; perfect samplers take at most ", kMaxVolume));
  }
  if (target.u1_wilson().beta() < 0 && lattice.volume() % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrCat("target.u1_wilson.beta is ", target.u1_wilson().beta(),
                                                   "; on an odd number of sites, ", lattice.volume(),
                                                   ", the perfect sampler needs beta >= 0"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<const PerfectSampler>> MakePerfectSampler(const v1::Target& target) {
  RETURN_IF_ERROR(CheckPerfectSampler(target));
  ASSIGN_OR_RETURN(const Lattice lattice, LatticeOf(target));
  ASSIGN_OR_RETURN(U1PerfectSampler sampler, U1PerfectSampler::Create(lattice, target.u1_wilson().beta()));
  return Wrap(std::move(sampler));
}

double GaugeActionOf(const v1::Target& target, const Lattice& lattice, const double* links) {
  if (target.has_u1_wilson()) return U1WilsonActionOf(lattice, target.u1_wilson().beta(), links);
  const v1::SunWilsonAction& action = target.sun_wilson();
  return SunWilsonActionOf(lattice, static_cast<int>(action.colours()), action.beta(), action.rectangle(), links);
}

}  // namespace haarflow
