// Settings of the server: one precedence, and no name that means nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "server/config/device_list.h"
#include "server/config/server_config.h"

namespace haarflow::testing {
namespace {

using ::testing::HasSubstr;
using Variables = std::vector<std::pair<std::string, std::string>>;

class ConfigTest : public ::testing::Test {
 protected:
  ConfigTest() {
    std::string pattern = ::testing::TempDir() + "haarflow-config-XXXXXX";
    const int fd = mkstemp(pattern.data());
    EXPECT_GE(fd, 0);
    close(fd);
    file_ = pattern;
  }
  ~ConfigTest() override { unlink(file_.c_str()); }
  void Write(const std::string& text) const { std::ofstream(file_) << text; }
  static ConfigOutcome Parse(std::vector<std::string> arguments, const Variables& variables = {}) {
    return ParseServerConfig(arguments, variables, "1.2.3");
  }
  std::string file_;
};

TEST_F(ConfigTest, FlagBeatsEnvironmentBeatsFileBeatsDefault) {
  Write("store = \"from-file\"\nmax-streams = 11\nburn-in = 12\ndrain-seconds = 1.5\nrole = \"sampler\"\n");
  const Variables variables = {{"HAARFLOW_OPT_MAX_STREAMS", "21"}, {"HAARFLOW_OPT_BURN_IN", "22"}, {"HOME", "/root"}};
  const ConfigOutcome outcome = Parse({"--config", file_, "--max-streams", "31"}, variables);
  ASSERT_TRUE(outcome.serve) << outcome.message;
  EXPECT_EQ(outcome.config.limits.all.streams, 31);
  EXPECT_EQ(outcome.config.burn_in, 22);
  EXPECT_EQ(outcome.config.drain_seconds, 1.5);
  EXPECT_EQ(outcome.config.store, "from-file");
  EXPECT_EQ(outcome.config.role, ServerRole::kSampler);
  EXPECT_EQ(outcome.config.lease_seconds, 3600);
  EXPECT_EQ(outcome.config.listen, "127.0.0.1:50151");
  EXPECT_EQ(outcome.config.status, "") << "no page unless it is asked for";
  EXPECT_EQ(outcome.config.log_format, LogFormat::kText);
}

TEST_F(ConfigTest, TheStatusPageAndTheLogAreSettingsLikeTheOthers) {
  Write("store = \"s\"\nstatus = \"127.0.0.1:1\"\nlog-format = \"json\"\n");
  ConfigOutcome outcome = Parse({"--config", file_});
  EXPECT_EQ(outcome.config.status, "127.0.0.1:1");
  EXPECT_EQ(outcome.config.log_format, LogFormat::kJson);
  outcome = Parse({"--config", file_, "--log-format", "text"}, {{"HAARFLOW_OPT_STATUS", "127.0.0.1:2"}});
  EXPECT_EQ(outcome.config.status, "127.0.0.1:2");
  EXPECT_EQ(outcome.config.log_format, LogFormat::kText);
}

TEST_F(ConfigTest, TheEnvironmentMayNameTheFile) {
  Write("store = \"s\"\nmax-streams = 11\n");
  const ConfigOutcome outcome = Parse({}, {{"HAARFLOW_OPT_CONFIG", file_}});
  ASSERT_TRUE(outcome.serve) << outcome.message;
  EXPECT_EQ(outcome.config.limits.all.streams, 11);
}

TEST_F(ConfigTest, WhatIsNoSettingIsRefusedWhereverItStands) {
  Write("store = \"s\"\nmax-steams = 11\n");
  const std::vector<std::pair<ConfigOutcome, std::string>> outcomes = {
      {Parse({"--store", "s", "--max-steams", "3"}), "max-steams"},
      {Parse({"--config", file_}), "max-steams"},
      {Parse({"--store", "s"}, {{"HAARFLOW_OPT_MAX_STEAMS", "3"}}), "HAARFLOW_OPT_MAX_STEAMS"},
      {Parse({"--store", "s", "--max-streams", "0"}), "max-streams"},
      {Parse({"--store", "s"}, {{"HAARFLOW_OPT_DRAIN_SECONDS", "soon"}}), "drain-seconds"},
      {Parse({"--store", "s", "--role", "king"}), "role"},
      {Parse({"--store", "s", "--log-format", "xml"}), "log-format"},
      {Parse({"--store", "s", "--config", "/nowhere/at/all"}), "/nowhere/at/all"},
      {Parse({}), "store"},
  };
  for (const auto& [outcome, name] : outcomes) {
    EXPECT_FALSE(outcome.serve) << name;
    EXPECT_EQ(outcome.exit_code, 2) << name;
    EXPECT_THAT(outcome.message, HasSubstr(name));
  }
  EXPECT_TRUE(Parse({"--store", "s"}, {{"HAARFLOW_SERVER_PORT", "tcp://10.0.0.1:50151"}}).serve)
      << "Kubernetes sets such variables";
}

TEST_F(ConfigTest, HelpAndVersionEndWell) {
  EXPECT_THAT(Parse({"--help"}).message, HasSubstr("--lease-seconds"));
  EXPECT_EQ(Parse({"--help"}).exit_code, 0);
  EXPECT_THAT(Parse({"--version"}).message, HasSubstr("1.2.3"));
}

TEST(DeviceList, SeveralDevicesAreOfOneKind) {
  const auto numbers = [](const std::string& text) {
    return DeviceNumbers(ParseDevices(text).value_or(std::vector<Device>()));
  };
  EXPECT_EQ(numbers("cpu:4"), std::vector<int>({0}));
  EXPECT_EQ(numbers("cpu:2,cpu:2,cpu:2"), std::vector<int>({0, 0, 0}));
  EXPECT_EQ(numbers("cuda"), std::vector<int>({0}));
  EXPECT_EQ(numbers("cuda:2,cuda:0"), std::vector<int>({2, 0}));
  const std::pair<const char*, const char*> refused[] = {{"cuda:0,cpu:4", "server for each kind"},
                                                         {"cpu:4,cuda:0", "server for each kind"},
                                                         {"cpu:4,cpu:2", "same N"},
                                                         {"cuda:1,cuda:0,cuda:1", "cuda:1 is there twice"},
                                                         {"cuda,cuda:0", "cuda:0 is there twice"},
                                                         {"cuda:0,", "neither"},
                                                         {"", "neither"}};
  for (const auto& [text, why] : refused) {
    const absl::Status status = ParseDevices(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(why)) << text;
  }
}

}  // namespace
}  // namespace haarflow::testing
