#include "server/sampling/sample_task.h"

#include <algorithm>
#include <utility>

#include "core/action/target.h"
#include "core/base/noise.h"
#include "core/base/status.h"
#include "server/sampling/batching.h"

namespace haarflow {
namespace {

// A model none of whose first proposals has a finite weight opens no chain: say so instead of drawing for ever.
constexpr uint64_t kMaxProposalsWithoutState = 1 << 16;
// HTTP/2 and gRPC keep a serialised copy of what is on the wire.
constexpr int64_t kTransportBytes = 64 << 10;

uint64_t DeliveredSteps(const Scan& scan) {
  const auto* chain = std::get_if<MetropolisChain>(&scan);
  return chain != nullptr ? chain->delivered_steps() : std::get<ReweightedScan>(scan).proposals();
}

bool NeedsField(const Scan& scan) {
  const auto* chain = std::get_if<MetropolisChain>(&scan);
  return chain != nullptr && chain->has_open_state();
}

}  // namespace

RowFormat SampleTask::FormatOf(const Plan& plan) {
  RowFormat format;
  format.field_size = plan.resolved.model->sampler->field_size();
  format.precision = plan.precision;
  format.omit_fields = plan.omit_fields;
  format.observables = plan.observables.has_value() ? static_cast<int>(plan.observables->size()) : 0;
  return format;
}

SampleTask::SampleTask(Plan plan)
    : StreamTask(plan.resolved),
      plan_(std::move(plan)),
      format_(FormatOf(plan_)),
      steps_before_(DeliveredSteps(plan_.scan)),
      stage_(NeedsField(plan_.scan) ? Stage::kRegenerate : Stage::kLook),
      scan_(plan_.scan),
      fresh_(format_, plan_.max_chunk_bytes),
      values_(format_.observables),
      ready_(format_, plan_.max_chunk_bytes),
      last_complete_(plan_.scan) {}

int64_t SampleTask::reservation_bytes() const {
  // One chunk on the wire and its serialised copy, one waiting; the open configuration.
  const uint64_t rows = std::min<uint64_t>(static_cast<uint64_t>(fresh_.capacity_rows()), plan_.count + 1);
  const int64_t waiting = static_cast<int64_t>(rows) * format_.row_bytes();
  const int64_t wire = std::min(waiting, plan_.max_chunk_bytes);
  return waiting + 2 * wire + format_.field_size * 8 + kTransportBytes;
}

bool SampleTask::finished() const { return cancelled() || stage_ == Stage::kDone; }

// Proposals that the count certainly still needs: each is at most one step.
uint64_t SampleTask::Remaining() const {
  const uint64_t end = steps_before_ + plan_.count;
  if (const auto* chain = std::get_if<MetropolisChain>(&scan_)) return end - chain->steps() + chain->burn_in_left();
  return end - std::get<ReweightedScan>(scan_).proposals();
}

Task::Want SampleTask::Demand() {
  if (finished()) return {};
  if (draining() && stage_ == Stage::kRegenerate) End(/*complete=*/false);
  if (stage_ == Stage::kLook && (draining() || Remaining() == 0)) stage_ = Stage::kFlush;
  if (stage_ == Stage::kFlush) Flush();
  if (stage_ == Stage::kRegenerate) return {Seed(scan_), std::get<MetropolisChain>(scan_).open_index(), 1};
  if (stage_ != Stage::kLook) return {};
  const uint64_t index_room = kMaxSampleIndex + 1 - NextIndex(scan_);
  if (index_room == 0) {
    Fail(absl::OutOfRangeError(
        "the sample indices of this seed, 0 to 2^56 - 1, are used up; continue with another seed"));
    return {};
  }
  int64_t room = 0;
  {
    MutexLock lock(&mutex_);
    room = ready_.room();
    if (room < std::min(kTile, ready_.capacity_rows())) {  // less than a tile is not worth a batch
      if (!stalled_since_.has_value()) stalled_since_ = std::chrono::steady_clock::now();
      return {};
    }
  }
  const uint64_t n = std::min({static_cast<uint64_t>(room), Remaining(), index_room});
  return {Seed(scan_), NextIndex(scan_), static_cast<int64_t>(n)};
}

void SampleTask::Consume(const Proposals& proposals, int64_t offset, int64_t n) {
  if (finished()) return;
  if (stage_ == Stage::kRegenerate) {
    KeepOpen(proposals, offset);
    stage_ = Stage::kLook;
    return;
  }
  for (int64_t i = offset; i < offset + n && stage_ == Stage::kLook; ++i) Look(proposals, i);
  Commit();
  if (stage_ == Stage::kLook && Remaining() == 0) stage_ = Stage::kFlush;
  if (stage_ == Stage::kFlush) Flush();
  observer().OnProgress(model(), std::exchange(counts_, {}));
}

void SampleTask::Look(const Proposals& proposals, int64_t i) {
  ++counts_.proposals;
  if (auto* chain = std::get_if<MetropolisChain>(&scan_)) {
    ++counts_.chain_proposals;
    LookMetropolis(chain, proposals, i);
    return;
  }
  auto& reweighted = std::get<ReweightedScan>(scan_);
  const uint64_t index = reweighted.next_index();
  const double log_weight = proposals.LogWeight(i);
  if (!reweighted.Look(log_weight, OddSign(proposals.Field(i)))) return;
  AppendRow({.index = index,
             .log_weight = log_weight,
             .log_q = proposals.log_q[i],
             .action = proposals.action[i],
             .field = proposals.Field(i)});
}

void SampleTask::LookMetropolis(MetropolisChain* chain, const Proposals& proposals, int64_t i) {
  const MetropolisChain::Event event = chain->Look(proposals.LogWeight(i), OddSign(proposals.Field(i)));
  if (event.closed.has_value()) AppendClosed(*event.closed);
  if (event.accepted) {
    ++counts_.accepted;
    KeepOpen(proposals, i);
  }
  if (!chain->has_open_state() && ++looked_ >= kMaxProposalsWithoutState) {
    Fail(absl::FailedPreconditionError(absl::StrCat("none of ", looked_, " proposals of model ", model().name(),
                                                    " has a finite weight: no chain can start")));
  }
}

void SampleTask::KeepOpen(const Proposals& proposals, int64_t i) {
  open_.field.assign(proposals.Field(i), proposals.Field(i) + format_.field_size);
  open_.log_q = proposals.log_q[i];
  open_.action = proposals.action[i];
}

void SampleTask::AppendClosed(const MetropolisChain::Closed& closed) {
  AppendRow({.index = closed.index,
             .multiplicity = closed.multiplicity,
             .log_weight = closed.log_weight,
             .log_q = open_.log_q,
             .action = open_.action,
             .field = open_.field.data()});
}

void SampleTask::AppendRow(Row row) {
  if (plan_.observables.has_value()) {
    plan_.observables->Evaluate(row.field, values_.data());
    row.observables = values_;
  }
  fresh_.Append(row);
  fresh_.SetAfter(scan_);
  ++counts_.configurations;
}

void SampleTask::Commit() {
  if (fresh_.empty()) return;
  {
    MutexLock lock(&mutex_);
    ready_.Absorb(&fresh_);
  }
  WakeReader();
}

// Delivers the open state, when there is room for it, and ends.
void SampleTask::Flush() {
  auto* chain = std::get_if<MetropolisChain>(&scan_);
  if (chain != nullptr && chain->open_multiplicity() > 0) {
    {
      MutexLock lock(&mutex_);
      if (ready_.room() < 1) return;
    }
    const auto closed = chain->Flush();
    if (closed.has_value()) AppendClosed(*closed);
    Commit();
  }
  End(/*complete=*/DeliveredSteps(scan_) - steps_before_ >= plan_.count);
}

void SampleTask::End(bool complete) {
  stage_ = Stage::kDone;
  auto response = std::make_unique<v1::SampleResponse>();
  v1::SampleSummary& summary = *response->mutable_summary();
  *summary.mutable_statistics() = StatisticsAt(scan_);
  summary.set_resume_token(Token(scan_));
  summary.set_complete(complete);
  {
    MutexLock lock(&mutex_);
    summary_ = std::move(response);
    end_ = complete ? absl::OkStatus() : absl::UnavailableError(WhyDraining() + "; resume with the last token");
  }
  WakeReader();
}

void SampleTask::Fail(const absl::Status& status) {
  stage_ = Stage::kDone;
  {
    MutexLock lock(&mutex_);
    if (!end_.has_value()) end_ = status;
  }
  WakeReader();
}

Polled SampleTask::Poll(std::unique_ptr<v1::SampleResponse>* message, absl::Status* end) {
  if (cancelled()) {
    *end = absl::CancelledError("the stream was cancelled");
    return Polled::kEnd;
  }
  std::optional<double> stall_seconds;
  {
    MutexLock lock(&mutex_);
    if (!header_sent_) {
      header_sent_ = true;
      *message = std::make_unique<v1::SampleResponse>();
      *(*message)->mutable_header() = Header();
      return Polled::kMessage;
    }
    if (ready_.empty()) {
      if (summary_ != nullptr) {
        *message = std::move(summary_);
        return Polled::kMessage;
      }
      if (end_.has_value()) {
        *end = *end_;
        return Polled::kEnd;
      }
      ReaderWaits();
      return Polled::kPending;
    }
    *message = std::make_unique<v1::SampleResponse>();
    v1::SampleChunk& chunk = *(*message)->mutable_chunk();
    if (const Scan* after = ready_.Take(&chunk)) last_complete_ = *after;
    chunk.set_resume_token(Token(last_complete_));
    *chunk.mutable_statistics() = StatisticsAt(last_complete_);
    if (stalled_since_.has_value()) {
      stall_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - *stalled_since_).count();
      stalled_since_.reset();
    }
  }
  if (stall_seconds.has_value()) observer().OnStall(*stall_seconds);
  WakeWorker();  // there is room again
  return Polled::kMessage;
}

