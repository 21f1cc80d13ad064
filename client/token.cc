#include "client/token.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/digest.h"
#include "core/base/file.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

constexpr uint64_t kMaxTokenBytes = 4096;

absl::Status CheckToken(const std::string& token) {
  const bool plain = !token.empty() && std::all_of(token.begin(), token.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c));
  });
  if (plain && token.size() <= kMaxTokenBytes) return absl::OkStatus();
  return absl::InvalidArgumentError("this is no token: printable characters without blanks");
}

absl::StatusOr<std::string> ReadToken(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return ErrnoStatus(errno, absl::StrCat("reading the token ", path));
  if ((info.st_mode & 077) != 0) {
    return absl::PermissionDeniedError(absl::StrCat("the token ", path, " can be read by others; chmod 600 it"));
  }
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxTokenBytes));
  const std::string token(absl::StripAsciiWhitespace(text));
  RETURN_IF_ERROR(Annotate(CheckToken(token), path));
  return token;
}

}  // namespace

absl::StatusOr<std::string> TokenPath() {
  const char* config = std::getenv("XDG_CONFIG_HOME");
  if (config != nullptr && *config == '/') return absl::StrCat(config, "/haarflow/token");
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home != '/') {
    return absl::FailedPreconditionError("neither $XDG_CONFIG_HOME nor $HOME says where a token could be kept");
  }
  return absl::StrCat(home, "/.config/haarflow/token");
}

absl::StatusOr<std::string> TokenFor(const std::string& token_file) {
  if (!token_file.empty()) return ReadToken(token_file);
  const char* variable = std::getenv("HAARFLOW_TOKEN_FILE");
  if (variable != nullptr && *variable != '\0') return ReadToken(variable);
  const auto kept = TokenPath();
  if (!kept.ok() || ::access(kept->c_str(), F_OK) != 0) return std::string();
  return ReadToken(*kept);
}

absl::Status KeepToken(const std::string& token) {
  RETURN_IF_ERROR(CheckToken(token));
  ASSIGN_OR_RETURN(const std::string path, TokenPath());
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("making the directory of ", path));
  const mode_t mask = ::umask(077);
  const absl::Status written = WriteFileAtomically(path, token + "\n");
  ::umask(mask);
  return written;
}

absl::StatusOr<NewToken> MakeToken(const std::string& name, const std::vector<std::string>& roles) {
  RETURN_IF_ERROR(Annotate(CheckToken(name), "name"));
  for (const std::string& role : roles) {
    if (role != "sampler" && role != "tuner" && role != "trainer" && role != "admin") {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", role, "\" is no role; there are sampler, tuner, trainer, admin"));
    }
  }
  std::random_device device;  // getrandom or rdrand
  std::string bits;
  for (int i = 0; i < 8; ++i) {
    const uint32_t word = device();
    bits.append(reinterpret_cast<const char*>(&word), sizeof word);
  }
  ASSIGN_OR_RETURN(const Digest digits, Digest::FromBytes(bits));
  NewToken made;
  made.token = absl::StrCat("hft_", digits.Hex());
  made.line = absl::StrCat(name, " ", absl::StrJoin(roles, ","), " sha256:", Sha256Of(made.token).Hex());
  return made;
}

}  // namespace haarflow
