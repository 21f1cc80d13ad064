// From request messages to tasks: every check that needs no device. Cheap (microseconds): called from RPC reactions.
//
// Errors name the field, the value and the bound. INVALID_ARGUMENT: what no server could serve. NOT_FOUND,
// FAILED_PRECONDITION: as ModelRegistry::Resolve; a token of a foreign model digest is FAILED_PRECONDITION, one of an
// unknown model NOT_FOUND. DATA_LOSS: a damaged token.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "server/registry/registry.h"
#include "server/sampling/measure_task.h"
#include "server/sampling/partition_task.h"
#include "server/sampling/sample_task.h"

namespace haarflow {

constexpr uint64_t kMaxCount = 1'000'000'000'000;  // steps or proposals of one request
constexpr uint64_t kMaxBurnIn = 1'000'000'000;
constexpr uint64_t kMaxMeasuredValues =
    10'000'000;  // count x observables of one Measure request: they are kept until the end

struct RequestOptions {
  // One message; clients accept 4 MiB by default, columns and token come on top of the payload.
  int64_t max_chunk_bytes = 1 << 20;
  // Chain steps discarded when the request does not say. A chain starts at a draw of the flow, not of the target: a few
  // autocorrelation times of a model with acceptance above 0.2.
  uint64_t burn_in = 128;
  // First look at the error of log Z.
  uint64_t partition_minimum = 4096;
  // Upper bound of proposals when only an error is requested.
  uint64_t partition_maximum = uint64_t{1} << 32;
};

absl::StatusOr<std::shared_ptr<SampleTask>> MakeSampleTask(const ModelRegistry& registry,
                                                           const v1::SampleRequest& request,
                                                           const RequestOptions& options);
absl::StatusOr<std::shared_ptr<MeasureTask>> MakeMeasureTask(const ModelRegistry& registry,
                                                             const v1::MeasureRequest& request,
                                                             const RequestOptions& options);
absl::StatusOr<std::shared_ptr<PartitionTask>> MakePartitionTask(const ModelRegistry& registry,
                                                                 const v1::EstimatePartitionFunctionRequest& request,
                                                                 const RequestOptions& options);

// INVALID_ARGUMENT for a value that this server does not know.
absl::StatusOr<bool> IsBulk(v1::Priority priority);

// 64 bits from the operating system.
uint64_t RandomSeed();

}  // namespace haarflow
