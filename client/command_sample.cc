// haarflow sample: configurations into a file, or observables alone.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/commands.h"
#include "client/progress.h"
#include "client/requests.h"
#include "client/summary.h"
#include "core/action/target.h"
#include "core/base/status.h"
#include "core/io/configuration_file.h"
#include "core/observable/observable.h"

namespace haarflow {
namespace {

constexpr std::chrono::seconds kSyncEvery{10};

absl::Status Usage(const std::string& what) { return WithExitCode(absl::InvalidArgumentError(what), kExitUsage); }

bool Exists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

class SampleCommand {
 public:
  SampleCommand(const Globals& globals, const SampleOptions& options, const std::stop_token& stop)
      : globals_(globals), options_(options), stop_(stop), part_path_(PartPathOf(options.output)) {}

  absl::StatusOr<ExitCode> Execute();

 private:
  bool to_file() const { return !options_.output.empty(); }
  uint64_t steps() const { return steps_before_ + assembler_.steps(); }

  absl::Status CheckUsage() const;
  absl::Status OpenJournal();
  absl::Status CheckSameRun(const v1::SampleHeader& header) const;
  absl::Status FillRequest(const Client& client);
  absl::Status Receive(const Client& client);
  absl::Status Journal(const v1::SampleResponse& message);
  absl::Status Explain(const absl::Status& status) const;
  absl::Status Conclude();
  void PrintAnswer(double seconds) const;

  const Globals& globals_;
  const SampleOptions& options_;
  const std::stop_token stop_;
  const std::string part_path_;

