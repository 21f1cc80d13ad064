#include "core/model/spec.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/unknown_field_set.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "core/base/status.h"

namespace haarflow {
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
constexpr double kMaxAbsBeta = 1000;
constexpr int kMaxPhases = 1024;
constexpr uint64_t kMaxSteps = 1'000'000'000;
constexpr uint32_t kMaxBatch = 1'000'000;
constexpr uint32_t kMinEvaluationSamples = 8192;
constexpr size_t kMaxDescriptionBytes = 64 << 10;

template <typename... Parts>
absl::Status Bad(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

std::string At(const std::string& path, const char* field, int i) {
  return absl::StrCat(path, ".", field, "[", i, "]");
}

// Text from outside, safe and short enough for a message.
std::string Quoted(const std::string& text) { return absl::StrCat("'", absl::CHexEscape(text.substr(0, 80)), "'"); }

absl::Status CheckRange(const std::string& path, uint64_t value, uint64_t low, uint64_t high, const char* why = "") {
  if (value >= low && value <= high) return absl::OkStatus();
  return Bad(path, " is ", value, "; it must be ", low, "..", high, why);
}

absl::Status CheckCount(const std::string& path, int count, int low, int high) {
  if (count >= low && count <= high) return absl::OkStatus();
  return Bad(path, " has ", count, " entries; ", low, "..", high, " are supported");
}

// How many bytes follow the first byte of a UTF-8 character; -1 for a byte that begins none.
int ContinuationBytes(uint8_t lead) {
  if (lead < 0x80) return 0;
  if (lead < 0xC2 || lead > 0xF4) return -1;
  return lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
}

// Well-formed UTF-8: anything else could be stored but neither sent as a proto3 string nor written as JSON.
bool IsUtf8(const std::string& text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<uint8_t>(text[i]);
    const int extra = ContinuationBytes(lead);
    if (extra < 0 || text.size() - i <= static_cast<size_t>(extra)) return false;
    uint32_t code = extra == 0 ? lead : lead & (0x3F >> extra);
    for (int k = 1; k <= extra; ++k) {
      const auto next = static_cast<uint8_t>(text[i + k]);
      if ((next & 0xC0) != 0x80) return false;
      code = code << 6 | (next & 0x3F);
    }
    const bool overlong = (extra == 2 && code < 0x800) || (extra == 3 && code < 0x10000);
    if (overlong || (code >= 0xD800 && code < 0xE000) || code > 0x10FFFF) return false;
    i += extra + 1;
  }
  return true;
}

// ---------------------------------------------------------------------------------------------------- unknown fields

// A field this build does not know may change what the map or the target is, so it is never dropped silently.
absl::Status CheckNoUnknownFields(const google::protobuf::Message& message, const std::string& path) {
  const auto* reflection = message.GetReflection();
  const auto& unknown = reflection->GetUnknownFields(message);
  if (!unknown.empty()) {
    return Bad(path, " has the unknown field number ", unknown.field(0).number(),
               "; it was written by a newer haarflow: upgrade this one, or leave the field out");
  }
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const auto* field : fields) {
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      RETURN_IF_ERROR(
          CheckNoUnknownFields(reflection->GetMessage(message, field), absl::StrCat(path, ".", field->name())));
      continue;
    }
    for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
      RETURN_IF_ERROR(
          CheckNoUnknownFields(reflection->GetRepeatedMessage(message, field, i), At(path, field->name().c_str(), i)));
    }
  }
  return absl::OkStatus();
}

// ------------------------------------------------------------------------------------------------------------ target

absl::Status CheckBoundary(const v1::Lattice& lattice, const std::string& path) {
  if (lattice.boundary_size() != 0 && lattice.boundary_size() != lattice.shape_size()) {
    return Bad(path, ".boundary has ", lattice.boundary_size(), " entries for ", lattice.shape_size(),
               " directions; give one per direction, or none for periodic");
  }
  for (int i = 0; i < lattice.boundary_size(); ++i) {
    if (lattice.boundary(i) == v1::BOUNDARY_PERIODIC) continue;
    const std::string& name = v1::Boundary_Name(lattice.boundary(i));
    return Bad(At(path, "boundary", i), " is ",
               name.empty() ? absl::StrCat(static_cast<int>(lattice.boundary(i))) : name,
               "; gauge links are periodic: use BOUNDARY_PERIODIC");
  }
  return absl::OkStatus();
}

