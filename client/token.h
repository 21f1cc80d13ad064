// Tokens on the client's side: where they are kept, and how they are made.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace haarflow {

// `token_file` (--token-file), else $HAARFLOW_TOKEN_FILE, else what `haarflow login` keeps; empty when there is none. A
// file that others can read is refused.
absl::StatusOr<std::string> TokenFor(const std::string& token_file);
// $XDG_CONFIG_HOME/haarflow/token or ~/.config/haarflow/token.
absl::StatusOr<std::string> TokenPath();
// Keeps a token there, mode 0600. INVALID_ARGUMENT for what is no token.
absl::Status KeepToken(const std::string& token);

struct NewToken {
  std::string token;  // "hft_" and 64 hexadecimal digits: 256 bits of the operating system
  std::string line;   // for the server's token file
};
// INVALID_ARGUMENT for a name with blanks, or a role that there is not.
absl::StatusOr<NewToken> MakeToken(const std::string& name, const std::vector<std::string>& roles);

}  // namespace haarflow
