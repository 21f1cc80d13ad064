#include "core/io/gauge_record.h"

#include <limits>

#include "core/action/target.h"
#include "core/base/digest.h"
#include "core/base/status.h"
#include "core/io/attribute_json.h"
#include "core/io/gauge_run.h"

namespace haarflow {
namespace {

constexpr char kRecordFormat[] = "haarflow configuration";

v1::SampleHeader ForeignHeader(const GaugeConfiguration& configuration) {
  v1::SampleHeader header;
  header.mutable_target()->mutable_sun_wilson()->set_colours(3);
  for (const int64_t extent : configuration.shape) {
    header.mutable_target()->mutable_lattice()->add_shape(static_cast<uint32_t>(extent));
  }
  for (const int64_t extent : FieldShape(header.target())) header.add_shape(static_cast<uint64_t>(extent));
  header.set_configuration_bytes(configuration.links.size() * sizeof(double));
  header.set_convention(FieldConvention(header.target()));
  header.set_mode(v1::SAMPLE_MODE_METROPOLIS);
  header.set_precision(v1::FIELD_PRECISION_FLOAT64);
  header.add_observables("plaquette");
  return header;
}

absl::Status FillForeign(const GaugeConfiguration& configuration, uint64_t position, v1::SampleChunk* chunk) {
  ASSIGN_OR_RETURN(const Lattice lattice, Lattice::Create(configuration.shape));
  constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  chunk->add_index(position);
  chunk->add_multiplicity(1);
  chunk->add_log_weight(kUnknown);
  chunk->add_log_q(kUnknown);
  chunk->add_action(kUnknown);
  chunk->add_observables()->add_value(TracesOf(lattice, configuration.links).plaquette);
  return absl::OkStatus();
}

absl::Status FillRow(const Json& json, const v1::SampleHeader& header, v1::SampleChunk* chunk) {
  ASSIGN_OR_RETURN(const uint64_t index, JsonUnsigned(json, "index"));
  chunk->add_index(index);
  if (IsMetropolis(header)) {
    ASSIGN_OR_RETURN(const uint64_t multiplicity, JsonUnsigned(json, "multiplicity"));
    chunk->add_multiplicity(multiplicity);
  }
  ASSIGN_OR_RETURN(const double log_weight, JsonNumber(json, "log_weight"));
  ASSIGN_OR_RETURN(const double log_q, JsonNumber(json, "log_q"));
  ASSIGN_OR_RETURN(const double action, JsonNumber(json, "action"));
  chunk->add_log_weight(log_weight);
  chunk->add_log_q(log_q);
  chunk->add_action(action);
  const auto values = json.find("values");
  for (const std::string& name : header.observables()) {
    if (values == json.end() || !values->is_object()) return absl::DataLossError("has no values of its observables");
    ASSIGN_OR_RETURN(const double value, JsonNumber(*values, name.c_str()));
    chunk->add_observables()->add_value(value);
  }
  return absl::OkStatus();
}

}  // namespace

std::string GaugeRecordText(const PartContents& run, const RowBlock& block, const std::string& sha256, bool whole_run) {
  const v1::SampleHeader& header = run.header;
  Json json = {{"format", kRecordFormat},
               {"format_version", 1},
               {"creator", CreatorName()},
               {"index", block.index[0]},
               {"log_weight", NumberJson(block.log_weight[0])},
               {"log_q", NumberJson(block.log_q[0])},
               {"action", NumberJson(block.action[0])}};
  if (IsMetropolis(header)) json["multiplicity"] = block.multiplicity[0];
  json["values"] = Json::object();
  for (int k = 0; k < header.observables_size(); ++k) {
    json["values"][header.observables(k)] = NumberJson(block.observables[k][0]);
  }
  json.update(JsonOf(HeaderAttributes(header)));
  for (const char* name : kArrayAttributes) json.erase(name);
  json["numerics_class"] = run.numerics_class;
  json["configurations"] = run.configurations;
  json["sha256"] = sha256;
  json.update(JsonOf({{"header_message", OpaqueBytes{header.SerializeAsString()}},
                      {"statistics_message", OpaqueBytes{run.statistics.SerializeAsString()}}}));
  if (whole_run) json.update(JsonOf({{"resume_token", OpaqueBytes{run.resume_token}}}));
  return TextOf(json);
}

absl::Status GaugeMessages(const GaugeConfiguration& configuration, uint64_t position, const MessageVisitor& visit) {
  v1::SampleResponse header;
  v1::SampleResponse rows;
  v1::SampleResponse summary;
  StoredRun run;
  v1::SampleChunk* chunk = rows.mutable_chunk();
  if (configuration.record.empty()) {
    run.header = ForeignHeader(configuration);
    RETURN_IF_ERROR(FillForeign(configuration, position, chunk));
  } else {
    ASSIGN_OR_RETURN(const Json json, ParseJsonObject(configuration.record));
    ASSIGN_OR_RETURN(run, StoredRunOf(json));
    RETURN_IF_ERROR(CheckGaugeTarget(run.header.target()));
    const auto& shape = run.header.target().lattice().shape();
    if (!std::equal(shape.begin(), shape.end(), configuration.shape.begin(), configuration.shape.end())) {
      return absl::DataLossError("the field has another lattice than haarflow's record says");
    }
    RETURN_IF_ERROR(FillRow(json, run.header, chunk));
  }
  *header.mutable_header() = run.header;
  *chunk->mutable_payload() = FieldBytes(configuration.links.data(), configuration.links.size(), run.header);
  chunk->set_payload_total(chunk->payload().size());
  chunk->set_crc32c(Crc32c(chunk->payload().data(), chunk->payload().size()));
  if (!configuration.record.empty() && Sha256Of(chunk->payload()).Hex() != run.sha256) {
    return absl::DataLossError(
        "the field does not have the SHA-256 that haarflow's record says: one of them was altered");
  }
  *summary.mutable_summary()->mutable_statistics() = run.statistics;
  summary.mutable_summary()->set_resume_token(run.resume_token);
  RETURN_IF_ERROR(visit(header));
  RETURN_IF_ERROR(visit(rows));
  return visit(summary);
}

}  // namespace haarflow