  std::unique_ptr<PartWriter> journal_;
  std::chrono::steady_clock::time_point synced_at_ = std::chrono::steady_clock::now();
  bool journal_has_run_ = false;  // what was resumed
  uint64_t total_ = 0;
  uint64_t steps_before_ = 0;
  v1::SampleRequest request_;
  SampleAssembler assembler_{/*keep_fields=*/false};  // of what this process receives
  RunColumns columns_;
  PartContents run_;
};

absl::Status SampleCommand::CheckUsage() const {
  if (!to_file() && options_.observables.empty()) {
    return Usage("nothing to do with the configurations: give -o FILE, or --observables for their values alone");
  }
  if (!to_file() && options_.resume) return Usage("--resume needs the file to go on with: give -o FILE");
  if (to_file()) {
    if (const auto format = FormatOf(options_.output); !format.ok()) return WithExitCode(format.status(), kExitUsage);
  }
  if (options_.draw.count == 0 && !options_.resume) return Usage("-n N, the number of configurations, is missing");
  if (options_.resume && options_.force)
    return Usage("--resume goes on with a file and --force replaces it: give one of them");
  if (options_.burn_in.has_value() && options_.mode == v1::SAMPLE_MODE_REWEIGHTED) {
    return Usage("--burn-in belongs to --mode metropolis: reweighted proposals are independent");
  }
  return absl::OkStatus();
}

absl::Status SampleCommand::OpenJournal() {
  if (!to_file()) {
    total_ = options_.draw.count;
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> files, FilesOf(options_.output));
  if (!options_.resume && !options_.force) {
    for (const std::string& file : files) {
      if (Exists(file))
        return absl::AlreadyExistsError(absl::StrCat(file, " exists: --resume extends it, --force replaces it"));
    }
    if (Exists(part_path_)) {
      return absl::AlreadyExistsError(
          absl::StrCat(part_path_, " holds an unfinished run: --resume goes on with it, --force throws it away"));
    }
  }
  if (options_.resume && !Exists(part_path_) && std::any_of(files.begin(), files.end(), Exists)) {
    RETURN_IF_ERROR(ReopenConfigurations(options_.output, part_path_));
  }
  if (options_.resume && Exists(part_path_)) {
    ASSIGN_OR_RETURN(journal_, PartWriter::Resume(part_path_, &run_));
    journal_has_run_ = run_.has_header;
    steps_before_ = run_.steps;
  } else {
    ASSIGN_OR_RETURN(journal_, PartWriter::Create(part_path_, /*overwrite=*/options_.force));
  }
  total_ = options_.draw.count > 0 ? options_.draw.count : run_.header.count();
  return absl::OkStatus();
}

absl::Status SampleCommand::CheckSameRun(const v1::SampleHeader& header) const {
  const auto differs = [&](const std::string& what, const std::string& there, const std::string& here) {
    return Usage(
        absl::StrCat(part_path_, " has ", what, " ", there, ", not ", here, ": it can only go on as it began"));
  };
  const DrawOptions& draw = options_.draw;
  if (draw.model != header.model()) return differs("model", header.model(), draw.model);
  if (draw.seed.has_value() && *draw.seed != header.seed()) {
    return differs("seed", absl::StrCat(header.seed()), absl::StrCat(*draw.seed));
  }
  if (options_.mode.has_value() && (*options_.mode != v1::SAMPLE_MODE_REWEIGHTED) != IsMetropolis(header)) {
    return differs("mode", IsMetropolis(header) ? "metropolis" : "reweighted",
                   IsMetropolis(header) ? "reweighted" : "metropolis");
  }
  if (options_.float32 && ScalarBytes(header) != 4) return differs("precision", "float64", "float32");
  if (!options_.observables.empty() &&
      options_.observables != std::vector<std::string>(header.observables().begin(), header.observables().end())) {
    return differs("observables", absl::StrJoin(header.observables(), ","), absl::StrJoin(options_.observables, ","));
  }
  ASSIGN_OR_RETURN(const v1::Target asked, WithSettings(header.target(), draw.settings));
  if (CanonicalTarget(asked) != CanonicalTarget(header.target())) {
    return differs("the target", DescribeTarget(header.target()), DescribeTarget(asked));
  }
  return absl::OkStatus();
}

absl::Status SampleCommand::FillRequest(const Client& client) {
  const DrawOptions& draw = options_.draw;
  if (options_.draw.bulk) request_.set_priority(v1::PRIORITY_BULK);
  request_.set_omit_fields(!to_file());
  if (options_.float32) request_.set_precision(v1::FIELD_PRECISION_FLOAT32);
  if (journal_has_run_) {
    RETURN_IF_ERROR(CheckSameRun(run_.header));
    if (total_ < steps_before_) {
      return Usage(absl::StrCat(part_path_, " holds ", steps_before_, " steps already, more than -n ", total_));
    }
    request_.set_precision(run_.header.precision());
    *request_.mutable_observables() = run_.header.observables();
    request_.set_count(total_ - steps_before_);
    if (!run_.resume_token.empty()) {
      request_.set_resume_token(run_.resume_token);
      return absl::OkStatus();
    }
    // A header and nothing else: begin again, as the same run.
    request_.set_model_digest(run_.header.model_digest());
    *request_.mutable_target() = run_.header.target();
    request_.set_seed(run_.header.seed());
    request_.set_first_index(run_.header.next_index());
    request_.set_mode(run_.header.mode());
    if (IsMetropolis(run_.header)) request_.set_burn_in(run_.header.burn_in());
    request_.set_model(draw.model);
    return absl::OkStatus();
  }
  if (total_ == 0) return Usage("-n N, the number of configurations, is missing");
  request_.set_count(total_);
  request_.set_model(draw.model);
  request_.set_mode(options_.mode.value_or(v1::SAMPLE_MODE_METROPOLIS));
  if (draw.seed.has_value()) request_.set_seed(*draw.seed);
  request_.set_first_index(draw.first_index);
  if (options_.burn_in.has_value()) request_.set_burn_in(*options_.burn_in);
  for (const std::string& name : options_.observables) request_.add_observables(name);
  if (!draw.settings.empty() || options_.observables.empty()) {
    ASSIGN_OR_RETURN(const v1::Target target, TargetOf(client, draw));
    if (!draw.settings.empty()) *request_.mutable_target() = target;
    if (options_.observables.empty()) {
      for (const std::string& name : DefaultColumns(target)) request_.add_observables(name);
    }
  }
  return absl::OkStatus();
}

// A machine that goes down takes no more than the last seconds with it.
absl::Status SampleCommand::Journal(const v1::SampleResponse& message) {
  RETURN_IF_ERROR(journal_->Append(message));
  const auto now = std::chrono::steady_clock::now();
  if (now - synced_at_ < kSyncEvery) return absl::OkStatus();
  synced_at_ = now;
  return journal_->Sync();
}

absl::Status SampleCommand::Receive(const Client& client) {
  ProgressBar progress(globals_.progress, request_.mode() == v1::SAMPLE_MODE_REWEIGHTED ? "proposals" : "steps", total_,
                       steps_before_);
  StreamOptions stream;
  stream.stop = stop_;
  std::optional<uint64_t> noted_at;  // one line for each outage, not for each attempt
  stream.on_resume = [&](const absl::Status& reason) {
    if (noted_at == steps()) return;
    noted_at = steps();
    progress.Finish();
    Note(absl::StrCat("haarflow: ", reason.message(), "; going on from step ", Grouped(steps())));
  };
  absl::Status local;
  const absl::Status status = client.Sample(request_, stream, [&](const v1::SampleResponse& message) {
    if (to_file() && message.has_header()) {
      local = WithExitCode(CheckHolds(options_.output, message.header().target()), kExitUsage);
    }
    if (local.ok() && to_file()) local = FileTrouble(Journal(message));
    if (local.ok()) {
      // With a file, the columns are read from the journal at the end.
      local = assembler_.Add(message,
                             [this](const SampleRow& row) { return to_file() ? absl::OkStatus() : columns_.Add(row); });
    }
    progress.Update(steps());
    return local.ok();
  });
  return local.ok() ? status : local;
}

absl::Status SampleCommand::Explain(const absl::Status& status) const {
  std::string message = stop_.stop_requested() ? "interrupted" : std::string(status.message());
  if (to_file()) {
    if (steps() > 0) {
      absl::StrAppend(&message, "; ", part_path_, " keeps ", Grouped(steps()), " of ", Grouped(total_),
                      " steps: repeat the command with --resume to go on");
    } else {
      ::unlink(part_path_.c_str());  // nothing to keep
    }
  }
  const absl::StatusCode code = stop_.stop_requested() ? absl::StatusCode::kCancelled : status.code();
  return WithExitCode(absl::Status(code, message), stop_.stop_requested() ? kExitInterrupted : ExitCodeOf(status));
}

absl::Status SampleCommand::Conclude() {
  if (!to_file()) {
    run_.header = assembler_.header();
    run_.steps = assembler_.steps();
    run_.configurations = assembler_.configurations();
    run_.statistics = assembler_.statistics();
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(journal_->Sync());
  ASSIGN_OR_RETURN(run_, ReadPart(part_path_, [this](const SampleRow& row) { return columns_.Add(row); }));
  RETURN_IF_ERROR(WriteConfigurations(part_path_, options_.output, {.nersc_rows = options_.nersc_rows}));
  ::unlink(part_path_.c_str());
  return absl::OkStatus();
}

void SampleCommand::PrintAnswer(double seconds) const {
  const bool metropolis = IsMetropolis(run_.header);
  const std::vector<v1::Estimate> estimates = EstimateObservables(run_.header, columns_);
  const LogZ log_z{run_.statistics.log_z(), run_.statistics.log_z_error(), ExactLogZ(run_.header.target())};
  const std::vector<std::string> files = to_file() ? WrittenFiles(options_.output) : std::vector<std::string>();
  if (globals_.json) {
    Json json = {{"run", HeaderJson(run_.header)},
                 {"steps", run_.steps},
                 {"configurations", run_.configurations},
                 {"seconds", seconds},
                 {"observables", EstimatesJson(estimates, metropolis)},
                 {"log_z", LogZJson(log_z)},
                 {"statistics", StatisticsJson(run_.statistics)}};
    if (to_file()) json["files"] = files;
    PrintJson(json);
    return;
  }
  std::string text =
      absl::StrCat(DescribeRun(run_.header), "\n", Grouped(run_.steps), metropolis ? " chain steps, " : " proposals, ",
                   Grouped(run_.configurations), " configurations, ", Significant(seconds, 3), " s");
  if (assembler_.steps() > 0 && seconds > 0) {
    absl::StrAppend(&text, " (", Grouped(static_cast<uint64_t>(static_cast<double>(assembler_.steps()) / seconds)),
                    "/s)");
  }
  absl::StrAppend(&text, "\n\n", EstimatesText(estimates, metropolis), "\n",
                  StatisticsText(run_.statistics, metropolis, log_z));
  if (to_file()) absl::StrAppend(&text, "written     ", absl::StrJoin(files, ", "), "\n");
  Print(text);
}

absl::StatusOr<ExitCode> SampleCommand::Execute() {
  RETURN_IF_ERROR(CheckUsage());
  ASSIGN_OR_RETURN(const auto client, ConnectTo(globals_));
  RETURN_IF_ERROR(FileTrouble(OpenJournal()));
  const auto start = std::chrono::steady_clock::now();
  absl::Status status = FillRequest(*client);
  if (status.ok() && request_.count() > 0) status = Receive(*client);
  if (!status.ok()) return Explain(status);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (const absl::Status concluded = Conclude(); !concluded.ok()) return Explain(FileTrouble(concluded));
  PrintAnswer(seconds);
  return CodeForQuality(run_.statistics.quality(), options_.draw.require_reliable);
}

}  // namespace

absl::StatusOr<ExitCode> RunSample(const Globals& globals, const SampleOptions& options, const std::stop_token& stop) {
  SampleCommand command(globals, options, stop);
  return command.Execute();
}

}  // namespace haarflow
