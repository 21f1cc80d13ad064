// The file of tokens and certificate names: who may call, as whom, and for what.
//
//   # name     roles           what he shows
//   alice      sampler,tuner   sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//   gpu-box    trainer         cert:gpu-box.example.org
//
// Tokens stand there as their SHA-256 only (`haarflow token create` makes both): they are 256 random bits, so that a
// fast hash is enough, and looking a hash up tells nobody how near his guess was. `cert:` is the name of a client
// certificate under mTLS. admin may do everything. The file must belong to the server's user (or root) and be readable
// by nobody else.
//
// Thread-safety: immutable.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "core/base/digest.h"

namespace haarflow {

enum class Role : uint8_t { kSampler = 1, kTuner = 2, kTrainer = 4, kAdmin = 8 };
const char* RoleName(Role role);

struct Caller {
  std::string principal;
  uint8_t roles = 0;  // of Role
  bool May(Role role) const { return (roles & (static_cast<uint8_t>(role) | static_cast<uint8_t>(Role::kAdmin))) != 0; }
};

class TokenTable {
 public:
  // INVALID_ARGUMENT with the line's number; never with its content.
  static absl::StatusOr<TokenTable> Parse(const std::string& text);
  // PERMISSION_DENIED for a file that others can read.
  static absl::StatusOr<TokenTable> Load(const std::string& path);

  // Null: unknown.
  const Caller* ByToken(const std::string& token) const;
  const Caller* ByCertificate(const std::string& name) const;
  size_t size() const { return tokens_.size() + certificates_.size(); }

 private:
  std::map<Digest, Caller> tokens_;
  std::map<std::string, Caller> certificates_;
};

// PERMISSION_DENIED when others than the owner can read or write it, or the owner is neither this user nor root.
absl::Status CheckPrivate(const std::string& path);

}  // namespace haarflow
