#include "server/sampling/draw_pool.h"

#include <pthread.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/base/guarded.h"
#include "core/base/status.h"
#include "server/sampling/batching.h"

namespace haarflow {
void NameThisThread(const std::string& name) { pthread_setname_np(pthread_self(), name.substr(0, 15).c_str()); }

DrawPool::DrawPool(const std::string& name, int threads) : parts_(static_cast<size_t>(std::max(1, threads))) {
  for (size_t i = 1; i < parts_.size(); ++i) {
    threads_.emplace_back([this, i, name] {
      NameThisThread(absl::StrCat(name, ".", i));
      Run(i);
    });
  }
}

DrawPool::~DrawPool() {
  {
    MutexLock lock(&mutex_);
    stop_ = true;
    changed_.NotifyAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

absl::Status DrawPool::Draw(const Sampler& sampler, const v1::Target& target, absl::Span<const uint64_t> seed,
                            absl::Span<const uint64_t> index) {
  const int64_t n = static_cast<int64_t>(seed.size());
  const int64_t tiles = (n + kTile - 1) / kTile;
  const int64_t parts = static_cast<int64_t>(parts_.size());
  int64_t begin = 0;
  for (int64_t p = 0; p < parts; ++p) {
    const int64_t end = std::min(n, (tiles * (p + 1) / parts) * kTile);
    parts_[p].begin = begin;
    parts_[p].n = end - begin;
    parts_[p].status = absl::OkStatus();
    begin = end;
  }
  sampler_ = &sampler;
  target_ = &target;
  seed_ = seed;
  index_ = index;
  // The last part is never empty: it is the caller's; helpers are woken only when they have something.
  const bool alone = parts_.size() == 1 || parts_.back().n == n;
  if (!alone) {
    MutexLock lock(&mutex_);
    running_ = threads_.size();
    ++generation_;
    changed_.NotifyAll();
  }
  DrawPart(&parts_.back());
  if (!alone) {
    MutexLock lock(&mutex_);
    while (running_ > 0) changed_.Wait(&mutex_);
  }
  pieces_.clear();
  for (const Part& part : parts_) {
    if (!part.status.ok()) return part.status;
    if (part.n > 0) pieces_.push_back({part.begin, &part.proposals});
  }
  return absl::OkStatus();
}

void DrawPool::Run(size_t part) {
  uint64_t seen = 0;
  while (true) {
    {
      MutexLock lock(&mutex_);
      while (!stop_ && generation_ == seen) changed_.Wait(&mutex_);
      if (stop_) return;
      seen = generation_;
    }
    DrawPart(&parts_[part - 1]);
    MutexLock lock(&mutex_);
    if (--running_ == 0) changed_.NotifyAll();
  }
}

void DrawPool::DrawPart(Part* part) const {
  if (part->n == 0) return;
  part->status = Guarded("drawing", [&]() -> absl::Status {
    RETURN_IF_ERROR(sampler_->Draw(*target_, seed_.subspan(part->begin, part->n), index_.subspan(part->begin, part->n),
                                   &part->proposals));
    if (part->proposals.n == part->n) return absl::OkStatus();
    return absl::InternalError(absl::StrCat("a sampler drew ", part->proposals.n, " proposals, not ", part->n));
  });
}

}  // namespace haarflow
