// One of our binaries as a child: its output is read all the time, and waited on; never a clock alone.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace haarflow::testing {

class ChildProcess {
 public:
  // `binary`: a name in HAARFLOW_BIN_DIR, or an absolute path. `environment`: "NAME=VALUE", added to ours.
  ChildProcess(const std::string& binary, std::vector<std::string> arguments,
               const std::vector<std::string>& environment = {}) {
    const char* directory = std::getenv("HAARFLOW_BIN_DIR");
    arguments.insert(
        arguments.begin(),
        binary[0] == '/' ? binary : std::string(directory != nullptr ? directory : HAARFLOW_BIN_DIR) + "/" + binary);
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(ends[1], STDOUT_FILENO);
      ::dup2(ends[1], STDERR_FILENO);
      for (const std::string& e : environment) ::putenv(const_cast<char*>(e.c_str()));
      std::vector<char*> argv;
      for (std::string& a : arguments) argv.push_back(a.data());
      argv.push_back(nullptr);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    ::close(ends[1]);
    reader_ = std::thread([this, fd = ends[0]] { Read(fd); });
  }
  ~ChildProcess() {
    if (!reaped_) {
      ::kill(pid_, SIGKILL);
      Wait();
    }
  }
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Whether it has put out `text`, perhaps `times` times: false at the end of its output, or after two minutes.
  bool WaitForOutput(const std::string& text, int times = 1) {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto count = [&] {
      int found = 0;
      for (size_t at = 0; (at = output_.find(text, at)) != std::string::npos; at += text.size()) ++found;
      return found;
    };
    changed_.wait_for(lock, std::chrono::minutes(2), [&] { return count() >= times || ended_; });
    return count() >= times;
  }
  void Signal(int signal) const { ::kill(pid_, signal); }
  pid_t pid() const { return pid_; }
  // The exit code, or minus the signal.
  int Wait() {
    int status = 0;
    EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
    reaped_ = true;
    reader_.join();
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  std::string output() {
    std::lock_guard<std::mutex> lock(mutex_);
    return output_;
  }

 private:
  void Read(int fd) {
    char buffer[4096];
    ssize_t n = 0;
    while ((n = ::read(fd, buffer, sizeof buffer)) > 0) {
      std::lock_guard<std::mutex> lock(mutex_);
      output_.append(buffer, static_cast<size_t>(n));
      changed_.notify_all();
    }
    ::close(fd);
    std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

  pid_t pid_ = 0;
  bool reaped_ = false;
  std::thread reader_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string output_;
  bool ended_ = false;
};

}  // namespace haarflow::testing
