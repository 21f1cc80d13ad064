#include "core/io/part_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/base/digest.h"
#include "core/base/file.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

constexpr char kMagic[] = "HFPART1\n";
constexpr size_t kMagicBytes = 8;
constexpr size_t kRecordHeaderBytes = 8;

void PutU32(uint32_t value, char* out) {
  for (int i = 0; i < 4; ++i) out[i] = static_cast<char>(value >> (8 * i));
}
uint32_t GetU32(const char* in) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value |= static_cast<uint32_t>(static_cast<unsigned char>(in[i])) << (8 * i);
  return value;
}

// A file read from front to back.
class Reader {
 public:
  static absl::StatusOr<std::unique_ptr<Reader>> Open(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return ErrnoStatus(errno, absl::StrCat("opening ", path));
    std::unique_ptr<Reader> reader(new Reader(path, fd));
    struct stat info {};
    if (::fstat(fd, &info) != 0) return ErrnoStatus(errno, absl::StrCat("stat of ", path));
    if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
    reader->left_ = static_cast<uint64_t>(info.st_size);
    return reader;
  }
  ~Reader() { ::close(fd_); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  uint64_t left() const { return left_; }
  absl::Status Read(size_t size, std::string* out) {
    out->resize(size);
    size_t done = 0;
    while (done < size) {
      const ssize_t n = ::read(fd_, out->data() + done, size - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoStatus(errno, absl::StrCat("reading ", path_));
      if (n == 0) return absl::DataLossError(absl::StrCat(path_, " shrank while it was read"));
      done += static_cast<size_t>(n);
    }
    left_ -= size;
    return absl::OkStatus();
  }

 private:
  Reader(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  std::string path_;
  int fd_;
  uint64_t left_ = 0;
};

// The next intact record; false at the end or at the first record that is not.
absl::StatusOr<bool> ReadRecord(Reader* reader, std::string* head, std::string* body) {
  if (reader->left() < kRecordHeaderBytes) return false;
  RETURN_IF_ERROR(reader->Read(kRecordHeaderBytes, head));
  const uint32_t length = GetU32(head->data());
  if (length > kMaxPartRecordBytes || length > reader->left()) return false;
  RETURN_IF_ERROR(reader->Read(length, body));
  return Crc32c(body->data(), body->size(), Crc32c(head->data(), 4)) == GetU32(head->data() + 4);
}

}  // namespace

PartContents ContentsOf(const SampleAssembler& assembler) {
  PartContents run;
  run.has_header = assembler.has_header();
  run.header = assembler.header();
  run.numerics_class = assembler.numerics_class();
  run.steps = assembler.steps();
  run.configurations = assembler.configurations();
  run.statistics = assembler.statistics();
  run.resume_token = assembler.resume_token();
  run.complete = assembler.complete();
  return run;
}

absl::StatusOr<PartContents> ReadPart(const std::string& path, const RowVisitor& visit) {
  ASSIGN_OR_RETURN(const auto reader, Reader::Open(path));
  const uint64_t total = reader->left();
  PartContents run;
  std::string head;
  std::string body;
  RETURN_IF_ERROR(reader->Read(std::min<uint64_t>(total, kMagicBytes), &head));
  if (head.compare(0, head.size(), kMagic, head.size()) != 0) {
    return absl::DataLossError(
        absl::StrCat(path, " is no journal of haarflow: remove it, or choose another output file"));
  }
  if (total < kMagicBytes) {  // killed at birth
    run.torn = total > 0;
    return run;
  }
  run.valid_bytes = kMagicBytes;
  SampleAssembler assembler(/*keep_fields=*/visit != nullptr);
  v1::SampleResponse message;
  for (;;) {
    ASSIGN_OR_RETURN(const bool intact, ReadRecord(reader.get(), &head, &body));
    if (!intact) break;
    if (!message.ParseFromString(body))
      return absl::DataLossError(absl::StrCat(path, ": a record is no SampleResponse"));
    RETURN_IF_ERROR(Annotate(assembler.Add(message, visit), path));
    run.valid_bytes += kRecordHeaderBytes + body.size();
  }
  const uint64_t valid_bytes = run.valid_bytes;
  run = ContentsOf(assembler);
  run.valid_bytes = valid_bytes;
  run.torn = valid_bytes < total;
  return run;
}

absl::StatusOr<std::unique_ptr<PartWriter>> PartWriter::Open(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | flags, 0644);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("opening ", path));
  std::unique_ptr<PartWriter> writer(new PartWriter(path, fd));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is being written by another process: wait for it"));
  }  // a file system without locks is no reason to refuse
  return writer;
}

absl::StatusOr<std::unique_ptr<PartWriter>> PartWriter::Create(const std::string& path, bool overwrite) {
  ASSIGN_OR_RETURN(auto writer, Open(path, overwrite ? O_CREAT : O_CREAT | O_EXCL));
  // Truncated under the lock only: somebody else's journal stays whole.
  if (::ftruncate(writer->fd_, 0) != 0) return ErrnoStatus(errno, absl::StrCat("truncating ", path));
  RETURN_IF_ERROR(writer->WriteAll(std::string(kMagic, kMagicBytes)));
  return writer;
}

absl::StatusOr<std::unique_ptr<PartWriter>> PartWriter::Resume(const std::string& path, PartContents* run) {
  ASSIGN_OR_RETURN(auto writer, Open(path, 0));
  ASSIGN_OR_RETURN(*run, ReadPart(path));
  if (::ftruncate(writer->fd_, static_cast<off_t>(run->valid_bytes)) != 0) {
    return ErrnoStatus(errno, absl::StrCat("cutting the torn end off ", path));
  }
  if (::lseek(writer->fd_, 0, SEEK_END) < 0) return ErrnoStatus(errno, absl::StrCat("seeking in ", path));
  writer->size_ = run->valid_bytes;
  if (run->valid_bytes == 0) RETURN_IF_ERROR(writer->WriteAll(std::string(kMagic, kMagicBytes)));
  return writer;
}

PartWriter::~PartWriter() { ::close(fd_); }

absl::Status PartWriter::WriteAll(const std::string& bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(fd_, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      // Nothing of a message that does not fit stays; should even this fail, the CRC tells.
      if (::ftruncate(fd_, static_cast<off_t>(size_)) == 0) ::lseek(fd_, static_cast<off_t>(size_), SEEK_SET);
      return ErrnoStatus(error, absl::StrCat("writing ", path_));
    }
    done += static_cast<size_t>(n);
  }
  size_ += bytes.size();
  return absl::OkStatus();
}

absl::Status PartWriter::Append(const v1::SampleResponse& message) {
  const size_t length = message.ByteSizeLong();
  if (length > kMaxPartRecordBytes) {
    return absl::InvalidArgumentError(absl::StrCat("a message of ", length, " bytes is too large for ", path_));
  }
  buffer_.resize(kRecordHeaderBytes + length);
  PutU32(static_cast<uint32_t>(length), buffer_.data());
  message.SerializeWithCachedSizesToArray(reinterpret_cast<uint8_t*>(buffer_.data() + kRecordHeaderBytes));
  const uint32_t crc = Crc32c(buffer_.data() + kRecordHeaderBytes, length, Crc32c(buffer_.data(), 4));
  PutU32(crc, buffer_.data() + 4);
  return WriteAll(buffer_);
}

absl::Status PartWriter::Sync() {
  if (::fsync(fd_) != 0) return ErrnoStatus(errno, absl::StrCat("fsync of ", path_));
  return absl::OkStatus();
}

}  // namespace haarflow
