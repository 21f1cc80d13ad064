#include "server/rpc/credentials.h"

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include "absl/strings/str_cat.h"
#include "core/base/file.h"
#include "core/base/status.h"
#include "server/auth/token_table.h"

namespace haarflow {
namespace {

constexpr uint64_t kMaxPemBytes = 1 << 20;

// gRPC would only find out at the first handshake.
absl::Status CheckPem(const std::string& path, const char* flag) {
  if (path.empty()) return absl::FailedPreconditionError(absl::StrCat(flag, " is missing; TLS needs it"));
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxPemBytes));
  if (text.find("-----BEGIN ") != std::string::npos) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(path, " is no PEM file; see ", flag));
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const TlsFiles& files) {
  if (files.certificate.empty() && files.key.empty() && files.client_ca.empty()) {
    return grpc::InsecureServerCredentials();
  }
  RETURN_IF_ERROR(CheckPem(files.certificate, "--tls-cert"));
  RETURN_IF_ERROR(CheckPem(files.key, "--tls-key"));
  RETURN_IF_ERROR(CheckPrivate(files.key));
  const bool clients = !files.client_ca.empty();
  if (clients) RETURN_IF_ERROR(CheckPem(files.client_ca, "--tls-client-ca"));
  using grpc::experimental::FileWatcherCertificateProvider;
  const auto provider = std::make_shared<FileWatcherCertificateProvider>(
      files.key, files.certificate, files.client_ca, static_cast<unsigned int>(files.reload.count()));
  grpc::experimental::TlsServerCredentialsOptions options(provider);
  options.watch_identity_key_cert_pairs();
  if (clients) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(options);
}

}  // namespace haarflow
