// A flow's parameters on another lattice, or at other couplings.
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/status.h"
#include "core/flow/scalar_plan.h"

namespace haarflow {
namespace {

// The parameters of one block with the conditioning contracted at `modes`, or as they are.
std::vector<double> Contract(absl::Span<const double> block, absl::Span<const double> modes) {
  std::vector<double> out(block.size() / modes.size(), 0.0);
  for (size_t i = 0; i < block.size(); ++i) out[i / modes.size()] += block[i] * modes[i % modes.size()];
  return out;
}

bool SameConditioning(const ScalarFlowPlan& a, const ScalarFlowPlan& b) {
  if (a.conditioning.size() != b.conditioning.size()) return false;
  for (size_t i = 0; i < a.conditioning.size(); ++i) {
    if (a.conditioning[i].SerializeAsString() != b.conditioning[i].SerializeAsString()) return false;
  }
  return true;
}

// How the spectrum of one lattice looks on another.
class SpectrumTransfer {
 public:
  SpectrumTransfer(const ScalarFlowPlan& from, const ScalarFlowPlan& to) : from_(from), to_(to) {
    for (int32_t o = 0; o < from.orbits.count(); ++o) {
      if (from.spectrum_orbit[o] == o) {
        order_.emplace_back(SquaredLatticeMomentum(from.lattice, from.orbits.representative[o]), o);
      }
    }
    std::sort(order_.begin(), order_.end());
  }
  // The orbit of the same momentum, or -1.
  int32_t SameMomentum(int32_t orbit) const {
    int64_t site = 0;
    for (int axis = 0; axis < to_.lattice.dims(); ++axis) {
      const int64_t here = to_.lattice.shape()[axis], there = from_.lattice.shape()[axis];
      const int64_t n = to_.lattice.Coordinate(to_.orbits.representative[orbit], axis) * there;
      if (n % here != 0) return -1;
      site = site * there + n / here;
    }
    return from_.spectrum_orbit[from_.orbits.of_site[site]];
  }
  // log sigma between the momenta of the source: 1 / sigma^2 is linear in khat^2 between neighbours, constant beyond.
  double Interpolated(const std::vector<double>& log_sigma, int32_t orbit) const {
    const double k = SquaredLatticeMomentum(to_.lattice, to_.orbits.representative[orbit]);
    const auto above = std::upper_bound(order_.begin(), order_.end(), std::make_pair(k, int32_t{0}));
    if (above == order_.begin()) return log_sigma[order_.front().second];
    if (above == order_.end()) return log_sigma[order_.back().second];
    const auto below = above - 1;
    const double width = above->first - below->first;
    const double t = width > 0 ? (k - below->first) / width : 0;
    const double inverse =
        (1 - t) * std::exp(-2 * log_sigma[below->second]) + t * std::exp(-2 * log_sigma[above->second]);
    return -0.5 * std::log(inverse);
  }

