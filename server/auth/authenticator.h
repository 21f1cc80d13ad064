// Says who calls: by bearer token, by client certificate, or, where nothing is configured, by host.
//
// The token file is read again every few seconds; one that does not parse leaves the last good one in force. Without a
// token file everybody may do everything: for loopback, Unix sockets, and mTLS alone.
//
// Lifetime: the thread is joined in the destructor. Thread-safety: thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "core/base/mutex.h"
#include "server/auth/token_table.h"

namespace haarflow {

// What a call shows.
struct Credentials {
  std::string host;           // without port
  std::string authorization;  // the header; empty when absent
  std::string certificate;    // name of the verified client certificate; empty without mTLS
};

class Authenticator {
 public:
  struct Options {
    std::string token_file;  // empty: none
    std::chrono::milliseconds reload{5000};
    std::function<void(const absl::Status&)> on_reload;  // when what the file says has changed, or it cannot be read
  };
  static absl::StatusOr<std::unique_ptr<Authenticator>> Create(Options options);
  ~Authenticator();
  Authenticator(const Authenticator&) = delete;
  Authenticator& operator=(const Authenticator&) = delete;

  // UNAUTHENTICATED: nothing shown, or nothing that is known. Never repeats what was shown.
  absl::StatusOr<Caller> Identify(const Credentials& credentials) const;
  // Reads the file now.
  absl::Status Reload();

 private:
  explicit Authenticator(Options options) : options_(std::move(options)) {}
  void Watch();

  const Options options_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::shared_ptr<const TokenTable> table_ ABSL_GUARDED_BY(mutex_);  // null without a file
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// Whether a server may listen at `address`: tokens never travel in clear beyond this host, and a server that takes
// everybody's calls does not stand in a network unless `insecure` says so. FAILED_PRECONDITION with the remedy.
absl::Status CheckTransport(const std::string& address, bool tls, bool client_certificates, bool tokens, bool insecure);

}  // namespace haarflow
