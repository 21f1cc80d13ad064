// The sub-commands. Each prints its whole answer (one JSON document with --json) and returns the exit code, or returns
// an error and has printed nothing on stdout.
#pragma once

#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "client/output.h"
#include "client/theory.h"
#include "haarflow/v1/sampler.pb.h"

namespace haarflow {

// What to draw from: common to sample, measure, logz and thermo.
struct DrawOptions {
  std::string model;
  uint64_t count = 0;  // 0: not given
  std::optional<uint64_t> seed;
  uint64_t first_index = 0;
  std::vector<Setting> settings;  // parameters in which the target differs from the model's own
  bool require_reliable = false;
  bool bulk = false;  // gives way to interactive work
};

struct SampleOptions {
  DrawOptions draw;
  std::string output;  // empty: observables only
  std::optional<v1::SampleMode> mode;
  std::optional<uint64_t> burn_in;
  bool float32 = false;
  std::vector<std::string> observables;
  bool resume = false;
  bool force = false;
  int nersc_rows = 3;
};

struct ConvertOptions {
  std::vector<std::string> files;  // what to read, and last what to write
  bool force = false;
  int nersc_rows = 3;
};

struct VerifyOptions {
  std::vector<std::string> files;
  std::string store;              // empty: the server draws again
  std::string model;              // weigh the fields by this model instead
  std::vector<Setting> settings;  // of that model's target
};

struct MeasureOptions {
  DrawOptions draw;
  v1::SampleMode mode = v1::SAMPLE_MODE_METROPOLIS;
  std::vector<std::string> observables;  // empty: the defaults of the theory
  std::optional<uint64_t> burn_in;
};

struct LogZOptions {
  DrawOptions draw;
  double error = 0;
};

struct ThermoOptions {
  LogZOptions log_z;
  std::optional<ScanSetting> scan;
};

struct RetuneCommand {
  std::string model;  // its target, with the settings, is what is wanted
  std::vector<Setting> settings;
  std::string lattice;  // "16x16"; empty: the model's
  double ess = 0.8;
  double budget_seconds = 600;
  uint32_t priority = 0;
  std::string publish_as;  // empty: the server's choice
  std::string key;         // empty: a random one
  bool any_model = false;  // start from the nearest of all models
  bool watch = false;
};

absl::StatusOr<ExitCode> RunModels(const Globals& globals);
absl::StatusOr<ExitCode> RunModel(const Globals& globals, const std::string& name, bool spec_only);
absl::StatusOr<ExitCode> RunHealthcheck(const Globals& globals, const std::string& model);
absl::StatusOr<ExitCode> RunSample(const Globals& globals, const SampleOptions& options, const std::stop_token& stop);
absl::StatusOr<ExitCode> RunConvert(const Globals& globals, const ConvertOptions& options);
absl::StatusOr<ExitCode> RunVerify(const Globals& globals, const VerifyOptions& options, const std::stop_token& stop);
absl::StatusOr<ExitCode> RunMeasure(const Globals& globals, const MeasureOptions& options, const std::stop_token& stop);
absl::StatusOr<ExitCode> RunLogZ(const Globals& globals, const LogZOptions& options, const std::stop_token& stop);
absl::StatusOr<ExitCode> RunThermo(const Globals& globals, const ThermoOptions& options, const std::stop_token& stop);

// Becomes the Python package's command; returns only to say that there is none.
absl::StatusOr<ExitCode> RunReport(const Globals& globals, const std::vector<std::string>& arguments);

// Operators' commands.
absl::StatusOr<ExitCode> RunPromote(const Globals& globals, const std::string& model, uint64_t version);
absl::StatusOr<ExitCode> RunRollback(const Globals& globals, const std::string& model);
absl::StatusOr<ExitCode> RunPin(const Globals& globals, const std::string& model, uint64_t version);
absl::StatusOr<ExitCode> RunUnload(const Globals& globals, const std::string& model);
// Every `seconds` until it is stopped; once for 0.
absl::StatusOr<ExitCode> RunTop(const Globals& globals, double seconds, const std::stop_token& stop);
absl::StatusOr<ExitCode> RunToken(const Globals& globals, const std::string& name,
                                  const std::vector<std::string>& roles);
// Keeps the token that stands on stdin.
absl::StatusOr<ExitCode> RunLogin(const Globals& globals);

absl::StatusOr<ExitCode> RunRetune(const Globals& globals, const RetuneCommand& command, const std::stop_token& stop);
absl::StatusOr<ExitCode> RunJobs(const Globals& globals, uint32_t count);
absl::StatusOr<ExitCode> RunJob(const Globals& globals, const std::string& job_id, bool watch,
                                const std::stop_token& stop);
absl::StatusOr<ExitCode> RunCancel(const Globals& globals, const std::string& job_id);

// Shared by the commands.
absl::StatusOr<std::unique_ptr<Client>> ConnectTo(const Globals& globals);
ExitCode CodeForQuality(const v1::EnsembleQuality& quality, bool require_reliable);
// Trouble with a file of ours; what is inside it may be corrupt.
absl::Status FileTrouble(const absl::Status& status);
// "u1-l16-b2 version 3, U(1) Wilson, beta = 2, 16x16, seed 7"
std::string DescribeRun(const v1::SampleHeader& header);

}  // namespace haarflow