v1::ChainStatistics SampleTask::StatisticsAt(const Scan& scan) const {
  v1::ChainStatistics statistics = Statistics(scan);
  AddReservations(statistics.mutable_quality());
  return statistics;
}

std::string SampleTask::Token(const Scan& scan) const {
  v1::ChainToken token;
  std::visit([&token](const auto& s) { s.Save(&token); }, scan);
  token.set_model(model().name());
  token.set_model_digest(model().digest().Bytes());
  token.set_target_digest(target_digest().Bytes());
  *token.mutable_target() = target();
  token.set_mode(ModeOf(scan));
  return SerializeToken(token);
}

v1::SampleHeader SampleTask::Header() const {
  v1::SampleHeader header = StreamHeader(plan_.resolved, plan_.scan, plan_.count);
  header.set_precision(plan_.precision);
  for (const int64_t extent : FieldShape(target())) header.add_shape(static_cast<uint64_t>(extent));
  header.set_configuration_bytes(static_cast<uint64_t>(format_.field_bytes()));
  if (plan_.observables.has_value()) {
    for (const std::string& name : plan_.observables->names()) header.add_observables(name);
  }
  return header;
}

v1::SampleHeader StreamHeader(const ResolvedModel& resolved, const Scan& scan, uint64_t count) {
  v1::SampleHeader header;
  const ServedModel& model = *resolved.model;
  header.set_model(model.name());
  header.set_version(model.manifest.version);
  header.set_model_digest(model.digest().Bytes());
  *header.mutable_target() = resolved.target;
  header.set_target_digest(resolved.target_digest.Bytes());
  header.set_numerics_class(model.sampler->numerics_class());
  header.set_mode(ModeOf(scan));
  header.set_seed(Seed(scan));
  header.set_next_index(NextIndex(scan));
  if (const auto* chain = std::get_if<MetropolisChain>(&scan)) header.set_burn_in(chain->burn_in_left());
  header.set_count(count);
  header.set_convention(FieldConvention(resolved.target));
  return header;
}

}  // namespace haarflow