absl::StatusOr<Lattice> CheckLattice(const v1::Lattice& lattice) {
  // Bounded before it is copied.
  if (lattice.shape_size() > 4)
    return Bad("lattice.shape has ", lattice.shape_size(), " extents; 2 to 4 are supported");
  return Lattice::Create(std::vector<int64_t>(lattice.shape().begin(), lattice.shape().end()));
}

absl::Status CheckTarget(const v1::Target& target) {
  if (!target.has_lattice()) return Bad("target.lattice is missing; for example lattice { shape: 16 shape: 16 }");
  if (absl::Status status = CheckLattice(target.lattice()).status(); !status.ok()) {
    return Bad("target.", status.message());
  }
  RETURN_IF_ERROR(CheckBoundary(target.lattice(), "target.lattice"));
  if (target.theory_case() != v1::Target::kU1Wilson) {
    return Bad("target.theory is not set; for example u1_wilson { beta: 2 }");
  }
  const double beta = target.u1_wilson().beta();
  if (!std::isfinite(beta) || std::abs(beta) > kMaxAbsBeta) {
    return Bad("target.u1_wilson.beta is ", beta, "; it must be finite with |beta| <= ", kMaxAbsBeta);
  }
  return absl::OkStatus();
}

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

absl::Status CheckLoops(const v1::U1CouplingStack& stack, const Lattice& lattice, const std::string& path) {
  for (const auto& mask : stack.masks()) {
    if (!stack.has_active_loop()) break;
    RETURN_IF_ERROR(CheckLoop(stack.active_loop(), lattice.extent(static_cast<int>(mask.direction())),
                              lattice.extent(static_cast<int>(mask.plane())), absl::StrCat(path, ".active_loop")));
  }
  RETURN_IF_ERROR(CheckCount(absl::StrCat(path, ".features"), stack.features_size(), 1, kMaxFeatures));
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
  RETURN_IF_ERROR(CheckCount(absl::StrCat(path, ".masks"), stack.masks_size(), 1, kMaxMasks));
  for (int i = 0; i < stack.masks_size(); ++i) {
    RETURN_IF_ERROR(CheckMask(stack.masks(i), lattice, At(path, "masks", i)));
  }
  RETURN_IF_ERROR(CheckLoops(stack, lattice, path));
  if (!stack.has_network()) return Bad(path, ".network is missing");
  RETURN_IF_ERROR(CheckNetwork(stack.network(), absl::StrCat(path, ".network")));
  return CheckMap(stack.map(), absl::StrCat(path, ".map"));
}

absl::Status CheckLayers(const v1::ModelSpec& spec, const Lattice& lattice) {
  RETURN_IF_ERROR(CheckCount("layers", spec.layers_size(), 0, kMaxLayerMessages));
  uint64_t total = 0;
  for (int i = 0; i < spec.layers_size(); ++i) {
    const std::string path = absl::StrCat("layers[", i, "]");
    const v1::Layer& layer = spec.layers(i);
    if (layer.kind_case() != v1::Layer::kU1CouplingStack) return Bad(path, ".kind is not set; use u1_coupling_stack");
    const std::string stack = absl::StrCat(path, ".u1_coupling_stack");
    RETURN_IF_ERROR(CheckU1CouplingStack(layer.u1_coupling_stack(), lattice, stack));
    total += layer.u1_coupling_stack().layers();
    if (total > kMaxCouplingLayers) {
      return Bad(stack, ".layers brings the total to ", total, " coupling layers; at most ", kMaxCouplingLayers,
                 " are supported");
    }
  }
  return absl::OkStatus();
}

// ---------------------------------------------------------------------------------------------------------- training

