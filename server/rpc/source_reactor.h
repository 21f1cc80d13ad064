// Carries the messages of a MessageSource to a client.
//
// Lifetime and thread-safety: PullReactor's.
#pragma once

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "server/jobs/message_source.h"
#include "server/rpc/pull_reactor.h"

namespace haarflow {

template <class Response, class Source>
class SourceReactor final : public PullReactor<Response, Source> {
 public:
  // `source` or the reason to refuse. `start(source)` sets it going, once it may notify.
  template <class Start>
  SourceReactor(RpcCall call, const absl::StatusOr<std::shared_ptr<Source>>& source, const Start& start)
      : PullReactor<Response, Source>(std::move(call)) {
    absl::Status status = source.status();
    if (status.ok()) {
      this->SetSource(*source);
      status = start(*source);
    }
    MutexLock lock(&this->link_->mutex);
    this->link_->reactor = this;
    status.ok() ? this->Pump() : this->FinishOnce(status);
  }
};

}  // namespace haarflow
