// JobService's files: what trainers fetch, the states they upload, the versions they publish.
#include <filesystem>
#include <utility>

#include "core/base/digest.h"
#include "core/base/failpoint.h"
#include "core/base/file.h"
#include "core/base/status.h"
#include "core/model/spec.h"
#include "server/jobs/job_service.h"
#include "server/log/log.h"

namespace haarflow {

namespace fs = std::filesystem;

std::string JobService::StateFile(const std::string& job_id, const std::string& digest) const {
  const auto parsed = Digest::FromBytes(digest);
  return absl::StrCat(options_.directory, "/states/", job_id, ".", parsed.ok() ? parsed->Hex() : "none");
}

void JobService::RemoveStates(const std::string& job_id, const std::string& keep) const {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(options_.directory + "/states", error)) {
    const std::string name = entry.path().filename().string();
    if (name.compare(0, job_id.size() + 1, job_id + ".") == 0 && entry.path().string() != keep) {
      fs::remove(entry.path(), error);
    }
  }
}

absl::StatusOr<std::vector<NamedFile>> JobService::Checkpoint(const v1::Lease& lease) {
  ASSIGN_OR_RETURN(const JobRecord job, queue_->Check(lease));
  ASSIGN_OR_RETURN(StoredModel start, store_.Load(job.start_model, job.start_version));
  std::vector<NamedFile> files;
  files.push_back({kSpecFile, std::move(start.spec_text)});
  files.push_back({kWeightsFile, WriteSafetensors(start.weights, {})});
  if (job.state_digest.empty()) return files;
  absl::StatusOr<std::string> state = ReadFile(StateFile(job.id, job.state_digest), options_.max_state_bytes);
  if (state.ok() && Sha256Of(*state).Bytes() == job.state_digest) {
    files.push_back({"state", *std::move(state)});
  } else {
    // Training from the start again is better than not at all.
    Log(LogLevel::kError, "the state of a job is lost or damaged", {{"job", job.id}});
  }
  return files;
}

absl::Status JobService::CheckUploader(const v1::Lease& lease) {
  ASSIGN_OR_RETURN(const std::optional<JobRecord> published, queue_->Published(lease));
  return published.has_value() ? absl::OkStatus() : queue_->Check(lease).status();
}

absl::StatusOr<v1::UploadResponse> JobService::StoreState(const v1::Lease& lease, const std::string& digest,
                                                          const std::string& bytes) {
  const Digest actual = Sha256Of(bytes);
  if (actual.Bytes() != digest) {
    return absl::DataLossError(
        absl::StrCat("the uploaded state has the SHA-256 ", actual.ShortHex(), ", not the one it was announced with"));
  }
  MutexLock lock(&states_mutex_);
  RETURN_IF_ERROR(queue_->Check(lease).status());  // before a file is written for somebody who has lost the job
  const std::string file = StateFile(lease.job_id(), digest);
  RETURN_IF_ERROR(WriteFileAtomically(file, bytes));
  Failpoint("state written");
  absl::StatusOr<JobRecord> job = queue_->RecordState(lease, digest);
  Failpoint("state recorded");
  if (!job.ok()) {
    const absl::StatusOr<v1::Job> ended = queue_->Get(lease.job_id(), false);
    if (ended.ok() && IsTerminal(ended->state())) RemoveStates(lease.job_id(), "");
    return job.status();
  }
  RemoveStates(lease.job_id(), file);
  v1::UploadResponse response;
  response.set_digest(digest);
  return response;
}

absl::StatusOr<PublishedVersion> JobService::PublishVerified(const JobRecord& job, const UploadedVersion& uploaded) {
  ASSIGN_OR_RETURN(const StoredModel start, store_.Load(job.start_model, job.start_version));
  ASSIGN_OR_RETURN(const VerifiedVersion version, VerifyVersion(job, start.spec, uploaded));
  Failpoint("publishing");
  return PublishVersion(store_, job, version);
}

absl::StatusOr<v1::UploadResponse> JobService::Publish(const v1::Lease& lease, const UploadedVersion& uploaded) {
  MutexLock lock(&publish_mutex_);
  v1::UploadResponse response;
  // Asked again, because the answer was lost.
  ASSIGN_OR_RETURN(const std::optional<JobRecord> before, queue_->Published(lease));
  if (before.has_value()) {
    response.set_digest(before->published_digest);
    response.set_version(before->published_version);
    response.set_promoted(before->promoted);
    return response;
  }
  ASSIGN_OR_RETURN(const JobRecord job, queue_->BeginPublication(lease));
  const absl::StatusOr<PublishedVersion> published = PublishVerified(job, uploaded);
  if (!published.ok()) {
    RETURN_IF_ERROR(queue_->AbandonPublication(lease, std::string(published.status().message())));
    return published.status();
  }
  const Manifest& manifest = published->manifest;
  JobQueue::Publication publication{.version = manifest.version, .digest = manifest.digest.Bytes()};
  publication.promoted = published->verdict.promote;
  publication.ess = manifest.card.quality().ess();
  publication.ess_error = manifest.card.quality().ess_error();
  if (!publication.promoted) publication.error = published->verdict.reason;
  // Who hears that the job has succeeded finds the model served.
  if (options_.on_published != nullptr) options_.on_published(manifest.model, manifest.version, publication.promoted);
  RETURN_IF_ERROR(queue_->EndPublication(lease, publication).status());
  Failpoint("recorded");
  Log(LogLevel::kInfo, "version published",
      {{"job", job.id},
       {"model", manifest.model},
       {"version", absl::StrCat(manifest.version)},
       {"champion", publication.promoted ? "yes" : publication.error}});
  response.set_digest(publication.digest);
  response.set_version(publication.version);
  response.set_promoted(publication.promoted);
  return response;
}

}  // namespace haarflow
