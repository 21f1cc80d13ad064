#include "server/auth/authenticator.h"

#include <pthread.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/status.h"

namespace haarflow {
namespace {

constexpr char kBearer[] = "Bearer ";
constexpr uint8_t kEveryRole = 15;

bool IsLocal(const std::string& address) {
  return absl::StartsWith(address, "unix:") || absl::StartsWith(address, "127.") ||
         absl::StartsWith(address, "localhost:") || absl::StartsWith(address, "[::1]:");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Authenticator>> Authenticator::Create(Options options) {
  auto made = std::unique_ptr<Authenticator>(new Authenticator(std::move(options)));
  if (made->options_.token_file.empty()) return made;
  RETURN_IF_ERROR(made->Reload());
  made->thread_ = std::thread([self = made.get()] {
    pthread_setname_np(pthread_self(), "hf-tokens");
    self->Watch();
  });
  return made;
}

Authenticator::~Authenticator() {
  {
    MutexLock lock(&mutex_);
    stop_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

absl::Status Authenticator::Reload() {
  ASSIGN_OR_RETURN(TokenTable table, TokenTable::Load(options_.token_file));
  auto fresh = std::make_shared<const TokenTable>(std::move(table));
  MutexLock lock(&mutex_);
  table_ = std::move(fresh);
  return absl::OkStatus();
}

void Authenticator::Watch() {
  std::string last;
  while (true) {
    {
      MutexLock lock(&mutex_);
      if (!stop_) changed_.WaitFor(&mutex_, options_.reload);
      if (stop_) return;
    }
    const absl::Status status = Reload();
    const std::string now(status.message());
    if (now != last && options_.on_reload) options_.on_reload(status);
    last = now;
  }
}

absl::StatusOr<Caller> Authenticator::Identify(const Credentials& credentials) const {
  std::shared_ptr<const TokenTable> table;
  {
    MutexLock lock(&mutex_);
    table = table_;
  }
  if (table == nullptr) {
    return Caller{credentials.certificate.empty() ? credentials.host : credentials.certificate, kEveryRole};
  }
  if (!credentials.authorization.empty()) {
    const Caller* caller = absl::StartsWith(credentials.authorization, kBearer)
                               ? table->ByToken(credentials.authorization.substr(sizeof kBearer - 1))
                               : nullptr;
    if (caller != nullptr) return *caller;
    return absl::UnauthenticatedError("this token is not known here; ask for a new one");
  }
  if (!credentials.certificate.empty()) {
    if (const Caller* caller = table->ByCertificate(credentials.certificate)) return *caller;
    return absl::UnauthenticatedError("this client certificate has no entry here");
  }
  return absl::UnauthenticatedError("this server wants a token: `haarflow login`, or $HAARFLOW_TOKEN_FILE");
}

absl::Status CheckTransport(const std::string& address, bool tls, bool client_certificates, bool tokens,
                            bool insecure) {
  if (IsLocal(address)) return absl::OkStatus();
  if (tokens && !tls) {
    return absl::FailedPreconditionError(absl::StrCat("tokens would travel in clear to ", address,
                                                      ": give --tls-cert and --tls-key, or listen on 127.0.0.1"));
  }
  if (tokens || client_certificates || insecure) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("everybody who reaches ", address,
                   " could call: give --token-file or --tls-client-ca, listen on 127.0.0.1 or unix:/path, or say "
                   "--insecure"));
}

}  // namespace haarflow
