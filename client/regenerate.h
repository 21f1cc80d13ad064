// Proposals by their names, drawn again: from a store in this process, or by a server.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "core/io/sample_rows.h"
#include "core/model/model.h"

namespace haarflow {

class ProposalSource {
 public:
  virtual ~ProposalSource() = default;
  // Proposals `first`, `first` + 1, ... of the run's model, target and seed, in order, with fields and observables as
  // the run's header has them. A server leaves out those whose weight is NaN or infinite.
  virtual absl::Status Draw(uint64_t first, uint64_t count, const RowVisitor& visit) = 0;
  // Known after the first Draw.
  virtual const std::string& numerics_class() const = 0;
};

// NOT_FOUND or DATA_LOSS when `store` has no version with the header's model digest: names what it has instead.
absl::StatusOr<std::unique_ptr<ProposalSource>> ProposalsFromStore(const std::string& store,
                                                                   const v1::SampleHeader& header,
                                                                   const std::stop_token& stop);
// `client` must outlive it.
std::unique_ptr<ProposalSource> ProposalsFromServer(const Client& client, const v1::SampleHeader& header,
                                                    const std::stop_token& stop);

// "NAME" (the champion) or "NAME/VERSION", on this machine's CPU.
absl::StatusOr<std::shared_ptr<const Model>> LoadModel(const std::string& store, const std::string& reference);

}  // namespace haarflow
