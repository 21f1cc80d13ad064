// The binary `haarflow` as a user runs it, against a fake service.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/service/cli_fake_service.h"

namespace haarflow::testing {

using Json = nlohmann::json;

inline std::string Slurp(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

struct Outcome {
  int exit_code = -1;
  std::string out;
  std::string err;
};

class CliTest : public ::testing::Test {
 protected:
  explicit CliTest(const FakeRunOptions& options = {})
      : directory_(TestDirectory(::testing::UnitTest::GetInstance()->current_test_info()->name())),
        service_(options),
        server_(&service_, "127.0.0.1:0"),
        address_(server_.address()) {
    binary_ = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "haarflow";  // built beside this test
  }

  // `arguments` as for a shell, run in the test's directory.
  std::string Command(const std::string& arguments) const {
    return absl::StrCat("cd ", directory_, " && exec env HAARFLOW_SERVER=", address_, " ", binary_, " ", arguments,
                        " >out.txt 2>err.txt </dev/null");
  }
  Outcome Haarflow(const std::string& arguments) const {
    const int status = std::system(Command(arguments).c_str());
    return Finished(status);
  }
  Outcome Finished(int status) const {
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, Slurp(directory_ + "/out.txt"),
            Slurp(directory_ + "/err.txt")};
  }
  pid_t Start(const std::string& arguments) const {
    const std::string command = Command(arguments);
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      ::_exit(127);
    }
    return pid;
  }
  Outcome Wait(pid_t pid) const {
    int status = 0;
    ::waitpid(pid, &status, 0);
    return Finished(status);
  }
  void AwaitChunks(int chunks) const {
    for (int i = 0; i < 2000 && service_.chunks_sent() < chunks; ++i) ::usleep(5000);
    ASSERT_GE(service_.chunks_sent(), chunks);
  }
  std::string Path(const std::string& name) const { return directory_ + "/" + name; }
  bool Exists(const std::string& name) const { return std::filesystem::exists(Path(name)); }

  const std::string directory_;
  FakeService service_;
  FakeServer server_;
  std::string address_;
  std::string binary_;
};

}  // namespace haarflow::testing
