#include "core/base/failpoint.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace haarflow {

void Failpoint(const char* name) {
  static const std::string armed = [] {
    const char* value = std::getenv("HAARFLOW_FAILPOINT");
    return std::string(value != nullptr ? value : "");
  }();
  if (armed.empty()) return;
  const size_t colon = armed.find(':');
  if (armed.substr(0, colon) != name) return;
  if (colon != std::string::npos) {
    const int fd = ::open(armed.c_str() + colon + 1, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd >= 0) ::close(fd);
  }
  ::kill(::getpid(), SIGKILL);
  ::pause();
}

}  // namespace haarflow
