// Tokens, TLS and sockets of the real server.
#include "tests/service/life_fixture.h"

namespace haarflow::testing {
namespace {

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
