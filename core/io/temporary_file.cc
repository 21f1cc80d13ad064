#include "core/io/temporary_file.h"

#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>

#include "core/base/file.h"
#include "core/base/status.h"
#include "core/base/temporary_name.h"

namespace haarflow {
namespace {

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

TemporaryFile::TemporaryFile(const std::string& path) : path_(path), name_(TemporaryNameOf(path)) {
  RemoveAbandoned(path);
}

TemporaryFile::~TemporaryFile() {
  if (!published_) ::unlink(name_.c_str());
}

absl::Status TemporaryFile::Publish() {
  RETURN_IF_ERROR(SyncFile(name_));
  if (::rename(name_.c_str(), path_.c_str()) != 0) {
    return ErrnoStatus(errno, absl::StrCat("renaming ", name_, " to ", path_));
  }
  published_ = true;
  return SyncDirectory(DirectoryOf(path_));
}

absl::StatusOr<OutputStream> OutputStream::Open(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "wbe");
  if (file == nullptr) return ErrnoStatus(errno, absl::StrCat("creating ", path));
  return OutputStream(path, file);
}

OutputStream::OutputStream(OutputStream&& other) noexcept : path_(std::move(other.path_)), file_(other.file_) {
  other.file_ = nullptr;
}

OutputStream::~OutputStream() {
  if (file_ != nullptr) std::fclose(file_);
}

absl::Status OutputStream::Write(const void* data, size_t size) {
  if (std::fwrite(data, 1, size, file_) != size) return ErrnoStatus(errno, absl::StrCat("writing ", path_));
  return absl::OkStatus();
}

absl::Status OutputStream::Close() {
  std::FILE* file = file_;
  file_ = nullptr;
  if (std::fclose(file) != 0) return ErrnoStatus(errno, absl::StrCat("writing ", path_));
  return absl::OkStatus();
}

absl::Status CheckSpace(const std::string& path, uint64_t bytes, uint64_t files) {
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("writing ", path, ": needs ", bytes, " bytes, ulimit -f allows ", uint64_t{limit.rlim_cur}));
  }
  struct statvfs info {};
  if (::statvfs(DirectoryOf(path).c_str(), &info) != 0) {
    return ErrnoStatus(errno, absl::StrCat("the directory of ", path));
  }
  const uint64_t free_bytes = uint64_t{info.f_bavail} * info.f_frsize;
  if (free_bytes / files < bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("writing ", path, ": needs ", bytes * files, " bytes, its file system has ", free_bytes, " free"));
  }
  return absl::OkStatus();
}

}  // namespace haarflow
