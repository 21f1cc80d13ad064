// The command line against the real server: versions, tokens, roles.
#include "tests/service/life_fixture.h"

namespace haarflow::testing {
namespace {

class OperatorTest : public LifeTest {
 protected:
  // The command line; its output, and the exit code in *code.
  std::string Cli(std::vector<std::string> arguments, int* code = nullptr) {
    arguments.insert(arguments.begin(), {"--server", address_});
    Process process(arguments, "haarflow");
    const int exit = process.Wait();
    if (code != nullptr) {
      *code = exit;
    } else {
      EXPECT_EQ(exit, 0) << process.output();
    }
    return process.output();
  }
};

TEST_F(OperatorTest, TheCommandLinePromotesRollsBackPinsAndUnloads) {
  store_.Publish("small", 4, 0.31, {}, /*make_champion=*/false);
  ASSERT_TRUE(store_.Open().SetAlias("small", "candidate", 2).ok());
  Start();
  EXPECT_THAT(Cli({"promote", "small"}), HasSubstr("serves version 2")) << "the candidate";
  EXPECT_THAT(Cli({"rollback", "small"}), HasSubstr("serves version 1"));
  EXPECT_THAT(Cli({"pin", "small", "2"}), HasSubstr("serves version 2, pinned"));
  EXPECT_THAT(Cli({"pin", "small", "--remove"}), HasSubstr("serves version 1\n"));
  EXPECT_THAT(Cli({"unload", "small"}), HasSubstr("out of memory"));
  EXPECT_THAT(Cli({"model", "small"}), HasSubstr("candidate"));
  EXPECT_TRUE(Read(10).ok());
  int code = 0;
  EXPECT_THAT(Cli({"promote", "small", "7"}, &code), HasSubstr("no version 7"));
  EXPECT_EQ(code, 4);
  grpc::ClientContext context;
  auto stream = sampler_->Sample(&context, Request(kEndless));
  WaitForStream();
  const std::string top = Cli({"top", "--once"});
  EXPECT_THAT(top, HasSubstr("Sample"));
  EXPECT_THAT(top, HasSubstr("streams 1 of 256"));
  const auto json = nlohmann::json::parse(Cli({"--json", "top", "--once"}));
  EXPECT_EQ(json["streams"][0]["model"], "small");
  EXPECT_EQ(json["models"][0]["versions"].size(), 2u);
  context.TryCancel();
  Cli({"healthcheck", "--model", "small"});
  EXPECT_EQ(Terminate(), 0);
}

TEST_F(OperatorTest, TokensAreMadeKeptAndShown) {
  const std::string made = Cli({"--json", "token", "alice", "--roles", "sampler,admin"});
  const auto json = nlohmann::json::parse(made);
  std::ofstream(store_.path("tokens")) << json["line"].get<std::string>() << "\n";
  chmod(store_.path("tokens").c_str(), 0600);
  Start({"--token-file", store_.path("tokens")});
  setenv("XDG_CONFIG_HOME", store_.path("config").c_str(), 1);
  int code = 0;
  EXPECT_THAT(Cli({"models"}, &code), HasSubstr("haarflow login"));
  EXPECT_EQ(code, 4);
  std::ofstream(store_.path("token")) << json["token"].get<std::string>() << "\n";
  EXPECT_THAT(Cli({"--token-file", store_.path("token"), "models"}, &code), HasSubstr("chmod 600"));
  EXPECT_EQ(code, 2);
  const std::string login = Binary("haarflow") + " login < " + store_.path("token") + " > /dev/null";
  ASSERT_EQ(std::system(login.c_str()), 0);
  EXPECT_THAT(Cli({"models"}), HasSubstr("small"));
  EXPECT_THAT(Cli({"top", "--once"}), HasSubstr("streams"));
  struct stat info {};
  ASSERT_EQ(stat(store_.path("config/haarflow/token").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  address_ = "192.0.2.1:1";
  EXPECT_THAT(Cli({"models"}, &code), HasSubstr("in clear")) << "a token stays at home without TLS";
  unsetenv("XDG_CONFIG_HOME");
  EXPECT_EQ(Terminate(), 0);
}

TEST_F(OperatorTest, ASamplerFollowsTheIndexAndACoordinatorDrawsNothing) {
  Start({"--role", "sampler", "--poll-seconds", "0.01"});
  int code = 0;
  EXPECT_THAT(Cli({"promote", "small", "1"}, &code), HasSubstr("ask the coordinator"));
  EXPECT_EQ(code, 4);
  const std::string sampler = address_;
  auto followed = v1::SamplerService::NewStub(channel_);
  auto first = std::move(process_);
  store_.Publish("small", 4, 0.31, {}, /*make_champion=*/false);
  Start({"--role", "coordinator"});
  EXPECT_EQ(Read(10).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(Cli({"promote", "small", "2"}), HasSubstr("serves version 2"));
  EXPECT_THAT(Cli({"models"}), HasSubstr("small"));
  EXPECT_TRUE(first->WaitForOutput("model=small version=2")) << first->output();
  grpc::ClientContext context;
  v1::GetModelRequest request;
  request.set_name("small");
  v1::GetModelResponse response;
  EXPECT_TRUE(followed->GetModel(&context, request, &response).ok());
  EXPECT_EQ(response.model().version(), 2);
  EXPECT_EQ(Terminate(), 0);
  first->Signal(SIGTERM);
  EXPECT_EQ(first->Wait(), 0);
}

}  // namespace
}  // namespace haarflow::testing
