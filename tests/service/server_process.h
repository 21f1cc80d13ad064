// The haarflow-server binary under test: waits on its output and its exit, never on a clock alone.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace haarflow::testing {

inline std::string Binary(const std::string& name) {
  const char* directory = std::getenv("HAARFLOW_BIN_DIR");
  return std::string(directory != nullptr ? directory : HAARFLOW_BIN_DIR) + "/" + name;
}

// A haarflow-server, or another of our programs: its output, its end. Killed and reaped by the destructor.
class Process {
 public:
  explicit Process(std::vector<std::string> arguments, const std::string& binary = "haarflow-server") {
    arguments.insert(arguments.begin(), Binary(binary));
    int ends[2];
    EXPECT_EQ(pipe(ends), 0);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(ends[1], STDOUT_FILENO);
      dup2(ends[1], STDERR_FILENO);
      close(ends[0]);
      close(ends[1]);
      std::vector<char*> argv;
      for (std::string& a : arguments) argv.push_back(a.data());
      argv.push_back(nullptr);
      execv(argv[0], argv.data());
      _exit(127);
    }
    close(ends[1]);
    output_fd_ = ends[0];
  }
  ~Process() {
    if (!reaped_) {
      kill(pid_, SIGKILL);
      Wait();
    }
    close(output_fd_);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // False at the end of its output, or after a minute.
  bool WaitForOutput(const std::string& text) {
    while (output_.find(text) == std::string::npos) {
      pollfd p{output_fd_, POLLIN, 0};
      char buffer[4096];
      if (poll(&p, 1, 60000) <= 0) return false;
      const ssize_t n = read(output_fd_, buffer, sizeof buffer);
      if (n <= 0) return false;
      output_.append(buffer, static_cast<size_t>(n));
    }
    return true;
  }
  void Signal(int signal) const { kill(pid_, signal); }
  // The exit code, or minus the signal.
  int Wait() {
    WaitForOutput("\n\n no such output, read to the end \n\n");
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    reaped_ = true;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  const std::string& output() const { return output_; }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
  int output_fd_ = -1;
  bool reaped_ = false;
  std::string output_;
};

}  // namespace haarflow::testing
