// Tokens, TLS and sockets of the real server.
#include "tests/service/life_fixture.h"

namespace haarflow::testing {
namespace {

class SecurityTest : public LifeTest {
 protected:
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
};

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