absl::Status CheckFinite(const std::string& path, double value, bool in_range, const char* range) {
  if (std::isfinite(value) && in_range) return absl::OkStatus();
  return Bad(path, " is ", value, "; it must be ", range);
}

absl::Status CheckSchedule(const v1::TrainingPhase& phase, const std::string& path) {
  if (!v1::LearningRateSchedule_IsValid(phase.schedule())) {
    return Bad(path, ".schedule is ", static_cast<int>(phase.schedule()), ", which is not a LearningRateSchedule");
  }
  const double factor = phase.final_learning_rate_factor();
  const std::string field = absl::StrCat(path, ".final_learning_rate_factor");
  const bool decays = phase.schedule() == v1::LEARNING_RATE_SCHEDULE_COSINE ||
                      phase.schedule() == v1::LEARNING_RATE_SCHEDULE_EXPONENTIAL;
  if (decays) return CheckFinite(field, factor, factor > 0 && factor <= 1, "in (0, 1] for a decaying schedule");
  return CheckFinite(field, factor, factor == 0 || factor == 1, "left out (or 1) for a constant schedule");
}

absl::Status CheckPhase(const v1::TrainingPhase& phase, const std::string& path) {
  RETURN_IF_ERROR(CheckRange(absl::StrCat(path, ".steps"), phase.steps(), 1, kMaxSteps));
  RETURN_IF_ERROR(CheckRange(absl::StrCat(path, ".batch"), phase.batch(), 1, kMaxBatch));
  RETURN_IF_ERROR(CheckFinite(absl::StrCat(path, ".learning_rate"), phase.learning_rate(), phase.learning_rate() > 0,
                              "finite and positive"));
  RETURN_IF_ERROR(CheckSchedule(phase, path));
  if (!v1::GradientEstimator_IsValid(phase.estimator())) {
    return Bad(path, ".estimator is ", static_cast<int>(phase.estimator()), ", which is not a GradientEstimator");
  }
  RETURN_IF_ERROR(CheckFinite(absl::StrCat(path, ".clip_norm"), phase.clip_norm(), phase.clip_norm() >= 0,
                              "finite and not negative"));
  const double beta1 = phase.adam_beta1(), beta2 = phase.adam_beta2();
  RETURN_IF_ERROR(CheckFinite(absl::StrCat(path, ".adam_beta1"), beta1, beta1 >= 0 && beta1 < 1, "in [0, 1)"));
  RETURN_IF_ERROR(CheckFinite(absl::StrCat(path, ".adam_beta2"), beta2, beta2 >= 0 && beta2 < 1, "in [0, 1)"));
  return CheckRange(absl::StrCat(path, ".warmup_steps"), phase.warmup_steps(), 0, phase.steps(),
                    " (the phase's steps)");
}

absl::Status CheckTraining(const v1::TrainingPlan& plan) {
  RETURN_IF_ERROR(CheckCount("training.phases", plan.phases_size(), 0, kMaxPhases));
  for (int i = 0; i < plan.phases_size(); ++i) {
    RETURN_IF_ERROR(CheckPhase(plan.phases(i), At("training", "phases", i)));
  }
  if (plan.evaluation_samples() != 0) {
    RETURN_IF_ERROR(CheckRange("training.evaluation_samples", plan.evaluation_samples(), kMinEvaluationSamples,
                               kMaxSteps, " (or left out: 8192)"));
  }
  if (plan.start_from().empty()) return absl::OkStatus();
  return Annotate(ParseModelReference(plan.start_from()).status(), "training.start_from");
}

// ------------------------------------------------------------------------------------------------------ text and names

// Keeps the first error: later ones are its consequences.
class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    if (!text_.empty()) return;
    // Both count from 0; an error without a place has line -1.
    text_ = line < 0 ? message.substr(0, 300)
                     : absl::StrCat("line ", line + 1, ":", column + 1, ": ", message.substr(0, 300));
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// The shortest decimal that reads back as the same double; one zero.
std::string ShortestDouble(double value) {
  if (value == 0) return "0";
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, value);
  return std::string(buffer, result.ptr);
}

std::string ShapeText(const v1::Lattice& lattice) { return absl::StrJoin(lattice.shape(), "x"); }

}  // namespace

