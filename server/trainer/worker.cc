#include "server/trainer/worker.h"

#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_format.h"
#include "core/base/file.h"
#include "core/base/mutex.h"
#include "core/base/status.h"
#include "core/model/manifest.h"
#include "core/model/spec.h"
#include "core/train/retuner.h"
#include "server/log/log.h"
#include "server/trainer/now.h"
#include "server/trainer/worker_link.h"

namespace haarflow {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr double kLeaseWait = 1;    // short, so that a stop is heard; a job is answered at once
constexpr double kLongestBeat = 1;  // seconds: how soon a cancelled job is noticed
constexpr auto kTick = std::chrono::milliseconds(100);
constexpr auto kLongestPause = std::chrono::milliseconds(5000);

// The server, or the way to it, is gone for a while.
bool IsTransient(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsResourceExhausted(status) ||
         absl::IsCancelled(status);
}
std::string Message(const absl::Status& status) { return std::string(status.message()); }

// Growing pauses between attempts.
class Pause {
 public:
  explicit Pause(std::function<bool()> stop) : stop_(std::move(stop)) {}
  void Wait() {
    const auto until = Clock::now() + length_;
    while (!stop_() && Clock::now() < until) std::this_thread::sleep_for(std::min(kTick, length_));
    length_ = std::min(2 * length_, kLongestPause);
  }
  void Reset() { length_ = kFirst; }

 private:
  static constexpr std::chrono::milliseconds kFirst{100};
  const std::function<bool()> stop_;
  std::chrono::milliseconds length_ = kFirst;
};

// Keeps a lease alive from a thread of its own.
class Heartbeats {
 public:
  enum class Verdict { kGoOn, kCancelled, kLost };

  Heartbeats(WorkerLink* link, const v1::Lease& lease, double lease_seconds, double patience_seconds,
             const LogFields& fields)
      : link_(link), lease_(lease), patience_(patience_seconds), period_(std::min(kLongestBeat, lease_seconds / 3)) {
    thread_ = std::thread([this, fields] {
      const LogScope scope(fields);
      Run();
    });
  }
  ~Heartbeats() {
    {
      MutexLock lock(&mutex_);
      stop_ = true;
      wake_.NotifyAll();
    }
    thread_.join();
  }
  Verdict verdict() const { return verdict_; }
  // Asks the server at once whether the job is still ours.
  void Ask() {
    MutexLock lock(&mutex_);
    ask_ = true;
    wake_.NotifyAll();
  }
  void SetProgress(const v1::JobProgress& progress) {
    MutexLock lock(&mutex_);
    progress_ = progress;
  }
  v1::HeartbeatRequest Request() {
    v1::HeartbeatRequest request;
    *request.mutable_lease() = lease_;
    MutexLock lock(&mutex_);
    *request.mutable_progress() = progress_;
    return request;
  }

 private:
  void Run() {
    auto last_answer = Clock::now();
    while (verdict_ == Verdict::kGoOn) {
      const absl::StatusOr<v1::HeartbeatResponse> answer = link_->Heartbeat(Request());
      const double silent = std::chrono::duration<double>(Clock::now() - last_answer).count();
      if (answer.ok()) {
        last_answer = Clock::now();
        if (answer->cancel()) verdict_ = Verdict::kCancelled;
      } else if (!IsTransient(answer.status()) || silent > patience_) {
        Log(LogLevel::kWarning, "the job is lost", {{"job", lease_.job_id()}, {"reason", Message(answer.status())}});
        verdict_ = Verdict::kLost;
      }
      MutexLock lock(&mutex_);
      if (!stop_ && !ask_) wake_.WaitFor(&mutex_, std::chrono::milliseconds(static_cast<int64_t>(period_ * 1000)));
      if (stop_) return;
      ask_ = false;
    }
  }

  WorkerLink* const link_;
  const v1::Lease lease_;
  const double patience_;
  const double period_;
  std::atomic<Verdict> verdict_ = Verdict::kGoOn;
  Mutex mutex_;
  CondVar wake_;
  v1::JobProgress progress_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  bool ask_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

v1::JobProgress ToProgress(const RetuneProgress& p) {
  v1::JobProgress progress;
  progress.set_step(p.step);
  progress.set_total_steps(p.total_steps);
  progress.set_loss(p.loss);
  progress.set_ess(p.ess);
  progress.set_seconds_left(p.seconds_left);
  progress.set_seconds(p.seconds);
  progress.set_path(p.path);
  progress.set_stage(p.stage >= RetuneStage::kEvaluate ? absl::StrCat(p.place, ", evaluation") : p.place);
  return progress;
}

// The trace of the request that submitted the job: it leads from the user's error or log line to these.
LogFields LogFieldsOf(const v1::Job& job) {
  return job.trace_id().empty() ? LogFields() : LogFields{{"trace_id", job.trace_id()}};
}

// One leased job.
class JobRun {
 public:
  JobRun(const WorkerOptions& options, WorkerLink* link, v1::LeaseJobResponse leased, const std::string& scratch)
      : options_(options),
        link_(link),
        leased_(std::move(leased)),
        scratch_(scratch),
        beats_(link, leased_.lease(), leased_.lease_seconds(), options.patience_seconds, LogFieldsOf(leased_.job())) {}

