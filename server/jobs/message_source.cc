#include "server/jobs/message_source.h"

#include "server/jobs/file_chunk.h"
#include "server/jobs/job_state.h"

namespace haarflow {

void JobWatch::Push(const JobSnapshot& snapshot) {
  Update([&] {
    if (snapshot.order <= order_) return;
    order_ = snapshot.order;
    latest_ = snapshot.job;
  });
  if (IsTerminal(snapshot.job.state())) End(absl::OkStatus());
}

bool JobWatch::Next(std::unique_ptr<v1::Job>* message) {
  if (!latest_.has_value()) return false;
  *message = std::make_unique<v1::Job>(*std::exchange(latest_, std::nullopt));
  return true;
}

void FileSource::SetFiles(std::vector<NamedFile> files) {
  Update([&] { files_ = std::move(files); });
  End(absl::OkStatus());
}

bool FileSource::Next(std::unique_ptr<v1::FileChunk>* message) {
  if (file_ == files_.size()) return false;
  NamedFile& file = files_[file_];
  *message = std::make_unique<v1::FileChunk>(ChunkAt(file.name, file.bytes, offset_));
  offset_ += (*message)->payload().size();
  if (offset_ == file.bytes.size()) {
    file.bytes = std::string();
    ++file_;
    offset_ = 0;
  }
  return true;
}

}  // namespace haarflow
