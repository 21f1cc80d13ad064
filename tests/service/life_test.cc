// The life of the real server: whatever becomes of a call, its state is freed and the counters are right; drains,
// tokens, TLS.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "core/base/file.h"
#include "haarflow/v1/admin.grpc.pb.h"
#include "haarflow/v1/sampler.grpc.pb.h"
#include "tests/service/server_process.h"
#include "tests/service/test_store.h"

namespace haarflow::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
constexpr uint64_t kEndless = uint64_t{1} << 39;

class LifeTest : public ::testing::Test {
 protected:
  LifeTest() { store_.Publish("small", 4, 0.3); }

  // Call Connect after it.
  void Start(std::vector<std::string> more = {}, const std::string& listen = "127.0.0.1:0") {
    std::vector<std::string> arguments = {
        "--store",         store_.directory(),      "--listen",  listen,       "--device", "cpu:1",
        "--endpoint-file", store_.path("endpoint"), "--metrics", "127.0.0.1:0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    process_ = std::make_unique<Process>(arguments);
    ASSERT_TRUE(process_->WaitForOutput("INFO serving")) << process_->output();
    const auto endpoint = nlohmann::json::parse(*ReadFile(store_.path("endpoint"), 4096));
    address_ = endpoint["address"].get<std::string>();
    metrics_ = endpoint["metrics"].get<std::string>();
    Connect(grpc::InsecureChannelCredentials());
  }
  void Connect(const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    grpc::ChannelArguments arguments;
    arguments.SetSslTargetNameOverride("localhost");
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    channel_ = grpc::CreateCustomChannel(address_, credentials, arguments);
    sampler_ = v1::SamplerService::NewStub(channel_);
    admin_ = v1::AdminService::NewStub(channel_);
  }
  static v1::SampleRequest Request(uint64_t count) {
    v1::SampleRequest request;
    request.set_model("small");
    request.set_seed(1);
    request.set_count(count);
    return request;
  }
  grpc::Status Read(uint64_t count, const std::string& token = "", std::string* resume = nullptr) {
    grpc::ClientContext context;
    if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
    auto stream = sampler_->Sample(&context, Request(count));
    v1::SampleResponse response;
    while (stream->Read(&response)) {
      if (response.has_summary() && resume != nullptr) *resume = response.summary().resume_token();
    }
    return stream->Finish();
  }
  v1::GetServerStatusResponse Status() {
    grpc::ClientContext context;
    v1::GetServerStatusResponse response;
    const grpc::Status status = admin_->GetServerStatus(&context, {}, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  // Until no stream holds anything.
  void ExpectNothingHeld(const std::string& what) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    v1::GetServerStatusResponse status;
    do {
      status = Status();
      if (status.active_streams() == 0 && status.reserved_bytes() == 0 && status.streams().empty()) return;
    } while (std::chrono::steady_clock::now() < deadline);
    ADD_FAILURE() << what << ": " << status.ShortDebugString();
  }
  void WaitForStream() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (true) {
      const v1::GetServerStatusResponse status = Status();
      if (status.streams_size() > 0 && status.streams(0).proposals() > 0) return;
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    }
  }
  // Calls of `method` that ended with `code`, 0 when there was none.
  double Counted(const std::string& method, const std::string& code) {
    const std::string text = Scrape(metrics_);
    const std::string key = "haarflow_requests_total{code=\"" + code + "\",method=\"" + method + "\"} ";
    const size_t at = text.find(key);
    return at == std::string::npos ? 0 : std::stod(text.substr(at + key.size()));
  }
  // A call is counted a moment after its client has seen its end.
  void ExpectCounted(const std::string& method, const std::string& code, double count) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    double counted = 0;
    do {
      counted = Counted(method, code);
    } while (counted < count && std::chrono::steady_clock::now() < deadline);
    EXPECT_EQ(counted, count) << method << " " << code;
  }
  int Terminate() {
    process_->Signal(SIGTERM);
    return process_->Wait();
  }

  TestStore store_;
  std::unique_ptr<Process> process_;
  std::string address_;
  std::string metrics_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::SamplerService::Stub> sampler_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
};

