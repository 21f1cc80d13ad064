#include "server/auth/token_table.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <sstream>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/base/file.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

constexpr uint64_t kMaxBytes = 1 << 20;
constexpr Role kRoles[] = {Role::kSampler, Role::kTuner, Role::kTrainer, Role::kAdmin};

absl::StatusOr<uint8_t> ParseRoles(const std::string& text) {
  uint8_t roles = 0;
  for (const std::string& word : std::vector<std::string>(absl::StrSplit(text, ','))) {
    uint8_t found = 0;
    for (const Role role : kRoles) found |= word == RoleName(role) ? static_cast<uint8_t>(role) : 0;
    if (found == 0) return absl::InvalidArgumentError("roles are sampler, tuner, trainer, admin");
    roles |= found;
  }
  return roles;
}

}  // namespace

const char* RoleName(Role role) {
  switch (role) {
    case Role::kSampler:
      return "sampler";
    case Role::kTuner:
      return "tuner";
    case Role::kTrainer:
      return "trainer";
    case Role::kAdmin:
      return "admin";
  }
  return "";
}

absl::StatusOr<TokenTable> TokenTable::Parse(const std::string& text) {
  TokenTable table;
  std::istringstream lines(text);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::string where = absl::StrCat("line ", ++number);
    std::istringstream words(line.substr(0, line.find('#')));
    std::string name, roles, shown, more;
    if (!(words >> name)) continue;
    if (!(words >> roles >> shown) || words >> more) {
      return absl::InvalidArgumentError(absl::StrCat(where, " is not: name roles sha256:DIGEST or cert:NAME"));
    }
    const auto parsed = ParseRoles(roles);
    if (!parsed.ok()) return Annotate(parsed.status(), where);
    const Caller caller{name, *parsed};
    bool fresh = false;
    if (absl::StartsWith(shown, "sha256:")) {
      const auto digest = Digest::FromHex(shown.substr(7));
      if (!digest.ok()) {
        return absl::InvalidArgumentError(absl::StrCat(where, ": a SHA-256 has 64 hexadecimal digits"));
      }
      fresh = table.tokens_.emplace(*digest, caller).second;
    } else if (absl::StartsWith(shown, "cert:") && shown.size() > 5) {
      fresh = table.certificates_.emplace(shown.substr(5), caller).second;
    } else {
      return absl::InvalidArgumentError(absl::StrCat(where, " shows neither sha256:DIGEST nor cert:NAME"));
    }
    if (!fresh) return absl::InvalidArgumentError(absl::StrCat(where, " repeats what an earlier line shows"));
  }
  return table;
}

absl::Status CheckPrivate(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return ErrnoStatus(errno, path);
  if (info.st_uid != ::geteuid() && info.st_uid != 0) {
    return absl::PermissionDeniedError(absl::StrCat(path, " belongs to another user; chown it"));
  }
  if ((info.st_mode & 077) != 0) {
    return absl::PermissionDeniedError(absl::StrCat(path, " can be read by others; chmod 600 it"));
  }
  return absl::OkStatus();
}

absl::StatusOr<TokenTable> TokenTable::Load(const std::string& path) {
  RETURN_IF_ERROR(CheckPrivate(path));
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxBytes));
  auto table = Parse(text);
  if (!table.ok()) return Annotate(table.status(), path);
  return table;
}

const Caller* TokenTable::ByToken(const std::string& token) const {
  const auto found = tokens_.find(Sha256Of(token));
  return found == tokens_.end() ? nullptr : &found->second;
}

const Caller* TokenTable::ByCertificate(const std::string& name) const {
  const auto found = certificates_.find(name);
  return found == certificates_.end() ? nullptr : &found->second;
}

}  // namespace haarflow
