#include "server/rpc/upload_reactor.h"

#include "core/base/failpoint.h"
#include "core/base/status.h"

namespace haarflow {

UploadReactor::UploadReactor(RpcCall call, JobService* jobs, const absl::Status& refused, std::vector<UploadFile> files,
                             v1::UploadResponse* response, Commit commit)
    : call_(std::move(call)), jobs_(jobs), response_(response), commit_(std::move(commit)) {
  call_.state().Began();
  if (!refused.ok()) {
    End(refused);
    return;
  }
  files_ = std::make_unique<UploadAssembler>(std::move(files), &jobs_->upload_budget());
  StartRead(&message_);
}

void UploadReactor::OnReadDone(bool ok) {
  const LogScope scope(call_.log_fields());
  const bool taken = jobs_->Post([this, ok] {
    if (ok) {
      const absl::Status status = Handled([this] { return Take(); });
      status.ok() ? StartRead(&message_) : End(status);
      return;
    }
    const absl::Status status = Handled([this]() -> absl::Status {
      if (first_) return absl::InvalidArgumentError("the upload has no message");
      ASSIGN_OR_RETURN(std::vector<std::string> files, files_->Finish());
      ASSIGN_OR_RETURN(*response_, commit_(lease_, digest_, std::move(files)));
      return absl::OkStatus();
    });
    End(status);
  });
  if (!taken) End(absl::UnavailableError("the server stops"));
}

absl::Status UploadReactor::Take() {
  if (std::exchange(first_, false)) {
    lease_ = message_.lease();
    digest_ = message_.digest();
    // Before anything is kept for who does not hold the job. Publication answers those that ask again.
    RETURN_IF_ERROR(jobs_->CheckUploader(lease_));
  } else if (message_.has_lease() || !message_.digest().empty()) {
    return absl::InvalidArgumentError("lease and digest belong to the first message of an upload alone");
  }
  Failpoint("uploading");
  if (!message_.has_chunk()) return absl::InvalidArgumentError("a message of the upload has no chunk");
  return files_->Add(message_.chunk());
}

void UploadReactor::End(const absl::Status& status) { Finish(call_.End(status)); }

void UploadReactor::OnDone() {
  call_.Count();
  RpcState& state = call_.state();
  delete this;
  state.Ended();
}

}  // namespace haarflow
