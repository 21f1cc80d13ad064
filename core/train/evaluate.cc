#include "core/train/evaluate.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_format.h"
#include "core/base/status.h"
#include "core/exact/estimate.h"
#include "core/exact/metropolis.h"
#include "core/kernel/kernels.h"
#include "core/train/draws.h"
#include "core/train/ranked.h"
#include "core/train/target_samples.h"

namespace haarflow {
namespace {

constexpr size_t kBins = 64;

// A model with what it was made from, so that other ranks can make it too.
struct Candidate {
  ModelParts parts;
  std::shared_ptr<const Model> model;
};
absl::StatusOr<Candidate> MakeCandidate(const ModelParts& parts) {
  ASSIGN_OR_RETURN(auto model, Model::Create(parts.spec, parts.weights, CpuKernels(), 0, parts.steps));
  return Candidate{parts, std::move(model)};
}

absl::StatusOr<DrawnWeights> DrawAll(const Candidate& candidate, const v1::Target& target, uint64_t samples,
                                     uint64_t seed, bool signs, const Team& team) {
  if (team.crew == nullptr) {
    return DrawShare(*candidate.model, target, {0, static_cast<int64_t>(samples)}, seed, signs, team.threads);
  }
  ASSIGN_OR_RETURN(Reply reply, RankedDraw(candidate.parts, target, samples, seed, signs, team.crew));
  return DrawnWeights{std::move(reply.columns[0]), std::move(reply.columns[1])};
}
absl::StatusOr<std::vector<double>> DrawWeights(const Candidate& candidate, const v1::Target& target, uint64_t samples,
                                                uint64_t seed, const Team& team) {
  ASSIGN_OR_RETURN(DrawnWeights drawn, DrawAll(candidate, target, samples, seed, false, team));
  return std::move(drawn.log_weight);
}

// log w of fields of the model's target.
absl::StatusOr<std::vector<double>> WeighTarget(const Candidate& candidate, int64_t wanted, uint64_t seed,
                                                const Team& team) {
  if (team.crew != nullptr) return RankedJudge(candidate.parts, wanted, seed, team.crew);
  ASSIGN_OR_RETURN(const TargetSamples fields, DrawTargetSamples(candidate.model->target(), wanted, seed, team));
  return WeighFields(*candidate.model, fields.field, team.threads);
}

// Jackknife error of statistic(values without one of kBins interleaved bins).
template <class F>
double Jackknife(const std::vector<double>& values, const F& statistic) {
  std::vector<double> left_out;
  for (size_t bin = 0; bin < kBins; ++bin) {
    WeightStatistics rest;
    for (size_t i = 0; i < values.size(); ++i) {
      if (i % kBins != bin) rest.Add(values[i]);
    }
    left_out.push_back(statistic(rest));
  }
  double mean = 0, square = 0;
  for (double v : left_out) mean += v / kBins;
  for (double v : left_out) square += (v - mean) * (v - mean);
  return std::sqrt(square * (kBins - 1) / kBins);
}

double EssError(const std::vector<double>& log_weight) {
  return Jackknife(log_weight, [](const WeightStatistics& w) { return w.Ess(); });
}

std::string OddReason(const std::vector<double>& log_weight, const std::vector<double>& odd) {
  const auto estimate = WeightedMean(odd, log_weight, 64);
  if (!estimate.ok() || !(std::abs(estimate->mean) > 6 * estimate->error)) return "";
  return absl::StrFormat("the mean of the sign of M is %.3f +- %.3f where symmetry makes it 0: a mode is missed",
                         estimate->mean, estimate->error);
}

// What fields of the target say; returns a reason not to rely on the model, or an empty string.
absl::StatusOr<std::string> JudgeFromTarget(const Candidate& candidate, uint64_t samples, uint64_t seed,
                                            const Team& team, v1::ModelCard* card) {
  // Inverses of SU(N) flows cost several draws.
  const uint64_t most = candidate.parts.spec.target().has_phi4() ? 8192 : 1024;
  const int64_t wanted = static_cast<int64_t>(std::min<uint64_t>(samples, most));
  ASSIGN_OR_RETURN(const std::vector<double> log_weight, WeighTarget(candidate, wanted, seed + 1, team));
  const uint64_t n = log_weight.size();
  // E_p[w] and E_p[1/w] = 1/Z.
  std::vector<double> minus_log_weight;
  WeightStatistics inverse, direct;
  double mean = 0;
  for (double w : log_weight) {
    minus_log_weight.push_back(-w);
    inverse.Add(-w);
    direct.Add(w);
    mean += w / static_cast<double>(n);
  }
  card->set_forward_samples(n);
  card->set_forward_log_z(-inverse.LogZ());
  card->set_forward_log_z_error(Jackknife(minus_log_weight, [](const WeightStatistics& w) { return w.LogZ(); }));
  card->set_forward_ess(std::exp(-inverse.LogZ() - direct.LogZ()));
  card->set_mean_log_weight_target(mean);
  const double missing = card->forward_log_z() - card->log_z();
  const double error = std::hypot(card->forward_log_z_error(), card->log_z_error());
  if (missing > 0.3 && missing > 5 * error) {
    return absl::StrFormat(
        "log Z from the model's proposals is %.3f +- %.3f short of log Z from fields of the target%s", missing, error,
        std::abs(missing - std::log(2)) < 0.2 ? " (log 2: one of two modes is missed)" : "");
  }
  if (card->forward_ess() < 0.1 * card->quality().ess()) {
    return absl::StrFormat(
        "the ESS on fields of the target, %.4f, is far below that on the model's own proposals, %.4f",
        card->forward_ess(), card->quality().ess());
  }
  return std::string();
}

// Targets over the intervals of a conditional model: the ends and between, in each direction.
std::vector<v1::Target> ConditionalTargets(const v1::ModelSpec& spec, int points) {
  std::vector<v1::Target> targets = {spec.target()};
  for (const v1::Conditioning& c : spec.conditioning()) {
    std::vector<v1::Target> product;
    for (const v1::Target& target : targets) {
      for (int i = 0; i < points; ++i) {
        product.push_back(target);
        // Exact at both ends.
        const double value = i + 1 == points ? c.high() : c.low() + (c.high() - c.low()) * i / (points - 1);
        (void)SetTheoryParameter(c.parameter(), value, &product.back());
      }
    }
    targets = std::move(product);
  }
  return targets;
}

// log w of two models with the same weights on the same noise: the coarser one's minus the finer one's.
struct IntegrationError {
  double mean = 0;
  double sigma = 0;
  bool certified(double factor = 1) const {
    return std::max(std::abs(mean), sigma) < factor * kCertifiedLogWeightError;
  }
};
constexpr uint64_t kIntegrationSamples = 2048;
constexpr uint64_t kFirstLookSamples = 256;  // enough to see that steps are far too few

absl::StatusOr<IntegrationError> CompareSteps(const Candidate& coarse, const Candidate& fine, const v1::Target& target,
                                              uint64_t samples, uint64_t seed, const Team& team,
                                              WeightStatistics* of_coarse = nullptr,
                                              WeightStatistics* of_fine = nullptr) {
  ASSIGN_OR_RETURN(const auto a, DrawWeights(coarse, target, samples, seed, team));
  ASSIGN_OR_RETURN(const auto b, DrawWeights(fine, target, samples, seed, team));
  IntegrationError error;
  double square = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = a[i] - b[i];
    error.mean += d / static_cast<double>(a.size());
    square += d * d / static_cast<double>(a.size());
    if (of_coarse != nullptr) of_coarse->Add(a[i]);
    if (of_fine != nullptr) of_fine->Add(b[i]);
  }
  error.sigma = std::sqrt(std::max(0.0, square - error.mean * error.mean));
  return error;
}

// The error of the density at the steps that are served, by doubling them; of conditional models at every point that
// the card lists, in the card's own lines the largest.
absl::Status EvaluateIntegration(const Candidate& candidate, uint64_t samples, uint64_t seed, const Team& team,
                                 v1::ModelCard* card) {
  const auto& [spec, weights, _] = candidate.parts;
  ASSIGN_OR_RETURN(const Candidate fine, MakeCandidate({spec, weights, 2 * candidate.model->steps()}));
  WeightStatistics at_steps, at_double;
  ASSIGN_OR_RETURN(IntegrationError worst,
                   CompareSteps(candidate, fine, spec.target(), samples, seed, team, &at_steps, &at_double));
  card->set_log_z_at_steps(at_steps.LogZ());
  card->set_log_z_at_double_steps(at_double.LogZ());
  for (v1::ConditionalQuality& quality : *card->mutable_conditional()) {
    ASSIGN_OR_RETURN(const IntegrationError error,
                     CompareSteps(candidate, fine, quality.target(), samples, seed, team));
    quality.set_log_q_error_mean(error.mean);
    quality.set_log_q_error_sigma(error.sigma);
    if (std::abs(error.mean) > std::abs(worst.mean)) worst.mean = error.mean;
    worst.sigma = std::max(worst.sigma, error.sigma);
  }
  card->set_log_q_error_mean(worst.mean);
  card->set_log_q_error_sigma(worst.sigma);
  return absl::OkStatus();
}

absl::Status EvaluateConditional(const Candidate& candidate, uint64_t samples, uint64_t seed, const Team& team,
                                 v1::ModelCard* card) {
  const v1::ModelSpec& spec = candidate.parts.spec;
  const int points = spec.conditioning_size() == 1 ? 9 : 4;
  for (const v1::Target& target : ConditionalTargets(spec, points)) {
    ASSIGN_OR_RETURN(const std::vector<double> log_weight, DrawWeights(candidate, target, samples, seed, team));
    PartitionEstimator partition;
    for (double w : log_weight) partition.Add(w);
    v1::ConditionalQuality& quality = *card->add_conditional();
    *quality.mutable_target() = target;
    quality.set_ess(partition.weights().Ess());
    quality.set_ess_error(EssError(log_weight));
    quality.set_log_z(partition.LogZ());
    quality.set_log_z_error(partition.LogZError());
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<double>> DrawLogWeights(const Model& model, const v1::Target& target, uint64_t samples,
                                                   uint64_t seed, int threads) {
  ASSIGN_OR_RETURN(DrawnWeights drawn,
                   DrawShare(model, target, {0, static_cast<int64_t>(samples)}, seed, false, threads));
  return std::move(drawn.log_weight);
}

absl::StatusOr<std::vector<double>> DrawLogWeights(const v1::ModelSpec& spec, const TensorMap& weights,
                                                   uint64_t samples, uint64_t seed, const Team& team) {
  ASSIGN_OR_RETURN(const Candidate candidate, MakeCandidate({spec, weights}));
  return DrawWeights(candidate, spec.target(), samples, seed, team);
}

MeasuredEss QualityOf(const std::vector<double>& log_weight) {
  WeightStatistics weights;
  for (double w : log_weight) weights.Add(w);
  return {weights.Ess(), EssError(log_weight)};
}

absl::StatusOr<v1::ModelCard> EvaluateModel(const v1::ModelSpec& spec, const TensorMap& weights, uint64_t samples,
                                            uint64_t seed, const Team& team) {
  ASSIGN_OR_RETURN(const Candidate candidate, MakeCandidate({spec, weights}));
  const Model& model = *candidate.model;
  const bool scalar = spec.target().has_phi4();
  const bool loops = spec.target().has_sun_wilson() && spec.layers_size() > 0;
  ASSIGN_OR_RETURN(const DrawnWeights drawn, DrawAll(candidate, spec.target(), samples, seed, scalar, team));
  const std::vector<double>& log_weight = drawn.log_weight;
  MetropolisChain chain(seed, 0, 0);
  PartitionEstimator partition;
  for (double w : log_weight) {
    chain.Look(w);
    partition.Add(w);
  }
  v1::ModelCard card;
  *card.mutable_quality() = chain.Statistics().quality();
  card.mutable_quality()->set_ess_error(EssError(log_weight));
  card.set_log_z(partition.LogZ());
  card.set_log_z_error(partition.LogZError());
  card.set_mean_log_weight(partition.MeanLogWeight());
  card.set_mean_log_weight_error(partition.MeanLogWeightError());
  card.set_parameters(model.parameters());
  card.set_code_version(HAARFLOW_VERSION);
  card.set_device(model.numerics_class());
  card.set_steps(static_cast<uint32_t>(model.steps()));
  if (!scalar && !loops) return card;
  std::string reason = scalar ? OddReason(log_weight, drawn.sign) : std::string();
  ASSIGN_OR_RETURN(const std::string judged, JudgeFromTarget(candidate, samples, seed, team, &card));
  if (reason.empty()) reason = judged;
  card.set_unreliable_reason(reason);
  if (spec.conditioning_size() > 0) RETURN_IF_ERROR(EvaluateConditional(candidate, samples, seed, team, &card));
  if (model.steps() > 0) {
    RETURN_IF_ERROR(EvaluateIntegration(candidate, std::min(samples, kIntegrationSamples), seed + 2, team, &card));
  }
  return card;
}

absl::StatusOr<int32_t> CertifiedSteps(const v1::ModelSpec& spec, const TensorMap& weights, uint64_t seed,
                                       const Team& team) {
  std::vector<v1::Target> targets = {spec.target()};
  if (spec.conditioning_size() > 0) {
    for (v1::Target& target : ConditionalTargets(spec, 3)) targets.push_back(std::move(target));
  }
  // Fourth order: a quarter more steps, less than half of the error.
  for (const int32_t steps : {4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 80, 96, 128, 192, 256}) {
    ASSIGN_OR_RETURN(const Candidate coarse, MakeCandidate({spec, weights, steps}));
    ASSIGN_OR_RETURN(const Candidate fine, MakeCandidate({spec, weights, 2 * steps}));
    bool good = true;
    for (size_t t = 0; t < targets.size() && good; ++t) {
      ASSIGN_OR_RETURN(const IntegrationError first,
                       CompareSteps(coarse, fine, targets[t], kFirstLookSamples, seed, team));
      good = first.certified(2);
      if (!good) break;
      ASSIGN_OR_RETURN(const IntegrationError error,
                       CompareSteps(coarse, fine, targets[t], kIntegrationSamples, seed, team));
      good = error.certified();
    }
    if (good) return steps;
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "model ", spec.name(), ": 256 Runge-Kutta steps do not bring the error of log w below ", kCertifiedLogWeightError,
      spec.target().has_phi4() ? "; train with a larger kinetic_penalty, or with a smaller learning rate"
                               : "; use fewer time_modes, or train at a smaller beta"));
}

}  // namespace haarflow
