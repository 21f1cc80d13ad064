#include "server/sampling/request.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/base/noise.h"
#include "core/base/status.h"
#include "core/model/spec.h"

namespace haarflow {
namespace {

absl::Status Invalid(const std::string& message) { return absl::InvalidArgumentError(message); }

absl::Status CheckCount(const std::string& field, uint64_t count, uint64_t minimum, uint64_t maximum) {
  if (count >= minimum && count <= maximum) return absl::OkStatus();
  return Invalid(absl::StrCat(field, " is ", count, "; it must be ", minimum, " to ", maximum));
}

// `looks` proposals from `first_index` on must have an index.
absl::Status CheckIndexRange(uint64_t first_index, uint64_t looks) {
  if (first_index > kMaxSampleIndex) {
    return Invalid(absl::StrCat("first_index is ", first_index, "; it must be below 2^56"));
  }
  if (looks - 1 > kMaxSampleIndex - first_index) {
    return Invalid(absl::StrCat("first_index ", first_index, " leaves no room for ", looks,
                                " proposals below index 2^56; take another seed"));
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::SampleMode> CheckMode(v1::SampleMode mode) {
  switch (mode) {
    case v1::SAMPLE_MODE_UNSPECIFIED:
    case v1::SAMPLE_MODE_METROPOLIS:
      return v1::SAMPLE_MODE_METROPOLIS;
    case v1::SAMPLE_MODE_REWEIGHTED:
      return v1::SAMPLE_MODE_REWEIGHTED;
    default:
      return Invalid(absl::StrCat("mode is ", static_cast<int>(mode), ", which this server does not know"));
  }
}

// Where a new stream begins. `Request` is a SampleRequest or a MeasureRequest.
template <class Request>
absl::StatusOr<Scan> NewScan(const Request& request, const RequestOptions& options) {
  ASSIGN_OR_RETURN(const v1::SampleMode mode, CheckMode(request.mode()));
  const uint64_t seed = request.has_seed() ? request.seed() : RandomSeed();
  if (mode == v1::SAMPLE_MODE_REWEIGHTED) {
    if (request.burn_in() > 0) return Invalid("burn_in belongs to METROPOLIS; proposals of REWEIGHTED are independent");
    RETURN_IF_ERROR(CheckIndexRange(request.first_index(), request.count()));
    return Scan(ReweightedScan(seed, request.first_index()));
  }
  const uint64_t burn_in = request.has_burn_in() ? request.burn_in() : options.burn_in;
  if (burn_in > kMaxBurnIn) return Invalid(absl::StrCat("burn_in is ", burn_in, "; it must be at most ", kMaxBurnIn));
  RETURN_IF_ERROR(CheckIndexRange(request.first_index(), request.count() + burn_in));
  return Scan(MetropolisChain(seed, request.first_index(), burn_in));
}

absl::Status Contradicts(const std::string& field) {
  return Invalid(absl::StrCat(field, " contradicts resume_token; leave it out: a token says all of it"));
}

absl::Status CheckAgainstToken(const v1::SampleRequest& request, const v1::ChainToken& token) {
  if (!request.model().empty() && request.model() != token.model()) return Contradicts("model");
  if (!request.model_digest().empty() && request.model_digest() != token.model_digest())
    return Contradicts("model_digest");
  if (request.mode() != v1::SAMPLE_MODE_UNSPECIFIED && request.mode() != token.mode()) return Contradicts("mode");
  if (request.has_seed() && request.seed() != token.seed()) return Contradicts("seed");
  if (request.first_index() != 0 && request.first_index() != token.next_index()) return Contradicts("first_index");
  if (request.has_burn_in() && request.burn_in() != token.burn_in_left()) return Contradicts("burn_in");
  if (request.has_target()) {
    RETURN_IF_ERROR(Annotate(ValidateTarget(request.target()), "target"));
    if (TargetDigest(request.target()).Bytes() != token.target_digest()) return Contradicts("target");
  }
  return absl::OkStatus();
}

absl::StatusOr<Scan> ScanOfToken(const v1::ChainToken& token) {
  if (token.mode() == v1::SAMPLE_MODE_REWEIGHTED) {
    ASSIGN_OR_RETURN(ReweightedScan scan, ReweightedScan::FromToken(token));
    return Scan(std::move(scan));
  }
  ASSIGN_OR_RETURN(MetropolisChain chain, MetropolisChain::FromToken(token));
  return Scan(std::move(chain));
}

// Fills `resolved` and returns where the stream goes on.
absl::StatusOr<Scan> ResumedScan(const ModelRegistry& registry, const v1::SampleRequest& request,
                                 ResolvedModel* resolved) {
  ASSIGN_OR_RETURN(const v1::ChainToken token, ParseToken(request.resume_token()));
  RETURN_IF_ERROR(CheckAgainstToken(request, token));
  RETURN_IF_ERROR(Annotate(ValidateTarget(token.target()), "resume_token: target"));
  if (TargetDigest(token.target()).Bytes() != token.target_digest()) {
    return Invalid("resume_token: its target does not have its target digest");
  }
  auto found = registry.Resolve({token.model(), token.model_digest(), &token.target()});
  if (LoadNeeded(found.status()).has_value()) return found.status();
  if (!found.ok()) return Annotate(found.status(), "resume_token");
  *resolved = *std::move(found);
  ASSIGN_OR_RETURN(Scan scan, ScanOfToken(token));
  if (token.open_multiplicity() > request.count()) {
    return Invalid(absl::StrCat("count is ", request.count(), ", but the token's open state already has ",
                                token.open_multiplicity(), " steps to deliver"));
  }
  if (NextIndex(scan) <= kMaxSampleIndex) {
    RETURN_IF_ERROR(CheckIndexRange(NextIndex(scan), request.count() + token.burn_in_left()));
  }
  return scan;
}

std::vector<std::string> Names(const google::protobuf::RepeatedPtrField<std::string>& names) {
  return std::vector<std::string>(names.begin(), names.end());
}

// What a Measure request asks for, and the columns that it needs, each once.
struct Quantities {
  ObservableSet columns;
  std::vector<MeasuredQuantity> list;
};
absl::StatusOr<Quantities> QuantitiesOf(const v1::Target& target, const std::vector<std::string>& names) {
  const auto has = [](const std::vector<std::string>& list, const std::string& name) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  std::vector<std::string> columns;
  for (const std::string& name : names) {
    if (!IsDerivedObservable(target, name)) columns.push_back(name);
  }
  const auto column = [&columns](const std::string& name) {
    return static_cast<size_t>(std::find(columns.begin(), columns.end(), name) - columns.begin());
  };
  std::vector<MeasuredQuantity> list;
  for (const std::string& name : names) {
    MeasuredQuantity quantity{.name = name};
    if (IsDerivedObservable(target, name)) {
      if (std::count(names.begin(), names.end(), name) > 1) return Invalid("observable " + name + " is listed twice");
      ASSIGN_OR_RETURN(quantity.derived, DerivedObservable::Create(target, name));
      for (const std::string& primary : quantity.derived->primaries()) {
        if (!has(columns, primary)) columns.push_back(primary);
        quantity.columns.push_back(column(primary));
      }
    } else {
      quantity.columns = {column(name)};
    }
    list.push_back(std::move(quantity));
  }
  ASSIGN_OR_RETURN(ObservableSet set, ObservableSet::Create(target, columns));
  return Quantities{std::move(set), std::move(list)};
}

template <class Request>
ModelQuery QueryOf(const Request& request) {
  return {request.model(), request.model_digest(), request.has_target() ? &request.target() : nullptr};
}

}  // namespace

absl::StatusOr<bool> IsBulk(v1::Priority priority) {
  switch (priority) {
    case v1::PRIORITY_UNSPECIFIED:
    case v1::PRIORITY_INTERACTIVE:
      return false;
    case v1::PRIORITY_BULK:
      return true;
    default:
      return Invalid(absl::StrCat("priority is ", static_cast<int>(priority), ", which this server does not know"));
  }
}

uint64_t RandomSeed() {
  std::random_device device;  // getrandom or rdrand
  return static_cast<uint64_t>(device()) << 32 | device();
}

absl::StatusOr<std::shared_ptr<SampleTask>> MakeSampleTask(const ModelRegistry& registry,
                                                           const v1::SampleRequest& request,
                                                           const RequestOptions& options) {
  RETURN_IF_ERROR(CheckCount("count", request.count(), 1, kMaxCount));
  ResolvedModel resolved;
  Scan scan = ReweightedScan(0, 0);
  if (!request.resume_token().empty()) {
    ASSIGN_OR_RETURN(scan, ResumedScan(registry, request, &resolved));
  } else {
    ASSIGN_OR_RETURN(resolved, registry.Resolve(QueryOf(request)));
    ASSIGN_OR_RETURN(scan, NewScan(request, options));
  }
  SampleTask::Plan plan{.resolved = std::move(resolved), .scan = std::move(scan), .count = request.count()};
  switch (request.precision()) {
    case v1::FIELD_PRECISION_UNSPECIFIED:
    case v1::FIELD_PRECISION_FLOAT64:
      break;
    case v1::FIELD_PRECISION_FLOAT32:
      plan.precision = v1::FIELD_PRECISION_FLOAT32;
      break;
    default:
      return Invalid(
          absl::StrCat("precision is ", static_cast<int>(request.precision()), ", which this server does not know"));
  }
  plan.omit_fields = request.omit_fields();
  plan.max_chunk_bytes = options.max_chunk_bytes;
  if (request.observables_size() > 0) {
    ASSIGN_OR_RETURN(ObservableSet observables,
                     ObservableSet::Create(plan.resolved.target, Names(request.observables())));
    plan.observables = std::move(observables);
  }
  return std::make_shared<SampleTask>(std::move(plan));
}

absl::StatusOr<std::shared_ptr<MeasureTask>> MakeMeasureTask(const ModelRegistry& registry,
                                                             const v1::MeasureRequest& request,
                                                             const RequestOptions& options) {
  if (request.observables_size() == 0) {
    return Invalid("observables is empty; name at least one, for example action");
  }
  ASSIGN_OR_RETURN(ResolvedModel resolved, registry.Resolve(QueryOf(request)));
  ASSIGN_OR_RETURN(Quantities quantities, QuantitiesOf(resolved.target, Names(request.observables())));
  // Fewer steps have no autocorrelation function, fewer proposals no jackknife.
  const uint64_t minimum = request.mode() == v1::SAMPLE_MODE_REWEIGHTED ? 2 : 8;
  RETURN_IF_ERROR(CheckCount("count", request.count(), minimum, kMaxMeasuredValues / quantities.columns.size()));
  ASSIGN_OR_RETURN(Scan scan, NewScan(request, options));
  return std::make_shared<MeasureTask>(MeasureTask::Plan{std::move(resolved), std::move(scan), request.count(),
                                                         std::move(quantities.columns), std::move(quantities.list)});
}

absl::StatusOr<std::shared_ptr<PartitionTask>> MakePartitionTask(const ModelRegistry& registry,
                                                                 const v1::EstimatePartitionFunctionRequest& request,
                                                                 const RequestOptions& options) {
  if (!std::isfinite(request.error()) || request.error() < 0) {
    return Invalid(absl::StrCat("error is ", request.error(), "; it must be a finite number, 0 for none"));
  }
  if (request.error() == 0 && request.samples() == 0) {
    return Invalid("neither error nor samples is given; say how exact, or how many proposals");
  }
  PartitionTask::Plan plan;
  plan.maximum = request.samples() > 0 ? request.samples() : options.partition_maximum;
  RETURN_IF_ERROR(CheckCount("samples", plan.maximum, 1, kMaxCount));
  RETURN_IF_ERROR(CheckIndexRange(request.first_index(), plan.maximum));
  ASSIGN_OR_RETURN(plan.resolved, registry.Resolve(QueryOf(request)));
  plan.seed = request.has_seed() ? request.seed() : RandomSeed();
  plan.first_index = request.first_index();
  plan.error = request.error();
  plan.minimum = options.partition_minimum;
  if (request.thermodynamics()) {
    ASSIGN_OR_RETURN(plan.derivatives, ActionDerivatives::Create(plan.resolved.target));
  }
  return std::make_shared<PartitionTask>(std::move(plan));
}

}  // namespace haarflow
