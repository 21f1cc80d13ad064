#include "core/model/publish_lock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/escaping.h"
#include "core/base/file.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

std::string HostName() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "unknown-host";
}

// The files of /proc have no size: read to their end. Empty where there is none.
std::string ReadProc(const std::string& path) {
  std::ifstream file(path);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// Boot and process id namespace: where a process id means the same process. Empty where the system does not say.
std::string Scope() {
  const std::string boot = ReadProc("/proc/sys/kernel/random/boot_id");
  char name[64];
  const ssize_t n = ::readlink("/proc/self/ns/pid", name, sizeof name);
  if (boot.empty() || n <= 0) return "";
  return absl::StrCat(boot, " ", std::string(name, static_cast<size_t>(n)));
}

// Field 22 of /proc/PID/stat, in clock ticks since boot; the name in field 2 may hold blanks and brackets.
std::string StartTime(pid_t pid) {
  const std::string stat = ReadProc(absl::StrCat("/proc/", pid, "/stat"));
  size_t at = stat.rfind(')');
  for (int field = 2; field < 22 && at != std::string::npos; ++field) at = stat.find(' ', at + 1);
  if (at == std::string::npos) return "";
  return stat.substr(at + 1, stat.find(' ', at + 1) - at - 1);
}

std::string Holder(pid_t pid) { return absl::StrCat("process ", pid, " ", StartTime(pid), " ", Scope(), "\n"); }

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

// The holder has this process's boot and namespace, and is no process there any more.
bool CertainlyGone(const std::string& text) {
  const size_t second = text.find('\n');
  if (second == std::string::npos) return false;
  const std::string line = text.substr(second + 1);
  int pid = 0;
  char start[32] = {};
  int scope = 0;
  if (std::sscanf(line.c_str(), "process %d %31s %n", &pid, start, &scope) != 2 || scope == 0) return false;
  if (pid <= 0 || Scope().empty() || line.substr(scope) != Scope() + "\n") return false;
  if (::kill(pid, 0) != 0 && errno == ESRCH) return true;
  const std::string now = StartTime(pid);
  return !now.empty() && now != start;  // the number has another process now
}

// Removes the file if it still is that of a holder that is gone. Only one process at a time gets past flock for one
// file, and who then finds another file under the name leaves it alone.
void RemoveIfLeft(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  struct stat opened {
  }, named{};
  char text[512] = {};
  const bool mine = ::flock(fd, LOCK_EX | LOCK_NB) == 0 && ::fstat(fd, &opened) == 0 &&
                    ::stat(path.c_str(), &named) == 0 && opened.st_ino == named.st_ino &&
                    opened.st_dev == named.st_dev && ::pread(fd, text, sizeof text - 1, 0) > 0 && CertainlyGone(text);
  if (mine) ::unlink(path.c_str());
  ::close(fd);
}

absl::Status Write(int fd, const std::string& text, const std::string& path) {
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("creating ", path));
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const absl::Status status = written ? absl::OkStatus() : ErrnoStatus(errno, absl::StrCat("writing ", path));
  ::close(fd);
  if (!written) ::unlink(path.c_str());
  return status;
}

// Makes `path` with its text at once, by a hard link to a file of this call's own: a crash between would leave a lock
// that names nobody. Where the file system has no hard links, in two steps. ALREADY_EXISTS when it is there.
absl::Status CreateWhole(const std::string& path, const std::string& mine, const std::string& text) {
  RETURN_IF_ERROR(Write(::open(mine.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), text, mine));
  const int error = ::link(mine.c_str(), path.c_str()) == 0 ? 0 : errno;
  ::unlink(mine.c_str());
  if (error == 0) return absl::OkStatus();
  if (error != EPERM && error != EOPNOTSUPP && error != ENOSYS && error != EMLINK) {
    return ErrnoStatus(error, absl::StrCat("creating ", path));
  }
  return Write(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644), text, path);
}

absl::Status Held(const std::string& path) {
  const absl::StatusOr<std::string> holder = ReadFile(path, 4096);
  std::string who = holder.ok() ? absl::CHexEscape(FirstLine(*holder)) : "an unknown process";
  return absl::UnavailableError(
      absl::StrCat(path, " is held by ", who,
                   ": another publication is under way, retry; if no such process runs, a crash "
                   "left the file behind: remove it"));
}

}  // namespace

PublishLock::PublishLock(PublishLock&& other) noexcept : path_(std::exchange(other.path_, "")) {}

PublishLock::~PublishLock() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

absl::StatusOr<PublishLock> PublishLock::Take(const std::string& path) {
  static std::atomic<uint64_t> calls = 0;
  const std::string mine = absl::StrCat(path, ".", ::getpid(), ".", ++calls);
  const std::string text = absl::StrCat("pid ", ::getpid(), " on ", HostName(), "\n", Holder(::getpid()));
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (attempt > 0) RemoveIfLeft(path);
    const absl::Status status = CreateWhole(path, mine, text);
    if (status.ok()) return PublishLock(path);
    if (!absl::IsAlreadyExists(status)) return status;
  }
  return Held(path);
}

}  // namespace haarflow
