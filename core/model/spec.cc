#include "core/model/spec.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "core/action/perfect.h"
#include "core/base/status.h"
#include "core/flow/loop_plan.h"
#include "core/flow/spectral_plan.h"
#include "core/model/spec_check.h"

namespace haarflow {
namespace {

using spec_check::At;
using spec_check::Bad;
using spec_check::CheckCount;
using spec_check::CheckFinite;
using spec_check::CheckRange;

// Bounds, as in spec_layers.cc.
constexpr uint32_t kMaxIntegrationSteps = 256;
constexpr int kMaxPhases = 1024;
constexpr uint64_t kMaxSteps = 1'000'000'000;
constexpr uint32_t kMaxBatch = 1'000'000;
constexpr uint32_t kMinEvaluationSamples = 8192;
constexpr size_t kMaxDescriptionBytes = 64 << 10;

// Text from outside, safe and short enough for a message.
std::string Quoted(const std::string& text) { return absl::StrCat("'", absl::CHexEscape(text.substr(0, 80)), "'"); }

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
// ---------------------------------------------------------------------------------------------------------- training

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
  if (phase.integration_steps() != 0) {
    RETURN_IF_ERROR(
        CheckRange(absl::StrCat(path, ".integration_steps"), phase.integration_steps(), 1, kMaxIntegrationSteps));
  }
  if (phase.has_gauss_newton() || phase.has_trivialising_regression()) return absl::OkStatus();  // CheckLoopPhase
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
  const double penalty = phase.kinetic_penalty(), decay = phase.average_decay(), forward = phase.forward_weight();
  RETURN_IF_ERROR(
      CheckFinite(absl::StrCat(path, ".kinetic_penalty"), penalty, penalty >= 0, "finite and not negative"));
  RETURN_IF_ERROR(CheckFinite(absl::StrCat(path, ".average_decay"), decay, decay >= 0 && decay < 1, "in [0, 1)"));
  RETURN_IF_ERROR(
      CheckFinite(absl::StrCat(path, ".forward_weight"), forward, forward >= 0 && forward <= 1, "in [0, 1]"));
  if (!v1::ForwardSamples_IsValid(phase.forward_samples())) {
    return Bad(path, ".forward_samples is ", static_cast<int>(phase.forward_samples()),
               ", which is not a ForwardSamples");
  }
  if (phase.forward_samples() == v1::FORWARD_SAMPLES_METROPOLIS && forward == 1) {
    return Bad(path, ".forward_weight is 1; FORWARD_SAMPLES_METROPOLIS needs proposals: a weight below 1");
  }
  return CheckRange(absl::StrCat(path, ".warmup_steps"), phase.warmup_steps(), 0, phase.steps(),
                    " (the phase's steps)");
}

// `phase` has passed CheckPhase.
absl::Status CheckLoopPhase(const v1::ModelSpec& spec, const v1::TrainingPhase& phase, const std::string& path) {
  const bool loops = spec.target().has_sun_wilson() && !IsSpectral(spec);
  const bool regression = phase.has_trivialising_regression();
  if (loops && spec.layers_size() == 0) return Bad(path, ": without layers there is nothing to train; leave it out");
  if ((phase.has_gauss_newton() || regression) != loops) {
    return loops ? Bad(path, ".gauss_newton is missing; loop flows are trained by Gauss-Newton steps")
                 : Bad(path, ".gauss_newton and trivialising_regression are for loop flows");
  }
  if (!loops) return absl::OkStatus();
  const v1::Layer& layer = spec.layers(0);
  const bool continuous = layer.has_continuous_loop_flow();
  v1::TrainingPhase rest = phase;
  rest.clear_steps();
  rest.clear_batch();
  regression ? rest.clear_trivialising_regression() : rest.clear_gauss_newton();
  if (continuous) rest.clear_integration_steps();
  if (rest.ByteSizeLong() != 0) {
    return Bad(path, " sets more than steps, batch", continuous ? ", integration_steps" : "", " and ",
               regression ? "trivialising_regression" : "gauss_newton");
  }
  if (regression && !continuous) return Bad(path, ".trivialising_regression is for continuous_loop_flow");
  const v1::GaussNewton& g = phase.gauss_newton();
  RETURN_IF_ERROR(
      CheckFinite(path + ".gauss_newton.damping", g.damping(), g.damping() >= 0, "finite and not negative"));
  const uint32_t sweeps = continuous ? 1 : layer.loop_flow().sweeps();
  if (g.sweeps() != 0 && sweeps % g.sweeps() != 0) {
    return Bad(path, ".gauss_newton.sweeps is ", g.sweeps(), ", which does not divide the flow's ", sweeps);
  }
  const std::string settings = path + (regression ? ".trivialising_regression" : ".gauss_newton");
  const v1::Target target = LoopPhaseTarget(spec, phase);
  RETURN_IF_ERROR(Annotate(ValidateTarget(target), settings));
  if (target.lattice().shape_size() != spec.target().lattice().shape_size()) {
    return Bad(settings, ".shape has ", target.lattice().shape_size(), " extents; the target's lattice has ",
               spec.target().lattice().shape_size());
  }
  return Annotate(continuous ? CheckContinuousLoopFlow(layer.continuous_loop_flow(), target, "continuous_loop_flow")
                             : CheckLoopFlow(layer.loop_flow(), target, "loop_flow"),
                  settings);
}

absl::Status CheckTraining(const v1::ModelSpec& spec) {
  const v1::TrainingPlan& plan = spec.training();
  const bool scalar = spec.target().has_phi4(), conditional = spec.conditioning_size() > 0;
  if (spec.prior().has_perfect() && (plan.phases_size() != 0 || !plan.start_from().empty())) {
    return Bad("training has phases or start_from; prior.perfect has nothing to train: leave them out");
  }
  RETURN_IF_ERROR(CheckCount("training.phases", plan.phases_size(), 0, kMaxPhases));
  for (int i = 0; i < plan.phases_size(); ++i) {
    RETURN_IF_ERROR(CheckPhase(plan.phases(i), At("training", "phases", i)));
    RETURN_IF_ERROR(CheckLoopPhase(spec, plan.phases(i), At("training", "phases", i)));
    if (!scalar && (plan.phases(i).kinetic_penalty() != 0 || plan.phases(i).forward_weight() != 0)) {
      return Bad(At("training", "phases", i), ": kinetic_penalty and forward_weight are for scalar fields");
    }
    if (conditional && plan.phases(i).forward_weight() != 0) {
      return Bad(At("training", "phases", i), ".forward_weight: conditional models are trained by reverse KL alone");
    }
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

absl::Status ValidateSpec(const v1::ModelSpec& spec) {
  RETURN_IF_ERROR(CheckNoUnknownFields(spec, "spec"));
  RETURN_IF_ERROR(Annotate(ValidateModelName(spec.name()), "name"));
  if (spec.spec_version() != 1) {
    return Bad("spec_version is ", spec.spec_version(), "; this haarflow reads version 1");
  }
  if (!spec.has_target()) return Bad("target is missing");
  RETURN_IF_ERROR(ValidateTarget(spec.target()));
  RETURN_IF_ERROR(spec_check::CheckPrior(spec));
  ASSIGN_OR_RETURN(const Lattice lattice, LatticeOf(spec.target()));
  RETURN_IF_ERROR(spec_check::CheckLayers(spec, lattice));
  RETURN_IF_ERROR(spec_check::CheckConditioning(spec));
  RETURN_IF_ERROR(CheckTraining(spec));
  if (spec.description().size() > kMaxDescriptionBytes || !IsUtf8(spec.description())) {
    return Bad("description must be UTF-8 text of at most ", kMaxDescriptionBytes, " bytes");
  }
  return absl::OkStatus();
}

bool ServesTarget(const v1::ModelSpec& spec, const v1::Target& target) {
  if (!SameFields(spec.target(), target)) return false;
  if (spec.prior().has_perfect()) return CheckPerfectSampler(target).ok();
  v1::Target own = spec.target();
  const auto asked = TheoryParameters(target);
  for (const v1::Conditioning& c : spec.conditioning()) {
    for (const auto& [name, value] : asked) {
      if (name != c.parameter()) continue;
      if (value < c.low() || value > c.high()) return false;
      if (!SetTheoryParameter(name, value, &own).ok()) return false;
    }
  }
  return CanonicalTarget(own) == CanonicalTarget(target);
}

}  // namespace haarflow
