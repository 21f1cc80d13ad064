#include "client/commands.h"

#include "absl/strings/str_cat.h"
#include "client/model_text.h"
#include "client/token.h"
#include "core/action/target.h"
#include "core/base/status.h"

namespace haarflow {
absl::StatusOr<std::unique_ptr<Client>> ConnectTo(const Globals& globals) {
  ClientOptions options;
  options.tls = globals.tls;
  options.ca_file = globals.tls_ca;
  options.certificate_file = globals.tls_cert;
  options.key_file = globals.tls_key;
  auto token = TokenFor(globals.token_file);
  if (!token.ok()) return WithExitCode(token.status(), kExitUsage);
  options.token = *std::move(token);
  auto client = Client::Connect(globals.server, options);
  if (!client.ok())
    return absl::IsUnavailable(client.status()) ? client.status() : WithExitCode(client.status(), kExitUsage);
  return client;
}

ExitCode CodeForQuality(const v1::EnsembleQuality& quality, bool require_reliable) {
  return require_reliable && !quality.reliable() ? kExitUnreliable : kExitOk;
}

absl::Status FileTrouble(const absl::Status& status) {
  return WithExitCode(status, absl::IsDataLoss(status) ? kExitCorrupt : kExitLocalFile);
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
  Print(ModelsText(response));
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
