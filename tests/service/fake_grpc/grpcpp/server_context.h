// See support/server_callback.h.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace grpc {

using string_ref = std::string_view;

class AuthContext {
 public:
  bool IsPeerAuthenticated() const { return false; }
  std::vector<string_ref> GetPeerIdentity() const { return {}; }
};

// Of a caller who shows nothing.
class CallbackServerContext {
 public:
  std::string peer() const { return "ipv4:127.0.0.1:1"; }
  const std::multimap<string_ref, string_ref>& client_metadata() const { return metadata_; }
  std::shared_ptr<const AuthContext> auth_context() const { return nullptr; }
  void AddTrailingMetadata(const std::string& key, const std::string& value) { trailing_.emplace(key, value); }

 private:
  std::multimap<string_ref, string_ref> metadata_;
  std::multimap<std::string, std::string> trailing_;
};

}  // namespace grpc
