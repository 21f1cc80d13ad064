// Splits one draw over N worker threads in multiples of a kernel's tile. Bits do not depend on the split: Sampler
// promises it.
//
// Lifetime: joins its N - 1 threads in the destructor; the caller's thread is the N-th. Thread-safety: one caller at a
// time.
#pragma once

#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "core/base/mutex.h"
#include "core/model/sampler.h"

namespace haarflow {

class DrawPool {
 public:
  DrawPool(const std::string& name, int threads);
  ~DrawPool();
  DrawPool(const DrawPool&) = delete;
  DrawPool& operator=(const DrawPool&) = delete;

  int threads() const { return static_cast<int>(parts_.size()); }

  // Proposals (seed[i], index[i]). The parts, in order, are pieces(); valid until the next call. Exceptions become
  // Status: RESOURCE_EXHAUSTED for bad_alloc, INTERNAL for others.
  absl::Status Draw(const Sampler& sampler, const v1::Target& target, absl::Span<const uint64_t> seed,
                    absl::Span<const uint64_t> index);
  struct Piece {
    int64_t begin = 0;
    const Proposals* proposals = nullptr;
  };
  const std::vector<Piece>& pieces() const { return pieces_; }

 private:
  struct Part {
    int64_t begin = 0;
    int64_t n = 0;
    Proposals proposals;
    absl::Status status;
  };
  void Run(size_t part);
  void DrawPart(Part* part) const;

  std::vector<Part> parts_;
  std::vector<Piece> pieces_;
  // The draw in progress; written before `generation_` rises, read after.
  const Sampler* sampler_ = nullptr;
  const v1::Target* target_ = nullptr;
  absl::Span<const uint64_t> seed_;
  absl::Span<const uint64_t> index_;

  Mutex mutex_;
  CondVar changed_;
  uint64_t generation_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t running_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

// Names the calling thread (at most 15 characters are kept).
void NameThisThread(const std::string& name);

}  // namespace haarflow
