#include "client/model_text.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/theory.h"
#include "core/action/target.h"

namespace haarflow {
namespace {

using Rows = std::vector<std::vector<std::string>>;

const char* StateName(v1::ModelState state) {
  switch (state) {
    case v1::MODEL_STATE_READY:
      return "ready";
    case v1::MODEL_STATE_REFUSED:
      return "refused";
    case v1::MODEL_STATE_LOADING:
      return "loading";
    case v1::MODEL_STATE_UNLOADED:
      return "unloaded";
    case v1::MODEL_STATE_RETIRING:
      return "retiring";
    default:
      return "unknown";
  }
}

std::string StateText(const v1::ModelInfo& model) {
  std::string state = StateName(model.state());
  if (!model.state_reason().empty()) absl::StrAppend(&state, ": ", model.state_reason());
  if (!model.card().unreliable_reason().empty()) {
    absl::StrAppend(&state, ", unreliable: ", model.card().unreliable_reason());
  }
  return state;
}

// The theory and, of a conditional model, what it serves.
std::string TheoryOf(const v1::ModelInfo& model) {
  std::string text = TheoryText(model.target());
  if (!model.conditioning().empty()) absl::StrAppend(&text, "; ", IntervalsText(model.conditioning()));
  return text;
}

std::string ErrorText(double value, double error) {
  if (value == 0 && error == 0) return "-";
  return ValueWithError(value, error);
}

// Of conditional models: how good they are within their intervals.
std::string ConditionalText(const v1::ModelInfo& model) {
  Rows rows(1);
  for (const v1::Conditioning& interval : model.conditioning()) rows[0].push_back(interval.parameter());
  const size_t parameters = rows[0].size();
  rows[0].insert(rows[0].end(), {"ESS", "log Z", "error of log w"});
  for (const v1::ConditionalQuality& quality : model.card().conditional()) {
    std::vector<std::string> row;
    for (size_t i = 0; i < parameters; ++i) {
      for (const auto& [name, value] : TheoryParameters(quality.target())) {
        if (name == rows[0][i]) row.push_back(Significant(value, 6));
      }
    }
    row.push_back(ErrorText(quality.ess(), quality.ess_error()));
    row.push_back(ErrorText(quality.log_z(), quality.log_z_error()));
    row.push_back(
        absl::StrCat(Significant(quality.log_q_error_mean(), 2), " +- ", Significant(quality.log_q_error_sigma(), 2)));
    rows.push_back(std::move(row));
  }
  return rows.size() == 1 ? "" : absl::StrCat("\n", Table(rows, std::vector<bool>(rows[0].size(), true)));
}

void AppendCard(const v1::ModelCard& card, Rows* rows) {
  const v1::EnsembleQuality& quality = card.quality();
  rows->push_back(
      {"ESS", ErrorText(quality.ess(), quality.ess_error()) + " over " + Grouped(quality.samples()) + " samples"});
  rows->push_back({"acceptance", Percent(quality.acceptance())});
  rows->push_back({"largest weight", Significant(100 * quality.max_weight_share(), 2) + " % of the sum"});
  rows->push_back(
      {"reliable", card.unreliable_reason().empty() ? ReliableText(quality) : "no: " + card.unreliable_reason()});
  rows->push_back({"log Z", ErrorText(card.log_z(), card.log_z_error())});
  rows->push_back({"E_q[log w]", ErrorText(card.mean_log_weight(), card.mean_log_weight_error())});
  if (card.forward_samples() > 0) {
    rows->push_back({"E_p[log w]", Significant(card.mean_log_weight_target(), 10)});
    rows->push_back({"forward ESS", absl::StrCat(Significant(card.forward_ess(), 4), " over ",
                                                 Grouped(card.forward_samples()), " fields of the target")});
    rows->push_back({"forward log Z", ErrorText(card.forward_log_z(), card.forward_log_z_error())});
  }
  if (card.steps() > 0) {
    rows->push_back({"integration", absl::StrCat(card.steps(), " Runge-Kutta steps, error of log w ",
                                                 Significant(card.log_q_error_mean(), 2), " +- ",
                                                 Significant(card.log_q_error_sigma(), 2))});
    rows->push_back({"log Z at N, 2N", absl::StrCat(Significant(card.log_z_at_steps(), 12), ", ",
                                                    Significant(card.log_z_at_double_steps(), 12))});
  }
  rows->push_back({"trained", absl::StrCat(Grouped(card.training_steps()), " steps in ",
                                           ClockTime(card.training_seconds()), " on ", card.device())});
  rows->push_back({"lineage", card.lineage()});
  rows->push_back({"created", card.created() + " by " + card.code_version()});
}

// The versions of the index, where there is more to say than that there is one.
std::string VersionsText(const v1::ModelInfo& model) {
  Rows rows = {{"version", "digest", "aliases", "state"}};
  for (const v1::ModelVersion& version : model.versions()) {
    std::string state = StateName(version.state());
    if (!version.state_reason().empty()) absl::StrAppend(&state, ": ", version.state_reason());
    rows.push_back({absl::StrCat(version.version()), Hex(version.digest()).substr(0, 12),
                    absl::StrJoin(version.aliases(), ", "), state});
  }
  return rows.size() < 3 ? "" : absl::StrCat("\n", Table(rows, {true, false, false, false}));
}

Json VersionsJson(const v1::ModelInfo& model) {
  Json versions = Json::array();
  for (const v1::ModelVersion& version : model.versions()) {
    versions.push_back({{"version", version.version()},
                        {"digest", Hex(version.digest())},
                        {"aliases", std::vector<std::string>(version.aliases().begin(), version.aliases().end())},
                        {"state", StateName(version.state())},
                        {"state_reason", version.state_reason()},
                        {"memory_bytes", version.memory_bytes()}});
  }
  return versions;
}

Json ParametersJson(const v1::Target& target) {
  Json json = Json::object();
  for (const auto& [name, value] : TheoryParameters(target)) json[name] = value;
  return json;
}

Json CardJson(const v1::ModelCard& card) {
  Json conditional = Json::array();
  for (const v1::ConditionalQuality& quality : card.conditional()) {
    conditional.push_back({{"theory_parameters", ParametersJson(quality.target())},
                           {"ess", quality.ess()},
                           {"ess_error", quality.ess_error()},
                           {"log_z", quality.log_z()},
                           {"log_z_error", quality.log_z_error()},
                           {"log_q_error_mean", quality.log_q_error_mean()},
                           {"log_q_error_sigma", quality.log_q_error_sigma()}});
  }
  return {{"quality", QualityJson(card.quality())},
          {"unreliable_reason", card.unreliable_reason()},
          {"log_z", card.log_z()},
          {"log_z_error", card.log_z_error()},
          {"mean_log_weight", card.mean_log_weight()},
          {"mean_log_weight_error", card.mean_log_weight_error()},
          {"mean_log_weight_target", card.mean_log_weight_target()},
          {"forward_samples", card.forward_samples()},
          {"forward_ess", card.forward_ess()},
          {"forward_log_z", card.forward_log_z()},
          {"forward_log_z_error", card.forward_log_z_error()},
          {"steps", card.steps()},
          {"log_q_error_mean", card.log_q_error_mean()},
          {"log_q_error_sigma", card.log_q_error_sigma()},
          {"log_z_at_steps", card.log_z_at_steps()},
          {"log_z_at_double_steps", card.log_z_at_double_steps()},
          {"conditional", std::move(conditional)},
          {"training_steps", card.training_steps()},
          {"training_seconds", card.training_seconds()},
          {"lineage", card.lineage()},
          {"device", card.device()},
          {"code_version", card.code_version()},
          {"created", card.created()}};
}

const char* TheoryName(const v1::Target& target) {
  if (target.has_u1_wilson()) return "u1_wilson";
  if (target.has_sun_wilson()) return "sun_wilson";
  if (target.has_sun_matrix()) return "sun_matrix";
  return target.has_phi4() ? "phi4" : "";
}

}  // namespace

Json ModelJson(const v1::ModelInfo& model) {
  const v1::Target& target = model.target();
  Json conditioning = Json::array();
  for (const v1::Conditioning& interval : model.conditioning()) {
    conditioning.push_back({{"parameter", interval.parameter()}, {"low", interval.low()}, {"high", interval.high()}});
  }
  Json json = {{"name", model.name()},
               {"version", model.version()},
               {"digest", Hex(model.digest())},
               {"target", ValidateTarget(target).ok() ? DescribeTarget(target) : std::string()},
               {"target_digest", Hex(model.target_digest())},
               {"state", StateName(model.state())},
               {"state_reason", model.state_reason()},
               {"parameters", model.parameters()},
               {"lattice", std::vector<uint32_t>(target.lattice().shape().begin(), target.lattice().shape().end())},
               {"theory", TheoryName(target)},
               {"theory_parameters", ParametersJson(target)},
               {"conditioning", std::move(conditioning)},
               {"generation", model.generation()},
               {"pinned_version", model.pinned_version()},
               {"versions", VersionsJson(model)},
               {"card", CardJson(model.card())}};
  if (target.has_sun_wilson()) json["colours"] = target.sun_wilson().colours();
  if (target.has_sun_matrix()) json["colours"] = target.sun_matrix().colours();
  return json;
}

std::string ModelText(const v1::GetModelResponse& response) {
  const v1::ModelInfo& model = response.model();
  if (model.digest().empty()) {  // no version was ever loaded
    return Table({{"name", model.name()}, {"state", StateText(model)}}, {false, false}) + VersionsText(model);
  }
  Rows rows = {{"name", model.name()},
               {"version", absl::StrCat(model.version())},
               {"state", StateText(model)},
               {"digest", Hex(model.digest())},
               {"target", ValidateTarget(model.target()).ok() ? DescribeTarget(model.target()) : "-"},
               {"target digest", Hex(model.target_digest())},
               {"parameters", Grouped(model.parameters())}};
  if (!model.conditioning().empty()) rows.push_back({"serves", IntervalsText(model.conditioning()) + ", as its own"});
  if (model.card().quality().samples() == 0) {
    rows.push_back({"card", "none: this version was never evaluated"});
  } else {
    AppendCard(model.card(), &rows);
  }
  if (!response.spec().description().empty()) rows.push_back({"description", response.spec().description()});
  return Table(rows, {false, false}) + ConditionalText(model) + VersionsText(model);
}

std::string ModelsText(const v1::ListModelsResponse& response) {
  Rows rows = {{"name", "version", "theory", "lattice", "ESS", "acceptance", "parameters", "state"}};
  for (const v1::ModelInfo& model : response.models()) {
    const v1::EnsembleQuality& quality = model.card().quality();
    rows.push_back({model.name(), absl::StrCat(model.version()), TheoryOf(model), LatticeText(model.target()),
                    ErrorText(quality.ess(), quality.ess_error()),
                    quality.acceptance() > 0 ? Percent(quality.acceptance()) : "-", Grouped(model.parameters()),
                    StateText(model)});
  }
  return Table(rows, {false, true, false, false, true, true, true, false});
}

}  // namespace haarflow
