// The status page on a port of its own, and the thread that records its history. HTTP by civetweb, which the metrics
// bring along.
//
// GET and HEAD of / alone; nothing can be changed through it. It asks for no token and shows models, streams and jobs,
// so it belongs on loopback or behind something that asks. On loopback a request must name an address of this host, or
// "localhost", as its Host: otherwise any web page could read it through a name that it resolves to 127.0.0.1.
//
// Lifetime: the view must outlive it; the destructor ends its threads. Thread-safety: thread-safe.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "core/base/mutex.h"
#include "server/status/server_view.h"

struct mg_connection;
struct mg_context;

namespace haarflow {

class StatusServer {
 public:
  struct Options {
    std::string listen;                      // host:port; port 0 picks one
    std::chrono::milliseconds period{5000};  // of the history's points
    StatusHistory::Options history;
  };
  // INVALID_ARGUMENT for what is no host:port, UNAVAILABLE when it cannot be bound.
  static absl::StatusOr<std::unique_ptr<StatusServer>> Start(const Options& options, const ServerView* view);
  ~StatusServer();
  StatusServer(const StatusServer&) = delete;
  StatusServer& operator=(const StatusServer&) = delete;

  // host:port, the port filled in.
  const std::string& address() const { return address_; }

 private:
  StatusServer(const Options& options, const ServerView* view);
  static int Handle(mg_connection* connection);
  std::string Page(bool refresh) const;
  void Record();

  const Options options_;
  const ServerView* const view_;
  bool loopback_ = false;
  std::string address_;
  StatusHistory history_;
  Mutex mutex_;
  CondVar changed_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
  mg_context* context_ = nullptr;
};

// Whether a Host header names this host: an address, or "localhost", with or without a port.
bool NamesLocalHost(const std::string& host);

}  // namespace haarflow