  void Run() {
    const LogScope scope(LogFieldsOf(leased_.job()));
    const absl::Status status = Work();
    if (status.ok()) return;
    const LogFields about = {{"job", leased_.lease().job_id()}, {"reason", Message(status)}};
    if (beats_.verdict() != Heartbeats::Verdict::kGoOn) {
      Log(LogLevel::kInfo, beats_.verdict() == Heartbeats::Verdict::kCancelled ? "job cancelled" : "job dropped",
          about);
      return;
    }
    v1::HeartbeatRequest last = beats_.Request();
    if (options_.stop() || IsTransient(status)) {
      Log(LogLevel::kInfo, "job given back", about);
      last.set_release(true);
    } else {
      Log(LogLevel::kError, "job failed", about);
      last.set_failure(Message(status));
    }
    Persist([&] { return link_->Heartbeat(last).status(); }).IgnoreError();
  }

 private:
  bool GoOn() const { return beats_.verdict() == Heartbeats::Verdict::kGoOn && !options_.stop(); }

  // Until it succeeds, fails for good, or the job is not ours any more.
  template <class F>
  absl::Status Persist(const F& call) {
    Pause pause([this] { return beats_.verdict() != Heartbeats::Verdict::kGoOn; });
    const auto start = Clock::now();
    while (true) {
      const absl::Status status = call();
      if (!IsTransient(status) || beats_.verdict() != Heartbeats::Verdict::kGoOn) return status;
      // Told to stop, it says good-bye to a server that is there, and to no other.
      const double patience = options_.stop() ? 1 : options_.patience_seconds;
      if (std::chrono::duration<double>(Clock::now() - start).count() > patience) return status;
      pause.Wait();
    }
  }

  absl::Status Work() {
    std::map<std::string, std::string> files;
    RETURN_IF_ERROR(Persist([&]() -> absl::Status {
      ASSIGN_OR_RETURN(files, link_->FetchCheckpoint(leased_.lease()));
      return absl::OkStatus();
    }));
    ASSIGN_OR_RETURN(RetuneTask task, Task(files));
    RetunerOptions options;
    options.threads = options_.threads;
    options.crew = options_.crew;
    options.scratch = scratch_;
    options.seconds_between_states = options_.state_seconds;
    options.on_progress = [this](const RetuneProgress& p) {
      beats_.SetProgress(ToProgress(p));
      return GoOn();
    };
    options.on_state = [this](const std::string& bytes) { Upload(bytes); };
    const std::string& state = files["state"];
    auto retuner = Retuner::Create(task, options, state);
    if (!retuner.ok() && !state.empty()) {
      Log(LogLevel::kWarning, "the job's state is of no use: from the start again",
          {{"job", leased_.lease().job_id()}, {"reason", Message(retuner.status())}});
      retuner = Retuner::Create(task, options, "");
    }
    RETURN_IF_ERROR(retuner.status());
    Log(LogLevel::kInfo, state.empty() ? "training" : "training resumed",
        {{"job", leased_.lease().job_id()},
         {"target", DescribeTarget(task.spec.target())},
         {"from", task.lineage.substr(0, task.lineage.find(' '))},
         {"steps", absl::StrCat((*retuner)->steps())}});
    ASSIGN_OR_RETURN(const RetuneResult result, (*retuner)->Run());
    return Publish(result);
  }

  absl::StatusOr<RetuneTask> Task(const std::map<std::string, std::string>& files) const {
    const auto spec = files.find(kSpecFile), weights = files.find(kWeightsFile);
    if (spec == files.end() || weights == files.end()) return absl::DataLossError("the server sent no checkpoint");
    const Digest digest = ModelDigest(spec->second, weights->second);
    if (digest.Bytes() != leased_.start_digest()) {
      return absl::DataLossError("the server sent another version than the one to start from");
    }
    RetuneTask task;
    ASSIGN_OR_RETURN(task.start.spec, ParseSpec(spec->second));
    ASSIGN_OR_RETURN(task.start.weights, ReadSafetensors(weights->second));
    task.lineage =
        absl::StrCat(leased_.job().start_model(), "/", leased_.job().start_version(), " sha256:", digest.Hex());
    task.spec = leased_.spec();
    task.note = leased_.lease().job_id();
    task.budget_seconds = leased_.job().request().budget_seconds();
    task.policy.requested_ess = leased_.job().request().requested_ess();
    return task;
  }

