#include "client/commands.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/status.h"
#include "core/model/spec.h"

namespace haarflow {
namespace {

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
    default:
      return "unknown";
  }
}

std::string TheoryText(const v1::Target& target) {
  if (target.theory_case() == v1::Target::kU1Wilson) {
    return absl::StrCat("U(1) Wilson, beta ", Significant(target.u1_wilson().beta(), 6));
  }
  return "-";
}

std::string LatticeText(const v1::Target& target) { return absl::StrJoin(target.lattice().shape(), "x"); }

std::string ErrorText(double value, double error) {
  if (value == 0 && error == 0) return "-";
  return ValueWithError(value, error);
}

Json ModelJson(const v1::ModelInfo& model) {
  const v1::ModelCard& card = model.card();
  Json json = {{"name", model.name()},
               {"version", model.version()},
               {"digest", Hex(model.digest())},
               {"target", ValidateTarget(model.target()).ok() ? DescribeTarget(model.target()) : std::string()},
               {"target_digest", Hex(model.target_digest())},
               {"state", StateName(model.state())},
               {"state_reason", model.state_reason()},
               {"parameters", model.parameters()},
               {"lattice", std::vector<uint32_t>(model.target().lattice().shape().begin(),
                                                 model.target().lattice().shape().end())}};
  if (model.target().theory_case() == v1::Target::kU1Wilson) {
    json["theory"] = "u1_wilson";
    json["beta"] = model.target().u1_wilson().beta();
  }
  json["card"] = {{"quality", QualityJson(card.quality())},
                  {"log_z", card.log_z()},
                  {"log_z_error", card.log_z_error()},
                  {"mean_log_weight", card.mean_log_weight()},
                  {"mean_log_weight_error", card.mean_log_weight_error()},
                  {"training_steps", card.training_steps()},
                  {"training_seconds", card.training_seconds()},
                  {"lineage", card.lineage()},
                  {"device", card.device()},
                  {"code_version", card.code_version()},
                  {"created", card.created()},
                  {"log_q_error_mean", card.log_q_error_mean()},
                  {"log_q_error_sigma", card.log_q_error_sigma()}};
  return json;
}