// ------------------------------------------------------- {unary, stream} x {ok, cancel, deadline, error, killed,
// stopped}

TEST_F(LifeTest, UnaryCallsLeaveNothingWhateverBecomesOfThem) {
  Start();
  using Code = grpc::StatusCode;
  struct Fate {
    bool cancel, expire;
    const char* model;
    std::set<Code> codes;  // what the client may see: a quick answer may come before the end that was asked for
  };
  const std::vector<Fate> fates = {{false, false, "small", {Code::OK}},
                                   {true, false, "small", {Code::CANCELLED}},
                                   {false, true, "small", {Code::OK, Code::DEADLINE_EXCEEDED}},
                                   {false, false, "nobody", {Code::NOT_FOUND}}};
  std::map<std::string, double> answered, sent;  // by method
  for (const Fate& fate : fates) {
    for (int i = 0; i < 5; ++i) {
      const auto call = [&](const std::string& method, auto&& make) {
        grpc::ClientContext context;
        if (fate.expire) context.set_deadline(std::chrono::system_clock::now());
        if (fate.cancel) context.TryCancel();
        const grpc::Status status = make(&context);
        EXPECT_TRUE(fate.codes.count(status.error_code()) != 0) << method << ": " << status.error_message();
        answered[method] += status.ok() ? 1 : 0;
        sent[method] += status.error_code() == Code::NOT_FOUND ? 0 : 1;
      };
      call("GetModel", [&](grpc::ClientContext* context) {
        v1::GetModelRequest request;
        request.set_name(fate.model);
        v1::GetModelResponse response;
        return sampler_->GetModel(context, request, &response);
      });
      call("UnloadModel", [&](grpc::ClientContext* context) {  // answered on another thread
        v1::UnloadModelRequest request;
        request.set_model(fate.model);
        v1::UnloadModelResponse response;
        return admin_->UnloadModel(context, request, &response);
      });
    }
  }
  ExpectNothingHeld("unary");
  for (const char* method : {"GetModel", "UnloadModel"}) {
    ExpectCounted(method, "NOT_FOUND", 5);
    EXPECT_GE(Counted(method, "OK"), answered[method]);
    EXPECT_LE(Counted(method, "OK"), sent[method]);
  }
  EXPECT_EQ(Terminate(), 0);
}

