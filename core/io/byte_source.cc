#include "core/io/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/base/file.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

absl::Status CheckInside(uint64_t offset, uint64_t bytes, uint64_t size) {
  if (bytes <= size && offset <= size - bytes) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("bytes ", offset, " to ", offset, " + ", bytes, " are wanted of ", size,
                                          ": the file was cut, or says wrong lengths"));
}

}  // namespace

absl::StatusOr<std::string> ByteSource::Text(uint64_t offset, uint64_t bytes, uint64_t max_bytes) const {
  if (bytes > max_bytes) {
    return absl::DataLossError(absl::StrCat("a text of ", bytes, " bytes; at most ", max_bytes, " are read"));
  }
  RETURN_IF_ERROR(CheckInside(offset, bytes, size()));  // before the allocation
  std::string text(bytes, '\0');
  RETURN_IF_ERROR(Read(offset, bytes, text.data()));
  return text;
}

absl::StatusOr<std::unique_ptr<FileSource>> FileSource::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("opening ", path));
  struct stat info {};
  const int failed = ::fstat(fd, &info) != 0 ? errno : 0;
  std::unique_ptr<FileSource> source(new FileSource(fd, failed != 0 ? 0 : static_cast<uint64_t>(info.st_size)));
  if (failed != 0) return ErrnoStatus(failed, absl::StrCat("stat of ", path));
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
  return source;
}

FileSource::~FileSource() { ::close(fd_); }

absl::Status FileSource::Read(uint64_t offset, uint64_t bytes, char* out) const {
  RETURN_IF_ERROR(CheckInside(offset, bytes, size_));
  uint64_t done = 0;
  while (done < bytes) {
    const ssize_t n = ::pread(fd_, out + done, bytes - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, "reading");
    if (n == 0) return absl::DataLossError("the file shrank while it was read");
    done += static_cast<uint64_t>(n);
  }
  return absl::OkStatus();
}

absl::Status MemorySource::Read(uint64_t offset, uint64_t bytes, char* out) const {
  RETURN_IF_ERROR(CheckInside(offset, bytes, bytes_.size()));
  std::memcpy(out, bytes_.data() + offset, bytes);
  return absl::OkStatus();
}

}  // namespace haarflow
