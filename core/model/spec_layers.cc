// What a spec says of the map: masks, loops, networks, layers, prior, conditioning.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/action/perfect.h"
#include "core/action/target.h"
#include "core/action/u1_plaquette.h"
#include "core/flow/loop_plan.h"
#include "core/model/spec.h"
#include "core/model/spec_check.h"

namespace haarflow::spec_check {
namespace {

// Bounds. They keep what a spec can make us allocate or compute finite; none is a limit of the mathematics.
constexpr int kMaxLayerMessages = 1024;
constexpr uint32_t kMaxLayersPerStack = 1024;
constexpr uint64_t kMaxCouplingLayers = 4096;
constexpr int kMaxMasks = 1024;
constexpr int kMaxSublattices = 256;  // the disjointness check is quadratic in this
constexpr int kMaxFeatures = 16;
constexpr int kMaxHiddenLayers = 8;
constexpr uint32_t kMaxHiddenWidth = 256;
constexpr uint32_t kMaxKernel = 31;
constexpr int kMaxShells = 16;
constexpr uint32_t kMaxFrequencies = 32;
constexpr uint32_t kMaxTimeModes = 32;
constexpr uint32_t kMaxConditioningDegree = 16;
constexpr double kMaxLength = 1e6;  // of field values: spline ranges, widths of priors, frequencies

// ------------------------------------------------------------------------------------------------------------- masks

absl::Status CheckSublattice(const v1::Sublattice& sublattice, const Lattice& lattice, const std::string& path) {
  const int dims = lattice.dims();
  if (sublattice.offset_size() != dims || sublattice.stride_size() != dims) {
    return Bad(path, " has ", sublattice.offset_size(), " offsets and ", sublattice.stride_size(), " strides for ",
               dims, " directions; give one of each per axis, in array order");
  }
  for (int axis = 0; axis < dims; ++axis) {
    const uint32_t stride = sublattice.stride(axis);
    const int64_t extent = lattice.shape()[axis];
    if (stride == 0 || extent % stride != 0) {
      return Bad(At(path, "stride", axis), " is ", stride, ", which does not divide the extent ", extent);
    }
    if (sublattice.offset(axis) >= stride) {
      return Bad(At(path, "offset", axis), " is ", sublattice.offset(axis), "; it must be less than the stride ",
                 stride);
    }
  }
  return absl::OkStatus();
}

// x = o1 mod s1 and x = o2 mod s2 have a common solution when o1 - o2 is a multiple of gcd(s1, s2) (Chinese
// remainders); strides divide the extent, so that the solution lies on the lattice.
bool Overlap(const v1::Sublattice& a, const v1::Sublattice& b) {
  for (int axis = 0; axis < a.stride_size(); ++axis) {
    const int64_t difference = int64_t{a.offset(axis)} - int64_t{b.offset(axis)};
    if (difference % std::gcd(int64_t{a.stride(axis)}, int64_t{b.stride(axis)}) != 0) return false;
  }
  return true;
}

absl::Status CheckMask(const v1::LinkMask& mask, const Lattice& lattice, const std::string& path) {
  const auto last = static_cast<uint64_t>(lattice.dims() - 1);
  RETURN_IF_ERROR(CheckRange(absl::StrCat(path, ".direction"), mask.direction(), 0, last, " (0 is x)"));
  RETURN_IF_ERROR(CheckRange(absl::StrCat(path, ".plane"), mask.plane(), 0, last, " (0 is x)"));
  if (mask.plane() == mask.direction()) {
    return Bad(path, ".plane is ", mask.plane(), ", the same as direction; two different directions span a plane");
  }
  RETURN_IF_ERROR(CheckCount(absl::StrCat(path, ".sublattices"), mask.sublattices_size(), 1, kMaxSublattices));
  for (int i = 0; i < mask.sublattices_size(); ++i) {
    RETURN_IF_ERROR(CheckSublattice(mask.sublattices(i), lattice, At(path, "sublattices", i)));
    for (int j = 0; j < i; ++j) {
      if (!Overlap(mask.sublattices(i), mask.sublattices(j))) continue;
      return Bad(At(path, "sublattices", i), " shares sites with sublattices[", j,
                 "]; sublattices of a mask are disjoint");
    }
  }
  return absl::OkStatus();
}

// ------------------------------------------------------------------------------------------------------------ layers

absl::Status CheckLoop(const v1::LoopShape& loop, int64_t max_width, int64_t max_height, const std::string& path) {
  RETURN_IF_ERROR(CheckRange(absl::StrCat(path, ".width"), loop.width(), 1, max_width, " (the extent)"));
  return CheckRange(absl::StrCat(path, ".height"), loop.height(), 1, max_height, " (the extent)");
}

absl::Status CheckActivation(const v1::Network& network, const std::string& path) {
  if (network.hidden().empty() && network.activation() == v1::ACTIVATION_UNSPECIFIED) return absl::OkStatus();
  if (network.activation() != v1::ACTIVATION_UNSPECIFIED && v1::Activation_IsValid(network.activation())) {
    return absl::OkStatus();
  }
  return Bad(path, ".activation is ", static_cast<int>(network.activation()),
             "; use ACTIVATION_SILU, ACTIVATION_LEAKY_RELU or ACTIVATION_TANH");
}

absl::Status CheckNetwork(const v1::Network& network, const std::string& path) {
  RETURN_IF_ERROR(CheckCount(absl::StrCat(path, ".hidden"), network.hidden_size(), 0, kMaxHiddenLayers));
  for (int i = 0; i < network.hidden_size(); ++i) {
    RETURN_IF_ERROR(CheckRange(At(path, "hidden", i), network.hidden(i), 1, kMaxHiddenWidth));
  }
  if (network.kernel_size() != network.hidden_size() + 1) {
    return Bad(path, ".kernel has ", network.kernel_size(), " entries for ", network.hidden_size(),
               " hidden layers; give one per convolution: hidden layers plus output, ", network.hidden_size() + 1);
  }
  for (int i = 0; i < network.kernel_size(); ++i) {
    RETURN_IF_ERROR(CheckRange(At(path, "kernel", i), network.kernel(i), 1, kMaxKernel));
    if (network.kernel(i) % 2 == 0) return Bad(At(path, "kernel", i), " is ", network.kernel(i), "; it must be odd");
  }
  RETURN_IF_ERROR(CheckActivation(network, path));
  if (network.precision() == v1::PRECISION_UNSPECIFIED || !v1::Precision_IsValid(network.precision())) {
    return Bad(path, ".precision is ", static_cast<int>(network.precision()),
               "; use PRECISION_FLOAT32 or PRECISION_FLOAT64");
  }
  if (!v1::Initialisation_IsValid(network.initialisation())) {
    return Bad(path, ".initialisation is ", static_cast<int>(network.initialisation()),
               "; use INITIALISATION_IDENTITY or INITIALISATION_FAN_IN");
  }
  return absl::OkStatus();
}

absl::Status CheckMap(const v1::CircleMap& map, const std::string& path) {
  switch (map.kind_case()) {
    case v1::CircleMap::kSpline:
      return CheckRange(absl::StrCat(path, ".spline.bins"), map.spline().bins(), 2, 64);
    case v1::CircleMap::kMoebius:
      return CheckRange(absl::StrCat(path, ".moebius.components"), map.moebius().components(), 1, 16);
    case v1::CircleMap::kNonCompactProjection:
      return CheckRange(absl::StrCat(path, ".non_compact_projection.components"),
                        map.non_compact_projection().components(), 1, 16);
    case v1::CircleMap::KIND_NOT_SET:
      break;
  }
  return Bad(path, ".kind is not set; use spline, moebius or non_compact_projection");
}

// The active loop must fit the lattice in every mask's plane; a feature is taken in every plane, both ways round.
// Displacements belong to aligned features; anywhere else they would be silently ignored.
absl::Status CheckAlignment(const v1::LoopShape& loop, bool is_feature, int64_t max_offset, const std::string& path) {
  if (!is_feature && loop.aligned()) return Bad(path, ".aligned is set, but only features can be aligned");
  const std::pair<const char*, int64_t> offsets[] = {{".offset_along", loop.offset_along()},
                                                     {".offset_across", loop.offset_across()}};
  for (const auto& [name, offset] : offsets) {
    if (offset != 0 && !loop.aligned()) return Bad(path, name, " is ", offset, " without aligned: true");
    if (std::abs(offset) >= max_offset)
      return Bad(path, name, " is ", offset, "; displacements are below the extent ", max_offset);
  }
  return absl::OkStatus();
}

// Of stacks of couplings of links: masks, the active loop, features.
template <class Stack>
absl::Status CheckLoops(const Stack& stack, int least_features, const Lattice& lattice, const std::string& path) {
  RETURN_IF_ERROR(CheckCount(absl::StrCat(path, ".masks"), stack.masks_size(), 1, kMaxMasks));
  for (int i = 0; i < stack.masks_size(); ++i) {
    RETURN_IF_ERROR(CheckMask(stack.masks(i), lattice, At(path, "masks", i)));
  }
  for (const auto& mask : stack.masks()) {
    if (!stack.has_active_loop()) break;
    RETURN_IF_ERROR(CheckLoop(stack.active_loop(), lattice.extent(static_cast<int>(mask.direction())),
                              lattice.extent(static_cast<int>(mask.plane())), absl::StrCat(path, ".active_loop")));
  }
  RETURN_IF_ERROR(CheckCount(absl::StrCat(path, ".features"), stack.features_size(), least_features, kMaxFeatures));
  const int64_t smallest = *std::min_element(lattice.shape().begin(), lattice.shape().end());
  RETURN_IF_ERROR(CheckAlignment(stack.active_loop(), false, smallest, absl::StrCat(path, ".active_loop")));
  for (int i = 0; i < stack.features_size(); ++i) {
    RETURN_IF_ERROR(CheckLoop(stack.features(i), smallest, smallest, At(path, "features", i)));
    RETURN_IF_ERROR(CheckAlignment(stack.features(i), true, smallest, At(path, "features", i)));
  }
  return absl::OkStatus();
}

absl::Status CheckU1CouplingStack(const v1::U1CouplingStack& stack, const Lattice& lattice, const std::string& path) {
  RETURN_IF_ERROR(CheckRange(absl::StrCat(path, ".layers"), stack.layers(), 1, kMaxLayersPerStack));
  RETURN_IF_ERROR(CheckLoops(stack, 1, lattice, path));
  if (!stack.has_network()) return Bad(path, ".network is missing");
  RETURN_IF_ERROR(CheckNetwork(stack.network(), absl::StrCat(path, ".network")));
  return CheckMap(stack.map(), absl::StrCat(path, ".map"));
}

absl::Status CheckSpectralMap(const v1::SpectralMap& map, int colours, const std::string& path) {
  RETURN_IF_ERROR(CheckRange(path + ".bins", map.bins(), 2, 64));
  if (colours == 2) {
    if (map.ratio_bins() == 0 && map.ratio_nodes() == 0) return absl::OkStatus();
    return Bad(path, " has ratio_bins or ratio_nodes; the angles of SU(2) have no ratio: leave them out");
  }
  RETURN_IF_ERROR(CheckRange(path + ".ratio_bins", map.ratio_bins(), 2, 64));
  return CheckRange(path + ".ratio_nodes", map.ratio_nodes(), 1, 16);
}

absl::Status CheckSpectralCouplingStack(const v1::SpectralCouplingStack& stack, const v1::Target& target,
                                        const Lattice& lattice, const std::string& path) {
  RETURN_IF_ERROR(CheckRange(absl::StrCat(path, ".layers"), stack.layers(), 1, kMaxLayersPerStack));
  const double power = stack.towards_mirror();
  RETURN_IF_ERROR(CheckFinite(path + ".towards_mirror", power, std::abs(power) <= 4, "in [-4, 4]"));
  if (target.has_sun_matrix()) {
    if (stack.masks_size() != 0 || stack.has_active_loop() || stack.features_size() != 0 || power != 0) {
      return Bad(path, " has masks, active_loop, features or towards_mirror; a single matrix takes none of them");
    }
  } else {
    RETURN_IF_ERROR(CheckLoops(stack, 0, lattice, path));
  }
  if (!stack.has_network()) return Bad(path, ".network is missing");
  RETURN_IF_ERROR(CheckNetwork(stack.network(), path + ".network"));
  for (int i = 0; stack.features_size() == 0 && i < stack.network().kernel_size(); ++i) {
    if (stack.network().kernel(i) == 1) continue;
    return Bad(path, ".network.kernel[", i, "] is ", stack.network().kernel(i), "; without features use 1");
  }
  const uint32_t colours = target.has_sun_matrix() ? target.sun_matrix().colours() : target.sun_wilson().colours();
  return CheckSpectralMap(stack.map(), static_cast<int>(colours), path + ".map");
}

absl::Status CheckLineMap(const v1::LineMap& map, const std::string& path) {
  switch (map.kind_case()) {
    case v1::LineMap::kAffine:
      return absl::OkStatus();
    case v1::LineMap::kSpline: {
      RETURN_IF_ERROR(CheckRange(absl::StrCat(path, ".spline.bins"), map.spline().bins(), 2, 64));
      const double range = map.spline().range();
      return CheckFinite(absl::StrCat(path, ".spline.range"), range, range > 0 && range <= kMaxLength,
                         "positive and at most 1e6");
    }
    case v1::LineMap::KIND_NOT_SET:
      break;
  }
  return Bad(path, ".kind is not set; use affine or spline");
}

absl::Status CheckEvenExtents(const v1::Target& target, const std::string& path) {
  for (int i = 0; i < target.lattice().shape_size(); ++i) {
    if (target.lattice().shape(i) % 2 == 0) continue;
    return Bad("target.lattice.shape[", i, "] is ", target.lattice().shape(i), "; the checkerboard of ", path,
               " needs even extents");
  }
  return absl::OkStatus();
}

absl::Status CheckScalarCouplingStack(const v1::ScalarCouplingStack& stack, const v1::Target& target,
                                      const std::string& path) {
  RETURN_IF_ERROR(CheckRange(absl::StrCat(path, ".layers"), stack.layers(), 1, kMaxLayersPerStack));
  RETURN_IF_ERROR(CheckRange(absl::StrCat(path, ".shells"), stack.shells(), 0, kMaxShells));
  if (target.phi4().components() == 2)
    return Bad(path, " transforms one-component fields; the target has two components");
  RETURN_IF_ERROR(CheckEvenExtents(target, path));
  if (!stack.has_network()) return Bad(path, ".network is missing");
  RETURN_IF_ERROR(CheckNetwork(stack.network(), absl::StrCat(path, ".network")));
  for (int i = 0; stack.shells() > 0 && i < stack.network().kernel_size(); ++i) {
    if (stack.network().kernel(i) == 1) continue;
    return Bad(path, ".network.kernel[", i, "] is ", stack.network().kernel(i),
               "; with shells the network acts on each site alone: use 1");
  }
  return CheckLineMap(stack.map(), absl::StrCat(path, ".map"));
}

absl::Status CheckScalarContinuousFlow(const v1::ScalarContinuousFlow& flow, const v1::Target& target,
                                       const std::string& path) {
  RETURN_IF_ERROR(CheckRange(absl::StrCat(path, ".frequencies"), flow.frequencies(), 0, kMaxFrequencies));
  const double top = flow.max_frequency();
  RETURN_IF_ERROR(CheckFinite(absl::StrCat(path, ".max_frequency"), top,
                              flow.frequencies() == 0 ? top >= 0 : top > 0 && top <= kMaxLength,
                              "positive and at most 1e6"));
  RETURN_IF_ERROR(CheckRange(absl::StrCat(path, ".time_modes"), flow.time_modes(), 1, kMaxTimeModes));
  const auto& shape = target.lattice().shape();
  return CheckRange(absl::StrCat(path, ".kernel_range"), flow.kernel_range(), 0,
                    *std::max_element(shape.begin(), shape.end()) / 2, " (half of the largest extent)");
}

// The last layer; everything before acts on even sites.
absl::Status CheckScalarHeatBath(const v1::ModelSpec& spec, int position) {
  const std::string path = absl::StrCat("layers[", position, "].scalar_heat_bath");
  if (position + 1 != spec.layers_size()) return Bad(path, " must be the last layer");
  if (spec.target().phi4().components() == 2)
    return Bad(path, " draws one-component fields; the target has two components");
  RETURN_IF_ERROR(CheckEvenExtents(spec.target(), path));
  if (!spec.prior().has_free_field()) return Bad(path, " needs prior { free_field { ... } }");
  for (int i = 0; i < position; ++i) {
    if (!spec.layers(i).has_scalar_continuous_flow()) return Bad(path, " follows scalar_continuous_flow layers only");
  }
  return absl::OkStatus();
}

// What the target's fields are, for messages.
std::string FieldsText(const v1::Target& target) {
  if (target.has_sun_matrix()) return absl::StrCat("the target is an SU(", target.sun_matrix().colours(), ") matrix");
  if (target.has_sun_wilson()) return absl::StrCat("the target has SU(", target.sun_wilson().colours(), ") links");
  return target.has_u1_wilson() ? "the target has U(1) links" : "the target is a scalar field";
}

// Coupling layers that this message adds.
absl::StatusOr<uint64_t> CheckLayer(const v1::ModelSpec& spec, int position, const Lattice& lattice) {
  const v1::Layer& layer = spec.layers(position);
  const v1::Target& target = spec.target();
  const std::string path = absl::StrCat("layers[", position, "]");
  const bool scalar = target.has_phi4();
  switch (layer.kind_case()) {
    case v1::Layer::kU1CouplingStack:
      if (!target.has_u1_wilson()) {
        return Bad(path, ".u1_coupling_stack transforms U(1) links; ", FieldsText(target));
      }
      if (!U1PlaquetteOf(target).IsPlain()) {
        return Bad(path, ".u1_coupling_stack is trained for Wilson's action alone, the target is ",
                   DescribeTheory(target),
                   ": use prior { perfect {} } without layers, or draw from a flow of Wilson's "
                   "action by its weights");
      }
      RETURN_IF_ERROR(CheckU1CouplingStack(layer.u1_coupling_stack(), lattice, path + ".u1_coupling_stack"));
      return layer.u1_coupling_stack().layers();
    case v1::Layer::kScalarCouplingStack:
      if (!scalar) return Bad(path, ".scalar_coupling_stack transforms scalars; ", FieldsText(target));
      RETURN_IF_ERROR(CheckScalarCouplingStack(layer.scalar_coupling_stack(), target, path + ".scalar_coupling_stack"));
      return layer.scalar_coupling_stack().layers();
    case v1::Layer::kScalarContinuousFlow:
      if (!scalar) return Bad(path, ".scalar_continuous_flow transforms scalars; ", FieldsText(target));
      RETURN_IF_ERROR(
          CheckScalarContinuousFlow(layer.scalar_continuous_flow(), target, path + ".scalar_continuous_flow"));
      return 1;
    case v1::Layer::kScalarHeatBath:
      if (!scalar) return Bad(path, ".scalar_heat_bath draws scalars; ", FieldsText(target));
      RETURN_IF_ERROR(CheckScalarHeatBath(spec, position));
      return 0;
    case v1::Layer::kLoopFlow:
      if (!target.has_sun_wilson()) return Bad(path, ".loop_flow transforms SU(N) links; ", FieldsText(target));
      if (spec.layers_size() != 1) return Bad(path, ".loop_flow must be the only layer");
      RETURN_IF_ERROR(CheckLoopFlow(layer.loop_flow(), target, path + ".loop_flow"));
      return layer.loop_flow().sweeps();
    case v1::Layer::kContinuousLoopFlow:
      if (!target.has_sun_wilson()) {
        return Bad(path, ".continuous_loop_flow transforms SU(N) links; ", FieldsText(target));
      }
      if (spec.layers_size() != 1) return Bad(path, ".continuous_loop_flow must be the only layer");
      RETURN_IF_ERROR(CheckContinuousLoopFlow(layer.continuous_loop_flow(), target, path + ".continuous_loop_flow"));
      return 1;
    case v1::Layer::kSpectralCouplingStack:
      if (!target.has_sun_wilson() && !target.has_sun_matrix()) {
        return Bad(path, ".spectral_coupling_stack transforms SU(N) matrices; ", FieldsText(target));
      }
      if (!spec.layers(0).has_spectral_coupling_stack()) {
        return Bad(path, ".spectral_coupling_stack follows another kind of layer; all must be of this kind");
      }
      RETURN_IF_ERROR(CheckSpectralCouplingStack(layer.spectral_coupling_stack(), target, lattice,
                                                 path + ".spectral_coupling_stack"));
      return layer.spectral_coupling_stack().layers();
    case v1::Layer::KIND_NOT_SET:
      break;
  }
  return Bad(path,
             ".kind is not set; use u1_coupling_stack, loop_flow, continuous_loop_flow, spectral_coupling_stack, "
             "scalar_coupling_stack, scalar_continuous_flow or scalar_heat_bath");
}

}  // namespace

absl::Status CheckLayers(const v1::ModelSpec& spec, const Lattice& lattice) {
  RETURN_IF_ERROR(CheckCount("layers", spec.layers_size(), 0, kMaxLayerMessages));
  uint64_t total = 0;
  for (int i = 0; i < spec.layers_size(); ++i) {
    ASSIGN_OR_RETURN(const uint64_t layers, CheckLayer(spec, i, lattice));
    total += layers;
    if (total > kMaxCouplingLayers) {
      return Bad("layers[", i, "] brings the total to ", total, " coupling layers; at most ", kMaxCouplingLayers,
                 " are supported");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckPrior(const v1::ModelSpec& spec) {
  const bool links = !spec.target().has_phi4();
  const v1::Prior& prior = spec.prior();
  if (prior.has_perfect()) {
    RETURN_IF_ERROR(Annotate(CheckPerfectSampler(spec.target()), "prior.perfect"));
    if (spec.layers_size() != 0) return Bad("layers has ", spec.layers_size(), " entries; prior.perfect takes none");
    if (spec.conditioning_size() != 0) {
      return Bad("conditioning has ", spec.conditioning_size(),
                 " entries; prior.perfect serves every coupling of its theory without");
    }
    return absl::OkStatus();
  }
  if (links) {
    return prior.has_uniform() ? absl::OkStatus() : Bad("prior.kind is not uniform; links use prior { uniform {} }");
  }
  if (prior.has_gaussian()) {
    const double sigma = prior.gaussian().sigma();
    return CheckFinite("prior.gaussian.sigma", sigma, sigma >= 0 && sigma <= kMaxLength,
                       "positive and at most 1e6, or left out: 1");
  }
  if (prior.has_free_field()) {
    const double m2 = prior.free_field().m2();
    return CheckFinite("prior.free_field.m2", m2, m2 > 0 && m2 <= kMaxLength, "positive and at most 1e6");
  }
  return Bad(
      "prior.kind is not set for a scalar field; use prior { free_field { m2: 1 learnable: true } } or prior { "
      "gaussian {} }");
}

absl::Status CheckConditioning(const v1::ModelSpec& spec) {
  RETURN_IF_ERROR(CheckCount("conditioning", spec.conditioning_size(), 0, 2));
  for (int i = 0; i < spec.conditioning_size(); ++i) {
    const v1::Conditioning& c = spec.conditioning(i);
    const std::string path = absl::StrCat("conditioning[", i, "]");
    for (const v1::Layer& layer : spec.layers()) {
      if (layer.has_scalar_continuous_flow() || layer.has_scalar_heat_bath()) continue;
      return Bad(path, ": only scalar_continuous_flow layers can be conditional");
    }
    if (i == 1 && spec.conditioning(0).parameter() == c.parameter()) {
      return Bad(path, ".parameter is '", c.parameter(), "' again");
    }
    if (c.parameter() == "normalisation") return Bad(path, ".parameter: the normalisation cannot be conditioned on");
    RETURN_IF_ERROR(CheckFinite(path + ".high", c.high(), c.high() > c.low(), "finite and above low"));
    RETURN_IF_ERROR(CheckRange(path + ".degree", c.degree(), 0, kMaxConditioningDegree));
    for (const double end : {c.low(), c.high()}) {
      v1::Target target = spec.target();
      RETURN_IF_ERROR(Annotate(SetTheoryParameter(c.parameter(), end, &target), path + ".parameter"));
      RETURN_IF_ERROR(Annotate(ValidateTarget(target), absl::StrCat(path, ": at ", c.parameter(), " = ", end)));
    }
  }
  if (!ServesTarget(spec, spec.target())) return Bad("target lies outside of the intervals of conditioning");
  return absl::OkStatus();
}

}  // namespace haarflow::spec_check