TEST_F(LifeTest, StreamsLeaveNothingWhateverBecomesOfThem) {
  Start();
  EXPECT_TRUE(Read(100).ok());
  ExpectNothingHeld("ok");
  {
    grpc::ClientContext context;
    auto stream = sampler_->Sample(&context, Request(kEndless));
    WaitForStream();
    context.TryCancel();
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  }
  ExpectNothingHeld("cancel");
  {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
    auto stream = sampler_->Sample(&context, Request(kEndless));
    v1::SampleResponse response;
    while (stream->Read(&response)) {
    }
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  }
  ExpectNothingHeld("deadline");
  EXPECT_EQ(Read(0).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  ExpectNothingHeld("error");
  ExpectCounted("Sample", "OK", 1);
  ExpectCounted("Sample", "CANCELLED", 2);
  ExpectCounted("Sample", "INVALID_ARGUMENT", 1);
  EXPECT_EQ(Terminate(), 0);
}

TEST_F(LifeTest, AClientThatIsKilledOrStoppedLeavesNothing) {
  Start({"--keepalive-seconds", "1"});
  for (const int signal : {SIGKILL, SIGSTOP}) {
    const std::string file = store_.path("draws" + std::to_string(signal) + ".h5");
    Process client({"--server", address_, "--no-progress", "sample", "small", "-n", "1000000000", "-o", file},
                   "haarflow");
    WaitForStream();
    client.Signal(signal);
    ExpectNothingHeld(signal == SIGKILL ? "killed" : "stopped");
  }
  ExpectCounted("Sample", "CANCELLED", 2);
  EXPECT_TRUE(Read(100).ok());
  EXPECT_EQ(Terminate(), 0);
}

// ------------------------------------------------------------------------------------------------------------ shutdown

TEST_F(LifeTest, DuringTheGraceCallsAreTakenAndHealthSaysNo) {
  Start({"--grace-seconds", "600"});
  EXPECT_EQ(CheckHealth(channel_, ""), 1);
  EXPECT_EQ(CheckHealth(channel_, "haarflow.model.small"), 1);
  process_->Signal(SIGTERM);
  ASSERT_TRUE(process_->WaitForOutput("draining"));
  while (CheckHealth(channel_, "") == 1) {
  }
  EXPECT_EQ(CheckHealth(channel_, ""), 2);
  EXPECT_EQ(CheckHealth(channel_, "haarflow.model.small"), 2);
  EXPECT_TRUE(Read(100).ok());
  process_->Signal(SIGTERM);
  EXPECT_EQ(process_->Wait(), 128 + SIGTERM) << "a second signal exits now";
}

TEST_F(LifeTest, ShutdownEndsStreamsWithATokenAndUnavailable) {
  Start();
  grpc::ClientContext context;
  auto stream = sampler_->Sample(&context, Request(kEndless));
  v1::SampleResponse response;
  ASSERT_TRUE(stream->Read(&response));
  process_->Signal(SIGTERM);
  std::string token;
  bool complete = true;
  while (stream->Read(&response)) {
    if (!response.has_summary()) continue;
    token = response.summary().resume_token();
    complete = response.summary().complete();
  }
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(status.error_message(), HasSubstr("resume"));
  EXPECT_FALSE(complete);
  EXPECT_FALSE(token.empty());
  EXPECT_EQ(process_->Wait(), 0);
}

TEST_F(LifeTest, AStoppedClientDoesNotHoldTheShutdown) {
  Start({"--drain-seconds", "0.3"});
  Process client(
      {"--server", address_, "--no-progress", "sample", "small", "-n", "1000000000", "-o", store_.path("draws.h5")},
      "haarflow");
  WaitForStream();
  client.Signal(SIGSTOP);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(Terminate(), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20)) << "keepalive alone takes 40 s";
}

// --------------------------------------------------------------------------------------------------- roles, operators

