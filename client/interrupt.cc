#include "client/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <ctime>

namespace haarflow {
namespace {

sigset_t Signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  return set;
}

}  // namespace

Interrupt::Interrupt() {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
  const sigset_t set = Signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  waiter_ = std::jthread([this](const std::stop_token& ended) {
    const sigset_t waited = Signals();
    const struct timespec tick = {0, 50'000'000};
    while (!ended.stop_requested()) {
      if (::sigtimedwait(&waited, nullptr, &tick) < 0) continue;
      if (source_.stop_requested()) ::_exit(130);
      source_.request_stop();
    }
  });
}

Interrupt::~Interrupt() = default;  // the thread ends within a tick

}  // namespace haarflow
