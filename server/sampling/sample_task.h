// One Sample stream: a scan over proposals, its configurations as chunks, each with the token that continues after it.
//
// Messages: header, chunks, summary. The open state's field is kept until it closes; after a resume it is drawn again
// from its name, while its log-weight comes from the token. A chunk leaves as soon as the reader asks and there is a
// configuration; while the reader is busy the next one fills up, and when it is full the task demands nothing.
//
// Thread-safety and ownership: see Task and StreamTask.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/observable/observable.h"
#include "server/sampling/chunk_buffer.h"
#include "server/sampling/scan.h"
#include "server/sampling/stream_task.h"

namespace haarflow {

// What every stream says first; the fields that describe payloads are empty.
v1::SampleHeader StreamHeader(const ResolvedModel& resolved, const Scan& scan, uint64_t count);

class SampleTask final : public StreamTask<v1::SampleResponse> {
 public:
  // A checked request (request.h).
  struct Plan {
    ResolvedModel resolved;
    Scan scan;           // where the stream begins
    uint64_t count = 0;  // METROPOLIS: steps; REWEIGHTED: proposals
    v1::FieldPrecision precision = v1::FIELD_PRECISION_FLOAT64;
    bool omit_fields = false;
    std::optional<ObservableSet> observables;
    int64_t max_chunk_bytes = 1 << 20;
  };
  explicit SampleTask(Plan plan);

  Want Demand() override;
  void Consume(const Proposals& proposals, int64_t offset, int64_t n) override;
  void Fail(const absl::Status& status) override;
  bool finished() const override;
  int64_t reservation_bytes() const override;
  int64_t sample_count() const override { return static_cast<int64_t>(plan_.count); }
  Polled Poll(std::unique_ptr<v1::SampleResponse>* message, absl::Status* end) override;

 private:
  enum class Stage { kRegenerate, kLook, kFlush, kDone };
  // What belongs to the open state, besides what the chain knows.
  struct OpenState {
    std::vector<double> field;
    double log_q = 0;
    double action = 0;
  };

  static RowFormat FormatOf(const Plan& plan);
  v1::SampleHeader Header() const;
  v1::ChainStatistics StatisticsAt(const Scan& scan) const;
  std::string Token(const Scan& scan) const;
  uint64_t Remaining() const;
  void Look(const Proposals& proposals, int64_t i);
  void LookMetropolis(MetropolisChain* chain, const Proposals& proposals, int64_t i);
  void KeepOpen(const Proposals& proposals, int64_t i);
  void AppendClosed(const MetropolisChain::Closed& closed);
  void AppendRow(Row row);
  void Commit();
  void Flush();
  void End(bool complete);

  const Plan plan_;
  const RowFormat format_;
  const uint64_t steps_before_;  // delivered by earlier parts of the chain

  // The worker's own.
  Stage stage_;
  Scan scan_;
  OpenState open_;
  ChunkBuffer fresh_;
  std::vector<double> values_;
  SamplingObserver::Counts counts_;
  uint64_t looked_ = 0;

  // Shared with the reader (mutex_).
  ChunkBuffer ready_ ABSL_GUARDED_BY(mutex_);
  Scan last_complete_ ABSL_GUARDED_BY(mutex_);  // after the last configuration delivered
  bool header_sent_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<v1::SampleResponse> summary_ ABSL_GUARDED_BY(mutex_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mutex_);
  std::optional<std::chrono::steady_clock::time_point> stalled_since_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace haarflow
