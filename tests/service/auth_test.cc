// Who may call: the token file, what it refuses, and where a server may listen.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "core/base/mutex.h"
#include "server/auth/authenticator.h"

namespace haarflow::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const char kToken[] = "hft_secret";

std::string Line(const std::string& name, const std::string& roles, const std::string& token) {
  return name + " " + roles + " sha256:" + Sha256Of(token).Hex() + "\n";
}

class AuthTest : public ::testing::Test {
 protected:
  AuthTest() {
    std::string pattern = ::testing::TempDir() + "haarflow-auth-XXXXXX";
    const int fd = mkstemp(pattern.data());
    close(fd);
    file_ = pattern;
  }
  ~AuthTest() override { unlink(file_.c_str()); }
  void Write(const std::string& text) const { std::ofstream(file_) << text; }
  std::unique_ptr<Authenticator> Make() const {
    auto made = Authenticator::Create({.token_file = file_, .reload = std::chrono::hours(1), .on_reload = nullptr});
    EXPECT_TRUE(made.ok()) << made.status();
    return *std::move(made);
  }
  std::string file_;
};

TEST_F(AuthTest, TokensAndCertificatesNameCallersWithRoles) {
  Write("# comment\n\n" + Line("alice", "sampler,tuner", kToken) + "box trainer cert:box.example.org  # mTLS\n" +
        Line("root", "admin", "hft_admin"));
  const auto authenticator = Make();
  const auto alice = authenticator->Identify({"10.0.0.1", std::string("Bearer ") + kToken, ""});
  ASSERT_TRUE(alice.ok());
  EXPECT_EQ(alice->principal, "alice");
  EXPECT_TRUE(alice->May(Role::kSampler));
  EXPECT_TRUE(alice->May(Role::kTuner));
  EXPECT_FALSE(alice->May(Role::kTrainer));
  EXPECT_FALSE(alice->May(Role::kAdmin));
  const auto box = authenticator->Identify({"10.0.0.2", "", "box.example.org"});
  ASSERT_TRUE(box.ok());
  EXPECT_EQ(box->principal, "box");
  EXPECT_FALSE(box->May(Role::kSampler));
  const auto root = authenticator->Identify({"h", "Bearer hft_admin", ""});
  for (const Role role : {Role::kSampler, Role::kTuner, Role::kTrainer, Role::kAdmin}) EXPECT_TRUE(root->May(role));
  for (const Credentials& unknown :
       {Credentials{"h", "", ""}, Credentials{"h", "Bearer hft_other", ""}, Credentials{"h", kToken, ""},
        Credentials{"h", std::string("bearer ") + kToken, ""}, Credentials{"h", "", "other.example.org"},
        Credentials{"h", "Bearer hft_other", "box.example.org"},
        Credentials{"h", "Bearer " + Sha256Of(kToken).Hex(), ""}}) {
    const auto refused = authenticator->Identify(unknown);
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnauthenticated) << unknown.authorization;
    EXPECT_THAT(std::string(refused.status().message()), Not(HasSubstr("hft_")));
  }
}

TEST_F(AuthTest, AFileThatDoesNotParseIsRefusedWithoutItsContent) {
  for (const std::string& text :
       {std::string("alice sampler\n"), Line("alice", "king", kToken), std::string("alice sampler sha256:123\n"),
        std::string("alice sampler ") + kToken + "\n", Line("a", "sampler", kToken) + Line("b", "admin", kToken),
        std::string("alice sampler cert:\n"), std::string("a sampler cert:x more\n"),
        Line("alice", "sampler,", kToken)}) {
    const auto table = TokenTable::Parse(text);
    EXPECT_EQ(table.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(table.status().message()), HasSubstr("line "));
    EXPECT_THAT(std::string(table.status().message()), Not(HasSubstr(kToken)));
  }
  EXPECT_EQ(TokenTable::Parse("# nobody\n")->size(), 0u);
}

TEST_F(AuthTest, OthersMustNotReadTheFile) {
  Write(Line("alice", "sampler", kToken));
  for (const mode_t mode : {0640, 0604, 0620, 0666}) {
    chmod(file_.c_str(), mode);
    EXPECT_EQ(TokenTable::Load(file_).status().code(), absl::StatusCode::kPermissionDenied) << mode;
  }
  chmod(file_.c_str(), 0400);
  EXPECT_TRUE(TokenTable::Load(file_).ok());
  EXPECT_EQ(TokenTable::Load(file_ + "-absent").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(AuthTest, AChangedFileCountsAndABrokenOneLeavesTheLastGoodOne) {
  Write(Line("alice", "sampler", kToken));
  const auto authenticator = Make();
  Write(Line("bob", "sampler", "hft_bob"));
  EXPECT_TRUE(authenticator->Reload().ok());
  EXPECT_FALSE(authenticator->Identify({"h", std::string("Bearer ") + kToken, ""}).ok()) << "revoked";
  EXPECT_TRUE(authenticator->Identify({"h", "Bearer hft_bob", ""}).ok());
  Write("nonsense\n");
  EXPECT_FALSE(authenticator->Reload().ok());
  EXPECT_TRUE(authenticator->Identify({"h", "Bearer hft_bob", ""}).ok());
}

TEST_F(AuthTest, WithoutAFileEverybodyIsHisHost) {
  const auto authenticator = *Authenticator::Create({});
  EXPECT_EQ(authenticator->Identify({"10.0.0.1", "", ""})->principal, "10.0.0.1");
  EXPECT_EQ(authenticator->Identify({"10.0.0.1", "", "box"})->principal, "box");
  EXPECT_TRUE(authenticator->Identify({"10.0.0.1", "Bearer x", ""})->May(Role::kAdmin));
}

TEST(Transport, TokensNeverTravelInClearAndOpenServersStayAtHome) {
  struct Case {
    const char* address;
    bool tls, certificates, tokens, insecure, allowed;
  };
  for (const Case& c : std::vector<Case>{{"127.0.0.1:1", false, false, false, false, true},
                                         {"unix:/s", false, false, true, false, true},
                                         {"[::1]:1", false, false, true, false, true},
                                         {"localhost:1", false, false, true, false, true},
                                         {"0.0.0.0:1", false, false, false, false, false},
                                         {"0.0.0.0:1", true, false, false, false, false},
                                         {"0.0.0.0:1", false, false, false, true, true},
                                         {"0.0.0.0:1", false, false, true, true, false},
                                         {"0.0.0.0:1", true, false, true, false, true},
                                         {"0.0.0.0:1", true, true, false, false, true},
                                         {"[::]:1", false, false, true, false, false},
                                         {"10.1.2.3:1", true, false, false, true, true}}) {
    EXPECT_EQ(CheckTransport(c.address, c.tls, c.certificates, c.tokens, c.insecure).ok(), c.allowed) << c.address;
  }
}

}  // namespace
}  // namespace haarflow::testing
