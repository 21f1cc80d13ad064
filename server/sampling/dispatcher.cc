#include "server/sampling/dispatcher.h"

#include <algorithm>
#include <iterator>

#include "core/base/guarded.h"

namespace haarflow {
namespace {

constexpr std::chrono::nanoseconds kLongestWait = std::chrono::seconds(1);

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

void Dispatcher::Add(std::shared_ptr<Task> task) {
  auto slot = std::make_shared<Slot>();
  slot->task = std::move(task);
  {
    MutexLock lock(&inbox_mutex_);
    inbox_.push_back(std::move(slot));
  }
  signal_->Notify();
}

void Dispatcher::DrainAll() {
  {
    MutexLock lock(&inbox_mutex_);
    drain_ = true;
  }
  signal_->Notify();
}

void Dispatcher::DrainModel(const Digest& digest) {
  {
    MutexLock lock(&inbox_mutex_);
    drain_models_.push_back(digest);
  }
  signal_->Notify();
}

void Dispatcher::Stop() {
  {
    MutexLock lock(&inbox_mutex_);
    stop_ = true;
  }
  signal_->Notify();
}

void Dispatcher::FailAll() {
  std::vector<std::shared_ptr<Slot>> slots;
  {
    MutexLock lock(&mutex_);
    TakeInbox();
    slots.swap(slots_);
  }
  for (const auto& slot : slots) {
    Task& task = *slot->task;
    if (!task.finished() || task.needs_epilogue()) task.Fail(absl::UnavailableError("the server is shutting down"));
  }
}

bool Dispatcher::Take(Batch* batch) {
  while (true) {
    const uint64_t seen = signal_->count();
    std::vector<std::shared_ptr<Slot>> gone;  // destroyed without the lock
    std::chrono::nanoseconds wait = kLongestWait;
    {
      MutexLock inbox(&inbox_mutex_);
      if (stop_) return false;
    }
    {
      MutexLock lock(&mutex_);
      TakeInbox();
      DropFinished(&gone);
      Groups groups = CollectWants();
      wait = HoldBack(&groups);
      if (!groups.empty()) {
        const auto next = ChooseGroup(&groups);
        // Other groups are other devices' work.
        const int free = options_.devices - drawing_ - static_cast<int>(groups.size()) + 1;
        const int64_t limit = BatchLimit(*next->first.first);
        Cut(next->second, SpreadOver(next->second.wanted, limit, free), batch);
        lingering_.erase(next->first);
        ++drawing_;
        return true;
      }
      DropFinished(&gone);  // asking for wants may finish a task
    }
    signal_->WaitWhile(seen, wait);
  }
}

void Dispatcher::TakeInbox() {
  MutexLock lock(&inbox_mutex_);
  std::move(inbox_.begin(), inbox_.end(), std::back_inserter(slots_));
  inbox_.clear();
  if (drain_) {
    for (const auto& slot : slots_) {
      if (!slot->task->draining()) slot->task->Drain(Task::DrainReason::kShutdown);
    }
  }
  for (const Digest& digest : std::exchange(drain_models_, {})) {
    for (const auto& slot : slots_) {
      if (slot->task->model().digest() == digest) slot->task->Drain(Task::DrainReason::kLease);
    }
  }
}

void Dispatcher::DropFinished(std::vector<std::shared_ptr<Slot>>* gone) {
  const auto end = std::stable_partition(slots_.begin(), slots_.end(),
                                         [](const auto& slot) { return slot->busy() || !slot->task->finished(); });
  for (auto it = end; it != slots_.end(); ++it) {
    if ((*it)->task->needs_epilogue() && options_.run_epilogue) options_.run_epilogue((*it)->task);
    gone->push_back(std::move(*it));
  }
  slots_.erase(end, slots_.end());
  if (slots_.empty()) {  // models may be gone
    sizers_.clear();
    lingering_.clear();
  }
}

Dispatcher::Groups Dispatcher::CollectWants() {
  Groups groups;
  int64_t depth = 0;
  for (const auto& slot : slots_) {
    if (!slot->busy()) {
      slot->window = {};
      slot->cut = 0;
      FailOnException(slot->task.get(), [&] { slot->window = slot->task->Demand(); });
      if (slot->task->finished()) continue;
    }
    Group& group = groups[{&slot->task->model(), slot->task->target_digest()}];
    if (slot->left() <= 0 || slot->task->cancelled()) {
      ++group.quiet;
      continue;
    }
    group.slots.push_back(slot);
    group.wanted += slot->left();
    depth += slot->left();
  }
  std::erase_if(groups, [](const auto& group) { return group.second.slots.empty(); });
  if (options_.observer != nullptr) options_.observer->OnQueueDepth(depth);
  return groups;
}

std::chrono::nanoseconds Dispatcher::HoldBack(Groups* groups) {
  std::chrono::nanoseconds wait = kLongestWait;
  if (options_.linger.count() == 0) return wait;
  const auto now = Clock::now();
  std::erase_if(lingering_, [&](const auto& group) { return groups->count(group.first) == 0; });
  for (auto it = groups->begin(); it != groups->end();) {
    const auto since = lingering_.try_emplace(it->first, now).first->second;
    const auto rest =
        LingerFor(it->second.wanted, kTile * options_.threads, it->second.quiet, now - since, options_.linger);
    if (rest.count() > 0) wait = std::min(wait, rest);
    it = rest.count() > 0 ? groups->erase(it) : std::next(it);
  }
  return wait;
}

Dispatcher::Groups::iterator Dispatcher::ChooseGroup(Groups* groups) {
  std::vector<Flow> waiting;
  for (const auto& [key, group] : *groups) {
    for (const auto& slot : group.slots) waiting.push_back(slot->task->flow());
  }
  std::sort(waiting.begin(), waiting.end());
  waiting.erase(std::unique(waiting.begin(), waiting.end()), waiting.end());
  const Flow& flow = waiting[turns_.Next(waiting)];
  std::erase_if(last_group_, [&waiting](const auto& last) {
    return !std::binary_search(waiting.begin(), waiting.end(), last.first);
  });
  const auto has_flow = [&flow](const Groups::value_type& group) {
    return std::any_of(group.second.slots.begin(), group.second.slots.end(),
                       [&flow](const auto& slot) { return slot->task->flow() == flow; });
  };
  const auto last = last_group_.find(flow);
  auto start = last == last_group_.end() ? groups->begin() : groups->upper_bound(last->second);
  auto next = std::find_if(start, groups->end(), has_flow);
  if (next == groups->end()) next = std::find_if(groups->begin(), groups->end(), has_flow);
  last_group_[flow] = next->first;
  return next;
}

void Dispatcher::Cut(const Group& group, int64_t limit, Batch* batch) {
  std::map<Flow, size_t> flows;
  std::vector<Claim> claims;
  claims.reserve(group.slots.size());
  for (const auto& slot : group.slots) {
    const Flow& flow = slot->task->flow();
    const size_t number = flows.try_emplace(flow, flows.size()).first->second;
    claims.push_back({number, flow.bulk, slot->left()});
  }
  const std::vector<int64_t> shares = ShareBatch(claims, limit, turn_++);
  batch->parts.clear();
  batch->seeds.clear();
  batch->indices.clear();
  for (size_t k = 0; k < shares.size(); ++k) {
    if (shares[k] == 0) continue;
    const std::shared_ptr<Slot>& slot = group.slots[k];
    if (slot->parts_cut == 0 && options_.observer != nullptr) {
      options_.observer->OnQueueWait(std::chrono::duration<double>(Clock::now() - slot->task->admitted()).count());
    }
    batch->parts.push_back({slot, slot->parts_cut++, shares[k]});
    for (int64_t i = 0; i < shares[k]; ++i) {
      batch->seeds.push_back(slot->window.seed);
      batch->indices.push_back(slot->window.first_index + static_cast<uint64_t>(slot->cut + i));
    }
    slot->cut += shares[k];
  }
}

BatchSizer& Dispatcher::SizerOf(const ServedModel* model) {
  const int64_t first = options_.batch.minimum * std::max(1, options_.threads);
  return sizers_.try_emplace(model, options_.batch, first).first->second;
}

int64_t Dispatcher::BatchLimit(const ServedModel& model) {
  const int64_t bytes = model.sampler->field_size() * static_cast<int64_t>(sizeof(double));
  return std::clamp<int64_t>(SizerOf(&model).size(), 1, std::max<int64_t>(1, options_.max_batch_bytes / bytes));
}

double Dispatcher::InTurn(const Part& part, const std::function<void(Task*)>& work) {
  Slot& slot = *part.slot;
  {
    MutexLock lock(&mutex_);
    while (slot.parts_done != part.number) part_done_.Wait(&mutex_);
  }
  const auto start = Clock::now();
  work(slot.task.get());
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  MutexLock lock(&mutex_);
  ++slot.parts_done;
  part_done_.NotifyAll();
  return seconds;
}

void Dispatcher::Deliver(const Batch& batch, absl::Span<const DrawPool::Piece> pieces, double seconds) {
  int64_t begin = 0;
  for (const Part& part : batch.parts) {
    const int64_t end = begin + part.n;
    // A share may span the pieces of several threads.
    seconds += InTurn(part, [&](Task* task) {
      for (const DrawPool::Piece& piece : pieces) {
        const int64_t from = std::max(begin, piece.begin);
        const int64_t to = std::min(end, piece.begin + piece.proposals->n);
        if (from < to) FailOnException(task, [&] { task->Consume(*piece.proposals, from - piece.begin, to - from); });
      }
    });
    begin = end;
  }
  ReportWeights(batch, pieces);
  EndBatch(batch, seconds);
}

void Dispatcher::ReportWeights(const Batch& batch, absl::Span<const DrawPool::Piece> pieces) {
  if (options_.observer == nullptr || !batch.model().sampler->Serves(batch.target())) return;
  std::vector<double> log_weights;
  for (const DrawPool::Piece& piece : pieces) {
    log_weights.resize(static_cast<size_t>(piece.proposals->n));
    for (int64_t i = 0; i < piece.proposals->n; ++i) log_weights[i] = piece.proposals->LogWeight(i);
    options_.observer->OnLogWeights(batch.model(), batch.parts.front().slot->task->target_digest(), log_weights);
  }
}

void Dispatcher::Fail(const Batch& batch, const absl::Status& status) {
  for (const Part& part : batch.parts) {
    InTurn(part, [&status](Task* task) { task->Fail(status); });
  }
  EndBatch(batch, 0);
}

// `seconds` is 0 for one that failed.
void Dispatcher::EndBatch(const Batch& batch, double seconds) {
  const auto drawn = static_cast<int64_t>(batch.seeds.size());
  {
    MutexLock lock(&mutex_);
    --drawing_;
    if (seconds > 0) {
      for (const Part& part : batch.parts) {
        turns_.Charge(part.slot->task->flow(), seconds * static_cast<double>(part.n) / static_cast<double>(drawn));
        part.slot->task->drawn()->fetch_add(static_cast<uint64_t>(part.n), std::memory_order_relaxed);
      }
      SizerOf(&batch.model()).Measured(drawn, seconds);
    }
  }
  if (seconds > 0 && options_.observer != nullptr) options_.observer->OnBatch(batch.model(), drawn, seconds);
  if (options_.devices > 1) signal_->Notify();  // what these tasks want now, another device may draw
}

}  // namespace haarflow