  // A state that does not arrive is no reason to stop: the next one may.
  void Upload(const std::string& bytes) {
    const absl::Status status = link_->UploadState(leased_.lease(), bytes);
    if (status.ok()) {
      Log(LogLevel::kInfo, "state uploaded",
          {{"job", leased_.lease().job_id()}, {"bytes", absl::StrCat(bytes.size())}});
      return;
    }
    Log(LogLevel::kWarning, "the state was not uploaded",
        {{"job", leased_.lease().job_id()}, {"reason", Message(status)}});
    if (absl::IsAborted(status)) beats_.Ask();
  }

  absl::Status Publish(const RetuneResult& result) {
    const std::string weights = WriteSafetensors(result.weights, {});
    v1::ModelCard card = result.card;
    card.set_created(NowUtc());
    const WorkerLink::Files files = {
        {kSpecFile, result.spec_text}, {kWeightsFile, weights}, {"card.pb", card.SerializeAsString()}};
    const std::string digest = ModelDigest(result.spec_text, weights).Bytes();
    v1::UploadResponse response;
    RETURN_IF_ERROR(Persist([&]() -> absl::Status {
      ASSIGN_OR_RETURN(response, link_->PublishVersion(leased_.lease(), files, digest));
      return absl::OkStatus();
    }));
    Log(LogLevel::kInfo, "version published",
        {{"job", leased_.lease().job_id()},
         {"model", leased_.spec().name()},
         {"version", absl::StrCat(response.version())},
         {"champion", response.promoted() ? "yes" : "no"},
         {"quality", result.reason},
         {"seconds", absl::StrFormat("%.1f", card.training_seconds())}});
    return absl::OkStatus();
  }

  const WorkerOptions& options_;
  WorkerLink* const link_;
  const v1::LeaseJobResponse leased_;
  const std::string scratch_;
  Heartbeats beats_;
};

// Made if none was given, and then removed at the end.
class Scratch {
 public:
  explicit Scratch(const std::string& given) : path_(given), own_(given.empty()) {}
  ~Scratch() {
    std::error_code ignored;
    if (own_ && !path_.empty()) fs::remove_all(path_, ignored);
  }
  absl::Status Make() {
    std::error_code error;
    if (!own_) {
      fs::create_directories(path_, error);
      return error ? ErrnoStatus(error.value(), absl::StrCat("creating ", path_)) : absl::OkStatus();
    }
    std::string pattern = (fs::temp_directory_path(error) / "haarflow-work-XXXXXX").string();
    if (error || ::mkdtemp(pattern.data()) == nullptr) {
      return absl::UnavailableError("no temporary directory can be made; give --scratch");
    }
    path_ = pattern;
    return absl::OkStatus();
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  const bool own_;
};

std::string DefaultName() {
  char host[128] = {};
  if (::gethostname(host, sizeof host - 1) != 0) return absl::StrCat("trainer-", ::getpid());
  return absl::StrCat(std::string(host).substr(0, 100), "-", ::getpid());
}

}  // namespace

absl::Status RunWorker(const WorkerOptions& options) {
  ASSIGN_OR_RETURN(const auto link, WorkerLink::Connect(options.server, options.connection));
  Scratch scratch(options.scratch);
  RETURN_IF_ERROR(scratch.Make());
  const std::string name = options.name.empty() ? DefaultName() : options.name;
  Log(LogLevel::kInfo, "waiting for jobs", {{"server", options.server}, {"name", name}});
  Pause pause(options.stop);
  bool reachable = true;
  while (!options.stop()) {
    absl::StatusOr<v1::LeaseJobResponse> leased = link->LeaseJob(name, kLeaseWait);
    if (!leased.ok() && !IsTransient(leased.status())) return leased.status();
    if (!leased.ok()) {
      if (std::exchange(reachable, false)) Log(LogLevel::kWarning, "no job", {{"reason", Message(leased.status())}});
      pause.Wait();
      continue;
    }
    reachable = true;
    pause.Reset();
    if (!leased->has_lease()) continue;
    JobRun(options, link.get(), *std::move(leased), scratch.path()).Run();
    if (options.once) return absl::OkStatus();
  }
  return absl::OkStatus();
}

}  // namespace haarflow
