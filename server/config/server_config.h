// What haarflow-server is told: flags, environment, configuration file.
//
// One precedence for every setting: flag, then environment, then file, then the default. A setting has one name:
// --max-streams, HAARFLOW_OPT_MAX_STREAMS, `max-streams = 256` in the file (--config FILE; TOML without tables). A name
// that is no setting is refused wherever it stands. (The prefix is not HAARFLOW_SERVER_: Kubernetes sets variables of
// that form for a service of the name haarflow-server.)
//
// Thread-safety: none needed.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "server/log/log.h"
#include "server/sampling/admission.h"
#include "server/sampling/request.h"

namespace haarflow {

// all: everything in one process. coordinator: aliases, publication, jobs; draws nothing for clients. sampler: draws
// from a store that it never writes.
enum class ServerRole { kAll, kCoordinator, kSampler };

struct ServerConfig {
  ServerRole role = ServerRole::kAll;
  std::string store;
  std::string listen = "127.0.0.1:50151";
  std::string metrics;
  std::string status;
  LogFormat log_format = LogFormat::kText;
  std::string device;  // cpu:<all cores>
  std::string endpoint_file;
  AdmissionLimits limits{.all = {.streams = 256, .samples = 0, .bytes = int64_t{1} << 30}, .principal = {}};
  int64_t max_chunk_bytes = 1 << 20;
  int64_t max_request_bytes = 1 << 20;
  uint64_t burn_in = RequestOptions().burn_in;
  double drain_seconds = 30;
  double grace_seconds = 0;
  double linger_seconds = 0.001;
  double poll_seconds = 10;
  double lease_seconds = 3600;
  int64_t model_memory = 0;
  bool reflection = false;
  double keepalive_seconds = 30;
  std::string token_file;
  std::string tls_cert, tls_key, tls_client_ca;
  double tls_reload_seconds = 60;
  std::string jobs;
  double job_lease_seconds = 30;
  bool insecure = false;
};

struct ConfigOutcome {
  bool serve = false;
  int exit_code = 0;    // of a process that does not serve: --help, --version, a wrong setting
  std::string message;  // what it then prints: to stdout with exit code 0, else to stderr
  ServerConfig config;
};
// `arguments` without the program's name; `environment` as name and value.
ConfigOutcome ParseServerConfig(const std::vector<std::string>& arguments,
                                const std::vector<std::pair<std::string, std::string>>& environment,
                                const std::string& version);

// This process's.
std::vector<std::pair<std::string, std::string>> Environment();

}  // namespace haarflow