std::string ModelText(const v1::GetModelResponse& response) {
  const v1::ModelInfo& model = response.model();
  const v1::ModelCard& card = model.card();
  const v1::EnsembleQuality& quality = card.quality();
  std::string state = StateName(model.state());
  if (!model.state_reason().empty()) absl::StrAppend(&state, ": ", model.state_reason());
  std::vector<std::vector<std::string>> rows = {
      {"name", model.name()},
      {"version", absl::StrCat(model.version())},
      {"state", state},
      {"digest", Hex(model.digest())},
      {"target", TheoryText(model.target()) + ", " + LatticeText(model.target())},
      {"target digest", Hex(model.target_digest())},
      {"parameters", Grouped(model.parameters())}};
  if (quality.samples() == 0) {
    rows.push_back({"card", "none: this version was never evaluated"});
  } else {
    rows.push_back(
        {"ESS", ErrorText(quality.ess(), quality.ess_error()) + " over " + Grouped(quality.samples()) + " samples"});
    rows.push_back({"acceptance", Percent(quality.acceptance())});
    rows.push_back({"largest weight", Significant(100 * quality.max_weight_share(), 2) + " % of the sum"});
    rows.push_back({"reliable", ReliableText(quality)});
    rows.push_back({"log Z", ErrorText(card.log_z(), card.log_z_error())});
    rows.push_back({"E_q[log w]", ErrorText(card.mean_log_weight(), card.mean_log_weight_error())});
    rows.push_back({"trained", absl::StrCat(Grouped(card.training_steps()), " steps in ",
                                            ClockTime(card.training_seconds()), " on ", card.device())});
    rows.push_back({"lineage", card.lineage()});
    rows.push_back({"created", card.created() + " by " + card.code_version()});
  }
  if (!response.spec().description().empty()) rows.push_back({"description", response.spec().description()});
  return Table(rows, {false, false});
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> ConnectTo(const Globals& globals) {
  auto client = Client::Connect(globals.server, {});
  if (!client.ok()) return WithExitCode(client.status(), kExitUsage);
  return client;
}

absl::StatusOr<v1::Target> TargetWithBeta(const v1::Target& target, double beta) {
  v1::Target other = target;
  if (other.theory_case() != v1::Target::kU1Wilson) {
    return WithExitCode(absl::InvalidArgumentError("--beta: the model's theory has no beta"), kExitUsage);
  }
  other.mutable_u1_wilson()->set_beta(beta);
  return other;
}

ExitCode CodeForQuality(const v1::EnsembleQuality& quality, bool require_reliable) {
  return require_reliable && !quality.reliable() ? kExitUnreliable : kExitOk;
}

std::string DescribeRun(const v1::SampleHeader& header) {
  std::string text = absl::StrCat(header.model(), " version ", header.version());
  if (ValidateTarget(header.target()).ok()) absl::StrAppend(&text, ", ", DescribeTarget(header.target()));
  absl::StrAppend(&text, ", seed ", header.seed());
  if (header.next_index() > 0) absl::StrAppend(&text, " from index ", header.next_index());
  return text;
}

absl::StatusOr<ExitCode> RunModels(const Globals& globals) {
  ASSIGN_OR_RETURN(const auto client, ConnectTo(globals));
  ASSIGN_OR_RETURN(const v1::ListModelsResponse response, client->ListModels());
  if (globals.json) {
    Json models = Json::array();
    for (const v1::ModelInfo& model : response.models()) models.push_back(ModelJson(model));
    PrintJson({{"server",
                {{"address", globals.server},
                 {"code_version", response.server().code_version()},
                 {"device", response.server().device()},
                 {"numerics_class", response.server().numerics_class()}}},
               {"models", std::move(models)}});
    return kExitOk;
  }
  if (response.models().empty()) {
    Print(absl::StrCat("The server at ", globals.server, " has no models.\n"));
    return kExitOk;
  }
  std::vector<std::vector<std::string>> rows = {
      {"name", "version", "theory", "lattice", "ESS", "acceptance", "parameters", "state"}};
  for (const v1::ModelInfo& model : response.models()) {
    const v1::EnsembleQuality& quality = model.card().quality();
    std::string state = StateName(model.state());
    if (!model.state_reason().empty()) absl::StrAppend(&state, ": ", model.state_reason());
    rows.push_back({model.name(), absl::StrCat(model.version()), TheoryText(model.target()),
                    LatticeText(model.target()), ErrorText(quality.ess(), quality.ess_error()),
                    quality.acceptance() > 0 ? Percent(quality.acceptance()) : "-", Grouped(model.parameters()),
                    state});
  }
  Print(Table(rows, {false, true, false, false, true, true, true, false}));
  return kExitOk;
}

absl::StatusOr<ExitCode> RunModel(const Globals& globals, const std::string& name, bool spec_only) {
  ASSIGN_OR_RETURN(const auto client, ConnectTo(globals));
  ASSIGN_OR_RETURN(const v1::GetModelResponse response, client->GetModel(name));
  if (globals.json) {
    Json json;
    if (!spec_only) {
      json = ModelJson(response.model());
      const Json manifest = Json::parse(response.manifest_json(), nullptr, /*allow_exceptions=*/false);
      if (!manifest.is_discarded()) json["manifest"] = manifest;
    }
    json["spec"] = response.spec_text();
    PrintJson(json);
  } else if (spec_only) {
    Print(response.spec_text());
  } else {
    Print(ModelText(response));
  }
  return kExitOk;
}

absl::StatusOr<ExitCode> RunHealthcheck(const Globals& globals, const std::string& model) {
  ASSIGN_OR_RETURN(const auto client, ConnectTo(globals));
  auto serving = client->IsServing(model.empty() ? std::string() : "haarflow.model." + model);
  if (absl::IsNotFound(serving.status())) {
    return absl::NotFoundError(
        absl::StrCat("the server at ", globals.server, " knows no model ", model, ": see `haarflow models`"));
  }
  RETURN_IF_ERROR(serving.status());
  const std::string what =
      model.empty() ? absl::StrCat("the server at ", globals.server) : absl::StrCat("model ", model);
  if (!*serving)
    return absl::UnavailableError(absl::StrCat(what, " is not serving: wait, or look at the server's log"));
  if (globals.json) {
    PrintJson({{"server", globals.server}, {"model", model}, {"status", "SERVING"}});
  } else {
    Print(what + " is serving\n");
  }
  return kExitOk;
}

}  // namespace haarflow
