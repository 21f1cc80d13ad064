#include "client/sample_stream.h"

#include <algorithm>

#include "client/rpc.h"
#include "core/base/status.h"

namespace haarflow {

SampleStream::SampleStream(Connect connect, std::string address, std::string token, const v1::SampleRequest& request,
                           const StreamOptions& options)
    : connect_(std::move(connect)),
      address_(std::move(address)),
      token_(std::move(token)),
      request_(request),
      options_(options) {}

v1::SampleRequest SampleStream::RequestForTheRest() const {
  v1::SampleRequest rest = request_;
  if (!received_.has_header()) return rest;
  if (received_.resume_token().empty()) {
    // Nothing was drawn yet; the chain has its name already.
    if (!rest.resume_token().empty()) return rest;
    rest.set_model_digest(received_.header().model_digest());
    rest.set_seed(received_.header().seed());
    return rest;
  }
  rest.clear_model();
  rest.clear_model_digest();
  rest.clear_target();
  rest.clear_mode();
  rest.clear_seed();
  rest.clear_first_index();
  rest.clear_burn_in();
  rest.set_resume_token(received_.resume_token());
  rest.set_count(StepsLeft());
  return rest;
}

absl::Status SampleStream::Deliver(const v1::SampleResponse& message, const Client::SampleCallback& callback) {
  RETURN_IF_ERROR(received_.Add(message));
  if (received_.steps() > request_.count()) {
    return absl::DataLossError(
        absl::StrCat("the server sent ", received_.steps(), " steps, ", request_.count(), " were asked for"));
  }
  if (message.has_summary() && !message.summary().complete()) return absl::OkStatus();
  if (!callback(message)) {
    stopped_by_callback_ = true;
    return absl::CancelledError("stopped by the caller");
  }
  return absl::OkStatus();
}

absl::StatusOr<SampleStream::Next> SampleStream::Attempt(const Client::SampleCallback& callback) {
  come_back_.reset();
  ASSIGN_OR_RETURN(const auto stub, connect_());
  grpc::ClientContext context;
  ShowCaller(token_, &context);
  const StopGuard guard(options_.stop, &context);
  const auto reader = stub->Sample(&context, RequestForTheRest());
  v1::SampleResponse message;
  absl::Status delivered;
  while (delivered.ok() && reader->Read(&message)) {
    delivered = Deliver(message, callback);
  }
  if (!delivered.ok()) {
    context.TryCancel();
    while (reader->Read(&message)) {
    }
    reader->Finish().IgnoreError();
    return delivered;
  }
  const grpc::Status status = reader->Finish();
  if (options_.stop.stop_requested()) return absl::CancelledError("stopped by the caller");
  if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) come_back_ = RetryHint(context);
  RETURN_IF_ERROR(ToAbsl(status, address_));
  if (!received_.complete()) return Next::kAgain;
  if (received_.steps() < request_.count()) {
    return absl::DataLossError(
        absl::StrCat("the server said it was complete after ", received_.steps(), " of ", request_.count(), " steps"));
  }
  return Next::kDone;
}

absl::Status SampleStream::FinishWithoutSummary(const Client::SampleCallback& callback) {
  v1::SampleResponse message;
  v1::SampleSummary* summary = message.mutable_summary();
  *summary->mutable_statistics() = received_.statistics();
  summary->set_resume_token(received_.resume_token());
  summary->set_complete(true);
  return callback(message) ? absl::OkStatus() : absl::CancelledError("stopped by the caller");
}

absl::Status SampleStream::Run(const Client::SampleCallback& callback) {
  using Clock = std::chrono::steady_clock;
  auto backoff = options_.first_backoff;
  auto give_up = Clock::now() + options_.resume_for;
  for (;;) {
    const uint64_t steps_before = received_.steps();
    const auto next = Attempt(callback);
    if (next.ok() && *next == Next::kDone) return absl::OkStatus();
    absl::Status reason = next.status();
    if (next.ok()) reason = absl::UnavailableError(absl::StrCat("the server at ", address_, " ended the stream early"));
    const bool broken = absl::IsUnavailable(reason) && received_.has_header();
    if (!options_.resume || !(broken || come_back_.has_value())) return reason;
    // Everything came but the summary.
    if (received_.steps() == request_.count() && received_.steps() > 0) return FinishWithoutSummary(callback);
    if (received_.steps() > steps_before) {
      backoff = options_.first_backoff;
      give_up = Clock::now() + options_.resume_for;
    }
    if (Clock::now() >= give_up) {
      return Annotate(reason,
                      absl::StrCat("gave up after ", options_.resume_for.count() / 1000, " s without progress"));
    }
    if (options_.on_resume) options_.on_resume(reason);
    if (!WaitUnlessStopped(options_.stop, come_back_.value_or(backoff))) {
      return absl::CancelledError("stopped by the caller");
    }
    backoff = std::min(backoff * 2, options_.max_backoff);
  }
}

}  // namespace haarflow
