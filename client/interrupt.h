// Ctrl-C and SIGTERM as a stop request.
#pragma once

#include <stop_token>
#include <thread>

namespace haarflow {

// The first signal requests a stop; the second ends the process at once with exit code 130. Make one at the beginning
// of main(), before any other thread: the signals are blocked and waited for on a thread of its own. SIGPIPE and
// SIGXFSZ are ignored, so that a closed pipe and a file limit come back as errors.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  std::stop_token token() const { return source_.get_token(); }

 private:
  std::stop_source source_;
  std::jthread waiter_;
};

}  // namespace haarflow
