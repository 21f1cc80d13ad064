#include "server/sampling/device_worker.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "core/base/guarded.h"

namespace haarflow {
namespace {

constexpr auto kLongestWait = std::chrono::seconds(1);

// What a task throws, as its failure.
template <class F>
void FailOnException(Task* task, F&& f) {
  const absl::Status status = Guarded("the stream", [&f] {
    f();
    return absl::OkStatus();
  });
  if (!status.ok()) task->Fail(status);
}

}  // namespace

DeviceWorker::DeviceWorker(Options options) : options_(std::move(options)), pool_(options_.name, options_.threads) {
  thread_ = std::thread([this] { Run(); });
}

DeviceWorker::~DeviceWorker() {
  {
    MutexLock lock(&mutex_);
    stop_ = true;
  }
  signal_->Notify();
  thread_.join();
}

void DeviceWorker::Add(std::shared_ptr<Task> task) {
  {
    MutexLock lock(&mutex_);
    inbox_.push_back(std::move(task));
  }
  signal_->Notify();
}

void DeviceWorker::DrainAll() {
  {
    MutexLock lock(&mutex_);
    drain_ = true;
  }
  signal_->Notify();
}

void DeviceWorker::DrainModel(const Digest& digest) {
  {
    MutexLock lock(&mutex_);
    drain_models_.push_back(digest);
  }
  signal_->Notify();
}

void DeviceWorker::Run() {
  NameThisThread(options_.name);
  while (true) {
    const uint64_t seen = signal_->count();
    if (!TakeInbox()) break;
    DropFinished();
    Groups groups = CollectWants();
    if (groups.empty()) {
      DropFinished();  // asking for wants may finish a task
      signal_->WaitWhile(seen, kLongestWait);
      continue;
    }
    RunBatch(ChooseGroup(&groups)->second);
  }
  for (const auto& task : tasks_) {
    if (!task->finished() || task->needs_epilogue()) task->Fail(absl::UnavailableError("the server is shutting down"));
  }
  tasks_.clear();
}

bool DeviceWorker::TakeInbox() {
  MutexLock lock(&mutex_);
  for (auto& task : inbox_) tasks_.push_back(std::move(task));
  inbox_.clear();
  if (drain_) {
    for (const auto& task : tasks_) {
      if (!task->draining()) task->Drain(Task::DrainReason::kShutdown);
    }
  }
  for (const Digest& digest : std::exchange(drain_models_, {})) {
    for (const auto& task : tasks_) {
      if (task->model().digest() == digest) task->Drain(Task::DrainReason::kLease);
    }
  }
  return !stop_;
}

void DeviceWorker::DropFinished() {
  std::vector<std::shared_ptr<Task>> finished;
  const auto end = std::stable_partition(tasks_.begin(), tasks_.end(), [](const auto& t) { return !t->finished(); });
  std::move(end, tasks_.end(), std::back_inserter(finished));
  tasks_.erase(end, tasks_.end());
  for (auto& task : finished) {
    if (task->needs_epilogue() && options_.run_epilogue) options_.run_epilogue(std::move(task));
  }
  if (tasks_.empty()) sizers_.clear();  // models may be gone
}

DeviceWorker::Groups DeviceWorker::CollectWants() {
  Groups groups;
  int64_t depth = 0;
  for (const auto& task : tasks_) {
    Task::Want want;
    FailOnException(task.get(), [&] { want = task->Demand(); });
    if (want.n <= 0 || task->finished()) continue;
    depth += want.n;
    groups[{&task->model(), task->target_digest()}].push_back({task.get(), want});
  }
  if (options_.observer != nullptr) options_.observer->OnQueueDepth(depth);
  return groups;
}

DeviceWorker::Groups::iterator DeviceWorker::ChooseGroup(Groups* groups) {
  std::vector<Flow> waiting;
  for (const auto& [key, members] : *groups) {
    for (const Member& member : members) waiting.push_back(member.task->flow());
  }
  std::sort(waiting.begin(), waiting.end());
  waiting.erase(std::unique(waiting.begin(), waiting.end()), waiting.end());
  const Flow& flow = waiting[turns_.Next(waiting)];
  for (auto it = last_group_.begin(); it != last_group_.end();) {
    it = std::binary_search(waiting.begin(), waiting.end(), it->first) ? std::next(it) : last_group_.erase(it);
  }
  const auto has_flow = [&flow](const Groups::value_type& group) {
    return std::any_of(group.second.begin(), group.second.end(),
                       [&flow](const Member& member) { return member.task->flow() == flow; });
  };
  const auto last = last_group_.find(flow);
  auto start = last == last_group_.end() ? groups->begin() : groups->upper_bound(last->second);
  auto next = std::find_if(start, groups->end(), has_flow);
  if (next == groups->end()) next = std::find_if(groups->begin(), groups->end(), has_flow);
  last_group_[flow] = next->first;
  return next;
}

std::vector<int64_t> DeviceWorker::Shares(const std::vector<Member>& group) {
  std::map<Flow, size_t> flows;
  std::vector<Claim> claims;
  claims.reserve(group.size());
  for (const Member& member : group) {
    const Flow& flow = member.task->flow();
    const size_t number = flows.try_emplace(flow, flows.size()).first->second;
    claims.push_back({number, flow.bulk, member.want.n});
  }
  return ShareBatch(claims, BatchLimit(group.front().task->model()), turn_++);
}

void DeviceWorker::Charge(const std::vector<Member>& group, const std::vector<int64_t>& shares, double seconds) {
  const double each = seconds / static_cast<double>(seeds_.size());
  for (size_t m = 0; m < group.size(); ++m) {
    if (shares[m] == 0) continue;
    turns_.Charge(group[m].task->flow(), each * static_cast<double>(shares[m]));
    group[m].task->drawn()->fetch_add(static_cast<uint64_t>(shares[m]), std::memory_order_relaxed);
  }
}

BatchSizer& DeviceWorker::SizerOf(const ServedModel* model) {
  const int64_t first = options_.batch.minimum * std::max(1, options_.threads);
  return sizers_.try_emplace(model, options_.batch, first).first->second;
}

int64_t DeviceWorker::BatchLimit(const ServedModel& model) {
  const int64_t bytes = model.sampler->field_size() * static_cast<int64_t>(sizeof(double));
  return std::clamp<int64_t>(SizerOf(&model).size(), 1, std::max<int64_t>(1, options_.max_batch_bytes / bytes));
}

void DeviceWorker::RunBatch(const std::vector<Member>& group) {
  const ServedModel& model = group.front().task->model();
  const std::vector<int64_t> shares = Shares(group);

  const auto start = std::chrono::steady_clock::now();
  ReportWaits(group, shares, start);
  const absl::Status status = Guarded("a batch", [&] {
    seeds_.clear();
    indices_.clear();
    for (size_t m = 0; m < group.size(); ++m) {
      for (int64_t i = 0; i < shares[m]; ++i) {
        seeds_.push_back(group[m].want.seed);
        indices_.push_back(group[m].want.first_index + static_cast<uint64_t>(i));
      }
    }
    return pool_.Draw(*model.sampler, group.front().task->target(), seeds_, indices_);
  });
  if (!status.ok()) {
    // First, so that whoever hears of the failure finds it latched.
    if (absl::IsUnavailable(status) && options_.on_device_failure) options_.on_device_failure(status);
    for (size_t m = 0; m < group.size(); ++m) {
      if (shares[m] > 0) group[m].task->Fail(status);
    }
    return;
  }
  const int64_t drawn = static_cast<int64_t>(seeds_.size());
  Deliver(group, shares);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  Charge(group, shares, seconds);
  SizerOf(&model).Measured(drawn, seconds);
  if (options_.observer != nullptr) options_.observer->OnBatch(model, drawn, seconds);
  ReportWeights(*group.front().task);
}

void DeviceWorker::ReportWaits(const std::vector<Member>& group, const std::vector<int64_t>& shares,
                               std::chrono::steady_clock::time_point now) {
  if (options_.observer == nullptr) return;
  for (size_t m = 0; m < group.size(); ++m) {
    const Task& task = *group[m].task;
    if (shares[m] == 0 || task.drawn()->load(std::memory_order_relaxed) > 0) continue;
    options_.observer->OnQueueWait(std::chrono::duration<double>(now - task.admitted()).count());
  }
}

void DeviceWorker::ReportWeights(const Task& task) {
  if (options_.observer == nullptr || !task.model().sampler->Serves(task.target())) return;
  for (const DrawPool::Piece& piece : pool_.pieces()) {
    log_weights_.resize(static_cast<size_t>(piece.proposals->n));
    for (int64_t i = 0; i < piece.proposals->n; ++i) log_weights_[i] = piece.proposals->LogWeight(i);
    options_.observer->OnLogWeights(task.model(), task.target_digest(), log_weights_);
  }
}

// Each task's share, piece by piece: a share may span the parts of several threads.
void DeviceWorker::Deliver(const std::vector<Member>& group, const std::vector<int64_t>& shares) {
  int64_t begin = 0;
  for (size_t m = 0; m < group.size(); ++m) {
    const int64_t end = begin + shares[m];
    for (const DrawPool::Piece& piece : pool_.pieces()) {
      const int64_t from = std::max(begin, piece.begin);
      const int64_t to = std::min(end, piece.begin + piece.proposals->n);
      if (from >= to) continue;
      FailOnException(group[m].task, [&] { group[m].task->Consume(*piece.proposals, from - piece.begin, to - from); });
    }
    begin = end;
  }
}

}  // namespace haarflow