class OperatorTest : public LifeTest {
 protected:
  // The command line; its output, and the exit code in *code.
  std::string Cli(std::vector<std::string> arguments, int* code = nullptr) {
    arguments.insert(arguments.begin(), {"--server", address_});
    Process process(arguments, "haarflow");
    const int exit = process.Wait();
    if (code != nullptr) *code = exit;
    if (code == nullptr) EXPECT_EQ(exit, 0) << process.output();
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

// ------------------------------------------------------------------------------------------------------------ security

class SecurityTest : public LifeTest {
 protected:
  static void WritePrivate(const std::string& path, const std::string& text) {
    std::ofstream(path) << text;
    chmod(path.c_str(), 0600);
  }
  std::string Tokens() {
    std::string text;
    for (const char* role : {"sampler", "tuner", "trainer", "admin"}) {
      text += std::string(role) + "-user " + role + " sha256:" + Sha256Of(std::string("hft_") + role).Hex() + "\n";
    }
    WritePrivate(store_.path("tokens"), text);
    return store_.path("tokens");
  }
  // An authority, and a certificate of it for localhost; PEM files NAME.{ca,crt,key}.
  void MakeCertificates(const std::string& name) {
    const std::string base = store_.path(name);
    const std::string quiet = " >/dev/null 2>&1";
    const std::string key = " -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 ";
    const std::string commands =
        "openssl req -x509" + key + "-subj /CN=authority -keyout " + base + ".cakey -out " + base + ".ca" + quiet +
        " && openssl req" + key + "-subj /CN=localhost -keyout " + base + ".key -out " + base + ".csr" + quiet +
        " && printf 'subjectAltName=DNS:localhost' > " + base + ".ext && openssl x509 -req -days 2 -in " + base +
        ".csr -CA " + base + ".ca -CAkey " + base + ".cakey -CAcreateserial -extfile " + base + ".ext -out " + base +
        ".crt" + quiet + " && chmod 600 " + base + ".key";
    ASSERT_EQ(std::system(commands.c_str()), 0) << commands;
  }
  std::string Pem(const std::string& file) { return *ReadFile(store_.path(file), 1 << 16); }
  // Every RPC that a server has, as `token`; the codes.
  std::map<std::string, grpc::StatusCode> CallAll(const std::string& token) {
    std::map<std::string, grpc::StatusCode> codes;
    const auto unary = [&](const char* name, auto call) {
      grpc::ClientContext context;
      if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
      codes[name] = call(&context).error_code();
    };
    unary("ListModels", [&](auto* c) {
      v1::ListModelsResponse r;
      return sampler_->ListModels(c, {}, &r);
    });
    unary("GetModel", [&](auto* c) {
      v1::GetModelRequest q;
      q.set_name("small");
      v1::GetModelResponse r;
      return sampler_->GetModel(c, q, &r);
    });
    unary("Sample", [&](auto* c) {
      auto s = sampler_->Sample(c, Request(10));
      v1::SampleResponse r;
      while (s->Read(&r)) {
      }
      return s->Finish();
    });
    unary("Measure", [&](auto* c) {
      v1::MeasureRequest q;
      q.set_model("small");
      q.set_count(100);
      q.add_observables("plaquette");
      auto s = sampler_->Measure(c, q);
      v1::MeasureResponse r;
      while (s->Read(&r)) {
      }
      return s->Finish();
    });
    unary("EstimatePartitionFunction", [&](auto* c) {
      v1::EstimatePartitionFunctionRequest q;
      q.set_model("small");
      q.set_samples(1000);
      auto s = sampler_->EstimatePartitionFunction(c, q);
      v1::EstimatePartitionFunctionResponse r;
      while (s->Read(&r)) {
      }
      return s->Finish();
    });
    unary("SetAlias", [&](auto* c) {
      v1::SetAliasRequest q;
      q.set_model("small");
      q.set_alias("champion");
      q.set_version(1);
      v1::SetAliasResponse r;
      return admin_->SetAlias(c, q, &r);
    });
    unary("Pin", [&](auto* c) {
      v1::PinRequest q;
      q.set_model("small");
      v1::PinResponse r;
      return admin_->Pin(c, q, &r);
    });
    unary("Rollback", [&](auto* c) {
      v1::RollbackRequest q;
      q.set_model("small");
      v1::RollbackResponse r;
      return admin_->Rollback(c, q, &r);
    });
    unary("NotifyStoreChanged", [&](auto* c) {
      v1::NotifyStoreChangedResponse r;
      return admin_->NotifyStoreChanged(c, {}, &r);
    });
    unary("UnloadModel", [&](auto* c) {
      v1::UnloadModelRequest q;
      q.set_model("small");
      v1::UnloadModelResponse r;
      return admin_->UnloadModel(c, q, &r);
    });
    unary("GetServerStatus", [&](auto* c) {
      v1::GetServerStatusResponse r;
      return admin_->GetServerStatus(c, {}, &r);
    });
    return codes;
  }
};

TEST_F(SecurityTest, EveryCallWantsATokenOfItsRoleAndNoLogHasOne) {
  Start({"--token-file", Tokens()});
  const std::set<std::string> sampling = {"ListModels", "GetModel", "Sample", "Measure", "EstimatePartitionFunction"};
  for (const std::string& token : {std::string(), std::string("hft_forged")}) {
    for (const auto& [name, code] : CallAll(token)) EXPECT_EQ(code, grpc::StatusCode::UNAUTHENTICATED) << name;
  }
  for (const char* role : {"tuner", "trainer"}) {
    for (const auto& [name, code] : CallAll(std::string("hft_") + role)) {
      EXPECT_EQ(code, grpc::StatusCode::PERMISSION_DENIED) << role << " " << name;
    }
  }
  for (const auto& [name, code] : CallAll("hft_sampler")) {
    EXPECT_EQ(code, sampling.count(name) != 0 ? grpc::StatusCode::OK : grpc::StatusCode::PERMISSION_DENIED) << name;
  }
  for (const auto& [name, code] : CallAll("hft_admin")) {
    const bool first_champion = name == "Rollback";
    EXPECT_EQ(code, first_champion ? grpc::StatusCode::FAILED_PRECONDITION : grpc::StatusCode::OK) << name;
  }
  EXPECT_EQ(CheckHealth(channel_, ""), 1) << "health needs no token";
  EXPECT_EQ(Terminate(), 0);
  EXPECT_THAT(process_->output(), HasSubstr("audit method=UnloadModel principal=admin-user"));
  EXPECT_THAT(process_->output(), HasSubstr("audit method=SetAlias principal=tuner-user"));
  EXPECT_THAT(process_->output(), Not(HasSubstr("hft_")));
}

TEST_F(SecurityTest, WrongFilesAndOpenAddressesAreRefusedAtTheStart) {
  const auto refused = [&](std::vector<std::string> more, const std::string& listen, const std::string& why) {
    std::vector<std::string> arguments = {"--store", store_.directory(), "--listen", listen, "--device", "cpu:1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    Process process(arguments);
    EXPECT_EQ(process.Wait(), 1) << why;
    EXPECT_THAT(process.output(), HasSubstr(why));
  };
  refused({}, "0.0.0.0:0", "--insecure");
  refused({"--token-file", Tokens()}, "0.0.0.0:0", "in clear");
  refused({"--token-file", store_.path("absent")}, "127.0.0.1:0", "absent");
  chmod(Tokens().c_str(), 0644);
  refused({"--token-file", store_.path("tokens")}, "127.0.0.1:0", "chmod 600");
  MakeCertificates("a");
  refused({"--tls-cert", store_.path("a.crt")}, "127.0.0.1:0", "--tls-key");
  chmod(store_.path("a.key").c_str(), 0644);
  refused({"--tls-cert", store_.path("a.crt"), "--tls-key", store_.path("a.key")}, "127.0.0.1:0", "chmod 600");
}

TEST_F(SecurityTest, MutualTlsNamesTheCallerAndCertificatesAreReadAgain) {
  MakeCertificates("server");
  MakeCertificates("client");
  MakeCertificates("next");
  WritePrivate(store_.path("tokens"), "laptop sampler cert:localhost\n");
  Start({"--tls-cert", store_.path("server.crt"), "--tls-key", store_.path("server.key"), "--tls-client-ca",
         store_.path("client.ca"), "--tls-reload-seconds", "1", "--token-file", store_.path("tokens")});
  const auto credentials = [&](const std::string& ca, bool show) {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = Pem(ca);
    if (show) {
      options.pem_cert_chain = Pem("client.crt");
      options.pem_private_key = Pem("client.key");
    }
    return grpc::SslCredentials(options);
  };
  EXPECT_EQ(Read(10).error_code(), grpc::StatusCode::UNAVAILABLE) << "plaintext";
  Connect(credentials("server.ca", false));
  EXPECT_EQ(Read(10).error_code(), grpc::StatusCode::UNAVAILABLE) << "no certificate shown";
  Connect(credentials("next.ca", true));
  EXPECT_EQ(Read(10).error_code(), grpc::StatusCode::UNAVAILABLE) << "a server of another authority";
  Connect(credentials("server.ca", true));
  const grpc::Status mutual = Read(10);
  EXPECT_TRUE(mutual.ok()) << mutual.error_message();
  for (const char* file : {".key", ".crt"}) {
    std::filesystem::rename(store_.path(std::string("next") + file), store_.path(std::string("server") + file));
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  grpc::Status renewed;
  do {
    Connect(credentials("next.ca", true));
    renewed = Read(10);
  } while (!renewed.ok() && std::chrono::steady_clock::now() < deadline);
  EXPECT_TRUE(renewed.ok()) << renewed.error_message();
  EXPECT_EQ(Terminate(), 0);
}

TEST_F(SecurityTest, AUnixSocketIsItsUsersAlone) {
  Start({}, "unix:" + store_.path("socket"));
  struct stat info {};
  ASSERT_EQ(stat(store_.path("socket").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_TRUE(Read(10).ok());
  EXPECT_EQ(Terminate(), 0);
}

}  // namespace
}  // namespace haarflow::testing
