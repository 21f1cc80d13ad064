#include "server/trainer/worker_link.h"

#include <chrono>

#include "client/endpoint.h"
#include "client/rpc.h"
#include "core/base/digest.h"
#include "core/base/status.h"
#include "server/jobs/file_chunk.h"

namespace haarflow {
namespace {

constexpr int kMaxMessageBytes = 4 << 20;
constexpr uint64_t kMaxFileBytes = uint64_t{4} << 30;
constexpr size_t kMaxFiles = 8;
constexpr double kCallSeconds = 15, kTransferSeconds = 900;

// Writes files until the server has had enough; what it says comes with Finish.
void WriteFiles(grpc::ClientWriter<v1::UploadRequest>* writer, const v1::Lease& lease, const WorkerLink::Files& files,
                const std::string& digest) {
  bool first = true;
  for (const auto& [name, bytes] : files) {
    for (uint64_t offset = 0; offset < bytes.size() || offset == 0; offset += kChunkBytes) {
      v1::UploadRequest request;
      if (std::exchange(first, false)) {
        *request.mutable_lease() = lease;
        request.set_digest(digest);
      }
      *request.mutable_chunk() = ChunkAt(name, bytes, offset);
      if (!writer->Write(request)) return;
    }
  }
  writer->WritesDone();
}

}  // namespace

absl::StatusOr<std::unique_ptr<WorkerLink>> WorkerLink::Connect(const std::string& address, ClientOptions options) {
  options.max_receive_bytes = kMaxMessageBytes;
  auto link = std::unique_ptr<WorkerLink>(new WorkerLink(address, std::move(options)));
  const absl::Status found = link->Way().status();
  if (!found.ok() && !(IsEndpointFile(address) && absl::IsUnavailable(found))) return found;
  return link;
}

absl::StatusOr<WorkerLink::Stub> WorkerLink::Way() {
  MutexLock lock(&mutex_);
  if (stub_ == nullptr) {
    ASSIGN_OR_RETURN(dialled_, ResolveAddress(address_));
    ASSIGN_OR_RETURN(const auto channel, MakeChannel(dialled_, options_));
    stub_ = v1::WorkerService::NewStub(channel);
  }
  return stub_;
}

absl::Status WorkerLink::Ended(const grpc::Status& status) {
  const bool unreached = status.error_code() == grpc::StatusCode::UNAVAILABLE ||
                         status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  if (unreached && IsEndpointFile(address_)) {
    const auto address = ResolveAddress(address_);
    MutexLock lock(&mutex_);
    if (address.ok() && *address != dialled_) stub_ = nullptr;  // calls that run keep their own
  }
  return ToAbsl(status, address_);
}

// Token and deadline of a call.
void WorkerLink::Begin(grpc::ClientContext* context, double seconds) const {
  ShowToken(options_.token, context);
  context->set_deadline(std::chrono::system_clock::now() +
                        std::chrono::milliseconds(static_cast<int64_t>(seconds * 1e3)));
}

absl::StatusOr<v1::LeaseJobResponse> WorkerLink::LeaseJob(const std::string& worker, double wait_seconds) {
  ASSIGN_OR_RETURN(const Stub way, Way());
  grpc::ClientContext context;
  Begin(&context, wait_seconds + kCallSeconds);
  v1::LeaseJobRequest request;
  request.set_worker(worker);
  request.set_wait_seconds(wait_seconds);
  v1::LeaseJobResponse response;
  RETURN_IF_ERROR(Ended(way->LeaseJob(&context, request, &response)));
  return response;
}

absl::StatusOr<v1::HeartbeatResponse> WorkerLink::Heartbeat(const v1::HeartbeatRequest& request) {
  ASSIGN_OR_RETURN(const Stub way, Way());
  grpc::ClientContext context;
  Begin(&context, kCallSeconds);
  v1::HeartbeatResponse response;
  RETURN_IF_ERROR(Ended(way->Heartbeat(&context, request, &response)));
  return response;
}

absl::StatusOr<std::map<std::string, std::string>> WorkerLink::FetchCheckpoint(const v1::Lease& lease) {
  ASSIGN_OR_RETURN(const Stub way, Way());
  grpc::ClientContext context;
  Begin(&context, kTransferSeconds);
  v1::FetchCheckpointRequest request;
  *request.mutable_lease() = lease;
  const auto reader = way->FetchCheckpoint(&context, request);
  std::map<std::string, std::string> files;
  std::map<std::string, uint64_t> totals;
  v1::FileChunk chunk;
  absl::Status bad;
  while (bad.ok() && reader->Read(&chunk)) {
    std::string& bytes = files[chunk.file()];
    const uint64_t total = totals.emplace(chunk.file(), chunk.total()).first->second;
    const bool good = files.size() <= kMaxFiles && total == chunk.total() && total <= kMaxFileBytes &&
                      chunk.offset() == bytes.size() && chunk.payload().size() <= total - bytes.size() &&
                      Crc32c(chunk.payload().data(), chunk.payload().size()) == chunk.crc32c();
    if (good) {
      bytes += chunk.payload();
    } else {
      bad = absl::DataLossError(absl::StrCat("the server's chunk of ", chunk.file().substr(0, 64), " at ",
                                             chunk.offset(), " does not fit or is damaged"));
      context.TryCancel();
    }
  }
  const grpc::Status status = reader->Finish();
  RETURN_IF_ERROR(bad);
  RETURN_IF_ERROR(Ended(status));
  for (const auto& [name, bytes] : files) {
    if (bytes.size() != totals[name])
      return absl::DataLossError(absl::StrCat("the server's file ", name, " is cut off"));
  }
  return files;
}

absl::Status WorkerLink::UploadState(const v1::Lease& lease, const std::string& bytes) {
  ASSIGN_OR_RETURN(const Stub way, Way());
  grpc::ClientContext context;
  Begin(&context, kTransferSeconds);
  v1::UploadResponse response;
  const auto writer = way->UploadState(&context, &response);
  WriteFiles(writer.get(), lease, {{"state", bytes}}, Sha256Of(bytes).Bytes());
  return Ended(writer->Finish());
}

absl::StatusOr<v1::UploadResponse> WorkerLink::PublishVersion(const v1::Lease& lease, const Files& files,
                                                              const std::string& digest) {
  ASSIGN_OR_RETURN(const Stub way, Way());
  grpc::ClientContext context;
  Begin(&context, kTransferSeconds);
  v1::UploadResponse response;
  const auto writer = way->PublishVersion(&context, &response);
  WriteFiles(writer.get(), lease, files, digest);
  RETURN_IF_ERROR(Ended(writer->Finish()));
  return response;
}

}  // namespace haarflow
