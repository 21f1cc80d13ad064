#include "server/status/status_server.h"

#include <arpa/inet.h>
#include <civetweb.h>

#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/base/guarded.h"
#include "core/base/status.h"
#include "server/log/log.h"
#include "server/sampling/draw_pool.h"
#include "server/status/page.h"

namespace haarflow {
namespace {

struct HostPort {
  std::string host;
  int port = 0;
};

absl::StatusOr<HostPort> ParseListen(const std::string& listen) {
  const size_t colon = listen.rfind(':');
  HostPort parsed;
  if (colon != std::string::npos) parsed.host = listen.substr(0, colon);
  const bool ok = !parsed.host.empty() && parsed.host.find(',') == std::string::npos &&
                  absl::SimpleAtoi(listen.substr(colon + 1), &parsed.port) && parsed.port >= 0 && parsed.port <= 65535;
  if (ok) return parsed;
  return absl::InvalidArgumentError(absl::StrCat("--status ", listen, " is no host:port; say 127.0.0.1:9465, say"));
}

std::string WithoutBrackets(const std::string& host) {
  return host.size() > 2 && host.front() == '[' && host.back() == ']' ? host.substr(1, host.size() - 2) : host;
}

bool IsAddress(const std::string& host) {
  unsigned char bytes[16];
  return inet_pton(AF_INET, host.c_str(), bytes) == 1 || inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

bool IsLoopback(const std::string& host) {
  const std::string address = WithoutBrackets(host);
  return address == "localhost" || address == "::1" || (IsAddress(address) && absl::StartsWith(address, "127."));
}

// Headers and, unless it was asked for without, the body.
int Answer(mg_connection* connection, const char* status, const char* type, const std::string& body, bool with_body) {
  const std::string head =
      absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Type: ", type, "; charset=utf-8\r\nContent-Length: ", body.size(),
                   "\r\nContent-Security-Policy: ", StatusPagePolicy(),
                   "\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\n"
                   "Cross-Origin-Resource-Policy: same-origin\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n");
  mg_write(connection, head.data(), head.size());
  if (with_body) mg_write(connection, body.data(), body.size());
  return 1;  // handled
}

}  // namespace

bool NamesLocalHost(const std::string& host) {
  std::string name = host;
  const size_t colon = host.rfind(':');
  const bool port = colon != std::string::npos && host.find_first_not_of("0123456789", colon + 1) == std::string::npos;
  if (port && (host.front() == '[' || host.find(':') == colon)) name = host.substr(0, colon);
  return name == "localhost" || IsAddress(WithoutBrackets(name));
}

StatusServer::StatusServer(const Options& options, const ServerView* view)
    : options_(options), view_(view), history_(options.history) {}

StatusServer::~StatusServer() {
  if (context_ != nullptr) mg_stop(context_);
  {
    MutexLock lock(&mutex_);
    stop_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

absl::StatusOr<std::unique_ptr<StatusServer>> StatusServer::Start(const Options& options, const ServerView* view) {
  ASSIGN_OR_RETURN(const HostPort listen, ParseListen(options.listen));
  std::unique_ptr<StatusServer> server(new StatusServer(options, view));
  server->loopback_ = IsLoopback(listen.host);
  mg_callbacks callbacks{};
  callbacks.begin_request = &StatusServer::Handle;
  callbacks.log_message = [](const mg_connection*, const char*) { return 1; };  // of clients, for nobody
  // No document root: nothing of the disk is ever served.
  const char* settings[] = {"listening_ports", options.listen.c_str(), "num_threads", "2",    "request_timeout_ms",
                            "10000",           "enable_keep_alive",    "no",          nullptr};
  server->context_ = mg_start(&callbacks, server.get(), settings);
  mg_server_port port{};
  if (server->context_ == nullptr || mg_get_server_ports(server->context_, 1, &port) != 1) {
    return absl::UnavailableError(absl::StrCat("the status page cannot listen on ", options.listen,
                                               ": no such address, or the port is taken by another process"));
  }
  server->address_ = absl::StrCat(listen.host, ":", port.port);
  server->thread_ = std::thread([s = server.get()] {
    NameThisThread("hf-status");
    s->Record();
  });
  return server;
}

void StatusServer::Record() {
  while (true) {
    view_->Record(&history_);
    MutexLock lock(&mutex_);
    const auto due = std::chrono::steady_clock::now() + options_.period;
    for (auto now = due - options_.period; !stop_ && now < due; now = std::chrono::steady_clock::now()) {
      changed_.WaitFor(&mutex_, due - now);
    }
    if (stop_) return;
  }
}

std::string StatusServer::Page(bool refresh) const {
  StatusSnapshot snapshot = view_->Snapshot();
  snapshot.history = history_.Lines();
  return RenderStatusPage(snapshot, refresh);
}

int StatusServer::Handle(mg_connection* connection) {
  const mg_request_info* request = mg_get_request_info(connection);
  const auto* server = static_cast<const StatusServer*>(request->user_data);
  const bool get = std::strcmp(request->request_method, "GET") == 0;
  if (!get && std::strcmp(request->request_method, "HEAD") != 0) {
    return Answer(connection, "405 Method Not Allowed", "text/plain", "GET and HEAD alone\n", true);
  }
  const char* host = mg_get_header(connection, "Host");
  if (server->loopback_ && (host == nullptr || !NamesLocalHost(host))) {
    return Answer(connection, "421 Misdirected Request", "text/plain", "this page is for its own host\n", get);
  }
  if (std::strcmp(request->local_uri, "/") != 0) {
    return Answer(connection, "404 Not Found", "text/plain", "the page is at /\n", get);
  }
  const bool refresh = request->query_string == nullptr || std::strcmp(request->query_string, "refresh=off") != 0;
  const absl::StatusOr<std::string> page =
      Guarded("the status page", [&]() -> absl::StatusOr<std::string> { return server->Page(refresh); });
  if (page.ok()) return Answer(connection, "200 OK", "text/html", *page, get);
  Log(LogLevel::kError, "the status page failed", {{"error", std::string(page.status().message())}});
  return Answer(connection, "500 Internal Server Error", "text/plain", "the log of the server says why\n", get);
}

}  // namespace haarflow
