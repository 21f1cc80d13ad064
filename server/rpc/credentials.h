// TLS and mTLS from files that are read again when they change.
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace haarflow {

// PEM files. Without `certificate` the server speaks plaintext.
struct TlsFiles {
  std::string certificate;
  std::string key;        // readable by its owner alone
  std::string client_ca;  // not empty: clients must show a certificate of this authority (mTLS)
  std::chrono::seconds reload{60};
};

// FAILED_PRECONDITION, PERMISSION_DENIED, NOT_FOUND: what is wrong with which file.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const TlsFiles& files);

}  // namespace haarflow