 private:
  const ScalarFlowPlan& from_;
  const ScalarFlowPlan& to_;
  std::vector<std::pair<double, int32_t>> order_;  // (khat^2, orbit)
};

// Where a kernel's value at a displacement of `to` comes from: the orbit of `from` (or -1) and a factor.
std::pair<int32_t, double> SourceOrbit(const ScalarFlowPlan& from, const ScalarFlowPlan& to, int32_t orbit) {
  const std::vector<int64_t> d = Displacement(to.lattice, to.orbits.representative[orbit]);
  double factor = 1;
  int64_t site = 0;
  for (int axis = 0; axis < to.lattice.dims(); ++axis) {
    const int64_t here = to.lattice.shape()[axis], there = from.lattice.shape()[axis];
    const int64_t length = std::abs(d[axis]);
    if (2 * length > there) return {-1, 0.0};
    if (2 * length == there && here > there) factor *= 0.5;
    if (2 * length == here && there > here) factor *= 2;
    site = site * there + length;
  }
  return {from.orbits.of_site[site], factor};
}

absl::Status SameLayers(const ScalarFlowPlan& from, const ScalarFlowPlan& to) {
  const auto differ = [](const std::string& what) {
    return absl::InvalidArgumentError(absl::StrCat("training.start_from: ", what, "; the layers must be the same"));
  };
  if (from.lattice.dims() != to.lattice.dims()) return differ("another number of dimensions");
  if (from.components != to.components) return differ("another number of components");
  if (from.heat_bath != to.heat_bath) return differ("one of the two has a heat bath");
  if (from.layers.size() != to.layers.size()) return differ("another number of layers");
  for (size_t l = 0; l < to.layers.size(); ++l) {
    const auto &a = from.layers[l], &b = to.layers[l];
    const std::string name = absl::StrCat("layer ", l);
    if (a.coupling.has_value() != b.coupling.has_value()) return differ(name + " is of another kind");
    if (b.coupling.has_value()) {
      if (a.coupling->stages.size() != b.coupling->stages.size()) return differ(name + " has another network");
      for (size_t s = 0; s < b.coupling->stages.size(); ++s) {
        const auto& x = from.layout.blocks()[a.first_block + 2 * s].shape;
        if (x != to.layout.blocks()[b.first_block + 2 * s].shape) return differ(name + " has another network");
      }
      continue;
    }
    if (a.continuous->frequencies != b.continuous->frequencies) return differ(name + " has other frequencies");
    if (a.continuous->time_modes != b.continuous->time_modes) return differ(name + " has other time modes");
  }
  return absl::OkStatus();
}

absl::Span<const double> Block(const ScalarFlowPlan& plan, size_t block, absl::Span<const double> parameters) {
  return parameters.subspan(plan.layout.blocks()[block].offset, plan.layout.blocks()[block].size);
}

}  // namespace

absl::StatusOr<std::vector<double>> TransferScalarParameters(const ScalarFlowPlan& from,
                                                             absl::Span<const double> parameters,
                                                             const ScalarFlowPlan& to) {
  RETURN_IF_ERROR(SameLayers(from, to));
  // Width of the numbers that are transferred, and in the result.
  const bool same = SameConditioning(from, to);
  const size_t width = same ? static_cast<size_t>(to.conditioning_modes) : 1;
  const std::vector<double> modes = same ? std::vector<double>{1.0} : from.ConditioningModes(to.target);
  std::vector<double> out = to.InitialValues(0);
  if (to.learnable_prior && from.fourier_prior) {
    std::vector<double> source(from.orbits.count());
    const SpectrumTransfer transfer(from, to);
    double* target = out.data() + to.layout.blocks()[0].offset;
    for (size_t c = 0; c < width; ++c) {
      for (int32_t o = 0; o < from.orbits.count(); ++o) source[o] = c == 0 ? std::log(from.initial_sigma[o]) : 0;
      if (from.learnable_prior) {
        const std::vector<double> block = Contract(Block(from, 0, parameters), modes);
        for (int32_t o = 0; o < from.orbits.count(); ++o) source[o] = block[o * width + c];
      }
      for (int32_t o = 0; o < to.orbits.count(); ++o) {
        // Higher conditioning modes are corrections to log sigma: kept where the momentum is the same.
        const int32_t same_momentum = transfer.SameMomentum(o);
        target[int64_t{o} * to.conditioning_modes + c] = same_momentum >= 0 ? source[same_momentum]
                                                         : c == 0           ? transfer.Interpolated(source, o)
                                                                            : 0;
      }
    }
  }
  for (size_t l = 0; l < to.layers.size(); ++l) {
    const size_t a = from.layers[l].first_block, b = to.layers[l].first_block;
    if (to.layers[l].coupling.has_value()) {
      for (size_t i = 0; i < 2 * to.layers[l].coupling->stages.size(); ++i) {
        const auto block = Block(from, a + i, parameters);
        std::copy(block.begin(), block.end(), out.begin() + to.layout.blocks()[b + i].offset);
      }
      continue;
    }
    const ScalarContinuousPlan &x = *from.layers[l].continuous, &y = *to.layers[l].continuous;
    const auto frequency = Block(from, a + 1, parameters);
    std::copy(frequency.begin(), frequency.end(), out.begin() + to.layout.blocks()[b + 1].offset);
    const std::vector<double> source = Contract(Block(from, a, parameters), modes);
    double* target = out.data() + to.layout.blocks()[b].offset;
    for (size_t i = 0; i < y.orbits.size(); ++i) {
      const auto [orbit, factor] = SourceOrbit(from, to, y.orbits[i]);
      const auto at = std::lower_bound(x.orbits.begin(), x.orbits.end(), orbit);
      if (orbit < 0 || at == x.orbits.end() || *at != orbit) continue;
      const size_t j = static_cast<size_t>(at - x.orbits.begin());
      for (int32_t f = 0; f < y.features(); ++f) {
        for (int32_t n = 0; n < y.time_modes; ++n) {
          for (size_t c = 0; c < width; ++c) {
            target[((f * y.orbits.size() + i) * y.time_modes + n) * to.conditioning_modes + c] =
                factor * source[((f * x.orbits.size() + j) * x.time_modes + n) * width + c];
          }
        }
      }
    }
  }
  return out;
}

}  // namespace haarflow
