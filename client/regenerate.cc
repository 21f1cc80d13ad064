#include "client/regenerate.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/base/status.h"
#include "core/kernel/kernels.h"
#include "core/model/store.h"
#include "core/observable/observable.h"

namespace haarflow {
namespace {

constexpr uint64_t kBatchBytes = 64 << 20;
constexpr uint64_t kMaxBatch = 64;

std::vector<std::string> ObservableNames(const v1::SampleHeader& header) {
  return {header.observables().begin(), header.observables().end()};
}

class StoreProposals final : public ProposalSource {
 public:
  StoreProposals(std::shared_ptr<const Model> model, ObservableSet observables, const v1::SampleHeader& header,
                 const std::stop_token& stop)
      : model_(std::move(model)),
        observables_(std::move(observables)),
        header_(header),
        stop_(stop),
        numerics_class_(model_->numerics_class()) {}

  absl::Status Draw(uint64_t first, uint64_t count, const RowVisitor& visit) override {
    const uint64_t batch = std::clamp<uint64_t>(kBatchBytes / header_.configuration_bytes(), 1, kMaxBatch);
    for (uint64_t done = 0; done < count; done += batch) {
      if (stop_.stop_requested()) return absl::CancelledError("interrupted");
      RETURN_IF_ERROR(DrawBatch(first + done, std::min(batch, count - done), visit));
    }
    return absl::OkStatus();
  }
  const std::string& numerics_class() const override { return numerics_class_; }

 private:
  absl::Status DrawBatch(uint64_t first, uint64_t count, const RowVisitor& visit) {
    const std::vector<uint64_t> seeds(count, header_.seed());
    std::vector<uint64_t> indices(count);
    for (uint64_t i = 0; i < count; ++i) indices[i] = first + i;
    RETURN_IF_ERROR(model_->Draw(header_.target(), seeds, indices, &proposals_));
    std::vector<double> values(observables_.size());
    for (int64_t i = 0; i < proposals_.n; ++i) {
      const std::string field = FieldBytes(proposals_.Field(i), proposals_.field_size, header_);
      observables_.Evaluate(proposals_.Field(i), values.data());
      SampleRow row;
      row.index = indices[i];
      row.log_weight = proposals_.LogWeight(i);
      row.log_q = proposals_.log_q[i];
      row.action = proposals_.action[i];
      row.observables = values;
      row.field = field;
      RETURN_IF_ERROR(visit(row));
    }
    return absl::OkStatus();
  }

  const std::shared_ptr<const Model> model_;
  const ObservableSet observables_;
  const v1::SampleHeader header_;
  const std::stop_token stop_;
  const std::string numerics_class_;
  Proposals proposals_;
};

class ServerProposals final : public ProposalSource {
 public:
  ServerProposals(const Client& client, const v1::SampleHeader& header, const std::stop_token& stop)
      : client_(client), header_(header), stop_(stop) {}

  absl::Status Draw(uint64_t first, uint64_t count, const RowVisitor& visit) override {
    v1::SampleRequest request;
    request.set_model(header_.model());
    request.set_model_digest(header_.model_digest());
    *request.mutable_target() = header_.target();
    request.set_mode(v1::SAMPLE_MODE_REWEIGHTED);
    request.set_count(count);
    request.set_seed(header_.seed());
    request.set_first_index(first);
    *request.mutable_observables() = header_.observables();
    request.set_precision(header_.precision());
    SampleAssembler assembler(/*keep_fields=*/true);
    StreamOptions stream;
    stream.stop = stop_;
    absl::Status local;
    const absl::Status status = client_.Sample(request, stream, [&](const v1::SampleResponse& message) {
      local = assembler.Add(message, visit);
      if (local.ok() && message.has_header()) local = CheckHeader(message.header());
      return local.ok();
    });
    return local.ok() ? status : local;
  }
  const std::string& numerics_class() const override { return numerics_class_; }

 private:
  absl::Status CheckHeader(const v1::SampleHeader& header) {
    if (header.model_digest() != header_.model_digest() || header.target_digest() != header_.target_digest()) {
      return absl::DataLossError("the server draws from another model or for another target than it was asked for");
    }
    numerics_class_ = header.numerics_class();
    return absl::OkStatus();
  }

  const Client& client_;
  const v1::SampleHeader header_;
  const std::stop_token stop_;
  std::string numerics_class_;
};

// The version of the header's model whose digest the header says.
absl::StatusOr<StoredModel> FindModel(const std::string& directory, const v1::SampleHeader& header) {
  ASSIGN_OR_RETURN(const ModelStore store, ModelStore::Open(directory));
  ASSIGN_OR_RETURN(const Digest wanted, Digest::FromBytes(header.model_digest()));
  ASSIGN_OR_RETURN(const ModelIndex index, store.ReadIndex(header.model()));
  std::string there;
  for (const auto& [version, digest] : index.versions) {
    if (digest == wanted) return store.Load(header.model(), version);
    absl::StrAppend(&there, there.empty() ? "" : ", ", digest.ShortHex(), " (version ", version, ")");
  }
  return absl::DataLossError(absl::StrCat("the file names ", header.model(), " with the model digest ",
                                          wanted.ShortHex(), "; ", directory, " has ", there,
                                          ": the digest was altered, or this is another store"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ProposalSource>> ProposalsFromStore(const std::string& store,
                                                                   const v1::SampleHeader& header,
                                                                   const std::stop_token& stop) {
  ASSIGN_OR_RETURN(const StoredModel stored, FindModel(store, header));
  ASSIGN_OR_RETURN(auto model, Model::Create(stored.spec, stored.weights, CpuKernels(), 0));
  if (!SameFields(model->target(), header.target())) {
    return absl::DataLossError(absl::StrCat("the file is of ", DescribeTarget(header.target()), ", its model draws ",
                                            DescribeTarget(model->target()), ": the target was altered"));
  }
  ASSIGN_OR_RETURN(auto observables, ObservableSet::Create(header.target(), ObservableNames(header)));
  return std::make_unique<StoreProposals>(std::move(model), std::move(observables), header, stop);
}

std::unique_ptr<ProposalSource> ProposalsFromServer(const Client& client, const v1::SampleHeader& header,
                                                    const std::stop_token& stop) {
  return std::make_unique<ServerProposals>(client, header, stop);
}

absl::StatusOr<std::shared_ptr<const Model>> LoadModel(const std::string& store, const std::string& reference) {
  ASSIGN_OR_RETURN(const ModelStore opened, ModelStore::Open(store));
  ASSIGN_OR_RETURN(const StoredModel stored, opened.LoadByReference(reference));
  return Model::Create(stored.spec, stored.weights, CpuKernels(), 0);
}

}  // namespace haarflow