absl::Status ValidateModelName(const std::string& name) {
  constexpr char kFirst[] = "abcdefghijklmnopqrstuvwxyz0123456789";
  constexpr char kAll[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";
  const bool fits = !name.empty() && name.size() <= 64 &&
                    name.substr(0, 1).find_first_not_of(kFirst) == std::string::npos &&
                    name.find_first_not_of(kAll) == std::string::npos;
  if (!fits) return Bad("the model name ", Quoted(name), " does not match [a-z0-9][a-z0-9._-]{0,63}");
  if (name == "index.json") return Bad("the model name 'index.json' is reserved for the store; choose another");
  return absl::OkStatus();
}

absl::StatusOr<ModelReference> ParseModelReference(const std::string& reference) {
  ModelReference result;
  const size_t slash = reference.find('/');
  result.name = reference.substr(0, slash);
  RETURN_IF_ERROR(ValidateModelName(result.name));
  if (slash == std::string::npos) return result;
  const std::string digits = reference.substr(slash + 1);
  const bool plain = !digits.empty() && digits[0] != '0' && digits.find_first_not_of("0123456789") == std::string::npos;
  if (!plain || !absl::SimpleAtoi(digits, &result.version)) {
    return Bad("the model reference ", Quoted(reference),
               " is neither 'name' nor 'name/version' with a version from 1");
  }
  return result;
}

absl::StatusOr<v1::ModelSpec> ParseSpec(const std::string& text) {
  if (text.size() > kMaxSpecBytes) {
    return Bad("the model spec has ", text.size(), " bytes, more than the limit of ", kMaxSpecBytes);
  }
  FirstError error;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.SetRecursionLimit(32);  // the schema is less than 10 deep
  v1::ModelSpec spec;
  if (!parser.ParseFromString(text, &spec)) return Bad("the model spec does not parse: ", error.text());
  RETURN_IF_ERROR(ValidateSpec(spec));
  return spec;
}

absl::Status ValidateTarget(const v1::Target& target) {
  RETURN_IF_ERROR(CheckNoUnknownFields(target, "target"));
  return CheckTarget(target);
}

absl::Status ValidateSpec(const v1::ModelSpec& spec) {
  RETURN_IF_ERROR(CheckNoUnknownFields(spec, "spec"));
  RETURN_IF_ERROR(Annotate(ValidateModelName(spec.name()), "name"));
  if (spec.spec_version() != 1) {
    return Bad("spec_version is ", spec.spec_version(), "; this haarflow reads version 1");
  }
  if (!spec.has_target()) return Bad("target is missing");
  RETURN_IF_ERROR(CheckTarget(spec.target()));
  if (spec.prior().kind_case() != v1::Prior::kUniform) return Bad("prior.kind is not set; use prior { uniform {} }");
  ASSIGN_OR_RETURN(const Lattice lattice, LatticeOf(spec.target()));
  RETURN_IF_ERROR(CheckLayers(spec, lattice));
  RETURN_IF_ERROR(CheckTraining(spec.training()));
  if (spec.description().size() > kMaxDescriptionBytes || !IsUtf8(spec.description())) {
    return Bad("description must be UTF-8 text of at most ", kMaxDescriptionBytes, " bytes");
  }
  return absl::OkStatus();
}

absl::StatusOr<Lattice> LatticeOf(const v1::Target& target) { return CheckLattice(target.lattice()); }

std::string CanonicalTarget(const v1::Target& target) {
  return absl::StrCat("haarflow target 1\nu1_wilson beta=", ShortestDouble(target.u1_wilson().beta()), "\nlattice ",
                      ShapeText(target.lattice()), " periodic\n");
}

Digest TargetDigest(const v1::Target& target) { return Sha256Of(CanonicalTarget(target)); }

std::string DescribeTarget(const v1::Target& target) {
  return absl::StrCat("U(1) Wilson, beta = ", ShortestDouble(target.u1_wilson().beta()), ", ",
                      ShapeText(target.lattice()));
}

}  // namespace haarflow
