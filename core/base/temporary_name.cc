#include "core/base/temporary_name.h"

#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <string>

#include "absl/strings/str_cat.h"

namespace haarflow {
namespace {

constexpr size_t kLongestHost = 63;

// "HOST.NAMESPACE.": who writes here.
const std::string& Place() {
  static const std::string* const place = [] {
    char host[256] = {};
    if (::gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
    std::string name(host);
    name.resize(std::min(name.size(), kLongestHost));
    std::replace_if(
        name.begin(), name.end(), [](char c) { return c == '/' || c == '.'; }, '-');
    char link[64] = {};  // "pid:[4026531836]"
    const ssize_t length = ::readlink("/proc/self/ns/pid", link, sizeof link - 1);
    std::string space;
    for (const char c : std::string(link, std::max<ssize_t>(length, 0))) {
      if (c >= '0' && c <= '9') space += c;
    }
    return new std::string(absl::StrCat(name, ".", space, "."));
  }();
  return *place;
}

bool Exists(pid_t process) { return ::kill(process, 0) == 0 || errno != ESRCH; }

// The process in the rest of a name, "PID.NUMBER"; 0 for any other text.
pid_t ProcessOf(const std::string& rest) {
  const size_t dot = rest.find('.');
  if (dot == std::string::npos || dot + 1 == rest.size()) return 0;
  pid_t process = 0;
  uint64_t number = 0;
  const char* const text = rest.data();
  const auto [at, bad] = std::from_chars(text, text + dot, process);
  const auto [end, worse] = std::from_chars(text + dot + 1, text + rest.size(), number);
  return bad == std::errc() && worse == std::errc() && at == text + dot && end == text + rest.size() && process > 0
             ? process
             : 0;
}

}  // namespace

std::string TemporaryNameOf(const std::string& path) {
  static std::atomic<uint64_t> calls = 0;  // threads of one process write different files
  return absl::StrCat(path, ".tmp.", Place(), ::getpid(), ".", ++calls);
}

void RemoveAbandoned(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  const std::string directory = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  const std::string start = absl::StrCat(slash == std::string::npos ? path : path.substr(slash + 1), ".tmp.", Place());
  DIR* const entries = ::opendir(directory.c_str());
  if (entries == nullptr) return;
  while (const dirent* entry = ::readdir(entries)) {
    const std::string name = entry->d_name;
    if (name.compare(0, start.size(), start) != 0) continue;
    const pid_t process = ProcessOf(name.substr(start.size()));
    if (process > 0 && !Exists(process)) ::unlink(absl::StrCat(directory, "/", name).c_str());
  }
  ::closedir(entries);
}

}  // namespace haarflow
